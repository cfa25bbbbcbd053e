"""What the application relies on in SNS and SQS: the same tests on the fakes and on moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
from moto import mock_aws

from tests.support.aws.sns import SNS
from tests.support.aws.sqs import SQS
from tests.support.tables import REGION


@dataclass(frozen=True)
class Messaging:
    """A queue with a DLQ, subscribed to some message types of a topic."""

    sqs: Any
    sns: Any
    url: str
    dead_url: str
    topic: str

    def send(self, *bodies: str, **more: Any) -> dict[str, Any]:
        entries = [{"Id": str(i), "MessageBody": body, **more} for i, body in enumerate(bodies)]
        answer: dict[str, Any] = self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
        return answer

    def publish(self, *entries: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.sns.publish_batch(
            TopicArn=self.topic, PublishBatchRequestEntries=list(entries)
        )
        return answer

    def receive(self, url: str | None = None) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.sqs.receive_message(
            QueueUrl=url or self.url,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        return messages

    def give_back(self, message: dict[str, Any]) -> None:
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )


@pytest.fixture(params=["fake", "moto"])
def messaging(request: pytest.FixtureRequest) -> Iterator[Messaging]:
    if request.param == "fake":
        sqs = SQS()
        yield set_up(sqs, SNS(sqs))
        return
    with mock_aws():
        session = botocore.session.Session()
        session.set_credentials("testing", "testing")
        clients = (session.create_client(name, region_name=REGION) for name in ("sqs", "sns"))
        yield set_up(*clients)


def set_up(sqs: Any, sns: Any) -> Messaging:
    dead_url = sqs.create_queue(QueueName="dead")["QueueUrl"]
    redrive = {"deadLetterTargetArn": arn(sqs, dead_url), "maxReceiveCount": 2}
    url = sqs.create_queue(
        QueueName="live", Attributes={"VisibilityTimeout": "30", "RedrivePolicy": json.dumps(redrive)}
    )["QueueUrl"]
    topic = sns.create_topic(Name="topic")["TopicArn"]
    policy = json.dumps({"type": ["a", "b"], "unwanted": [{"exists": False}]})
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn(sqs, url),
        Attributes={"RawMessageDelivery": "true", "FilterPolicy": policy},
    )
    return Messaging(sqs, sns, url, dead_url, topic)


def arn(sqs: Any, url: str) -> str:
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    return str(attributes["QueueArn"])


def typed(number: int, kind: str | None, text: str = "text") -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(number), "Message": text}
    if kind:
        entry["MessageAttributes"] = {"type": {"DataType": "String", "StringValue": kind}}
    return entry


def failure(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(*arguments, **named)
    return str(error.value.response["Error"]["Code"]).rpartition(".")[2]


def test_a_message_is_received_as_it_was_sent_and_not_again_until_its_time_is_over(
    messaging: Messaging,
) -> None:
    attributes = {"type": {"DataType": "String", "StringValue": "a"}}

    answer = messaging.send("one", MessageAttributes=attributes)

    (message,) = messaging.receive()
    assert not answer.get("Failed")
    assert message["MessageId"] == answer["Successful"][0]["MessageId"]
    assert message["Body"] == "one"
    assert message["MessageAttributes"] == attributes
    assert messaging.receive() == []


def test_receives_are_counted_and_a_message_keeps_its_id(messaging: Messaging) -> None:
    messaging.send("one")
    (first,) = messaging.receive()
    messaging.give_back(first)

    (second,) = messaging.receive()

    assert second["MessageId"] == first["MessageId"]
    counts = [message["Attributes"]["ApproximateReceiveCount"] for message in (first, second)]
    assert counts == ["1", "2"]


def test_what_was_received_too_often_is_a_dead_letter(messaging: Messaging) -> None:
    messaging.send("one")
    for _ in range(2):
        (message,) = messaging.receive()
        messaging.give_back(message)

    assert messaging.receive() == []
    (dead,) = messaging.receive(messaging.dead_url)
    assert dead["Body"] == "one"


def test_what_was_deleted_does_not_come_again(messaging: Messaging) -> None:
    messaging.send("one", "two")
    for message in messaging.receive():
        if message["Body"] == "one":
            messaging.sqs.delete_message(QueueUrl=messaging.url, ReceiptHandle=message["ReceiptHandle"])
        else:
            messaging.give_back(message)

    assert [message["Body"] for message in messaging.receive()] == ["two"]


def test_a_delayed_message_can_t_be_received_yet(messaging: Messaging) -> None:
    messaging.send("one", DelaySeconds=900)

    assert messaging.receive() == []


def test_at_most_ten_messages_are_received_at_once(messaging: Messaging) -> None:
    for _ in range(2):
        messaging.send(*(str(i) for i in range(10)))

    assert [len(messaging.receive()) for _ in range(3)] == [10, 10, 0]


def test_a_topic_passes_on_the_types_that_its_subscription_wants_raw(messaging: Messaging) -> None:
    answer = messaging.publish(
        typed(0, "a", "one"), typed(1, "c", "two"), typed(2, None, "three"), typed(3, "b", "four")
    )

    messages = messaging.receive()
    assert len(answer["Successful"]) == 4
    assert sorted(message["Body"] for message in messages) == ["four", "one"]
    kinds = [message["MessageAttributes"]["type"]["StringValue"] for message in messages]
    assert sorted(kinds) == ["a", "b"]


def test_a_topic_does_not_pass_on_what_has_an_attribute_that_must_be_absent(messaging: Messaging) -> None:
    # given
    unwanted = typed(1, "a", "two")
    unwanted["MessageAttributes"]["unwanted"] = {"DataType": "String", "StringValue": "true"}
    # when
    messaging.publish(typed(0, "a", "one"), unwanted)
    # then
    assert [message["Body"] for message in messaging.receive()] == ["one"]


@pytest.mark.parametrize(
    ("texts", "ids", "code"),
    [
        (["x", "y"], "00", "BatchEntryIdsNotDistinct"),
        (["x"] * 11, "0123456789a", "TooManyEntriesInBatchRequest"),
        (["x" * 131_073, "x" * 131_072], "01", "BatchRequestTooLong"),
    ],
    ids=["ids", "eleven", "too long"],
)
def test_a_batch_that_breaks_a_bound_of_sns_is_not_taken(
    request: pytest.FixtureRequest, messaging: Messaging, texts: list[str], ids: str, code: str
) -> None:
    if request.node.callspec.id == "moto-too long":
        pytest.skip("moto takes a publish of any size")
    entries = [{**typed(0, "a", text), "Id": each} for each, text in zip(ids, texts, strict=True)]

    assert failure(messaging.publish, *entries) == code
    assert messaging.receive() == []


@pytest.mark.parametrize(
    ("texts", "ids", "code"),
    [
        ([], "", "EmptyBatchRequest"),
        (["x", "y"], "00", "BatchEntryIdsNotDistinct"),
        (["x"] * 11, "0123456789a", "TooManyEntriesInBatchRequest"),
        (["x" * 524_289, "x" * 524_288], "01", "BatchRequestTooLong"),
    ],
    ids=["empty", "ids", "eleven", "too long"],
)
def test_a_batch_that_breaks_a_bound_of_sqs_is_not_taken(
    messaging: Messaging, texts: list[str], ids: str, code: str
) -> None:
    entries = [{"Id": each, "MessageBody": text} for each, text in zip(ids, texts, strict=True)]

    assert failure(messaging.sqs.send_message_batch, QueueUrl=messaging.url, Entries=entries) == code
    assert messaging.receive() == []


def test_several_messages_come_again_after_as_many_seconds_as_each_is_given(messaging: Messaging) -> None:
    messaging.send("one", "two", "three")
    received = {message["Body"]: message["ReceiptHandle"] for message in messaging.receive()}
    assert messaging.receive() == []

    answer = messaging.sqs.change_message_visibility_batch(
        QueueUrl=messaging.url,
        Entries=[
            {"Id": "0", "ReceiptHandle": received["one"], "VisibilityTimeout": 0},
            {"Id": "1", "ReceiptHandle": received["two"], "VisibilityTimeout": 60},
        ],
    )

    assert [each["Id"] for each in answer["Successful"]] == ["0", "1"]
    assert [message["Body"] for message in messaging.receive()] == ["one"]
