"""The simulation's wiring is the template's."""

from __future__ import annotations

import json

from tests.simulation import cloud
from tests.simulation.functions import FUNCTIONS
from tests.support.template import functions, load_template, of_type, on_aws, refers_to

TEMPLATE = on_aws(load_template())

# Subscribers of the event topic write nothing that orders depend on: only publishing is simulated.
# Nor do readers of the ledgers' streams.
LISTENERS = {
    "ledger_publisher",
    "history_projector",
    *("webhook_api", "webhook_dispatcher", "webhook_sender"),
    *("socket_authorizer", "socket_api", "socket_pusher"),
    *("report_projector", "reports_api"),
    *("console", "operations_api", "smoke_test"),
}
# Their tables, without those in which publishers look up whether there are subscribers.
OF_LISTENERS = {"ReportTable", "HistoryTable"}


def test_every_function_of_the_template_is_simulated_but_for_those_that_only_listen() -> None:
    names = {
        properties["CodeUri"].rstrip("/").rpartition("/")[2] for properties in functions(TEMPLATE).values()
    }

    assert names == set(FUNCTIONS) | LISTENERS


def test_every_table_has_the_template_s_keys() -> None:
    tables = {
        name: tuple(part["AttributeName"] for part in properties["KeySchema"])
        for name, properties in of_type(TEMPLATE, "AWS::DynamoDB::Table").items()
        if name not in OF_LISTENERS
    }

    assert tables == cloud.TABLES


def test_every_queue_feeds_the_function_that_the_template_says() -> None:
    fed = {}
    for properties in functions(TEMPLATE).values():
        name = properties["CodeUri"].rstrip("/").rpartition("/")[2]
        for event in properties.get("Events", {}).values():
            if event["Type"] == "SQS" and name not in LISTENERS:
                fed[name] = refers_to(event["Properties"]["Queue"])
                assert event["Properties"]["BatchSize"] == cloud.BATCH_SIZES[name]
                assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    assert fed == cloud.FED


def test_every_queue_has_the_template_s_timeout_and_dead_letters() -> None:
    queues = of_type(TEMPLATE, "AWS::SQS::Queue")
    for name in cloud.FED.values():
        redrive = queues[name]["RedrivePolicy"]
        assert refers_to(redrive["deadLetterTargetArn"]) == cloud.dead_letters_of(name)
        # Fewer receives here make more dead letters, which is the harder case, and poison cheaper.
        assert redrive["maxReceiveCount"] >= cloud.MAX_RECEIVES
        assert queues[name]["VisibilityTimeout"] == cloud.VISIBILITY[name]


def test_the_topic_s_subscriptions_are_the_template_s() -> None:
    subscriptions = [
        each
        for each in of_type(TEMPLATE, "AWS::SNS::Subscription").values()
        if each["Protocol"] == "sqs" and refers_to(each["TopicArn"]) == cloud.TOPIC
    ]

    assert {refers_to(each["Endpoint"]) for each in subscriptions} == set(cloud.SUBSCRIBED)
    for each in subscriptions:
        assert each["RawMessageDelivery"] is True
        assert each["FilterPolicy"] == cloud.FILTER
        assert refers_to(each["RedrivePolicy"]["deadLetterTargetArn"]) == cloud.TOPIC_DEAD_LETTERS


def test_the_watchdog_s_times_are_the_template_s() -> None:
    parameters = TEMPLATE["Parameters"]

    assert int(parameters["WatchDelaySeconds"]["Default"]) == cloud.WATCH_DELAY
    assert int(parameters["OrderDeadlineSeconds"]["Default"]) == cloud.DEADLINE


def test_the_stream_s_function_is_given_what_the_template_says() -> None:
    (event,) = [
        event["Properties"]
        for properties in functions(TEMPLATE).values()
        for event in properties.get("Events", {}).values()
        if event["Type"] == "DynamoDB" and properties["CodeUri"].rpartition("/")[2] not in LISTENERS
    ]
    placed, changed, pinned = (
        {"eventName": name, "dynamodb": {"NewImage": image}}
        for name, image in (
            ("INSERT", {"status": {"S": "PENDING"}}),
            ("MODIFY", {"status": {"S": "SHIPPED"}}),
            ("INSERT", {"fingerprint": {"S": "f"}}),
        )
    )

    assert [json.loads(each["Pattern"]) for each in event["FilterCriteria"]["Filters"]] == [
        cloud.STREAM_FILTER
    ]
    assert [cloud.is_streamed(record) for record in (placed, changed, pinned)] == [True, True, False]
