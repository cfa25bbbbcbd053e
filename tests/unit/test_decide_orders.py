"""The checks' results are recorded, and the status's next messages are sent with each result."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from order_capture.application.messages import OrderChecked, ReleaseOrder, ShipOrder
from order_capture.application.orders.decide_orders import DecideOrders
from order_capture.application.ports import LedgerRepository
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.order import CheckResult, CheckType, Order, OrderStatus
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import checked, declined, details_of, held, placed, ticking_clock
from tests.support.fakes import MemoryPublisher, RecordedBackoff
from tests.support.stores import memory_stores

BALANCE_HELD = checked(CheckType.BALANCE, held())
STOCK_HELD = checked(CheckType.STOCK, held("1", "pen"))
BALANCE_DECLINED = checked(CheckType.BALANCE, declined())
STOCK_DECLINED = checked(CheckType.STOCK, declined())


class Decisions:
    """The part of a ledger that is read here: its decisions, by order."""

    def __init__(self) -> None:
        self.by_order: dict[str, CheckResult] = {}
        self.reads = 0

    def holds(self, entities: Mapping[str, str]) -> dict[str, Any]:
        self.reads += 1
        return {
            order_id: SimpleNamespace(decision=decision)
            for order_id, decision in self.by_order.items()
            if order_id in entities
        }


class Office:
    """order_update over the in-memory AWS, with one or more new orders.

    Each result that it receives is already in its ledger.
    """

    def __init__(self, *order_ids: str) -> None:
        self.dynamodb = DynamoDB()
        self.ledgers = {check: Decisions() for check in CheckType}
        self.orders = memory_stores(self.dynamodb).orders
        self.shipping = MemoryPublisher()
        self.releases = MemoryPublisher()
        self.backoff = RecordedBackoff()
        self.orders.add([placed(details_of(order_id)) for order_id in order_ids or ("order-1",)])
        self.dynamodb.writes = 0

    def handle(self, *messages: OrderChecked) -> set[str]:
        for message in messages:
            self.ledgers[message.check].by_order.setdefault(message.order_id, message.decision)
        ledgers = cast("dict[CheckType, LedgerRepository]", self.ledgers)
        return DecideOrders(
            self.orders, ledgers, self.shipping, self.releases, ticking_clock(), Retry(self.backoff)
        ).process(messages)

    def order(self, order_id: str = "order-1") -> Order:
        order = self.orders.get(order_id)
        assert order is not None
        return order


def test_two_held_answers_confirm_an_order_and_send_it_to_shipping() -> None:
    office = Office()

    office.handle(BALANCE_HELD)
    assert office.order().status is OrderStatus.PENDING
    assert office.shipping.sent == []
    office.handle(STOCK_HELD)

    assert office.order().status is OrderStatus.CONFIRMED
    assert office.shipping.sent == [ShipOrder.of(details_of(), "corr-1")]
    assert office.releases.sent == []


def test_the_first_answer_is_not_written_if_it_decides_nothing() -> None:
    office = Office()

    assert office.handle(BALANCE_HELD) == set()

    assert office.order() == placed(details_of("order-1"))
    assert office.dynamodb.writes == 0


def test_whichever_answer_comes_last_both_are_in_the_order() -> None:
    for first, second in ((BALANCE_HELD, STOCK_HELD), (STOCK_HELD, BALANCE_HELD)):
        office = Office()

        office.handle(first)
        office.handle(second)

        assert office.order().checks == {CheckType.BALANCE: held(), CheckType.STOCK: held("1", "pen")}
        assert office.dynamodb.writes == 1


def test_what_the_other_check_has_decided_is_taken_in_before_its_answer_comes() -> None:
    office = Office()
    office.ledgers[CheckType.STOCK].by_order["order-1"] = declined()

    office.handle(BALANCE_HELD)

    assert office.order().status is OrderStatus.REJECTED
    assert office.releases.sent == [ReleaseOrder.of(details_of(), "corr-1")]


def test_the_later_answer_does_not_ship_a_second_time_what_the_earlier_one_has_shipped() -> None:
    office = Office()
    office.ledgers[CheckType.STOCK].by_order["order-1"] = held("1", "pen")
    office.handle(BALANCE_HELD)

    office.handle(STOCK_HELD)
    assert office.shipping.sent == [ShipOrder.of(details_of(), "corr-1")]
    office.handle(BALANCE_HELD)  # it is resent: its sender may have died before it shipped
    assert office.shipping.sent == [ShipOrder.of(details_of(), "corr-1")] * 2


def test_a_ledger_is_not_read_for_what_the_order_or_the_batch_has() -> None:
    office = Office()

    office.handle(BALANCE_HELD, STOCK_HELD)
    office.handle(BALANCE_HELD)

    assert [ledger.reads for ledger in office.ledgers.values()] == [0, 0]


def test_two_answers_about_one_order_in_one_batch_are_one_write() -> None:
    office = Office()

    office.handle(BALANCE_HELD, STOCK_HELD)

    assert office.order().status is OrderStatus.CONFIRMED
    assert office.dynamodb.writes == 1


def test_a_declined_answer_rejects_the_order_and_has_released_what_the_other_check_may_hold() -> None:
    office = Office()

    office.handle(BALANCE_DECLINED)

    assert office.order().status is OrderStatus.REJECTED
    assert office.releases.sent == [ReleaseOrder.of(details_of(), "corr-1")]
    assert office.shipping.sent == []


def test_what_is_held_after_the_order_was_rejected_is_released() -> None:
    office = Office()
    office.handle(BALANCE_DECLINED)
    office.releases.taken()

    office.handle(STOCK_HELD)

    assert office.releases.sent == [ReleaseOrder.of(details_of(), "corr-1")]


def test_an_order_that_both_declined_has_nothing_to_release() -> None:
    office = Office()

    office.handle(BALANCE_DECLINED, STOCK_DECLINED)

    assert office.order().status is OrderStatus.REJECTED
    assert office.releases.sent == []


def test_what_follows_is_sent_again_on_a_duplicate_which_changes_nothing() -> None:
    office = Office()
    office.handle(BALANCE_HELD, STOCK_HELD)
    before = office.order()

    assert office.handle(BALANCE_HELD) == set()

    assert office.order() == before
    assert office.shipping.sent == [ShipOrder.of(details_of(), "corr-1")] * 2
    assert office.dynamodb.writes == 1


def test_an_order_whose_follow_up_can_not_be_sent_is_returned_to_the_queue_and_the_next_check_sends_it() -> (
    None
):
    office = Office()
    office.shipping.failing = {"order-1"}

    assert office.handle(BALANCE_HELD, STOCK_HELD) == {"order-1"}
    office.shipping.failing = set()
    office.handle(BALANCE_HELD, STOCK_HELD)

    assert office.shipping.sent == [ShipOrder.of(details_of(), "corr-1")]


def test_an_order_whose_release_can_not_be_sent_is_returned_to_the_queue() -> None:
    office = Office()
    office.releases.failing = {"order-1"}

    assert office.handle(BALANCE_DECLINED) == {"order-1"}


def test_an_order_that_somebody_else_changed_is_read_again_and_decided_with_both_answers() -> None:
    office = Office()
    office.ledgers[CheckType.STOCK].by_order["order-1"] = held("1", "pen")
    office.dynamodb.interrupt(lambda: office.handle(STOCK_HELD))

    assert office.handle(BALANCE_HELD) == set()

    assert office.order().status is OrderStatus.CONFIRMED
    assert set(office.order().checks) == set(CheckType)
    assert office.backoff.after == [1]


def test_an_order_that_others_keep_changing_is_returned_to_the_queue() -> None:
    office = Office()
    office.dynamodb.conflict(MAX_ATTEMPTS)

    assert office.handle(BALANCE_HELD, STOCK_HELD) == {"order-1"}

    assert office.order().status is OrderStatus.PENDING


def test_an_unknown_order_is_returned_to_the_queue_and_does_not_stop_the_others() -> None:
    office = Office("order-2")

    failed = office.handle(
        checked(CheckType.BALANCE, order_id="order-1"),
        checked(CheckType.BALANCE, order_id="order-2"),
        checked(CheckType.STOCK, order_id="order-2"),
    )

    assert failed == {"order-1"}
    assert office.order("order-2").status is OrderStatus.CONFIRMED


def test_an_order_that_can_not_be_saved_does_not_stop_the_others() -> None:
    office = Office("order-1", "order-2")
    office.dynamodb.interrupt(RuntimeError("the first save breaks"))

    failed = office.handle(
        checked(decision=declined(), order_id="order-1"), checked(decision=declined(), order_id="order-2")
    )

    assert failed == {"order-1"}
    assert CheckType.BALANCE in office.order("order-2").checks
