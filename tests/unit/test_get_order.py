"""The current order is returned, or the order as soon as its status changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from order_capture.application.callers import Caller
from order_capture.application.orders.get_order import GetOrder
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import CheckType, Order, OrderStatus
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import SERVICE, declined, held, placed
from tests.support.stores import memory_stores

LATER = "2026-11-20T10:00:01.000Z"


class Desk:
    """A waiting client, and events meanwhile: `then`, by the number of the preceding read."""

    def __init__(self, order: Order | None = None) -> None:
        self.orders = memory_stores(DynamoDB()).orders
        self.orders.add([order or placed()])
        self.then: dict[int, Callable[[], object]] = {}
        self.slept: list[float] = []

    def ask(self, seconds: float = 0, *, has_changed: bool = False, caller: Caller = SERVICE) -> Order:
        return GetOrder(self.orders, self._sleep).get("order-1", caller, lambda order: has_changed, seconds)

    def change(self, *steps: Callable[[Order], Order]) -> None:
        for step in steps:
            order = self.orders.get("order-1")
            assert order is not None
            self.orders.save(step(order), expected_version=order.version)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.then.get(len(self.slept), lambda: None)()


def is_held(check: CheckType) -> Callable[[Order], Order]:
    return lambda order: order.record_check(check, held(), now=LATER)


def rejected(order: Order) -> Order:
    return order.record_check(CheckType.BALANCE, declined(), now=LATER)


def test_an_order_is_returned_at_once_and_another_is_not_found() -> None:
    desk = Desk()

    assert desk.ask() == placed()
    assert desk.slept == []
    with pytest.raises(NotFoundError):
        GetOrder(desk.orders, lambda seconds: None).get("order-2", SERVICE, lambda order: False, 20)


def test_a_client_that_waits_gets_an_answer_as_soon_as_the_status_changes() -> None:
    desk = Desk()
    desk.then[3] = lambda: desk.change(rejected)

    assert desk.ask(20).status is OrderStatus.REJECTED

    assert len(desk.slept) == 3
    assert sum(desk.slept) < 1


def test_it_waits_no_longer_than_it_asked_for() -> None:
    desk = Desk()

    assert desk.ask(2.25) == placed()

    assert sum(desk.slept) == pytest.approx(2.25)


def test_a_change_that_leaves_the_status_is_not_what_it_waits_for() -> None:
    desk = Desk()
    desk.then[1] = lambda: desk.change(is_held(CheckType.STOCK))

    order = desk.ask(2)

    assert sum(desk.slept) == pytest.approx(2)
    assert order.checks.keys() == {CheckType.STOCK}


@pytest.mark.parametrize("over", [rejected, lambda order: order.cancel(now=LATER)])
def test_for_an_order_that_is_over_nobody_waits(over: Callable[[Order], Order]) -> None:
    desk = Desk(over(placed()))

    assert not desk.ask(20).is_open

    assert desk.slept == []


def test_for_what_the_client_does_not_have_nobody_waits() -> None:
    desk = Desk()

    assert desk.ask(20, has_changed=True) == placed()

    assert desk.slept == []


def test_a_customer_gets_their_own_order_and_anothers_is_not_found() -> None:
    desk = Desk()

    assert desk.ask(caller=Caller("sub-1", "alice")) == placed()
    with pytest.raises(NotFoundError) as foreign:
        desk.ask(20, caller=Caller("sub-2", "bob"))
    with pytest.raises(NotFoundError) as unknown:
        GetOrder(desk.orders, lambda seconds: None).get("order-2", SERVICE, lambda order: False, 20)

    assert str(foreign.value) == str(unknown.value)
    assert desk.slept == [], "how long a refusal takes reveals nothing either"
