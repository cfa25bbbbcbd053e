"""A function's metrics are a log line at the end of each call, from which CloudWatch derives metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture.entrypoints.sqs import queue_handler
from order_capture.adapters import metrics
from order_capture.adapters.dynamodb.transactions import conflicted
from order_capture.application.messages import CheckOrder
from order_capture.domain.order import CheckType, Order
from order_capture.entrypoints.dynamodb_streams import stream_handler
from tests.support.factories import body_of, check, declined, details_of, placed, queue_event
from tests.unit.test_streams import record

Written = pytest.CaptureFixture[str]

PLACED = placed(details_of("order-1"))


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "OrderCapture")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "shop")
    metrics._made.cache_clear()


def measures(written: Written) -> list[dict[str, Any]]:
    """The lines that are metrics, each as its dimensions and figures."""
    lines = [
        json.loads(line) for line in written.readouterr().out.splitlines() if "CloudWatchMetrics" in line
    ]
    for line in lines:
        (metric,) = line.pop("_aws")["CloudWatchMetrics"]
        assert metric["Namespace"] == "OrderCapture"
        assert {name for each in metric["Dimensions"] for name in each} <= line.keys()
    return lines


def handled(*changes: tuple[Order | None, Order]) -> None:
    stream_handler(lambda _: None)({"Records": [record(after, before) for before, after in changes]}, None)


def test_orders_are_counted_by_what_becomes_of_them(capsys: Written) -> None:
    other = placed(details_of("order-2"))

    handled((None, PLACED), (None, other), (other, other.cancel(now=other.create_time)))

    assert measures(capsys) == [{"service": "shop", "OrdersPlaced": [2.0], "OrdersCancelled": [1.0]}]


def test_a_rejected_order_is_counted_by_its_reason_and_how_long_it_took(capsys: Written) -> None:
    later = PLACED.create_time.replace(":00.000Z", ":02.500Z")
    rejected = PLACED.record_check(CheckType.STOCK, declined(), now=later)

    handled((PLACED, rejected))

    assert measures(capsys) == [
        {"service": "shop", "reason": "INSUFFICIENT_BALANCE", "OrdersRejected": [1.0]},
        {"service": "shop", "SecondsToDecided": [2.5]},
    ]


def test_what_fails_is_not_counted(capsys: Written) -> None:
    def work(_: object) -> None:
        raise ConnectionError

    with pytest.raises(Exception, match="ConnectionError"):
        stream_handler(work)({"Records": [record(PLACED)]}, None)

    assert measures(capsys) == []


def test_messages_that_go_back_to_their_queue_are_counted(capsys: Written) -> None:
    event = queue_event(body_of(check(details_of("order-1"))), "{")

    queue_handler(lambda _: {"order-1"}, CheckOrder)(event, None)

    assert measures(capsys) == [{"service": "shop", "MessagesReturned": [2.0]}]


def test_conflicts_of_a_transaction_are_counted(capsys: Written) -> None:
    assert conflicted([{"Code": "TransactionConflict"}, {"Code": "None"}, {"Code": "ThrottlingError"}])
    assert not conflicted([{"Code": "ConditionalCheckFailed"}])
    metrics.flush()

    assert measures(capsys) == [{"service": "shop", "TransactionConflicts": [2.0]}]


def test_without_a_namespace_nothing_is_measured(capsys: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE")

    handled((None, PLACED))
    metrics.count_each("WebhookAttempts", "outcome", {"late": 1})

    assert measures(capsys) == []


def test_what_cannot_be_measured_is_done_all_the_same_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    def broken() -> None:
        raise RuntimeError("no metrics today")

    monkeypatch.setattr(metrics, "_made", broken)
    worked: list[object] = []
    rejected = PLACED.record_check(CheckType.STOCK, declined(), now=PLACED.create_time)
    # when
    stream = {"Records": [record(PLACED, None), record(rejected, PLACED)]}
    response = stream_handler(worked.append)(stream, None)
    failures = queue_handler(lambda _: {"order-1"}, CheckOrder)(
        queue_event(body_of(check(PLACED.details))), None
    )
    # then
    assert response == {}
    assert worked == [[(None, PLACED), (PLACED, rejected)]]
    assert len(failures["batchItemFailures"]) == 1
