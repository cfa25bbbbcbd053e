"""Who may subscribe to what, and which events are pushed to them."""

from __future__ import annotations

from unittest import mock

import pytest

from order_capture.application.callers import Caller
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.ports import SubscriptionTarget
from order_capture.application.retry import always
from order_capture.application.subscriptions.manage_subscriptions import MAX_SUBSCRIBERS, ManageSubscriptions
from order_capture.application.subscriptions.push_events import PushEvents
from order_capture.domain.errors import NotFoundError, OperatorsOnlyError, SubscriptionLimitError
from order_capture.domain.order import Order
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, SERVICE, details_of, placed
from tests.support.fakes import MemoryConnectionClient
from tests.support.stores import Stores, memory_stores

ALICE, BOB = Caller("sub-of-alice", "alice"), Caller("sub-of-bob", "bob")
ORDER, CUSTOMER = SubscriptionTarget.order("order-1"), SubscriptionTarget.customer("alice")
ALL = SubscriptionTarget.all_orders()


@pytest.fixture
def dynamodb() -> DynamoDB:
    return DynamoDB()


@pytest.fixture
def stores(dynamodb: DynamoDB) -> Stores:
    """With one order, of Alice's."""
    stores = memory_stores(dynamodb)
    stores.orders.add([placed(details_of("order-1", "alice"))])
    return stores


def subscribe(
    stores: Stores, connection_id: str, what: SubscriptionTarget, caller: Caller = ALICE
) -> Order | None:
    return ManageSubscriptions(stores.orders, stores.subscriptions, lambda: NOW).subscribe(
        connection_id, what, caller
    )


def subscribers(stores: Stores, target: SubscriptionTarget) -> set[str]:
    return set(stores.subscriptions.subscribers([target])[target])


def event(order_id: str = "order-1", sequence: int = 1, customer_id: str = "alice") -> ReceivedOrderEvent:
    return ReceivedOrderEvent(
        event_id=f"event-{sequence}",
        type="order.placed",
        sequence=sequence,
        time=NOW,
        create_time=NOW,
        details=details_of(order_id, customer_id),
        body=f"{order_id}/{sequence}",
        correlation_id="corr-1",
    )


@pytest.mark.parametrize("caller", [ALICE, SERVICE])
def test_an_order_is_followed_by_its_customer_and_by_services(stores: Stores, caller: Caller) -> None:
    order = subscribe(stores, "c-1", ORDER, caller)

    assert order == stores.orders.get("order-1")
    assert subscribers(stores, ORDER) == {"c-1"}


@pytest.mark.parametrize("caller", [ALICE, SERVICE])
def test_a_customer_is_followed_by_themselves_and_by_services(stores: Stores, caller: Caller) -> None:
    assert subscribe(stores, "c-1", CUSTOMER, caller) is None

    assert subscribers(stores, CUSTOMER) == {"c-1"}


@pytest.mark.parametrize(
    ("foreign", "unknown"),
    [(ORDER, SubscriptionTarget.order("order-2")), (CUSTOMER, SubscriptionTarget.customer("nobody"))],
)
def test_what_is_anothers_is_refused_in_the_words_of_what_does_not_exist(
    stores: Stores, foreign: SubscriptionTarget, unknown: SubscriptionTarget
) -> None:
    refusals = []
    for what in (foreign, unknown):
        with pytest.raises(NotFoundError) as refusal:
            subscribe(stores, "c-1", what, BOB)
        refusals.append(str(refusal.value))

    assert refusals[0] == refusals[1]
    assert not subscribers(stores, foreign)


def test_all_orders_are_followed_by_services_and_operators(stores: Stores) -> None:
    assert subscribe(stores, "c-1", ALL, SERVICE) is None

    assert subscribers(stores, ALL) == {"c-1"}


def test_a_customer_is_refused_all_orders(stores: Stores) -> None:
    with pytest.raises(OperatorsOnlyError):
        subscribe(stores, "c-1", ALL, ALICE)

    assert not subscribers(stores, ALL)


def test_fifty_follow_all_orders_and_no_more(stores: Stores) -> None:
    for number in range(MAX_SUBSCRIBERS):
        subscribe(stores, f"c-{number}", ALL, SERVICE)

    with pytest.raises(SubscriptionLimitError):
        subscribe(stores, "one-more", ALL, SERVICE)


def test_what_happens_while_somebody_subscribes_is_in_the_answer(stores: Stores, dynamodb: DynamoDB) -> None:
    # given an order that is cancelled before the subscription counts, so that its event is not pushed
    cancelled = placed(details_of("order-1", "alice")).cancel(now=NOW)
    dynamodb.interrupt(lambda: stores.orders.save(cancelled, expected_version=1))

    assert subscribe(stores, "c-1", ORDER) == cancelled


def test_fifty_follow_the_same_and_no_more(stores: Stores) -> None:
    for number in range(MAX_SUBSCRIBERS):
        subscribe(stores, f"c-{number}", CUSTOMER)

    with pytest.raises(SubscriptionLimitError):
        subscribe(stores, "one-more", CUSTOMER)


def push(stores: Stores, connections: MemoryConnectionClient, *events: ReceivedOrderEvent) -> set[str]:
    return PushEvents(stores.subscriptions, connections, lambda: NOW, always).process(events)


def follow(stores: Stores, connection_id: str, what: SubscriptionTarget) -> None:
    stores.subscriptions.add(connection_id, what, NOW, MAX_SUBSCRIBERS)


def test_an_event_goes_to_who_follows_its_order_or_its_customer_once_each(stores: Stores) -> None:
    connections = MemoryConnectionClient()
    for connection, what in (
        ("of-order", ORDER),
        ("of-alice", CUSTOMER),
        ("of-both", ORDER),
        ("of-both", CUSTOMER),
        ("of-another", SubscriptionTarget.order("order-2")),
        ("of-bob", SubscriptionTarget.customer("bob")),
        ("of-all", ALL),
        ("of-both", ALL),
    ):
        follow(stores, connection, what)

    assert push(stores, connections, event()) == set()

    assert sorted(connections.sent) == [
        ("of-alice", "order-1/1"),
        ("of-all", "order-1/1"),
        ("of-both", "order-1/1"),
        ("of-order", "order-1/1"),
    ]


def test_the_subscribers_of_a_whole_batch_are_read_in_one_call(stores: Stores) -> None:
    connections = MemoryConnectionClient()
    events = [event(f"order-{number}", customer_id=f"customer-{number}") for number in range(10)]
    follow(stores, "c-1", ALL)

    with mock.patch.object(
        stores.subscriptions, "subscribers", wraps=stores.subscriptions.subscribers
    ) as looked_up:
        push(stores, connections, *events)

    assert looked_up.call_count == 1
    assert [to for to, _ in connections.sent] == ["c-1"] * 10


def test_a_connection_of_all_orders_that_is_gone_is_tried_once(stores: Stores) -> None:
    connections = MemoryConnectionClient(gone=["c-1"])
    follow(stores, "c-1", ALL)
    follow(stores, "c-2", ALL)

    with mock.patch.object(connections, "send", wraps=connections.send) as send:
        assert push(stores, connections, event(sequence=1), event(sequence=2)) == set()

    assert connections.sent == [("c-2", "order-1/1"), ("c-2", "order-1/2")]
    assert [call.args[0] for call in send.call_args_list].count("c-1") == 1
    assert subscribers(stores, ALL) == {"c-2"}


def test_a_connection_that_is_gone_is_tried_once_whatever_it_is_subscribed_to(stores: Stores) -> None:
    connections = MemoryConnectionClient(gone=["c-1"])
    for target in (ALL, ORDER, CUSTOMER, SubscriptionTarget.order("order-2")):
        follow(stores, "c-1", target)

    with mock.patch.object(connections, "send", wraps=connections.send) as send:
        assert push(stores, connections, event(sequence=1), event("order-2", sequence=2)) == set()

    assert send.call_count == 1


def test_the_events_of_a_batch_are_sent_in_their_order(stores: Stores) -> None:
    connections = MemoryConnectionClient()
    follow(stores, "c-1", ORDER)

    push(stores, connections, event(sequence=3), event(sequence=1), event(sequence=2))

    assert [text for _, text in connections.sent] == ["order-1/1", "order-1/2", "order-1/3"]


def test_a_connection_that_is_gone_is_removed_and_the_others_get_the_event(stores: Stores) -> None:
    connections = MemoryConnectionClient(gone=["c-1"])
    for connection in ("c-1", "c-2"):
        follow(stores, connection, CUSTOMER)

    assert push(stores, connections, event()) == set()

    assert connections.sent == [("c-2", "order-1/1")]
    assert subscribers(stores, CUSTOMER) == {"c-2"}


def test_an_event_that_could_not_be_sent_comes_again_alone(stores: Stores) -> None:
    connections = MemoryConnectionClient(fail=["c-1"])
    follow(stores, "c-1", ORDER)
    follow(stores, "c-2", SubscriptionTarget.order("order-2"))

    assert push(stores, connections, event(), event("order-2")) == {"order-1"}

    assert connections.sent == [("c-2", "order-2/1")]
    assert subscribers(stores, ORDER) == {"c-1"}
