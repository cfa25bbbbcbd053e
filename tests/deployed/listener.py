"""An external queue, subscribed to a topic of the stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.deployed.shop import StackClient


class Listener:
    """A queue that is subscribed to a topic, and returns its messages."""

    def __init__(self, shop: StackClient, topic: str) -> None:
        self._sqs = shop.sqs
        self.url = self._sqs.create_queue(QueueName=f"listener-{topic.rpartition(':')[2]}"[:80])["QueueUrl"]
        queue = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue["QueueArn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": policy})
        shop.aws.client("sns", endpoint_url=shop.endpoint).subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=queue["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )

    def take(self) -> Iterator[str]:
        """The bodies of all messages since the last call."""
        while messages := self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                yield message["Body"]
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])


@contextmanager
def listening(shop: StackClient, topic: str) -> Iterator[Listener]:
    """Listen to a topic, by the name of the stack's output, for a block."""
    listener = Listener(shop, shop.outputs[topic])
    try:
        yield listener
    finally:
        shop.sqs.delete_queue(QueueUrl=listener.url)
