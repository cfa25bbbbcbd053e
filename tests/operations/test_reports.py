"""The reports are compared with the orders, and rebuilt from them on a running system."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository
from order_capture_ops import reports as ops_reports
from order_capture_ops.reports import check_reports, rebuild_reports
from order_capture_ops.stack import Stack, StackError
from tests.operations.conftest import Run
from tests.pipeline.test_reports import expected, report, some_orders
from tests.support.shop import Shop


def differences(stack: Stack, grace_period: float = 0) -> list[tuple[str, str, str, str]]:
    found = check_reports(stack, grace_period).differences
    return [(each.entity.removeprefix(today(stack)), each.what, each.expected, each.found) for each in found]


def today(stack: Stack) -> str:
    pages = [
        item["page"]["S"] for item in items(stack) if "expiresAt" not in item and "#" in item["page"]["S"]
    ]
    return str(max(page.partition("#")[2] for page in pages))


def items(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.client("dynamodb").scan(TableName="ReportTable")["Items"]
    return found


def delete(stack: Stack, which: Callable[[dict[str, Any]], bool]) -> None:
    for item in filter(which, items(stack)):
        key = {name: item[name] for name in ("page", "row")}
        stack.client("dynamodb").delete_item(TableName="ReportTable", Key=key)


def listed(shop: Shop) -> set[str]:
    """The ids in the list of all orders, which is read from the reports' marks."""
    found = shop.pipeline.ask("GET", "/orders?limit=100").body["orders"]
    return {order["orderId"] for order in found}


def is_row(item: dict[str, Any], name: str = "") -> bool:
    return "placed#" not in item["page"]["S"] and item["row"]["S"].endswith(name)


@pytest.fixture
def orders(shop: Shop) -> list[str]:
    orders = some_orders(shop)
    shop.pipeline.run()
    return orders


def test_correct_reports_have_no_differences(stack: Stack, orders: list[str]) -> None:
    found = check_reports(stack, grace_period=0)

    assert found.differences == []
    # 8 placed; 3 confirmed, shipped; 4 rejected; 1 cancelled. Rows: a day, and pen, ink and unicorn on it
    assert (found.orders, found.events, found.rows) == (len(orders), 19, 4)


def test_a_wrong_metric_is_reported(stack: Stack, orders: list[str]) -> None:
    (row,) = (item for item in items(stack) if is_row(item, "PRODUCT#ink"))
    row["units#order.shipped"]["N"] = "4"
    stack.client("dynamodb").put_item(TableName="ReportTable", Item=row)

    assert differences(stack) == [(" ink", "units order.shipped", "3", "4")]


def test_missing_and_extra_rows_are_reported(stack: Stack, orders: list[str]) -> None:
    delete(stack, lambda item: is_row(item, "PRODUCT#unicorn"))
    stack.client("dynamodb").put_item(
        TableName="ReportTable",
        Item={"page": {"S": "1#2020-01-01"}, "row": {"S": "DAY"}, "orders#order.placed": {"N": "1"}},
    )

    assert differences(stack) == [
        ("2020-01-01", "orders order.placed", "0", "1"),
        (" unicorn", "orders order.placed", "1", "0"),
        (" unicorn", "orders order.rejected UNKNOWN_PRODUCT", "1", "0"),
        (" unicorn", "units order.placed", "1", "0"),
        (" unicorn", "units order.rejected UNKNOWN_PRODUCT", "1", "0"),
    ]


def test_a_gap_in_an_orders_events_is_found_by_their_sequence_alone(stack: Stack, orders: list[str]) -> None:
    for item in items(stack):
        if "placed#" in item["page"]["S"] and orders[0] in item["counted"]["M"]:
            marks = item["counted"]["M"].pop(orders[0])["L"]
            if others := [mark for mark in marks if mark != {"N": "2"}]:
                item["counted"]["M"][orders[0]] = {"L": others}
            stack.client("dynamodb").put_item(TableName="ReportTable", Item=item)

    assert differences(stack) == [(f"order {orders[0]}", "events before number 3", "counted", "[2] missing")]


def test_recent_events_may_be_missing(shop: Shop, stack: Stack, orders: list[str]) -> None:
    shop.order({"customerId": "bob", "items": [{"productId": "pen", "qty": 1}], "totalAmount": 1})

    assert differences(stack, grace_period=60) == []
    assert (" pen", "orders order.placed", "7", "6") in differences(stack, grace_period=0)


def test_reports_are_rebuilt_from_nothing(shop: Shop, stack: Stack, orders: list[str]) -> None:
    before = report(shop.pipeline)
    delete(stack, lambda _: True)
    assert report(shop.pipeline) == {"days": [], "products": []}

    rebuilt = rebuild_reports(stack)

    assert (rebuilt.orders, rebuilt.events) == (8, 19)
    assert report(shop.pipeline) == before == expected(shop, orders)
    assert listed(shop) == {*orders}
    assert differences(stack) == []


def test_reports_can_be_rebuilt_repeatedly(shop: Shop, stack: Stack, orders: list[str]) -> None:
    for _ in range(3):
        rebuild_reports(stack)
        assert report(shop.pipeline) == expected(shop, orders)

    # the item with the generations, the current generation, and the one before
    assert {item["page"]["S"].partition("#")[0] for item in items(stack)} == {"GENERATIONS", "3", "4"}


def test_an_event_counted_by_a_rebuild_is_not_counted_again(shop: Shop, stack: Stack) -> None:
    orders = some_orders(shop)
    for name in ("balance_checker", "stock_checker", "order_update", "ship_order"):
        while shop.pipeline.deliver(name):
            pass
    rebuild_reports(stack)
    assert report(shop.pipeline) == expected(shop, orders)
    shop.pipeline.run(times=2)
    shop.pipeline.redeliver_everything()
    shop.pipeline.run()

    assert report(shop.pipeline) == expected(shop, orders)
    assert differences(stack) == []


@pytest.mark.parametrize("step", range(12))
def test_orders_placed_during_a_rebuild_count_once(
    shop: Shop, stack: Stack, orders: list[str], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Orders are placed at one step of the rebuild, and their events counted at the next."""
    coming, moments = list(orders), iter(range(1000))
    real = {
        name: getattr(ops_reports, name)
        for name in ("_delete_old_generations", "_announce", "_orders", "_count", "_switch")
        for name in ("_delete_old_generations", "_announce", "_orders", "_count", "_switch")
    }

    def happen() -> None:
        moment = next(moments)
        if moment == step:
            coming.extend(some_orders(shop))
            shop.pipeline.publish_changes()
        elif moment == step + 1:
            shop.pipeline.run()

    def around(name: str) -> Callable[..., Any]:
        def interrupted(*arguments: Any) -> Any:
            happen()
            answer = real[name](*arguments)
            happen()
            return answer

        return interrupted

    for name in real:
        monkeypatch.setattr(ops_reports, name, around(name))
    rebuild_reports(stack)
    for _ in range(2):
        happen()
    shop.pipeline.run()

    assert next(moments) >= 8, "the rebuild has at least so many steps"
    assert report(shop.pipeline) == expected(shop, coming)
    assert listed(shop) == {*coming}
    assert differences(stack) == []


def test_a_projector_with_stale_generations_loses_nothing(
    shop: Shop, stack: Stack, orders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a batch whose function read the generations before a rebuild, and writes after it
    orders += [shop.order({"customerId": "bob", "items": [{"productId": "pen", "qty": 1}], "totalAmount": 1})]
    shop.pipeline.publish_changes()
    real, built = DynamoReportRepository.generations, list[bool]()

    def early(reports: Any) -> Any:
        answer = real(reports)
        if not built:
            built.append(True)
            rebuild_reports(stack)
        return answer

    monkeypatch.setattr(DynamoReportRepository, "generations", early)
    shop.pipeline.deliver("report_projector")
    shop.pipeline.run()

    assert built
    assert report(shop.pipeline) == expected(shop, orders)
    assert differences(stack) == []


def test_the_later_of_two_rebuilds_wins(
    shop: Shop, stack: Stack, orders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, second = ops_reports._switch, list[bool]()

    def overtaken(*arguments: Any) -> None:
        if not second:
            second.append(True)
            rebuild_reports(stack)
        real(*arguments)

    monkeypatch.setattr(ops_reports, "_switch", overtaken)
    with pytest.raises(StackError, match="A later rebuild"):
        rebuild_reports(stack)

    assert report(shop.pipeline) == expected(shop, orders)
    assert differences(stack) == []


def test_an_interrupted_rebuild_can_be_repeated(
    shop: Shop, stack: Stack, orders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ops_reports, "_switch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rebuild_reports(stack)
    orders += some_orders(shop)
    shop.pipeline.run()
    assert report(shop.pipeline) == expected(shop, orders), "the old generation is still served and updated"
    rebuild_reports(stack)

    assert report(shop.pipeline) == expected(shop, orders)


def test_by_command(stack: Stack, orders: list[str], run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check-reports", "--grace-period", "0") == 0
    assert "8 orders, 19 events, 4 rows" in capsys.readouterr().out
    delete(stack, lambda item: is_row(item, "PRODUCT#unicorn"))
    assert run("check-reports", "--grace-period", "0", "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 4
    assert run("check-reports", "--grace-period", "0") == 1
    assert "Differences: 4" in capsys.readouterr().out
    assert run("rebuild-reports", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "stack": "shop",
        "orders": 8,
        "events": 19,
        "unreadable": [],
    }
    assert run("rebuild-reports") == 0
    assert "19 events of 8 orders" in capsys.readouterr().out
    assert run("check-reports", "--grace-period", "0", "--json") == 0
