"""The queues of a deployed stack, in SQS."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from order_capture.adapters.operations import dead_letters
from order_capture.adapters.operations.dead_letters import DeadLetterQueue
from order_capture.adapters.operations.stack import Stack
from order_capture.application.channels import CHANNELS, Channel, ChannelKind
from order_capture.application.operations.ports import DeadLetter, QueueStatus, RedriveResult

REDRIVE_SECONDS = 12.0
"""A request moves messages for this long at most: the API answers within 29 seconds, and a batch takes some
seconds if SQS is slow."""

_COUNTS = {
    "waiting": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


class SqsQueues:
    """Implements `application.operations.ports.QueueRepository`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._sqs = stack.client("sqs")

    def statuses(self) -> Sequence[QueueStatus]:  # noqa: D102 - see the port
        urls = {
            channel.name: self._stack.output(f"{channel.resource}QueueUrl")
            for channel in CHANNELS
            if channel.kind is ChannelKind.QUEUE
        }
        oldest = self._oldest(urls) if self._stack.on_aws else {}
        found = []
        for channel in CHANNELS:
            dead = self.count(channel) if channel.own_dead_letters else 0
            counts = self._counts(urls[channel.name]) if channel.name in urls else {}
            found.append(QueueStatus(channel, dead, **counts, oldest=oldest.get(channel.name)))
        return found

    def count(self, channel: Channel) -> int:  # noqa: D102
        return dead_letters.count(self._sqs, self._dlq(channel))

    def dead_letters(self, channel: Channel, limit: int) -> Sequence[DeadLetter]:  # noqa: D102
        return dead_letters.peek(self._sqs, self._dlq(channel), limit)

    def redrive(self, channel: Channel, limit: int) -> RedriveResult:  # noqa: D102
        return dead_letters.redrive(self._sqs, self._dlq(channel), limit=limit, seconds=REDRIVE_SECONDS)

    def discard(self, channel: Channel, message_ids: Collection[str]) -> int:  # noqa: D102
        return dead_letters.discard(self._sqs, self._dlq(channel), message_ids)

    def _dlq(self, channel: Channel) -> DeadLetterQueue:
        return dead_letters.queue_of(self._stack, channel)

    def _counts(self, url: str) -> dict[str, int]:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[*_COUNTS.values()])
        return {name: int(attributes["Attributes"].get(each, 0)) for name, each in _COUNTS.items()}

    def _oldest(self, urls: Mapping[str, str]) -> dict[str, float]:
        """The age of each queue's oldest message in seconds. SQS has it only as a metric."""
        queries = [
            {
                "Id": f"q{number}",
                "Label": name,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SQS",
                        "MetricName": "ApproximateAgeOfOldestMessage",
                        "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                    },
                    "Period": 60,
                    "Stat": "Maximum",
                },
            }
            for number, (name, url) in enumerate(urls.items())
        ]
        now = datetime.now(UTC)
        response = self._stack.client("cloudwatch").get_metric_data(
            MetricDataQueries=queries,
            StartTime=now - timedelta(minutes=5),
            EndTime=now,
            ScanBy="TimestampDescending",
        )
        return {each["Label"]: each["Values"][0] for each in response["MetricDataResults"] if each["Values"]}
