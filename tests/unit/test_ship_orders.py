"""The holds of confirmed orders are settled, once each."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from order_capture.application.messages import ShipOrder
from order_capture.application.orders.ship_orders import ShipOrders
from order_capture.application.ports import LedgerRepository
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.ledger import (
    ACCOUNTS,
    STOCK,
    BalanceChange,
    LedgerSpec,
    decide_holds,
    hold_entry,
    rejected_hold,
)
from order_capture.domain.order import MAX_ITEMS, OrderDetails, OrderStatus
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, details_of, in_status, placed, ship, ticking_clock
from tests.support.fakes import RecordedBackoff
from tests.support.stores import memory_stores

CONFIRMED, SHIPPED = OrderStatus.CONFIRMED, OrderStatus.SHIPPED


class Warehouse:
    """ship_order over the in-memory AWS, with confirmed orders and their holds."""

    def __init__(self, *orders: OrderDetails) -> None:
        self.dynamodb = DynamoDB()
        stores = memory_stores(self.dynamodb)
        self.orders, self.shipments = stores.orders, stores.shipments
        self.accounts, self.stock = stores.accounts, stores.stock
        self.backoff = RecordedBackoff()
        for details in orders:
            self.orders.add([in_status(CONFIRMED, placed(details))])
            self.hold(self.accounts, ACCOUNTS, details)
            self.hold(self.stock, STOCK, details)
        self.dynamodb.writes = 0

    def hold(self, ledger: LedgerRepository, kind: LedgerSpec, details: OrderDetails, **heads: str) -> None:
        """Hold an order: on the roots, unless `heads` are given."""
        names = {entity: heads.get(entity, entity) for entity in kind.required_amounts(details)}
        for entity, amount in kind.required_amounts(details).items():
            head = ledger.heads(entity, 2).get(names[entity])
            change = BalanceChange(names[entity], held=amount, expected=head.version if head else 0)
            ledger.write([change], [], NOW)
        decision = decide_holds(kind, [details], {})[details.order_id]
        ledger.write([], [hold_entry(kind, details, decision, names, NOW)], NOW)

    def handle(self, *messages: ShipOrder) -> set[str]:
        return ShipOrders(self.shipments, ticking_clock(), Retry(self.backoff)).process(messages)

    def move(self, order_id: str, status: OrderStatus) -> None:
        order = self.orders.get(order_id)
        assert order is not None
        moved = replace(in_status(status, order), version=order.version + 1)
        self.orders.save(moved, expected_version=order.version)

    def status(self, order_id: str = "order-1") -> OrderStatus:
        order = self.orders.get(order_id)
        assert order is not None
        return order.status

    def settled(self, ledger: LedgerRepository, *heads: str) -> dict[str, Decimal]:
        return {name: head.settled for name in heads if (head := ledger.head(name))}

    def pens(self) -> tuple[int, int]:
        """Held and settled."""
        head = self.stock.head("pen")
        assert head is not None
        return int(head.held), int(head.settled)


def test_an_order_is_shipped_and_what_it_held_is_settled() -> None:
    warehouse = Warehouse(details_of(items=(("pen", 2),), total="25.50"))

    assert warehouse.handle(ship(details_of(items=(("pen", 2),), total="25.50"))) == set()

    assert warehouse.status() is SHIPPED
    assert warehouse.pens() == (0, 2)
    alice = warehouse.accounts.head("alice")
    assert alice is not None
    assert (alice.held, alice.settled) == (Decimal(0), Decimal("25.50"))


def test_an_order_is_shipped_once_however_often_it_is_asked() -> None:
    warehouse = Warehouse(details_of())

    for _ in range(3):
        assert warehouse.handle(ship(), ship()) == set()

    assert warehouse.pens() == (0, 1)


def test_a_batch_of_ten_is_one_write() -> None:
    orders = [details_of(f"order-{i}") for i in range(10)]
    warehouse = Warehouse(*orders)

    warehouse.handle(*map(ship, orders))

    assert {warehouse.status(details.order_id) for details in orders} == {SHIPPED}
    assert warehouse.dynamodb.writes == 1
    assert warehouse.pens() == (0, 10)


def test_no_write_has_more_items_than_a_transaction_takes() -> None:
    products = tuple((f"product-{i:02}", 1) for i in range(MAX_ITEMS))
    orders = [details_of(f"order-{i}", customer_id=f"customer-{i}", items=products) for i in range(4)]
    warehouse = Warehouse(*orders)

    assert warehouse.handle(*map(ship, orders)) == set()

    # Each is an order, an account and 50 products: two of them would be 104 at worst.
    assert warehouse.dynamodb.writes == 4


@pytest.mark.parametrize("status", [SHIPPED, OrderStatus.CANCELLED, OrderStatus.REJECTED])
def test_an_order_that_was_shipped_or_refused_is_skipped_and_the_others_shipped(status: OrderStatus) -> None:
    warehouse = Warehouse(details_of("order-1"), details_of("order-2"))
    warehouse.move("order-1", status)

    assert warehouse.handle(ship(details_of("order-1")), ship(details_of("order-2"))) == set()

    assert (warehouse.status("order-1"), warehouse.status("order-2")) == (status, SHIPPED)
    assert warehouse.pens() == (1, 1)


def test_an_order_that_is_not_confirmed_yet_or_not_there_is_returned_to_the_queue() -> None:
    warehouse = Warehouse(details_of("order-1"), details_of("order-2"))
    warehouse.move("order-1", OrderStatus.PENDING)

    failed = warehouse.handle(*(ship(details_of(f"order-{i}")) for i in (1, 2, 3)))

    assert failed == {"order-1", "order-3"}
    assert warehouse.status("order-2") is SHIPPED


def test_one_order_that_does_not_fit_the_books_does_not_stop_the_others() -> None:
    good, other = details_of("order-1"), details_of("order-3")
    warehouse = Warehouse(good, other)
    bad = details_of("order-2", items=(("ink", 1),))
    warehouse.orders.add([in_status(CONFIRMED, placed(bad))])
    warehouse.hold(warehouse.accounts, ACCOUNTS, bad)
    warehouse.hold(warehouse.stock, STOCK, bad)
    warehouse.stock.write([BalanceChange.release("ink", Decimal(1))], [], NOW)

    assert warehouse.handle(ship(good), ship(bad), ship(other)) == {"order-2"}

    assert [warehouse.status(f"order-{i}") for i in (1, 2, 3)] == [SHIPPED, CONFIRMED, SHIPPED]
    assert warehouse.pens() == (0, 2)


def test_a_settlement_that_meets_another_write_is_tried_again_after_a_pause() -> None:
    warehouse = Warehouse(details_of())
    warehouse.dynamodb.conflict(MAX_ATTEMPTS - 1)

    assert warehouse.handle(ship()) == set()

    assert warehouse.status() is SHIPPED
    assert warehouse.backoff.after == list(range(1, MAX_ATTEMPTS))


def test_a_settlement_that_never_gets_through_is_returned_to_the_queue() -> None:
    warehouse = Warehouse(details_of())
    warehouse.dynamodb.conflict(MAX_ATTEMPTS)

    assert warehouse.handle(ship()) == {"order-1"}

    assert warehouse.status() is CONFIRMED
    assert warehouse.pens() == (1, 0)


class TestWhatIsHeldOnStripes:
    def test_is_settled_on_the_heads_that_hold_it(self) -> None:
        warehouse, details = Warehouse(), details_of(items=(("pen", 2), ("ink", 1)), total="25.50")
        warehouse.orders.add([in_status(CONFIRMED, placed(details))])
        warehouse.hold(warehouse.accounts, ACCOUNTS, details, alice="alice#2")
        warehouse.hold(warehouse.stock, STOCK, details, pen="pen#1")
        warehouse.stock.write([BalanceChange("pen", held=Decimal(9), expected=0)], [], NOW)

        for _ in range(2):
            assert warehouse.handle(ship(details)) == set()

        assert warehouse.status() is SHIPPED
        assert warehouse.settled(warehouse.stock, "pen", "pen#1") == {"pen": 0, "pen#1": 2}
        assert warehouse.settled(warehouse.stock, "ink") == {"ink": 1}
        assert warehouse.settled(warehouse.accounts, "alice#2") == {"alice#2": Decimal("25.50")}

    def test_is_settled_apart_stripe_by_stripe(self) -> None:
        orders = [details_of(f"order-{i}", f"customer-{i}") for i in range(6)]
        warehouse = Warehouse()
        for details, head in zip(orders, ("pen", "pen#1", "pen", "pen#2", "pen#1", "pen"), strict=True):
            warehouse.orders.add([in_status(CONFIRMED, placed(details))])
            warehouse.hold(warehouse.accounts, ACCOUNTS, details)
            warehouse.hold(warehouse.stock, STOCK, details, pen=head)
        warehouse.dynamodb.writes = 0

        assert warehouse.handle(*map(ship, orders)) == set()

        assert warehouse.dynamodb.writes == 3
        assert warehouse.settled(warehouse.stock, "pen", "pen#1", "pen#2") == {
            "pen": 3,
            "pen#1": 2,
            "pen#2": 1,
        }

    @pytest.mark.parametrize("not_held_by", ["accounts", "stock", "both"])
    def test_is_nothing_for_an_order_that_no_ledger_holds_which_fails_alone(self, not_held_by: str) -> None:
        warehouse, other = Warehouse(details_of("order-1")), details_of("order-2")
        warehouse.orders.add([in_status(CONFIRMED, placed(other))])
        if not_held_by == "accounts":
            warehouse.hold(warehouse.stock, STOCK, other)
        if not_held_by == "stock":
            warehouse.hold(warehouse.accounts, ACCOUNTS, other)

        assert warehouse.handle(ship(other), ship(details_of("order-1"))) == {"order-2"}

        assert [warehouse.status(f"order-{i}") for i in (1, 2)] == [SHIPPED, CONFIRMED]

    def test_is_nothing_for_an_order_that_was_declined(self) -> None:
        warehouse, other = Warehouse(), details_of("order-2")
        warehouse.orders.add([in_status(CONFIRMED, placed(other))])
        for ledger, kind in ((warehouse.accounts, ACCOUNTS), (warehouse.stock, STOCK)):
            ledger.write([], [rejected_hold(kind, other, NOW)], NOW)

        assert warehouse.handle(ship(other)) == {"order-2"}

        assert warehouse.status("order-2") is CONFIRMED


def test_an_order_that_is_held_and_not_confirmed_is_given_back_until_it_is() -> None:
    warehouse = Warehouse(details_of("order-1"))
    warehouse.move("order-1", OrderStatus.PENDING)

    for _ in range(2):
        assert warehouse.handle(ship()) == {"order-1"}

    assert warehouse.pens() == (1, 0)
    warehouse.move("order-1", CONFIRMED)
    assert warehouse.handle(ship()) == set()
    assert warehouse.pens() == (0, 1)
