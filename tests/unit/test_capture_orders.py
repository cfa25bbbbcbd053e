"""Orders are written, published to the checkers and answered, once per request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from order_capture.application.callers import Caller
from order_capture.application.messages import CheckOrder
from order_capture.application.orders.capture_orders import (
    IN_PROGRESS_SECONDS,
    Batch,
    Captured,
    CapturedBatch,
    CaptureOrders,
)
from order_capture.application.ports import Clock, IdempotencyRecord
from order_capture.domain.errors import (
    CustomerForbiddenError,
    IdempotencyConflictError,
    OrderCaptureError,
    RequestInProgressError,
    TransientError,
)
from order_capture.domain.order import CheckResult, CheckType, NextAction, Order, OrderStatus
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, SERVICE, declined, details_of, held, placed, ticking_clock
from tests.support.fakes import MemoryPublisher
from tests.support.stores import memory_stores

LATER = "2026-11-20T10:00:09.000Z"


class Shop:
    """order_api over the in-memory AWS."""

    def __init__(self, caller: Caller = SERVICE) -> None:
        self.caller = caller
        self.dynamodb = DynamoDB()
        self.orders = memory_stores(self.dynamodb).orders
        self.checks = MemoryPublisher()

    def capture(self, order: Order, *, idempotent: bool = False, clock: Clock | None = None) -> Captured:
        return self._use_case(clock).capture_one(order, self.caller, idempotent=idempotent)

    def capture_batch(
        self,
        entries: Sequence[Order | OrderCaptureError],
        fingerprint: str = "print-1",
        request_id: str | None = None,
    ) -> Sequence[Captured | OrderCaptureError]:
        return self.captured_batch(entries, fingerprint, request_id).answers

    def captured_batch(
        self,
        entries: Sequence[Order | OrderCaptureError],
        fingerprint: str = "print-1",
        request_id: str | None = None,
        clock: Clock | None = None,
    ) -> CapturedBatch:
        batch = Batch(entries, fingerprint, request_id)
        return self._use_case(clock).capture_batch(batch, self.caller)

    def _use_case(self, clock: Clock | None) -> CaptureOrders:
        return CaptureOrders(self.orders, self.checks, clock or ticking_clock())

    def stored(self, order_id: str = "order-1") -> Order:
        order = self.orders.get(order_id)
        assert order is not None
        return order

    def records(self, check: CheckType, result: CheckResult) -> None:
        """A check reports its result for the first order."""
        order = self.stored()
        self.orders.save(order.record_check(check, result, now=LATER), expected_version=order.version)

    def dies_before_it_answers(self) -> None:
        """The next request is published, but not marked as complete."""
        self.dynamodb.interrupt(RuntimeError("the process dies"), operation="UpdateItem")

    def checked_ids(self) -> list[str]:
        """The orders for which checks were requested since the last call."""
        return [
            message.details.order_id for message in self.checks.taken() if isinstance(message, CheckOrder)
        ]


class TestOneOrder:
    def test_is_written_handed_on_and_answered(self) -> None:
        shop = Shop()

        captured = shop.capture(placed())

        assert captured == Captured(placed(), replayed=False)
        assert shop.stored() == placed()
        assert shop.checks.sent == [CheckOrder.of(details_of(), "corr-1")]

    def test_that_comes_again_gets_the_same_answer_and_is_one_order(self) -> None:
        shop = Shop()
        shop.capture(placed(), idempotent=True)
        shop.records(CheckType.BALANCE, declined())

        again = shop.capture(placed(), idempotent=True)

        assert again == Captured(placed(), replayed=True)
        assert shop.stored().status is OrderStatus.REJECTED

    def test_that_comes_again_before_any_check_has_answered_is_handed_on_again(self) -> None:
        shop = Shop()
        shop.capture(placed(), idempotent=True)
        shop.checks.taken()

        shop.capture(placed(), idempotent=True)

        assert shop.checked_ids() == ["order-1"]

    def test_that_comes_again_after_a_check_has_answered_is_not_handed_on(self) -> None:
        shop = Shop()
        shop.capture(placed(), idempotent=True)
        shop.checks.taken()
        shop.records(CheckType.STOCK, held())

        shop.capture(placed(), idempotent=True)

        assert shop.checked_ids() == []

    def test_with_a_key_that_another_request_used_is_refused_and_changes_nothing(self) -> None:
        shop = Shop()
        shop.capture(placed(fingerprint="print-1"), idempotent=True)
        shop.checks.taken()

        with pytest.raises(IdempotencyConflictError):
            shop.capture(placed(details_of(total="99"), fingerprint="print-2"), idempotent=True)

        assert shop.stored() == placed()
        assert shop.checked_ids() == []

    def test_with_a_key_that_a_batch_used_is_refused(self) -> None:
        shop = Shop()
        shop.capture_batch([], request_id="order-1")

        with pytest.raises(IdempotencyConflictError):
            shop.capture(placed(), idempotent=True)


class TestAnOrderThatCouldNotBeHandedOn:
    def test_without_a_key_is_withdrawn_since_its_client_will_send_it_under_another_id(self) -> None:
        shop = Shop()
        shop.checks.failing = {"order-1"}

        with pytest.raises(TransientError, match="could not be published"):
            shop.capture(placed())

        assert shop.stored().status is OrderStatus.CANCELLED
        assert shop.stored().next_action() is NextAction.RELEASE

    def test_with_a_key_stays_pending_and_the_retry_hands_it_on(self) -> None:
        shop = Shop()
        shop.checks.failing = {"order-1"}
        with pytest.raises(TransientError):
            shop.capture(placed(), idempotent=True)
        assert shop.stored().status is OrderStatus.PENDING
        shop.checks.failing = set()

        retried = shop.capture(placed(), idempotent=True)

        assert retried == Captured(placed(), replayed=True)
        assert shop.checked_ids() == ["order-1"]

    def test_takes_its_course_if_a_check_has_answered_meanwhile(self) -> None:
        shop = Shop()
        shop.checks.failing = {"order-1"}
        shop.dynamodb.interrupt(lambda: shop.records(CheckType.STOCK, held()), operation="UpdateItem")

        with pytest.raises(TransientError):
            shop.capture(placed())

        assert shop.stored().status is OrderStatus.PENDING


class TestABatch:
    def test_is_answered_in_the_order_sent_with_each_bad_ones_own_error(self) -> None:
        shop = Shop()
        one, two = placed(details_of("order-1")), placed(details_of("order-2"))
        bad = OrderCaptureError("no good")

        answers = shop.capture_batch([one, bad, two])

        assert answers == [Captured(one, replayed=False), bad, Captured(two, replayed=False)]
        assert shop.checked_ids() == ["order-1", "order-2"]

    def test_of_bad_ones_only_is_answered_too(self) -> None:
        bad = OrderCaptureError("no good")

        assert Shop().capture_batch([bad]) == [bad]

    def test_names_which_of_its_orders_could_not_be_handed_on_and_accepts_the_others(self) -> None:
        shop = Shop()
        shop.checks.failing = {"order-2"}

        answers = shop.capture_batch([placed(details_of(f"order-{i}")) for i in (1, 2, 3)])

        assert [isinstance(answer, Captured) for answer in answers] == [True, False, True]
        assert isinstance(answers[1], TransientError)
        assert [shop.stored(f"order-{i}").status for i in (1, 2, 3)] == ["PENDING", "CANCELLED", "PENDING"]

    def test_that_comes_again_with_its_key_heals_what_could_not_be_handed_on(self) -> None:
        shop = Shop()
        batch = [placed(details_of("order-1")), placed(details_of("order-2"))]
        shop.checks.failing = {"order-2"}
        shop.capture_batch(batch, request_id="request-1")
        shop.records(CheckType.STOCK, held())
        shop.checks.failing = set()
        shop.checks.taken()

        answers = shop.capture_batch(batch, request_id="request-1")

        assert answers == [Captured(order, replayed=True) for order in batch]
        assert shop.checked_ids() == ["order-2"]

    def test_with_a_key_that_another_request_used_is_refused_whole(self) -> None:
        shop = Shop()
        shop.capture_batch([placed()], fingerprint="print-1", request_id="request-1")
        shop.checks.taken()

        with pytest.raises(IdempotencyConflictError):
            shop.capture_batch([placed(details_of("order-9"))], fingerprint="print-2", request_id="request-1")

        assert shop.orders.get("order-9") is None
        assert shop.checked_ids() == []

    def test_with_a_key_that_a_single_order_used_is_refused(self) -> None:
        shop = Shop()
        shop.capture(placed(details_of("request-1")), idempotent=True)

        with pytest.raises(IdempotencyConflictError):
            shop.capture_batch([placed()], fingerprint="print-2", request_id="request-1")


def test_an_order_that_can_not_even_be_withdrawn_does_not_take_the_others_answers_with_it() -> None:
    shop = Shop()
    shop.checks.failing = {"order-1"}
    shop.dynamodb.interrupt(RuntimeError("the table is out of reach"), operation="UpdateItem")

    answers = shop.capture_batch([placed(details_of("order-1")), placed(details_of("order-2"))])

    assert [type(answer) for answer in answers] == [TransientError, Captured]


class TestARequestThatComesAgainWhileTheFirstIsStillRunning:
    """The first one has written its order, and is interrupted before publishing it."""

    def test_is_refused(self) -> None:
        shop = Shop()
        refusals: list[type[Exception]] = []
        shop.checks.meanwhile = [
            lambda: refusals.append(
                refusal(lambda: shop.capture(placed(), idempotent=True, clock=lambda: at(1)))
            )
        ]

        first = shop.capture(placed(), idempotent=True)

        assert refusals == [RequestInProgressError]
        assert first.replayed is False
        assert shop.checked_ids() == ["order-1"]
        assert shop.capture(placed(), idempotent=True).replayed is True

    def test_is_refused_for_a_batch_as_a_whole(self) -> None:
        shop = Shop()
        refusals: list[type[Exception]] = []
        shop.checks.meanwhile = [
            lambda: refusals.append(
                refusal(lambda: shop.captured_batch([placed()], request_id="request-1", clock=lambda: at(1)))
            )
        ]

        first = shop.captured_batch([placed()], request_id="request-1")

        assert refusals == [RequestInProgressError]
        assert first.replayed is False
        assert shop.captured_batch([placed()], request_id="request-1").replayed is True

    def test_is_not_the_first_itself_whose_write_was_made_twice_as_its_answer_was_lost(self) -> None:
        shop = Shop()
        shop.orders.add([replace(placed(), in_progress_until=at(IN_PROGRESS_SECONDS))])
        shop.orders.claim_key(IdempotencyRecord("request-1", "print-1", at(IN_PROGRESS_SECONDS)))

        one = shop.capture(placed(), idempotent=True, clock=lambda: NOW)
        batch = shop.captured_batch(
            [placed(details_of("order-2"))], request_id="request-1", clock=lambda: NOW
        )

        assert (one.replayed, batch.replayed) == (False, False)
        assert shop.checked_ids() == ["order-1", "order-2"]
        # and both are marked as done
        assert shop.capture(placed(), idempotent=True, clock=lambda: at(1)).replayed is True
        assert shop.captured_batch([placed()], request_id="request-1", clock=lambda: at(1)).replayed is True

    def test_is_refused_since_its_key_was_used_if_it_is_another_request(self) -> None:
        shop = Shop()
        refusals: list[type[Exception]] = []
        shop.checks.meanwhile = [
            lambda: refusals.append(
                refusal(lambda: shop.capture(placed(fingerprint="print-2"), idempotent=True))
            )
        ]

        shop.capture(placed(), idempotent=True)

        assert refusals == [IdempotencyConflictError]

    def test_is_done_in_its_place_once_the_first_can_no_longer_be_waited_for(self) -> None:
        shop = Shop()
        shop.dynamodb.interrupt(
            RuntimeError("the process died before it had answered"), operation="UpdateItem"
        )
        shop.capture(placed(), idempotent=True, clock=lambda: NOW)
        shop.checks.taken()

        assert (
            refusal(lambda: shop.capture(placed(), idempotent=True, clock=lambda: at(4)))
            is RequestInProgressError
        )
        assert shop.capture(placed(), idempotent=True, clock=lambda: at(5)) == Captured(
            placed(), replayed=True
        )

        assert shop.checked_ids() == ["order-1"]

    def test_is_answered_if_a_check_has_answered(self) -> None:
        shop = Shop()
        shop.dynamodb.interrupt(
            RuntimeError("the process died before it had answered"), operation="UpdateItem"
        )
        shop.capture(placed(), idempotent=True, clock=lambda: NOW)
        shop.records(CheckType.STOCK, held())

        assert shop.capture(placed(), idempotent=True, clock=lambda: NOW) == Captured(placed(), replayed=True)

    def test_is_no_matter_without_a_key(self) -> None:
        shop = Shop()
        noted: list[None] = []
        shop.dynamodb.interrupt(lambda: noted.append(None), operation="UpdateItem")

        shop.capture(placed())
        shop.capture_batch([placed(details_of("order-2"))])

        assert shop.stored() == placed()
        assert noted == []

    def test_of_a_batch_is_done_once_the_first_can_no_longer_be_waited_for(self) -> None:
        shop = Shop()
        shop.dynamodb.interrupt(
            RuntimeError("the process died before it had answered"), operation="UpdateItem"
        )
        shop.captured_batch([placed()], request_id="request-1", clock=lambda: NOW)

        def again(second: int) -> CapturedBatch:
            return shop.captured_batch([placed()], request_id="request-1", clock=lambda: at(second))

        assert refusal(lambda: again(4)) is RequestInProgressError
        assert again(5) == CapturedBatch([Captured(placed(), replayed=True)], replayed=True)


def at(second: int) -> str:
    return f"2026-11-20T10:00:{second:02}.000Z"


def refusal(work: Callable[[], object]) -> type[Exception]:
    with pytest.raises(OrderCaptureError) as raised:
        work()
    return raised.type


class TestACustomer:
    ALICE = Caller("sub-1", "alice")
    BOB = Caller("sub-2", "bob")

    def test_orders_in_their_own_name(self) -> None:
        shop = Shop(self.ALICE)

        assert shop.capture(placed()).order == placed()

    def test_can_not_order_in_another_name_and_nothing_is_written_or_sent(self) -> None:
        shop = Shop(self.BOB)

        with pytest.raises(CustomerForbiddenError):
            shop.capture(placed())

        assert shop.orders.get("order-1") is None
        assert shop.checks.sent == []

    def test_does_not_get_an_order_of_another_that_is_there_already(self) -> None:
        shop = Shop(self.ALICE)
        shop.capture(placed(), idempotent=True)
        shop.caller = self.BOB

        with pytest.raises(CustomerForbiddenError):
            shop.capture(placed(), idempotent=True)

    def test_has_only_the_orders_refused_that_are_in_another_name(self) -> None:
        shop = Shop(self.BOB)
        own = placed(replace(details_of("order-2"), customer_id="bob"))

        foreign, captured = shop.capture_batch([placed(), own])

        assert isinstance(foreign, CustomerForbiddenError)
        assert foreign.indexes == (0,)
        assert captured == Captured(own, replayed=False)
        assert shop.orders.get("order-1") is None
        assert shop.checked_ids() == ["order-2"]

    def test_has_all_refused_where_it_is_all_or_none(self) -> None:
        shop = Shop(self.BOB)
        own = placed(replace(details_of("order-2"), customer_id="bob"))
        batch = Batch([own, placed(), own], "print-1", None, all_or_none=True)

        with pytest.raises(CustomerForbiddenError) as refused:
            CaptureOrders(shop.orders, shop.checks, ticking_clock()).capture_batch(batch, shop.caller)

        assert refused.value.indexes == (1,)
        assert shop.orders.get("order-2") is None
        assert shop.checks.sent == []
