"""The model of SQS and its pollers: visibility, dead letters, windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.queues import QueueMapping, TimedQueue, TimedSQS
from benchmarks.flash_sale.wiring import QueueSource
from tests.support.aws.sqs import queue_arn, queue_url
from tests.support.virtual_time import Time

Work = Callable[[list[str], "Fed"], Sequence[str]]


class Fed:
    """A queue with a function that takes a second per batch, unless `work` is given."""

    def __init__(
        self,
        work: Work = lambda bodies, fed: (),
        *,
        seconds: float = 1,
        window: float = 0,
        concurrency: int = 50,
        **constants: float,
    ) -> None:
        self.time = Time()
        self.sqs = TimedSQS(self.time, self._new_id, lambda: 0.0)
        self.sqs.create_queue(QueueName="Dlq")
        self.sqs.create_queue(
            QueueName="Queue",
            Attributes={
                "VisibilityTimeout": "60",
                "RedrivePolicy": f'{{"deadLetterTargetArn": "{queue_arn("Dlq")}", "maxReceiveCount": 3}}',
            },
        )
        self.queue: TimedQueue = self.sqs.timed["Queue"]
        self.batches: list[tuple[float, list[str]]] = []
        """The time and content of each batch."""
        self.receipts: dict[str, str] = {}
        self._ids = 0
        self._work, self._seconds = work, seconds
        self.mapping = QueueMapping(
            self.time,
            Constants(**{"receive_ms": 0, "sigma": 0, **constants}),
            QueueSource("Queue", 10, window, concurrency),
            self.queue,
            self._function,
            lambda median: self.time.sleep(median / 1000),
        )

    def send(self, *bodies: str, delay: int = 0, group: str | None = None) -> None:
        entries: list[dict[str, Any]] = [
            {"Id": str(n), "MessageBody": body, "DelaySeconds": delay} for n, body in enumerate(bodies)
        ]
        if group is not None:
            entries = [{**entry, "MessageGroupId": group} for entry in entries]
        for start in range(0, len(entries), 10):
            self.sqs.send_message_batch(QueueUrl=queue_url("Queue"), Entries=entries[start : start + 10])

    def _new_id(self) -> str:
        self._ids += 1
        return f"message-{self._ids}"

    def _function(self, event: dict[str, Any]) -> dict[str, Any]:
        bodies = [record["body"] for record in event["Records"]]
        self.receipts |= {record["body"]: record["receiptHandle"] for record in event["Records"]}
        self.batches.append((round(self.time.now, 3), bodies))
        self.time.sleep(self._seconds)
        failed = self._work(bodies, self)
        return {
            "batchItemFailures": [
                {"itemIdentifier": record["messageId"]}
                for record in event["Records"]
                if record["body"] in failed
            ]
        }


def test_five_batches_at_a_time_at_first_and_five_more_each_second_up_to_the_maximum() -> None:
    fed = Fed(seconds=100, concurrency=17)

    fed.send(*(str(number) for number in range(1_000)))
    fed.time.run(5)

    starts = [at for at, _ in fed.batches]
    assert [starts.count(second) for second in range(5)] == [5, 5, 5, 2, 0]


def test_after_a_minute_without_waiting_messages_it_begins_again_with_five() -> None:
    fed = Fed(seconds=1)
    fed.send(*(str(number) for number in range(300)))
    fed.time.run(10)
    assert fed.mapping.limit > 5
    fed.time.run(100)

    fed.send(*(str(number) for number in range(300)))
    fed.time.run(100.5)

    assert fed.mapping.busy == 5


def test_what_is_reported_comes_again_after_its_visibility_timeout_and_nothing_else_does() -> None:
    fed = Fed(lambda bodies, fed: ["bad"] if fed.time.now < 60 else [], window=1)

    fed.send("good", "bad")
    fed.time.run(200)

    assert fed.batches == [(1, ["good", "bad"]), (62, ["bad"])]  # windows of a second before each
    assert fed.queue.returned == 1
    assert fed.queue.depth == 0


def test_a_message_s_own_visibility_is_when_it_comes_again() -> None:
    def work(bodies: list[str], fed: Fed) -> list[str]:
        if len(fed.batches) > 1:
            return []
        entry = {"Id": "0", "ReceiptHandle": fed.receipts["soon"], "VisibilityTimeout": 2}
        fed.sqs.change_message_visibility_batch(QueueUrl=queue_url("Queue"), Entries=[entry])
        return bodies

    fed = Fed(work)
    fed.send("soon")
    fed.time.run(200)

    assert [at for at, _ in fed.batches] == [0, 3]  # a second of work, and two


def test_what_was_received_too_often_is_a_dead_letter() -> None:
    fed = Fed(lambda bodies, fed: bodies)

    fed.send("bad")
    fed.time.run(1_000)

    assert [at for at, _ in fed.batches] == [0, 60, 120]
    assert [message.body for message in fed.sqs.timed["Dlq"].ready] == ["bad"]
    assert fed.queue.depth == 0


def test_a_function_that_fails_gets_all_of_its_batch_again() -> None:
    def work(bodies: list[str], fed: Fed) -> list[str]:
        if len(fed.batches) == 1:
            raise RuntimeError
        return []

    fed = Fed(work)
    fed.send("a")
    fed.time.run(100)

    assert [at for at, _ in fed.batches] == [0, 60]


def test_a_delayed_message_arrives_later() -> None:
    fed = Fed()

    fed.send("a", delay=30)
    fed.time.run(100)

    assert fed.batches == [(30, ["a"])]


def test_a_window_gathers_a_batch_which_goes_at_once_when_it_is_full() -> None:
    fed = Fed(window=5)

    fed.send("a")
    fed.time.spawn(lambda: fed.send("b"), 3)
    fed.time.run(20)
    fed.send(*(str(number) for number in range(10)))
    fed.time.run(40)

    assert [(at, len(bodies)) for at, bodies in fed.batches] == [(5, 2), (20, 10)]


def test_while_one_group_is_noisy_those_of_the_others_come_first() -> None:
    fed = Fed(pollers=5, pollers_per_second=0)

    fed.send(*(f"noisy {n}" for n in range(200)), group="noisy")
    fed.time.run(1.5)  # by now 50 are in flight
    fed.send("quiet", group="quiet")
    fed.time.run(2.5)

    first_after_it_came = next(bodies for at, bodies in fed.batches if at > 1.5)
    assert first_after_it_came[0] == "quiet"


def test_a_few_of_one_group_are_not_noisy() -> None:
    fed = Fed(pollers=2, pollers_per_second=0)

    fed.send(*(f"many {n}" for n in range(60)), group="many")
    fed.time.run(1.5)  # 20 are in flight
    fed.send("late", group="other")
    fed.time.run(2.5)

    assert all("late" not in bodies for at, bodies in fed.batches if at < 3)
