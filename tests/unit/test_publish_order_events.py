"""The events of orders are published, and new orders are watched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from order_capture.adapters.messaging.envelopes import decode
from order_capture.application.messages import OrderEventMessage, ReceivedOrderEvent, WatchOrder
from order_capture.application.orders.publish_order_events import OrderChange, PublishOrderEvents
from order_capture.domain.errors import TransientError
from order_capture.domain.events import OrderEvent, OrderEventType, event_of, events_of
from order_capture.domain.order import TRANSITIONS, CheckType, Order, OrderStatus
from order_capture.domain.order_log import log_lines
from order_capture.entrypoints.http.order_responses import order_view
from tests.support.factories import NOW, body_of, declined, details_of, held, in_status, placed
from tests.support.fakes import MemoryPublisher

PLACED = placed()
HALF = PLACED.record_check(CheckType.BALANCE, held(), now=NOW)
CONFIRMED = HALF.record_check(CheckType.STOCK, held(), now=NOW)
SHIPPED = CONFIRMED.ship(now=NOW)


class TestAnEvent:
    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            (None, PLACED, ("order.placed", 1)),
            (PLACED, PLACED.record_check(CheckType.STOCK, declined(), now=NOW), ("order.rejected", 2)),
            (PLACED, PLACED.cancel(now=NOW), ("order.cancelled", 2)),
            (PLACED, PLACED.expire(now=NOW), ("order.expired", 2)),
            (HALF, CONFIRMED, ("order.confirmed", 2)),
            (CONFIRMED, SHIPPED, ("order.shipped", 3)),
            (CONFIRMED, CONFIRMED.cancel(now=NOW), ("order.cancelled", 3)),
        ],
    )
    def test_is_the_status_that_an_order_came_to_and_how_far_that_is(
        self, before: Order | None, after: Order, expected: tuple[str, int]
    ) -> None:
        event = event_of(before, after)
        assert event == OrderEvent(after)
        assert (event.type, event.change.sequence) == expected

    def test_is_nothing_that_leaves_the_status_as_it_was(self) -> None:
        assert event_of(PLACED, HALF) is None
        assert event_of(PLACED, PLACED) is None

    def test_has_a_type_for_every_status(self) -> None:
        kinds = {event.type for status in OrderStatus if (event := event_of(None, in_status(status)))}
        assert kinds == set(OrderEventType)
        assert len(kinds) == len(TRANSITIONS)


def later(seconds: int) -> str:
    return f"2026-11-20T10:00:0{seconds}.000Z"


REFUSED = PLACED.record_check(CheckType.STOCK, declined(entity="pen"), now=later(1))
HALF_HELD = PLACED.record_check(CheckType.BALANCE, held(), now=later(1))
HELD = HALF_HELD.record_check(CheckType.STOCK, held("1", "pen"), now=later(2))


class TestTheEventsOfAnOrder:
    @pytest.mark.parametrize(
        "life",
        [
            [PLACED],
            [PLACED, HALF_HELD, HELD, HELD.ship(now=later(3))],
            [PLACED, HELD, HELD.cancel(now=later(3))],
            [PLACED, REFUSED, REFUSED.record_check(CheckType.BALANCE, held(), now=later(2))],
            [PLACED, PLACED.withdraw(now=later(1))],
            [PLACED, HALF_HELD, HALF_HELD.expire(now=later(2))],
        ],
    )
    def test_are_derived_from_the_last_of_it_as_they_were_from_its_changes(self, life: list[Order]) -> None:
        changes = zip([None, *life], life, strict=False)
        published = [event for before, after in changes if (event := event_of(before, after))]

        derived = events_of(life[-1])

        assert [event.change for event in derived] == [event.change for event in published]
        assert [order_view(event.order) for event in derived] == [
            order_view(event.order) for event in published
        ]

    def test_leave_out_an_answer_that_was_taken_in_behind_the_one_that_decided(self) -> None:
        (_, rejected) = events_of(REFUSED.record_check(CheckType.BALANCE, held(), now=later(1)))

        assert rejected.order.checks.keys() == {CheckType.STOCK}
        assert log_lines(rejected.order) == log_lines(REFUSED)


class Relay:
    """change_publisher over the in-memory AWS, without subscribers unless a test adds some."""

    def __init__(self) -> None:
        self.watches, self.events = MemoryPublisher(), MemoryPublisher()
        self.customers_with_webhooks: set[str] = set()
        self.has_connections = False
        self.unreadable: Exception | None = None
        self.reads = 0

    def publish(self, changes: Sequence[OrderChange]) -> None:
        PublishOrderEvents(
            self.watches, self.events, self._may_have_webhooks, self._may_have_connections, 60
        ).publish(changes)

    def unwanted(self) -> dict[str, set[str]]:
        """Each published event's attributes for missing subscribers, by customer."""
        return {
            event.customer_id: {*attributes} - {"type", "version"}
            for event, attributes in zip(self.events.sent, self.events.attributes, strict=True)
            if isinstance(event, ReceivedOrderEvent)
        }

    def _may_have_webhooks(self, customer_ids: Collection[str]) -> Collection[str]:
        self._read()
        return self.customers_with_webhooks & {*customer_ids}

    def _may_have_connections(self) -> bool:
        self._read()
        return self.has_connections

    def _read(self) -> None:
        self.reads += 1
        if self.unreadable:
            raise self.unreadable


def of_customer(customer_id: str, callback_url: str = "") -> OrderChange:
    details = replace(details_of(f"order-of-{customer_id}"), customer_id=customer_id)
    order = Order.place(
        details, now=NOW, correlation_id="corr-1", fingerprint="print-1", callback_url=callback_url
    )
    return None, order


def test_a_new_order_is_watched_and_published() -> None:
    relay = Relay()

    relay.publish([(None, PLACED)])

    assert relay.watches.sent == [WatchOrder.of("order-1", "corr-1", 60)]
    assert relay.events.sent == [decode(body_of(OrderEventMessage(OrderEvent(PLACED))))]


def test_later_events_are_published_in_their_order_and_not_watched_again() -> None:
    relay = Relay()

    relay.publish([(PLACED, HALF), (HALF, CONFIRMED), (CONFIRMED, SHIPPED)])

    assert relay.watches.sent == []
    assert relay.events.sent == [
        decode(body_of(OrderEventMessage(OrderEvent(order)))) for order in (CONFIRMED, SHIPPED)
    ]


def test_what_could_not_be_published_comes_again_as_a_whole() -> None:
    relay = Relay()
    relay.events.failing = {"order-1"}

    with pytest.raises(TransientError):
        relay.publish([(None, PLACED), (None, placed(details_of("order-2")))])

    assert relay.watches.sent == [], "a batch that comes again and again would pile up watches"


def test_an_order_that_could_not_be_watched_comes_again() -> None:
    relay = Relay()
    relay.watches.failing = {"order-1"}

    with pytest.raises(TransientError):
        relay.publish([(None, PLACED)])


class TestWhoMayWantAnEvent:
    def test_is_nobody_where_there_is_nobody(self) -> None:
        # given
        relay = Relay()
        # when
        relay.publish([of_customer("alice"), of_customer("bob")])
        # then
        nobody = {"noWebhooks", "noConnections"}
        assert relay.unwanted() == {"alice": nobody, "bob": nobody}

    def test_is_a_customer_with_webhooks_and_whoever_has_a_callback(self) -> None:
        # given
        relay = Relay()
        relay.customers_with_webhooks = {"alice"}
        # when
        relay.publish(
            [of_customer("alice"), of_customer("bob"), of_customer("carol", "https://carol.example/")]
        )
        # then
        assert relay.unwanted() == {
            "alice": {"noConnections"},
            "bob": {"noWebhooks", "noConnections"},
            "carol": {"noConnections"},
        }

    def test_is_any_connection_as_long_as_there_is_one(self) -> None:
        # given
        relay = Relay()
        relay.has_connections = True
        # when
        relay.publish([of_customer("alice"), of_customer("bob")])
        # then
        assert relay.unwanted() == {"alice": {"noWebhooks"}, "bob": {"noWebhooks"}}

    @pytest.mark.parametrize("error", [TransientError("throttled"), KeyError("slots")])
    def test_is_everybody_where_that_can_not_be_read(self, error: Exception) -> None:
        # given
        relay = Relay()
        relay.unreadable = error
        # when
        relay.publish([of_customer("alice")])
        # then
        assert relay.unwanted() == {"alice": set()}
        assert len(relay.watches.sent) == 1

    def test_is_read_once_for_a_batch_and_not_at_all_without_an_event(self) -> None:
        # given
        relay = Relay()
        # when
        relay.publish([of_customer("alice"), of_customer("bob"), of_customer("carol")])
        # then
        assert relay.reads == 2
        # when
        relay.publish([(PLACED, HALF)])
        # then
        assert relay.reads == 2
