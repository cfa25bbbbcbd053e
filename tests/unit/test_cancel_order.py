"""An order can be cancelled only before it ships."""

from __future__ import annotations

from dataclasses import replace

import pytest

from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.application.callers import Caller
from order_capture.application.idempotency import Answered, RequestKey
from order_capture.application.messages import ReleaseOrder
from order_capture.application.orders.cancel_order import CancelOrder
from order_capture.application.ports import IdempotencyRecord, VersionConflictError
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.errors import NotFoundError, StatusConflictError, TransientError
from order_capture.domain.order import Order, OrderStatus
from order_capture.domain.order_log import log_lines
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import SERVICE, details_of, in_status, ticking_clock
from tests.support.fakes import MemoryPublisher, RecordedBackoff
from tests.support.stores import memory_stores

RELEASE = ReleaseOrder.of(details_of(), "corr-1")


class Desk:
    """The cancel route of order_api over the in-memory AWS, with an order."""

    def __init__(self, status: OrderStatus = OrderStatus.PENDING) -> None:
        self.dynamodb = DynamoDB()
        self.orders = memory_stores(self.dynamodb).orders
        self.releases = MemoryPublisher()
        self.backoff = RecordedBackoff()
        self.orders.add([in_status(status)])

    def cancel(self, order_id: str = "order-1", caller: Caller = SERVICE) -> Order:
        return self.answer(order_id, caller).value

    def answer(
        self, order_id: str = "order-1", caller: Caller = SERVICE, key: RequestKey | None = None
    ) -> Answered[Order]:
        use_case = CancelOrder(self.orders, self.releases, ticking_clock(), Retry(self.backoff))
        return use_case.cancel(order_id, caller, key)

    def stored(self) -> Order:
        order = self.orders.get("order-1")
        assert order is not None
        return order

    def becomes(self, status: OrderStatus) -> None:
        order = self.stored()
        changed = replace(in_status(status, order), version=order.version + 1)
        self.orders.save(changed, expected_version=order.version)


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CONFIRMED])
def test_an_open_order_is_cancelled_and_what_it_holds_released(status: OrderStatus) -> None:
    desk = Desk(status)

    cancelled = desk.cancel()

    assert cancelled.status is OrderStatus.CANCELLED
    assert log_lines(cancelled)[-1].endswith(" cancelled")
    assert cancelled == desk.stored()
    assert desk.releases.sent == [RELEASE]


@pytest.mark.parametrize(
    "status", [OrderStatus.SHIPPED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED]
)
def test_an_order_that_is_over_can_not_be_cancelled_and_stays_as_it_is(status: OrderStatus) -> None:
    desk = Desk(status)
    before = desk.stored()

    with pytest.raises(StatusConflictError, match=status):
        desk.cancel()

    assert desk.stored() == before
    assert desk.releases.sent == []


def test_an_order_that_nobody_placed_can_not_be_cancelled() -> None:
    with pytest.raises(NotFoundError):
        Desk().cancel("order-2")


def test_the_record_of_a_request_is_no_order() -> None:
    desk = Desk()
    desk.orders.claim_key(IdempotencyRecord("request-1", "print-1"))

    with pytest.raises(NotFoundError):
        desk.cancel("request-1")


def test_an_order_that_is_confirmed_meanwhile_is_cancelled_all_the_same() -> None:
    desk = Desk()
    desk.dynamodb.interrupt(lambda: desk.becomes(OrderStatus.CONFIRMED))

    assert desk.cancel().status is OrderStatus.CANCELLED

    assert desk.stored().version == 3
    assert desk.backoff.after == [1]
    assert desk.releases.sent == [RELEASE]


def test_shipping_that_is_quicker_wins() -> None:
    desk = Desk(OrderStatus.CONFIRMED)
    desk.dynamodb.interrupt(lambda: desk.becomes(OrderStatus.SHIPPED))

    with pytest.raises(StatusConflictError):
        desk.cancel()

    assert desk.stored().status is OrderStatus.SHIPPED
    assert desk.releases.sent == []


def test_an_order_that_others_keep_changing_is_not_cancelled_now() -> None:
    desk = Desk()
    desk.dynamodb.conflict(MAX_ATTEMPTS)

    with pytest.raises(TransientError):
        desk.cancel()

    assert desk.stored().status is OrderStatus.PENDING
    assert desk.releases.sent == []


def test_a_release_that_can_not_be_sent_leaves_the_order_cancelled() -> None:
    desk = Desk()
    desk.releases.failing = {"order-1"}

    assert desk.cancel().status is OrderStatus.CANCELLED

    assert desk.stored().status is OrderStatus.CANCELLED


def test_a_cancelling_whose_answer_was_lost_is_known_for_its_own() -> None:
    # Given a table whose response to a write is lost, so that the call is retried and refused
    class LosesAnAnswer(DynamoOrderRepository):
        def save(self, order: Order, expected_version: int, key: RequestKey | None = None) -> None:
            super().save(order, expected_version, key)
            raise VersionConflictError(order.order_id)

    desk = Desk()
    desk.orders = LosesAnAnswer(desk.dynamodb, "OrderTable", Retry(desk.backoff))

    # When the order is cancelled
    cancelled = desk.cancel()

    # Then its client gets it as cancelled, and its holds are released
    assert cancelled.status is OrderStatus.CANCELLED
    assert desk.releases.sent == [RELEASE]


@pytest.mark.parametrize("status", OrderStatus)
def test_another_customers_order_is_not_there_and_stays_as_it_is(status: OrderStatus) -> None:
    desk = Desk(status)
    before = desk.stored()

    with pytest.raises(NotFoundError) as foreign:
        desk.cancel(caller=Caller("sub-2", "bob"))
    with pytest.raises(NotFoundError) as unknown:
        desk.cancel("order-9", caller=Caller("sub-2", "bob"))

    assert str(foreign.value) == str(unknown.value)
    assert desk.stored() == before
    assert desk.releases.sent == []


def test_a_customer_cancels_their_own() -> None:
    assert Desk().cancel(caller=Caller("sub-1", "alice")).status is OrderStatus.CANCELLED
