"""The logs command: any spelling of a function, all lines of an order, nothing truncated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters.operations.function_logs import LogLine
from order_capture_ops import cli, logs, stack
from order_capture_ops.errors import UsageError
from order_capture_ops.logs import choose
from order_capture_ops.stack import Stack

KNOWN = ["order_api", "account_api", "order_update", "order_watchdog", "ship_order", "webhook_dispatcher"]
LONGEST = "o" * 64


@dataclass
class FakeLogs:
    """CloudWatch Logs with these lines, by log group: (milliseconds, text)."""

    groups: Mapping[str, Sequence[tuple[int, str]]]
    requested: list[dict[str, Any]] = field(default_factory=list)

    def get_paginator(self, operation: str) -> FakeLogs:
        assert operation == "filter_log_events"
        return self

    def paginate(self, *, logGroupName: str, startTime: int, **more: Any) -> list[dict[str, Any]]:  # noqa: N803
        self.requested.append({"group": logGroupName, "startTime": startTime, **more})
        if logGroupName not in self.groups:
            raise botocore.exceptions.ClientError(
                {"Error": {"Code": "ResourceNotFoundException"}}, "FilterLogEvents"
            )
        events = [
            {"timestamp": at, "message": text, "logStreamName": "stream"}
            for at, text in self.groups[logGroupName]
            if at >= startTime
        ]
        # A page may be empty and still have a successor.
        return [{"events": events[:1]}, {"events": []}, {"events": events[1:]}]


def line_of(message: str, level: str = "INFO", **more: Any) -> str:
    return json.dumps({"timestamp": "t", "level": level, "logger": "l", "message": message, **more})


class NoOrders:
    def get_item(self, **_: Any) -> dict[str, Any]:
        return {}


def stack_with(groups: Mapping[str, Sequence[tuple[int, str]]], orders: Any = None) -> Stack:
    names = ("OrderApi", "OrderUpdate", "ShipOrder")
    outputs = {f"{name}FunctionName": f"stack-{name}" for name in names}
    outputs |= {f"{name}LogGroupName": f"/{name}" for name in names}
    tables = ("Order", "Account", "Stock", "History")
    outputs |= {f"{name}TableName": f"{name}Table" for name in tables}
    clients = {"logs": FakeLogs(groups), "dynamodb": orders or NoOrders()}
    return Stack("shop", outputs, {}, lambda service: clients[service])


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.console, "_width", 80)


@pytest.mark.parametrize(
    ("named", "chosen"),
    [
        *(
            (name, ["order_api"])
            for name in ("order_api", "OrderApi", "OrderApiFunction", "order-api", "ORDER_API")
        ),
        ("ship", ["ship_order"]),
        ("dispatcher", ["webhook_dispatcher"]),
        ("order_api, ship_order", ["order_api", "ship_order"]),
        ("order_api order_api", ["order_api"]),
    ],
)
def test_a_function_is_found_by_any_spelling_or_unambiguous_part(named: str, chosen: list[str]) -> None:
    assert choose(KNOWN, named) == chosen


@pytest.mark.parametrize(
    ("named", "printed"),
    [
        ("nope", "FUNCTION=nope is not a function"),
        ("order_api,nope", "FUNCTION=nope is not a function"),
        ("api", "FUNCTION=api could be order_api, account_api"),
        ("order", "FUNCTION=order could be order_api, order_update, order_watchdog"),
        ("-", "FUNCTION=- is not a function"),
    ],
)
def test_an_unknown_or_ambiguous_name_is_rejected_with_the_known_ones(named: str, printed: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose(KNOWN, named)

    assert str(refused.value).splitlines() == [f"{printed}.", f"There are: {', '.join(KNOWN)}"]


def test_an_unknown_function_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack, "find", lambda _: stack_with({}))
    from order_capture_ops.__main__ import main

    assert main(["logs", "--function", "nope"]) == 2
    assert "order_api, order_update, ship_order" in capsys.readouterr().err


def test_lines_are_readable_oldest_first_and_without_lambdas_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    groups = {
        "/OrderUpdate": [(2000, line_of("handled 1 of 1", orders=["order-1"])), (2001, "END RequestId: 1")],
        "/OrderApi": [
            (1000, line_of("POST /order: 202", correlation_id="corr-1")),
            (1001, json.dumps({"type": "platform.report", "record": {"status": "success"}})),
            (3000, json.dumps({"type": "platform.report", "record": {"status": "timeout"}})),
        ],
    }

    assert logs.show(stack_with(groups)) == 0

    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "INFO  order_api    POST /order: 202  correlation=corr-1",
        "INFO  order_update handled 1 of 1  order=order-1",
        "ERROR order_api    platform.report: timeout",
    ]


def test_nothing_is_truncated_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    text = line_of(
        "returned to the queue: " + "words " * 20 + "end",
        "ERROR",
        order_id=LONGEST,
        correlation_ids=["c" * 64],
        message_id="m" * 36,
        exception="Traceback:\n  File x\nValueError: no",
    )

    logs.print_line(LogLine(0, "webhook_dispatcher", text), 18)

    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for whole in (LONGEST, "c" * 64, "m" * 36, "end", "ValueError: no"):
        assert whole in shown
    assert "…" not in shown


def test_lines_of_one_order_from_all_functions(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {
        "/OrderApi": [
            (1, line_of("POST /order: 202", correlation_id="corr-1")),
            (2, line_of("POST /order: 202", correlation_id="corr-11")),
        ],
        "/OrderUpdate": [
            (3, line_of("handled", orders=["a", "order-1"])),
            (4, line_of("other", order_id="order-10")),
        ],
        "/ShipOrder": [(5, line_of("order is X, not shipped", "ERROR", order_id="order-1"))],
    }

    class Orders:
        def get_item(self, **_: Any) -> dict[str, Any]:
            details = {
                "orderId": {"S": "order-1"},
                "customerId": {"S": "alice"},
                "totalAmount": {"N": "10"},
                "items": {"L": [{"M": {"productId": {"S": "pen"}, "qty": {"N": "1"}}}]},
            }
            created = {"createTime": {"S": "1970-01-01T00:00:00.000Z"}}
            step = {"status": {"S": "PENDING"}, "sequence": {"N": "1"}, "time": created["createTime"]}
            more = {
                "status": {"S": "SHIPPED"},
                "checks": {"M": {}},
                "timeline": {"L": [{"M": step}]},
                "correlationId": {"S": "corr-1"},
            }
            return {"Item": details | created | more}

    logs.show(stack_with(groups, Orders()), order_id="order-1", raw=True)

    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["function"], each["message"]) for each in printed] == [
        ("order_api", "POST /order: 202"),
        ("order_update", "handled"),
        ("ship_order", "order is X, not shipped"),
    ]


def test_a_missing_order_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    logs.show(stack_with({}), order_id="order-1")

    printed = capsys.readouterr()
    assert "There is no order order-1 in shop" in printed.err
    assert "No lines" in printed.err
    assert printed.out == ""


def test_since_and_lines_limit_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {"/OrderApi": [(number * 1000, line_of(f"line {number}")) for number in range(20)]}

    logs.show(stack_with(groups), since=datetime.fromtimestamp(5, UTC), lines=3, raw=True)

    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == [
        *("line 17", "line 18", "line 19")
    ]


def test_on_aws_cloudwatch_filters_and_the_time_is_limited() -> None:
    on_aws = replace(stack_with({}), on_aws=True)

    logs.show(on_aws, order_id="order-1")

    requested = on_aws.client("logs").requested
    assert {each["filterPattern"] for each in requested} == {'?"order-1"'}
    assert all(each["startTime"] > datetime.now(UTC).timestamp() * 1000 - 3_700_000 for each in requested)
