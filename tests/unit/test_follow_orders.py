"""Who may follow what, and what they are told."""

from __future__ import annotations

import pytest

from order_capture.application.callers import Caller
from order_capture.application.follow_orders import MAX_FOLLOWERS, follow, push_events
from order_capture.application.messages import OrderNews
from order_capture.application.ports import Followed
from order_capture.domain.errors import NotFoundError, SubscriptionLimitError
from order_capture.domain.order import Order
from tests.support.factories import NOW, SERVICE, placed, terms_of
from tests.support.fakes import MemoryConnections, MemoryFollowers, MemoryOrders

ALICE, BOB = Caller("sub-of-alice", "alice"), Caller("sub-of-bob", "bob")
ORDER, CUSTOMER = Followed.order("order-1"), Followed.customer("alice")


@pytest.fixture
def orders() -> MemoryOrders:
    """One order, of Alice's."""
    orders = MemoryOrders()
    orders.add([placed(terms_of("order-1", "alice"))])
    return orders


def news(order_id: str = "order-1", sequence: int = 1, customer_id: str = "alice") -> OrderNews:
    return OrderNews(
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
def test_an_order_is_followed_by_its_customer_and_by_services(orders: MemoryOrders, caller: Caller) -> None:
    followers = MemoryFollowers()

    order = follow(orders, followers, "c-1", ORDER, caller, NOW)

    assert order == orders.get("order-1")
    assert followers.of(ORDER) == {"c-1"}


@pytest.mark.parametrize("caller", [ALICE, SERVICE])
def test_a_customer_is_followed_by_themselves_and_by_services(orders: MemoryOrders, caller: Caller) -> None:
    followers = MemoryFollowers()

    assert follow(orders, followers, "c-1", CUSTOMER, caller, NOW) is None
    assert followers.of(CUSTOMER) == {"c-1"}


@pytest.mark.parametrize(
    ("foreign", "unknown"),
    [(ORDER, Followed.order("order-2")), (CUSTOMER, Followed.customer("nobody"))],
)
def test_what_is_anothers_is_refused_in_the_words_of_what_does_not_exist(
    orders: MemoryOrders, foreign: Followed, unknown: Followed
) -> None:
    followers = MemoryFollowers()

    said = []
    for what in (foreign, unknown):
        with pytest.raises(NotFoundError) as refusal:
            follow(orders, followers, "c-1", what, BOB, NOW)
        said.append(str(refusal.value))

    assert said[0] == said[1]
    assert not followers.of(foreign)


def test_what_happens_while_somebody_subscribes_is_in_the_answer(orders: MemoryOrders) -> None:
    class Slow(MemoryFollowers):
        def add(self, connection_id: str, what: Followed, now: str, at_most: int = 50) -> None:
            """The order is cancelled before the subscription counts, so that nobody is told of it."""
            order = orders.get("order-1")
            assert order is not None
            orders.save(order.cancel(now=NOW), over=order.version)
            super().add(connection_id, what, now, at_most)

    order = follow(orders, Slow(), "c-1", ORDER, ALICE, NOW)

    assert isinstance(order, Order)
    assert order.status == "CANCELLED"


def test_fifty_follow_the_same_and_no_more(orders: MemoryOrders) -> None:
    followers = MemoryFollowers()
    for number in range(MAX_FOLLOWERS):
        follow(orders, followers, f"c-{number}", CUSTOMER, ALICE, NOW)

    with pytest.raises(SubscriptionLimitError):
        follow(orders, followers, "one-more", CUSTOMER, ALICE, NOW)


def test_an_event_goes_to_who_follows_its_order_or_its_customer_once_each(orders: MemoryOrders) -> None:
    followers, connections = MemoryFollowers(), MemoryConnections()
    for connection, what in (
        ("of-order", ORDER),
        ("of-alice", CUSTOMER),
        ("of-both", ORDER),
        ("of-both", CUSTOMER),
        ("of-another", Followed.order("order-2")),
        ("of-bob", Followed.customer("bob")),
    ):
        followers.add(connection, what, NOW)

    assert push_events(followers, connections, [news()]) == set()

    assert sorted(connections.sent) == [
        ("of-alice", "order-1/1"),
        ("of-both", "order-1/1"),
        ("of-order", "order-1/1"),
    ]


def test_the_events_of_a_batch_are_sent_in_their_order() -> None:
    followers, connections = MemoryFollowers(), MemoryConnections()
    followers.add("c-1", ORDER, NOW)

    push_events(followers, connections, [news(sequence=3), news(sequence=1), news(sequence=2)])

    assert [text for _, text in connections.sent] == ["order-1/1", "order-1/2", "order-1/3"]


def test_a_connection_that_is_gone_is_forgotten_and_the_others_are_told() -> None:
    followers, connections = MemoryFollowers(), MemoryConnections(gone=["c-1"])
    for connection in ("c-1", "c-2"):
        followers.add(connection, CUSTOMER, NOW)

    assert push_events(followers, connections, [news()]) == set()

    assert connections.sent == [("c-2", "order-1/1")]
    assert followers.of(CUSTOMER) == {"c-2"}


def test_an_event_that_could_not_be_sent_comes_again_alone() -> None:
    followers, connections = MemoryFollowers(), MemoryConnections(fail=["c-1"])
    followers.add("c-1", ORDER, NOW)
    followers.add("c-2", Followed.order("order-2"), NOW)

    assert push_events(followers, connections, [news(), news("order-2")]) == {"order-1"}

    assert connections.sent == [("c-2", "order-2/1")]
    assert followers.of(ORDER) == {"c-1"}
