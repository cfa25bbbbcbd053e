"""What `application.ports.Shipments` promises."""

from __future__ import annotations

from decimal import Decimal

import pytest

from order_capture.application.ports import IdempotencyRecord, LedgerRepository, SettleRefusedError, Shipment
from order_capture.domain.ledger import ACCOUNTS, STOCK, BalanceChange, LedgerSpec
from order_capture.domain.order import OrderDetails, OrderStatus
from tests.support.factories import NOW, details_of, in_status, placed
from tests.support.stores import Stores

LATER = "2026-11-20T10:00:01.000Z"
CONFIRMED, SHIPPED = OrderStatus.CONFIRMED, OrderStatus.SHIPPED


def confirm(stores: Stores, *orders: OrderDetails, status: OrderStatus = CONFIRMED) -> None:
    """Write confirmed orders with their holds."""
    for details in orders:
        stores.orders.add([in_status(status, placed(details))])
        for kind, ledger in ((ACCOUNTS, stores.accounts), (STOCK, stores.stock)):
            _hold(kind, ledger, details)


def _hold(kind: LedgerSpec, ledger: LedgerRepository, details: OrderDetails) -> None:
    for entity, amount in kind.required_amounts(details).items():
        head = ledger.head(entity)
        ledger.write([BalanceChange(entity, held=amount, expected=head.version if head else 0)], [], NOW)


def shipment(details: OrderDetails) -> Shipment:
    """An order that is held on the roots of its account and products."""
    return Shipment(details, ACCOUNTS.required_amounts(details), STOCK.required_amounts(details))


def refusal(stores: Stores, *orders: OrderDetails) -> SettleRefusedError:
    with pytest.raises(SettleRefusedError) as refused:
        stores.shipments.settle([shipment(details) for details in orders], LATER)
    return refused.value


def figures(ledger: LedgerRepository, entity: str) -> list[Decimal]:
    """Held and settled."""
    head = ledger.head(entity)
    assert head is not None
    return [head.held, head.settled]


def status(stores: Stores, order_id: str = "order-1") -> OrderStatus:
    order = stores.orders.get(order_id)
    assert order is not None
    return order.status


def test_a_confirmed_order_is_shipped_and_what_it_held_is_settled(stores: Stores) -> None:
    details = details_of(items=(("pen", 2), ("ink", 1), ("pen", 3)), total="25.50")
    confirm(stores, details)
    before = stores.orders.get("order-1")
    assert before is not None

    stores.shipments.settle([shipment(details)], LATER)

    assert stores.orders.get("order-1") == before.ship(now=LATER)
    assert figures(stores.accounts, "alice") == [0, Decimal("25.50")]
    assert figures(stores.stock, "pen") == [0, 5]
    assert figures(stores.stock, "ink") == [0, 1]


def test_orders_of_one_customer_and_product_are_settled_together(stores: Stores) -> None:
    orders = [details_of(f"order-{i}", items=(("pen", i),)) for i in range(1, 11)]
    confirm(stores, *orders, details_of("order-11"))

    stores.shipments.settle([shipment(details) for details in orders], LATER)

    assert {status(stores, details.order_id) for details in orders} == {SHIPPED}
    assert status(stores, "order-11") is CONFIRMED
    assert figures(stores.stock, "pen") == [1, 55]
    assert figures(stores.accounts, "alice") == [10, 100]


def test_as_many_are_settled_as_fit_in_a_transaction(stores: Stores) -> None:
    orders = [details_of(f"order-{i}", f"customer-{i}", ((f"product-{i}", 1),)) for i in range(33)]
    confirm(stores, *orders)

    stores.shipments.settle([shipment(details) for details in orders], LATER)

    assert status(stores, "order-32") is SHIPPED


def test_a_shipped_order_is_not_settled_again(stores: Stores) -> None:
    confirm(stores, details_of("order-1"), details_of("order-2"))
    stores.shipments.settle([shipment(details_of("order-1"))], LATER)

    refused = refusal(stores, details_of("order-1"))

    assert refused.not_confirmed == {"order-1": SHIPPED}
    assert (refused.short, refused.conflict) == (False, False)
    assert figures(stores.stock, "pen") == [1, 1]


@pytest.mark.parametrize("stands", [each for each in OrderStatus if each is not CONFIRMED])
def test_an_order_of_any_other_status_keeps_all_from_being_settled(
    stores: Stores, stands: OrderStatus
) -> None:
    confirm(stores, details_of("order-1"), details_of("order-3"))
    confirm(stores, details_of("order-2"), status=stands)

    refused = refusal(stores, *(details_of(f"order-{i}") for i in (1, 2, 3)))

    assert refused.not_confirmed == {"order-2": stands}
    assert not refused.short
    assert [status(stores, f"order-{i}") for i in (1, 2, 3)] == [CONFIRMED, stands, CONFIRMED]
    assert figures(stores.stock, "pen") == [3, 0]
    assert figures(stores.accounts, "alice") == [30, 0]


def test_an_order_that_is_not_there_is_not_confirmed_and_not_made(stores: Stores) -> None:
    confirm(stores, details_of("order-1"))

    refused = refusal(stores, details_of("order-2"))

    assert refused.not_confirmed == {"order-2": None}
    assert stores.orders.get("order-2") is None


def test_a_request_is_no_order_to_ship(stores: Stores) -> None:
    confirm(stores, details_of("order-1"))
    stores.orders.claim_key(IdempotencyRecord("request-1", "print-1"))

    assert refusal(stores, details_of("request-1")).not_confirmed == {"request-1": None}


@pytest.mark.parametrize(
    "more_than_it_holds",
    [
        details_of("order-1", items=(("pen", 2),)),
        details_of("order-1", total="10.01"),
        details_of("order-1", items=(("unheard-of", 1),)),
        details_of("order-1", customer_id="unheard-of"),
    ],
)
def test_more_than_is_held_is_not_settled(stores: Stores, more_than_it_holds: OrderDetails) -> None:
    confirm(stores, details_of("order-1"))

    refused = refusal(stores, more_than_it_holds)

    assert (refused.not_confirmed, refused.short, refused.conflict) == ({}, True, False)
    assert status(stores) is CONFIRMED
    assert figures(stores.stock, "pen") == [1, 0]
    assert figures(stores.accounts, "alice") == [10, 0]
