"""The status command: problems with their reasons, and the commands to run next."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from order_capture.application.channels import CHANNELS, resource_name
from order_capture_ops import cli
from order_capture_ops import stack as stacks
from order_capture_ops.__main__ import main
from order_capture_ops.stack import Stack
from order_capture_ops.status import (
    Alarm,
    Consumer,
    DiagnosedDeadLetter,
    DiagnosedQueue,
    OldOrder,
    Status,
    WaitingMessages,
    show,
    status,
)
from tests.operations.test_logs import FakeLogs, line_of
from tests.operations.test_open_orders import check_orders
from tests.operations.test_redrive import put, waiting
from tests.support.factories import body_of, check, details_of, ship
from tests.support.shop import Shop, order_of

LONGEST = "o" * 64


class Pages:
    """A client with paginated responses only."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = pages

    def get_paginator(self, _: str) -> Pages:
        return self

    def paginate(self, **_: Any) -> tuple[dict[str, Any], ...]:
        return self.pages


def mapping(name: str, **more: str) -> dict[str, str]:
    return {
        "FunctionArn": f"arn:aws:lambda:us-east-1:1:function:{name}Function:live",
        "EventSourceArn": f"arn:aws:sqs:us-east-1:1:{name}Queue",
        "State": "Enabled",
        **more,
    }


GetStatus = Callable[..., Status]


@pytest.fixture
def look(stack: Stack) -> GetStatus:
    """The stack's status, with these log lines, alarms and mappings."""

    def look(
        lines: dict[str, list[tuple[int, str]]] | None = None,
        alarms: tuple[dict[str, str], ...] = (),
        mappings: tuple[dict[str, str], ...] = (mapping("OrderUpdate"), mapping("ShipOrder")),
    ) -> Status:
        names = [resource_name(each.function) for each in CHANNELS if each.function]
        outputs = dict(stack.outputs)
        outputs |= {f"{name}FunctionName": f"{name}Function" for name in names}
        outputs |= {f"{name}LogGroupName": f"/{name}" for name in names}
        clients = {
            "logs": FakeLogs(lines or {}),
            "cloudwatch": Pages({"MetricAlarms": list(alarms)}),
            "lambda": Pages({"EventSourceMappings": list(mappings)}),
        }
        return status(
            replace(stack, outputs=outputs, client=lambda name: clients.get(name) or stack.client(name))
        )

    return look


def test_no_problems(look: GetStatus, shop: Shop) -> None:
    shop.order(order_of("alice", 10, pen=1))

    found = look()

    assert found.open_orders == {}, "it is on its way"
    assert {queue.name: queue.waiting for queue in found.queues}["BalanceCheckerQueue"] == 1
    assert (found.attention, found.next, found.dead_letters) == ([], [], [])


def test_a_poison_message_is_shown_with_its_reason_and_stays_in_its_queue(
    look: GetStatus, stack: Stack
) -> None:
    sqs, url = stack.client("sqs"), stack.outputs["OrderUpdateDlqUrl"]
    put(sqs, url, "nonsense")
    put(sqs, url, '{"specversion": "1.0"}')

    found = look()

    (dlq,) = found.dead_letters
    assert (dlq.queue, dlq.count) == ("OrderUpdateDlq", 2)
    assert {message.reason for message in dlq.messages} == {"it is not JSON", "id is missing"}
    assert {message.excerpt for message in dlq.messages} == {"nonsense", '{"specversion": "1.0"}'}
    assert not any(message.readable for message in dlq.messages)
    assert found.attention == ["OrderUpdateDlq has 2 dead letters"]
    assert found.next == ["make redrive QUEUE=order_update DRY_RUN=1"]
    assert len(waiting(sqs, url)) == 2, "they are visible again, and none is gone"


def test_a_readable_message_has_its_order_and_the_reason_from_the_log(
    look: GetStatus, stack: Stack, shop: Shop
) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    put(stack.client("sqs"), stack.outputs["ShipOrderDlqUrl"], body_of(ship(details_of(order_id))))
    now = int(time.time() * 1000)
    lines = {
        "/ShipOrder": [
            (now - 20, line_of("handled 0 of 1", orders=[order_id])),
            (now - 10, line_of("returned to the queue: Throttled", "WARNING", order_ids=[order_id])),
            (now - 5, line_of("returned to the queue: not this one", "WARNING", order_ids=["another"])),
        ]
    }

    found = look(lines)

    ((message,),) = (each.messages for each in found.dead_letters)
    assert message.reason == "ship_order: returned to the queue: Throttled"
    assert (message.type, message.order_id, message.order_status) == ("order.ship", order_id, "PENDING")
    assert message.readable
    assert found.next == ["make redrive QUEUE=ship_order"]


def test_a_message_without_a_log_line_and_one_for_another_queue(look: GetStatus, stack: Stack) -> None:
    put(stack.client("sqs"), stack.outputs["ShipOrderDlqUrl"], body_of(ship(details_of("order-1"))))
    put(stack.client("sqs"), stack.outputs["OrderUpdateDlqUrl"], body_of(check(details_of("order-1"))))

    reasons = {each.queue: each.messages[0].reason for each in look().dead_letters}

    assert "ship_order logged nothing about it: it may have timed out" in reasons["ShipOrderDlq"]
    assert reasons["OrderUpdateDlq"] == "order.check is not for this queue, which takes order.checked"


def test_dead_letters_of_a_stream_suggest_the_repair_commands(look: GetStatus, stack: Stack) -> None:
    dead = {"eventID": "1", "eventSourceARN": "a", "keys": {"orderId": "order-1"}, "sequenceNumber": "1"}
    put(stack.client("sqs"), stack.outputs["ChangePublisherDlqUrl"], json.dumps(dead))

    found = look()

    assert found.dead_letters[0].messages[0].reason.startswith("the item with orderId order-1 can't be read")
    assert found.next[0] == "make watch SCAN=1"
    assert found.next[1].startswith("make republish-events SINCE=20")


def test_alarms_and_disabled_consumers_are_listed(look: GetStatus) -> None:
    found = look(
        alarms=(
            {"AlarmName": "shop-OrderUpdateAgeAlarm-1ABC", "AlarmDescription": "It waits."},
            {"AlarmName": "shop-other-OrderUpdateAgeAlarm-1ABC", "AlarmDescription": "Another stack's."},
        ),
        mappings=(
            mapping("OrderUpdate", State="Disabled"),
            mapping("ShipOrder", LastProcessingResult="PROBLEM: Function call failed"),
            mapping("Foreign", State="Disabled"),
        ),
    )

    assert found.alarms == [Alarm("OrderUpdateAgeAlarm", "It waits.")]
    assert [(each.function, each.source) for each in found.consumers] == [
        ("OrderUpdateFunction", "OrderUpdateQueue"),
        ("ShipOrderFunction", "ShipOrderQueue"),
    ]
    assert len(found.attention) == 3


def test_an_old_open_order_needs_attention(
    look: GetStatus, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    check_orders(shop)
    monkeypatch.setattr("order_capture_ops.status.OLD_SECONDS", -1)

    found = look()

    (oldest,) = found.oldest_orders
    assert (oldest.order_id, oldest.status) == (order_id, "PENDING")
    assert oldest.waits_for == ["balance check: not done yet", "stock check: not done yet"]
    assert found.next == ["make stuck", "make watch"]


def test_exit_codes_and_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stack = Stack("shop", {}, {}, lambda _: None)
    monkeypatch.setattr(stacks, "find", lambda _: stack)
    seen = {"ok": Status(), "bad": Status(attention=["something"], next=["make stuck"])}

    for name, code in (("ok", 0), ("bad", 1)):
        monkeypatch.setattr("order_capture_ops.status.status", lambda *_, name=name: seen[name])
        assert main(["status"]) == code
        shown = capsys.readouterr().out
        assert ("No problems found" in shown) is (code == 0)
        assert main(["status", "--json"]) == code
        assert json.loads(capsys.readouterr().out)["ok"] is (code == 0)


def test_nothing_is_truncated_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.console, "_width", 80)
    dead = DiagnosedDeadLetter(
        "m" * 36,
        "data.orderId is missing " * 6,
        False,
        "order.cancelled",
        LONGEST,
        "CONFIRMED",
        9e5,
        5,
        "x" * 161,
    )
    found = Status(
        queues=[WaitingMessages("WebhookDispatcherQueue", 1_000_000, 100_000, 100_000, 900_000.0)],
        dead_letters=[DiagnosedQueue("WebhookDispatcherDlq", 2, [dead])],
        alarms=[Alarm("WebhookDispatcherDlqAlarm", "It waits. " * 20)],
        consumers=[
            Consumer("order-capture-production-OrderUpdateFunction-1ABC", "OrderUpdateQueue", "Disabled", "")
        ],
        open_orders={"PENDING": 1_000_000, "CONFIRMED": 1_000_000},
        oldest_orders=[
            OldOrder(LONGEST, "PENDING", 900_000.0, ["balance check: done (HELD), not recorded yet"])
        ],
        attention=["WebhookDispatcherDlq has 2 dead letters"],
        next=["make redrive QUEUE=webhook_dispatcher STACK=order-capture-production"],
    )

    show(found, Stack("order-capture-production", {}, {}, lambda _: None))

    shown = capsys.readouterr().out
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(len(line) for line in lines if "xxx" not in line) <= 80
    for whole in (LONGEST, "m" * 36, "order.cancelled", "WebhookDispatcherDlqAlarm", "10d 10h"):
        assert whole in shown
    assert "…" not in shown


def test_on_aws_the_oldest_age_is_a_metric_and_other_stacks_alarms_are_ignored(stack: Stack) -> None:
    # given
    cloudwatch: Any = stack.client("cloudwatch")
    queue = stack.outputs["OrderUpdateQueueUrl"].rpartition("/")[2]
    when = datetime.now(UTC) - timedelta(minutes=2)
    oldest = {"MetricName": "ApproximateAgeOfOldestMessage", "Value": 300.0, "Timestamp": when}
    dimensions = {"Dimensions": [{"Name": "QueueName", "Value": queue}]}
    cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[{**oldest, **dimensions}])
    for name in ("shop-OrderUpdateAgeAlarm-1ABC", "another-OrderUpdateAgeAlarm-1ABC"):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            AlarmDescription="It waits.",
            ComparisonOperator="GreaterThanThreshold",
            EvaluationPeriods=1,
            **dimensions,
            MetricName=oldest["MetricName"],
            Namespace="AWS/SQS",
            Period=60,
            Statistic="Maximum",
            Threshold=120.0,
        )
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="it does")
    mappings = Pages({"EventSourceMappings": []})
    on_aws = replace(
        stack, on_aws=True, client=lambda name: mappings if name == "lambda" else stack.client(name)
    )
    # when
    found = status(on_aws)
    # then
    assert {queue.name: queue.oldest for queue in found.queues if queue.oldest} == {"OrderUpdateQueue": 300.0}
    assert found.alarms == [Alarm("OrderUpdateAgeAlarm", "It waits.")]
    assert found.attention == ["Alarm OrderUpdateAgeAlarm"]
