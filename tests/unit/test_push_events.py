"""Who may follow what, and what they are told."""

from __future__ import annotations

import pytest

from order_capture.application.callers import Caller
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.ports import OrderRepository, SubscriptionTarget
from order_capture.application.retry import always
from order_capture.application.subscriptions.manage_subscriptions import MAX_SUBSCRIBERS, ManageSubscriptions
from order_capture.application.subscriptions.push_events import PushEvents
from order_capture.domain.errors import NotFoundError, SubscriptionLimitError
from order_capture.domain.order import Order
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, SERVICE, details_of, placed
from tests.support.fakes import MemoryConnectionClient, MemorySubscriptionRepository
from tests.support.stores import memory_stores

ALICE, BOB = Caller("sub-of-alice", "alice"), Caller("sub-of-bob", "bob")
ORDER, CUSTOMER = SubscriptionTarget.order("order-1"), SubscriptionTarget.customer("alice")


@pytest.fixture
def orders() -> OrderRepository:
    """One order, of Alice's."""
    orders = memory_stores(DynamoDB()).orders
    orders.add([placed(details_of("order-1", "alice"))])
    return orders


def news(order_id: str = "order-1", sequence: int = 1, customer_id: str = "alice") -> ReceivedOrderEvent:
    return ReceivedOrderEvent(
        order_id,
        customer_id,
        event_id=f"event-{sequence}",
        type="order.placed",
        sequence=sequence,
        time=NOW,
        body=f"{order_id}/{sequence}",
        correlation_id="corr-1",
    )


@pytest.mark.parametrize("caller", [ALICE, SERVICE])
def test_an_order_is_followed_by_its_customer_and_by_services(
    orders: OrderRepository, caller: Caller
) -> None:
    followers = MemorySubscriptionRepository()

    order = ManageSubscriptions(orders, followers, lambda: NOW).subscribe("c-1", ORDER, caller)

    assert order == orders.get("order-1")
    assert followers.subscribers(ORDER) == {"c-1"}


@pytest.mark.parametrize("caller", [ALICE, SERVICE])
def test_a_customer_is_followed_by_themselves_and_by_services(
    orders: OrderRepository, caller: Caller
) -> None:
    followers = MemorySubscriptionRepository()

    assert ManageSubscriptions(orders, followers, lambda: NOW).subscribe("c-1", CUSTOMER, caller) is None
    assert followers.subscribers(CUSTOMER) == {"c-1"}


@pytest.mark.parametrize(
    ("foreign", "unknown"),
    [(ORDER, SubscriptionTarget.order("order-2")), (CUSTOMER, SubscriptionTarget.customer("nobody"))],
)
def test_what_is_anothers_is_refused_in_the_words_of_what_does_not_exist(
    orders: OrderRepository, foreign: SubscriptionTarget, unknown: SubscriptionTarget
) -> None:
    followers = MemorySubscriptionRepository()

    refusals = []
    for what in (foreign, unknown):
        with pytest.raises(NotFoundError) as refusal:
            ManageSubscriptions(orders, followers, lambda: NOW).subscribe("c-1", what, BOB)
        refusals.append(str(refusal.value))

    assert refusals[0] == refusals[1]
    assert not followers.subscribers(foreign)


def test_what_happens_while_somebody_subscribes_is_in_the_answer(orders: OrderRepository) -> None:
    class Slow(MemorySubscriptionRepository):
        def add(self, connection_id: str, what: SubscriptionTarget, now: str, at_most: int = 50) -> None:
            """The order is cancelled before the subscription counts, so that nobody is told of it."""
            order = orders.get("order-1")
            assert order is not None
            orders.save(order.cancel(now=NOW), expected_version=order.version)
            super().add(connection_id, what, now, at_most)

    order = ManageSubscriptions(orders, Slow(), lambda: NOW).subscribe("c-1", ORDER, ALICE)

    assert isinstance(order, Order)
    assert order.status == "CANCELLED"


def test_fifty_follow_the_same_and_no_more(orders: OrderRepository) -> None:
    followers = MemorySubscriptionRepository()
    for number in range(MAX_SUBSCRIBERS):
        ManageSubscriptions(orders, followers, lambda: NOW).subscribe(f"c-{number}", CUSTOMER, ALICE)

    with pytest.raises(SubscriptionLimitError):
        ManageSubscriptions(orders, followers, lambda: NOW).subscribe("one-more", CUSTOMER, ALICE)


def test_an_event_goes_to_who_follows_its_order_or_its_customer_once_each(
    orders: OrderRepository,
) -> None:
    followers, connections = MemorySubscriptionRepository(), MemoryConnectionClient()
    for connection, what in (
        ("of-order", ORDER),
        ("of-alice", CUSTOMER),
        ("of-both", ORDER),
        ("of-both", CUSTOMER),
        ("of-another", SubscriptionTarget.order("order-2")),
        ("of-bob", SubscriptionTarget.customer("bob")),
    ):
        followers.add(connection, what, NOW)

    assert PushEvents(followers, connections, always).process([news()]) == set()

    assert sorted(connections.sent) == [
        ("of-alice", "order-1/1"),
        ("of-both", "order-1/1"),
        ("of-order", "order-1/1"),
    ]


def test_the_events_of_a_batch_are_sent_in_their_order() -> None:
    followers, connections = MemorySubscriptionRepository(), MemoryConnectionClient()
    followers.add("c-1", ORDER, NOW)

    PushEvents(followers, connections, always).process([news(sequence=3), news(sequence=1), news(sequence=2)])

    assert [text for _, text in connections.sent] == ["order-1/1", "order-1/2", "order-1/3"]


def test_a_connection_that_is_gone_is_forgotten_and_the_others_are_told() -> None:
    followers, connections = MemorySubscriptionRepository(), MemoryConnectionClient(gone=["c-1"])
    for connection in ("c-1", "c-2"):
        followers.add(connection, CUSTOMER, NOW)

    assert PushEvents(followers, connections, always).process([news()]) == set()

    assert connections.sent == [("c-2", "order-1/1")]
    assert followers.subscribers(CUSTOMER) == {"c-2"}


def test_an_event_that_could_not_be_sent_comes_again_alone() -> None:
    followers, connections = MemorySubscriptionRepository(), MemoryConnectionClient(fail=["c-1"])
    followers.add("c-1", ORDER, NOW)
    followers.add("c-2", SubscriptionTarget.order("order-2"), NOW)

    assert PushEvents(followers, connections, always).process([news(), news("order-2")]) == {"order-1"}

    assert connections.sent == [("c-2", "order-2/1")]
    assert followers.subscribers(ORDER) == {"c-1"}
