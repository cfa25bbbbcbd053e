"""The registry has the topics and queues of the template, with their senders and receivers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contracts.registry import CHANNELS, EVENTS, MESSAGES, Channel, Kind
from order_capture.adapters.messaging import envelopes
from order_capture.application import channels as operated
from order_capture.domain.events import OrderEventType
from tests.support.template import functions, load_template, of_type, refers_to, statements

TEMPLATE = load_template()
BY_NAME = {channel.name: channel for channel in CHANNELS}
QUEUES = [channel for channel in CHANNELS if channel.kind is Kind.QUEUE]

NOT_OURS = dict.fromkeys(
    ("AlarmTopic", "PageTopic"), "CloudWatch publishes its alarms there, in a form of its own"
)


def filled_by_lambda() -> set[str | None]:
    """The queues to which Lambda sends the failed records of a stream's function."""
    return {
        refers_to(event["Properties"].get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        for function in functions(TEMPLATE).values()
        for event in function.get("Events", {}).values()
    } - {None}


def dead_letter_queues() -> set[str | None]:
    """The dead-letter queues, by their logical ids."""
    queues, subscriptions = of_type(TEMPLATE, "AWS::SQS::Queue"), of_type(TEMPLATE, "AWS::SNS::Subscription")
    policies = [each.get("RedrivePolicy", {}) for each in (*queues.values(), *subscriptions.values())]
    return {refers_to(each.get("deadLetterTargetArn")) for each in policies} | filled_by_lambda()


def name_of(function: dict[str, Any]) -> str:
    return str(function["CodeUri"].rpartition("/")[2])


def may(action: str) -> Iterator[tuple[str, str | None]]:
    """The functions whose roles allow this action, and its resources."""
    roles = of_type(TEMPLATE, "AWS::IAM::Role")
    for function in functions(TEMPLATE).values():
        for statement in statements(roles[refers_to(function["Role"]) or ""]):
            actions, resources = (
                each if isinstance(each, list) else [each]
                for each in (statement["Action"], statement["Resource"])
            )
            if action in actions:
                yield from ((name_of(function), refers_to(resource)) for resource in resources)


def senders(kind: Kind) -> set[tuple[str, str | None]]:
    return {(name, each.name) for each in CHANNELS if each.kind is kind for name in each.senders}


def test_it_has_every_topic_and_every_queue() -> None:
    topics = of_type(TEMPLATE, "AWS::SNS::Topic").keys() - NOT_OURS.keys()
    queues = of_type(TEMPLATE, "AWS::SQS::Queue").keys() - dead_letter_queues()
    assert {each.name for each in CHANNELS if each.kind is Kind.TOPIC} == topics
    # A dead-letter queue has its queue's messages, unless a function sends dead letters itself.
    assert {each.name for each in QUEUES if each.name not in dead_letter_queues()} == queues
    assert {each.name for each in QUEUES if each.name in dead_letter_queues()} == {
        queue for _, queue in may("sqs:SendMessage") if queue in dead_letter_queues()
    } - filled_by_lambda()


def test_who_sends_is_who_may() -> None:
    assert senders(Kind.TOPIC) == set(may("sns:Publish"))
    redriven = {("operations_api", f"{each.resource}Queue") for each in operated.CHANNELS if each.redrivable}
    sending = {(name, queue) for name, queue in may("sqs:SendMessage") if queue not in filled_by_lambda()}
    sending -= redriven  # operators move dead letters back to each queue
    assert senders(Kind.QUEUE) == sending
    pushing = {name for name, _ in may("execute-api:ManageConnections")}
    assert {name for name, _ in senders(Kind.SOCKET)} == pushing


def test_who_receives_is_who_is_fed() -> None:
    fed = {
        (name_of(function), refers_to(event["Properties"]["Queue"]))
        for function in functions(TEMPLATE).values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "SQS"
    }
    assert {(name, queue.name) for queue in QUEUES for name in queue.receivers} == fed


def test_a_queue_behind_a_topic_lets_through_what_it_is_to_carry() -> None:
    behind = {
        (refers_to(each["TopicArn"]), refers_to(each["Endpoint"])): each["FilterPolicy"]
        for each in of_type(TEMPLATE, "AWS::SNS::Subscription").values()
        if each["Protocol"] == "sqs"
    }
    assert {(queue.topic, queue.name): queue.filter_policy for queue in QUEUES if queue.topic} == behind


@pytest.mark.parametrize("queue", [each for each in QUEUES if each.topic], ids=lambda queue: queue.name)
def test_it_carries_nothing_that_its_topic_does_not(queue: Channel) -> None:
    assert set(queue.messages) <= set(BY_NAME[queue.topic].messages)


def test_it_has_every_message_that_can_be_written_and_every_event() -> None:
    enveloped = {message.type for message in MESSAGES if message.enveloped}
    assert enveloped == {*envelopes.COMMANDS, *envelopes.STATES.values(), *OrderEventType}
    assert [message.type for message in EVENTS] == list(OrderEventType)
    assert {message for channel in CHANNELS for message in channel.all_messages} == set(MESSAGES)


def test_a_message_is_there_once_in_each_version() -> None:
    assert len({(message.type, message.version) for message in MESSAGES}) == len(MESSAGES)
