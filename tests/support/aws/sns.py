"""SNS topics in memory, with queues as subscribers: filter policies, raw delivery, dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.aws.errors import client_error
from tests.support.aws.sqs import SQS, check_batch, parsed

MAX_BATCH_BYTES = 256 * 1024


@dataclass(frozen=True)
class Subscription:
    """A queue's subscription: its filter, its format, and its dead-letter queue."""

    topic: str
    queue: str
    raw: bool = False
    filters: Mapping[str, Sequence[str | Mapping[str, bool]]] = field(default_factory=dict)
    dead_letters: str | None = None

    def matches(self, attributes: Mapping[str, Any]) -> bool:
        """Whether each attribute of the filter policy has one of its values, or is absent if it must be.

        A message without any attributes matches no filter at all.
        """
        return all(
            attributes[name]["StringValue"] in allowed
            if name in attributes
            else bool(attributes) and {"exists": False} in allowed
            for name, allowed in self.filters.items()
        )


class SNS:
    """All topics of an account. Their subscriptions deliver immediately."""

    def __init__(self, sqs: SQS) -> None:
        self._sqs = sqs
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._published = 0
        self.can_access: Callable[[Subscription], bool] = lambda subscription: True
        """Whether a delivery succeeds, after all of SNS's own retries."""

    # The calls of botocore's client

    def create_topic(self, *, Name: str) -> dict[str, str]:  # noqa: N803
        """Create a topic."""
        arn = f"arn:aws:sns:us-east-1:123456789012:{Name}"
        self._subscriptions.setdefault(arn, [])
        return {"TopicArn": arn}

    def subscribe(
        self,
        *,
        TopicArn: str,  # noqa: N803
        Protocol: str,  # noqa: N803
        Endpoint: str,  # noqa: N803
        Attributes: Mapping[str, str],  # noqa: N803
    ) -> None:
        """Subscribe a queue, given by its ARN, to a topic."""
        if Protocol != "sqs":
            raise NotImplementedError(f"a subscription over {Protocol}")
        redrive = parsed(Attributes.get("RedrivePolicy", "null"))
        self._subscriptions[TopicArn].append(
            Subscription(
                topic=TopicArn,
                queue=Endpoint.rpartition(":")[2],
                raw=parsed(Attributes.get("RawMessageDelivery", "false")),
                filters=parsed(Attributes.get("FilterPolicy", "{}")),
                dead_letters=redrive["deadLetterTargetArn"].rpartition(":")[2] if redrive else None,
            )
        )

    def publish_batch(
        self,
        *,
        TopicArn: str,  # noqa: N803
        PublishBatchRequestEntries: Sequence[Mapping[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        """Deliver up to ten messages to every subscription that matches them."""
        operation = "PublishBatch"
        if TopicArn not in self._subscriptions:
            raise client_error(operation, "NotFound", "Topic does not exist", status=404)
        check_batch(operation, "", PublishBatchRequestEntries, "Message", MAX_BATCH_BYTES)
        successful = []
        for entry in PublishBatchRequestEntries:
            self._published += 1
            message_id = f"published-{self._published}"
            self._publish(TopicArn, message_id, entry)
            successful.append({"Id": entry["Id"], "MessageId": message_id})
        return {"Successful": successful, "Failed": []}

    # Internals

    def _publish(self, topic: str, message_id: str, entry: Mapping[str, Any]) -> None:
        text, attributes = entry["Message"], entry.get("MessageAttributes", {})
        group = entry.get("MessageGroupId")  # forwarded to standard queues
        for subscription in self._subscriptions[topic]:
            if not subscription.matches(attributes):
                continue
            target: str | None = subscription.queue
            if not self.can_access(subscription):
                target = subscription.dead_letters
            if target is None:
                continue
            if subscription.raw:
                self._sqs.put(target, text, attributes, group=group)
            else:
                notification = _notification(topic, message_id, text, attributes)
                self._sqs.put(target, notification, {}, group=group)


def _notification(topic: str, message_id: str, text: str, attributes: Mapping[str, Any]) -> str:
    attributes = {
        name: {"Type": attribute["DataType"], "Value": attribute["StringValue"]}
        for name, attribute in attributes.items()
    }
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": topic,
            "Message": text,
            "MessageAttributes": attributes,
        }
    )
