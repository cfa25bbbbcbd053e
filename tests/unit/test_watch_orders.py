"""The watchdog advances open orders, and rechecks them in growing intervals until they are at rest."""

from __future__ import annotations

from datetime import timedelta

import pytest

from order_capture.application.messages import CheckOrder, ReleaseOrder, ShipOrder, WatchOrder
from order_capture.application.orders.watch_orders import WatchOrders, watch_new_orders
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.errors import TransientError
from order_capture.domain.order import CheckType, Order, OrderStatus
from order_capture.domain.order_log import log_lines
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, declined, details_of, held, in_status, placed, ticking_clock, watch
from tests.support.fakes import MemoryPublisher, RecordedBackoff
from tests.support.stores import memory_stores

DEADLINE = timedelta(minutes=15)
MAX_DELAY = 900
PAST = timedelta(0)  # every order is past it

CHECK, SHIP = CheckOrder.of(details_of(), "corr-1"), ShipOrder.of(details_of(), "corr-1")
RELEASE = ReleaseOrder.of(details_of(), "corr-1")


class Watchdog:
    """order_watchdog over the in-memory AWS, with some orders."""

    def __init__(self, *orders: Order) -> None:
        self.dynamodb = DynamoDB()
        self.orders = memory_stores(self.dynamodb).orders
        self.checks = MemoryPublisher()
        self.shipping = MemoryPublisher()
        self.watches = MemoryPublisher()
        self.backoff = RecordedBackoff()
        self.ages: list[float] = []
        for order in orders:
            self.orders.add([order])

    def look(self, *messages: WatchOrder, deadline: timedelta = DEADLINE) -> set[str]:
        use_case = WatchOrders(
            self.orders,
            self.checks,
            self.shipping,
            self.watches,
            deadline,
            MAX_DELAY,
            ticking_clock(),
            Retry(self.backoff),
            self.ages.append,
        )
        return use_case.process(messages or (watch(),))

    def order(self, order_id: str = "order-1") -> Order:
        order = self.orders.get(order_id)
        assert order is not None
        return order

    def is_quiet(self) -> bool:
        """Whether nothing was sent."""
        return not (self.checks.sent or self.shipping.sent or self.watches.sent)


def an_order(status: OrderStatus, order_id: str = "order-1") -> Order:
    return in_status(status, placed(details_of(order_id)))


def test_the_age_of_each_order_that_is_still_open_is_measured() -> None:
    for status in OrderStatus:
        watchdog = Watchdog(an_order(status))

        watchdog.look()

        is_open = status in {OrderStatus.PENDING, OrderStatus.CONFIRMED}
        assert [0 <= age < 60 for age in watchdog.ages] == [True] * is_open


class TestNewOrders:
    def test_are_each_put_before_the_watchdog_in_a_while(self) -> None:
        watchdog = MemoryPublisher()

        watch_new_orders(watchdog, [("order-1", "corr-1"), ("order-2", "corr-2")], 60)

        assert watchdog.sent == [
            WatchOrder.of("order-1", "corr-1", 60),
            WatchOrder.of("order-2", "corr-2", 60),
        ]

    def test_of_which_one_can_not_be_sent_come_again_all_of_them(self) -> None:
        watchdog = MemoryPublisher()
        watchdog.failing = {"order-2"}

        with pytest.raises(TransientError):
            watch_new_orders(watchdog, [("order-1", "corr-1"), ("order-2", "corr-2")], 60)


class TestAPendingOrder:
    def test_is_put_to_the_checkers_again_and_checked_later(self) -> None:
        watchdog = Watchdog(placed())

        assert watchdog.look(watch(delay=60)) == set()

        assert watchdog.checks.sent == [CHECK]
        assert watchdog.watches.sent == [watch(delay=120, attempts=1)]
        assert watchdog.order() == placed()

    def test_is_checked_ever_later_up_to_the_longest_delay(self) -> None:
        watchdog = Watchdog(placed())
        delays = []
        (message,) = (watch(delay=60),)
        for _ in range(6):
            watchdog.look(message)
            (sent,) = watchdog.watches.taken()
            assert isinstance(sent, WatchOrder)
            message = sent
            delays.append(message.delay)

        assert delays == [120, 240, 480, 900, 900, 900]
        assert message.attempts == 6

    def test_expires_past_its_deadline_has_its_holds_released_and_is_not_checked_again(self) -> None:
        watchdog = Watchdog(placed())

        assert watchdog.look(deadline=PAST) == set()

        assert watchdog.order().status is OrderStatus.EXPIRED
        assert log_lines(watchdog.order())[-1].endswith(" expired: not decided in time")
        assert watchdog.checks.sent == [RELEASE]
        assert watchdog.watches.sent == []

    def test_that_is_decided_while_it_expires_follows_its_decision(self) -> None:
        watchdog = Watchdog(placed())

        def confirm() -> None:
            order = watchdog.order().record_check(CheckType.BALANCE, held(), now="2026-11-20T10:00:01.000Z")
            order = order.record_check(CheckType.STOCK, held("1", "pen"), now="2026-11-20T10:00:01.000Z")
            watchdog.orders.save(order, expected_version=1)

        watchdog.dynamodb.interrupt(confirm)

        assert watchdog.look(deadline=PAST) == set()

        assert watchdog.order().status is OrderStatus.CONFIRMED
        assert (watchdog.checks.sent, watchdog.shipping.sent) == ([], [SHIP])
        assert watchdog.watches.sent == [watch(delay=120, attempts=1)]
        assert watchdog.backoff.after == [1]

    def test_that_others_keep_changing_is_returned_to_the_queue(self) -> None:
        watchdog = Watchdog(placed())
        watchdog.dynamodb.conflict(MAX_ATTEMPTS)

        assert watchdog.look(deadline=PAST) == {"order-1"}

        assert watchdog.is_quiet()


class TestAConfirmedOrder:
    @pytest.mark.parametrize("deadline", [DEADLINE, PAST])
    def test_is_sent_to_shipping_again_and_checked_later_whatever_the_deadline(
        self, deadline: timedelta
    ) -> None:
        watchdog = Watchdog(an_order(OrderStatus.CONFIRMED))

        assert watchdog.look(deadline=deadline) == set()

        assert watchdog.shipping.sent == [SHIP]
        assert watchdog.watches.sent == [watch(delay=120, attempts=1)]
        assert watchdog.order().status is OrderStatus.CONFIRMED


class TestARefusedOrder:
    @pytest.mark.parametrize("status", [OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED])
    def test_has_its_release_sent_once_more_and_is_not_checked_again(self, status: OrderStatus) -> None:
        watchdog = Watchdog(an_order(status))

        assert watchdog.look() == set()

        assert watchdog.checks.sent == [RELEASE]
        assert watchdog.watches.sent == []

    def test_that_holds_nothing_is_left_alone(self) -> None:
        order = placed()
        for check in CheckType:
            order = order.record_check(check, declined(), now=NOW)
        watchdog = Watchdog(order)

        assert watchdog.look() == set()

        assert watchdog.is_quiet()


class TestAShippedOrder:
    def test_is_left_alone(self) -> None:
        watchdog = Watchdog(an_order(OrderStatus.SHIPPED))

        assert watchdog.look(deadline=PAST) == set()

        assert watchdog.is_quiet()


class TestWhenSomethingFails:
    def test_an_order_that_can_not_be_listed_as_open_is_driven_on_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watchdog = Watchdog(an_order(OrderStatus.CONFIRMED))

        def throttled(_: str) -> None:
            raise TransientError("the index is throttled")

        monkeypatch.setattr(watchdog.orders, "mark_open", throttled)

        assert watchdog.look() == set()
        assert watchdog.shipping.sent == [SHIP]

    @pytest.mark.parametrize(
        ("outbox", "status"),
        [
            ("checks", OrderStatus.PENDING),
            ("checks", OrderStatus.REJECTED),
            ("shipping", OrderStatus.CONFIRMED),
        ],
    )
    def test_an_order_for_which_nothing_can_be_sent_is_returned_to_the_queue_and_has_no_second_watch(
        self, outbox: str, status: OrderStatus
    ) -> None:
        watchdog = Watchdog(an_order(status))
        getattr(watchdog, outbox).failing = {"order-1"}

        assert watchdog.look() == {"order-1"}

        # The resent message is its watch message.
        assert watchdog.watches.sent == []

    @pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CONFIRMED])
    def test_an_order_that_can_not_be_watched_further_is_returned_to_the_queue(
        self, status: OrderStatus
    ) -> None:
        watchdog = Watchdog(an_order(status))
        watchdog.watches.failing = {"order-1"}

        assert watchdog.look() == {"order-1"}

    def test_an_unknown_order_is_returned_to_the_queue_and_does_not_stop_the_others(self) -> None:
        watchdog = Watchdog(an_order(OrderStatus.CONFIRMED, "order-2"))

        assert watchdog.look(watch("order-1"), watch("order-2")) == {"order-1"}

        assert watchdog.shipping.sent == [ShipOrder.of(details_of("order-2"), "corr-1")]

    def test_an_order_that_can_not_be_saved_does_not_stop_the_others(self) -> None:
        watchdog = Watchdog(placed(details_of("order-1")), placed(details_of("order-2")))
        watchdog.dynamodb.interrupt(RuntimeError("the first save breaks"))

        assert watchdog.look(watch("order-1"), watch("order-2"), deadline=PAST) == {"order-1"}

        assert watchdog.order("order-2").status is OrderStatus.EXPIRED


def test_a_batch_of_all_kinds_is_driven_on_each_its_own_way() -> None:
    statuses = {f"order-{i}": status for i, status in enumerate(OrderStatus)}
    watchdog = Watchdog(*(an_order(status, order_id) for order_id, status in statuses.items()))

    assert watchdog.look(*map(watch, statuses)) == set()

    open_orders = {OrderStatus.PENDING, OrderStatus.CONFIRMED}
    watched = [message.order_id for message in watchdog.watches.sent if isinstance(message, WatchOrder)]
    assert watched == [order_id for order_id, status in statuses.items() if status in open_orders]
