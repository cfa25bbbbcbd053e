"""The channels that operators see are the queues, topics and streams of the template and of the contracts."""

from __future__ import annotations

import pytest
import yaml

from contracts.registry import CHANNELS as MESSAGE_CHANNELS
from order_capture.application.channels import CHANNELS, Channel, ChannelKind, resource_name
from tests.support.template import ROOT, functions, load_template, of_type, refers_to

TEMPLATE = load_template()
QUEUES = [each for each in CHANNELS if each.kind is ChannelKind.QUEUE]


def feeds() -> dict[str, str]:
    """The function of each queue, by their logical ids."""
    return {
        refers_to(event["Properties"]["Queue"]) or "": function
        for function, properties in functions(TEMPLATE).items()
        for event in properties.get("Events", {}).values()
        if event["Type"] == "SQS"
    }


def test_every_queue_of_a_function_is_a_channel() -> None:
    assert {f"{each.resource}Queue": f"{resource_name(each.function)}Function" for each in QUEUES} == feeds()


def test_every_dead_letter_queue_is_a_channels() -> None:
    dlqs = {name for name in of_type(TEMPLATE, "AWS::SQS::Queue") if name.endswith("Dlq")}
    assert {f"{each.resource}Dlq" for each in CHANNELS if each.own_dead_letters} == dlqs


def test_dead_letters_of_a_topic_go_back_to_the_queues_behind_it() -> None:
    behind: dict[str, set[str]] = {}
    for subscription in of_type(TEMPLATE, "AWS::SNS::Subscription").values():
        if subscription["Protocol"] == "sqs":
            topic, queue = refers_to(subscription["TopicArn"]), refers_to(subscription["Endpoint"])
            behind.setdefault(topic or "", set()).add(queue or "")
    topics = [each for each in CHANNELS if each.kind is ChannelKind.TOPIC]
    assert {
        each.resource: {f"{resource_name(to)}Queue" for to in each.redrives_to} for each in topics
    } == behind


@pytest.mark.parametrize("channel", [each for each in CHANNELS if each.types], ids=lambda each: each.name)
def test_a_channel_takes_the_messages_of_the_contract(channel: Channel) -> None:
    name = f"{channel.resource}Queue" if channel.kind is ChannelKind.QUEUE else channel.resource
    (contract,) = (each for each in MESSAGE_CHANNELS if each.name == name)
    assert {*channel.types} == {each.type for each in contract.messages}


def test_the_api_names_every_channel_that_has_dead_letters() -> None:
    contract = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))
    named = contract["components"]["parameters"]["Queue"]["schema"]["enum"]
    assert named == [each.name for each in CHANNELS if each.own_dead_letters]


def test_what_operators_need_to_know_is_among_the_stacks_outputs() -> None:
    outputs = TEMPLATE["Outputs"]
    for channel in CHANNELS:
        if channel.kind is ChannelKind.QUEUE:
            assert f"{channel.resource}QueueUrl" in outputs
        if channel.own_dead_letters:
            assert f"{channel.resource}DlqUrl" in outputs
        if channel.function:
            assert f"{resource_name(channel.function)}LogGroupName" in outputs
