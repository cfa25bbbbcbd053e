"""The output of a simulation: which faults occurred where, and the results of the mutants."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tests.simulation import cloud
from tests.simulation.faults import POSSIBLE, Cells, Fault, Mishap
from tests.simulation.mutants import Caught

INVARIANTS = {
    "I1": "no balance is ever below zero",
    "I2": "money: adjustments = balance + held + settled, per customer",
    "I3": "stock: adjustments = balance + held + settled, per product",
    "I4": "an order is settled at most once, and shipped if and only if it is settled",
    "I5": "every accepted order ends once, in bounded time; each event is published",
    "I6": "a terminal status never changes",
    "I7": "nothing stays held for an order that is over",
    "I8": "a rejected, cancelled or expired order changes no balance",
    "I9": "the same request has one effect and one answer",
    "I10": "replaying a ledger gives exactly its current balance",
}
"""The invariants, by the codes in the checks (tests/simulation/books.py)."""

POINTS = (
    "order_api put_item OrderTable",
    "order_api transact_write_items OrderTable",
    "order_api get_item OrderTable",
    "order_api update_item OrderTable",
    "order_api publish_batch OrderTopic",
    "order_reader get_item OrderTable",
    "account_api get_item AccountTable",
    "account_api batch_get_item AccountTable",
    "account_api transact_write_items AccountTable",
    "stock_api get_item StockTable",
    "stock_api batch_get_item StockTable",
    "stock_api transact_write_items StockTable",
    "change_publisher get_item WebhookTable",
    "change_publisher get_item ConnectionTable",
    "change_publisher publish_batch OrderEventTopic",
    "change_publisher send_message_batch OrderWatchQueue",
    "balance_checker transact_write_items AccountTable",
    "balance_checker get_item AccountTable",
    "balance_checker batch_get_item AccountTable",
    "balance_checker batch_get_item StockTable",
    "balance_checker send_message_batch OrderUpdateQueue",
    "balance_checker change_message_visibility_batch BalanceCheckerQueue",
    "stock_checker transact_write_items StockTable",
    "stock_checker get_item StockTable",
    "stock_checker batch_get_item StockTable",
    "stock_checker batch_get_item AccountTable",
    "stock_checker send_message_batch OrderUpdateQueue",
    "stock_checker change_message_visibility_batch StockCheckerQueue",
    "order_update batch_get_item OrderTable",
    "order_update batch_get_item AccountTable",
    "order_update batch_get_item StockTable",
    "order_update get_item OrderTable",
    "order_update update_item OrderTable",
    "order_update publish_batch OrderTopic",
    "order_update send_message_batch ShipOrderQueue",
    "order_update change_message_visibility_batch OrderUpdateQueue",
    "ship_order transact_write_items OrderTable",
    "ship_order batch_get_item AccountTable",
    "ship_order batch_get_item StockTable",
    "ship_order change_message_visibility_batch ShipOrderQueue",
    "order_watchdog batch_get_item OrderTable",
    "order_watchdog get_item OrderTable",
    "order_watchdog update_item OrderTable",
    "order_watchdog publish_batch OrderTopic",
    "order_watchdog send_message_batch ShipOrderQueue",
    "order_watchdog send_message_batch OrderWatchQueue",
)
"""Every call to AWS of the functions: function, operation and target."""


def cells_expected() -> set[tuple[str, str]]:
    """Every possible fault at every point. No read is stale: all of ours are consistent."""
    calls = {(fault, point) for point in POINTS for fault in POSSIBLE[point.split()[1]]}
    ways = {
        (mishap, queue)
        for queue in cloud.FED.values()
        for mishap in Mishap
        # The watchdog's dead letters are never lost, and only a subscription has dead letters of its topic.
        if not (mishap is Mishap.LOST and queue == cloud.FED["order_watchdog"])
        and not (mishap is Mishap.DEAD_LETTER and queue not in cloud.SUBSCRIBED)
    }
    return calls | ways


def cells_table(cells: Cells) -> list[Table]:
    """How often each fault occurred at each point: one table for the calls, one for the messages."""
    expected = cells_expected()
    tables = []
    for title, kinds, points in (
        ("faults of calls", [fault for fault in Fault if fault is not Fault.STALE], POINTS),
        ("mishaps of messages", list(Mishap), tuple(cloud.FED.values())),
    ):
        table = Table("", *kinds, title=title)
        for point in points:
            numbers = [str(cells[kind, point]) if (kind, point) in expected else "-" for kind in kinds]
            table.add_row(point, *numbers)
        tables.append(table)
    return tables


def mutants_table(caught: Sequence[Caught]) -> Table:
    """How long each mutant survived, and what caught it."""
    table = Table("mutant", "schedules", "what fell", title="mutants")
    for each in sorted(caught, key=lambda each: each.schedules):
        table.add_row(each.name, str(each.schedules), each.broken[:70] if each.broken else "[red]nothing")
    return table
