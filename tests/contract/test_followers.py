"""Which connections are subscribed to what."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from order_capture.adapters.dynamodb.subscription_repository import (
    KEPT_SECONDS,
    MAX_SUBSCRIPTIONS,
    DynamoSubscriptionRepository,
)
from order_capture.adapters.system import backoff
from order_capture.application.ports import SubscriptionRepository, SubscriptionTarget
from order_capture.application.retry import Retry
from order_capture.domain.errors import SubscriptionLimitError
from order_capture.domain.times import after
from tests.support.factories import NOW
from tests.support.stores import Stores
from tests.support.tables import create_tables, dynamodb_client

ORDER, CUSTOMER = SubscriptionTarget.order("one"), SubscriptionTarget.customer("one")
MOST, THREADS = 50, 16


@pytest.fixture
def followers(stores: Stores) -> SubscriptionRepository:
    return stores.subscriptions


def subscribers(followers: SubscriptionRepository, target: SubscriptionTarget) -> set[str]:
    return set(followers.subscribers([target])[target])


def test_nobody_follows_what_nobody_asked_for(followers: SubscriptionRepository) -> None:
    assert not subscribers(followers, ORDER)


def test_that_there_may_be_any_is_known_from_the_first_until_its_connection_must_have_ended(
    followers: SubscriptionRepository,
) -> None:
    assert not followers.has_any(NOW)

    followers.add("c-1", ORDER, NOW, MOST)
    assert followers.has_any(NOW)
    followers.add("c-2", ORDER, "2026-11-20T11:30:00.000Z", MOST)

    assert followers.has_any("2026-11-20T13:30:00.000Z"), "two hours after the second"
    assert not followers.has_any("2026-11-20T14:31:00.000Z")


def test_an_order_and_a_customer_of_the_same_id_are_two_things(followers: SubscriptionRepository) -> None:
    followers.add("c-1", ORDER, NOW, MOST)

    assert subscribers(followers, ORDER) == {"c-1"}
    assert not subscribers(followers, CUSTOMER)


def test_several_follow_the_same_and_one_several(followers: SubscriptionRepository) -> None:
    for connection, what in (("c-1", ORDER), ("c-2", ORDER), ("c-1", CUSTOMER), ("c-1", ORDER)):
        followers.add(connection, what, NOW, MOST)

    assert subscribers(followers, ORDER) == {"c-1", "c-2"}
    assert subscribers(followers, CUSTOMER) == {"c-1"}


def test_all_orders_are_a_thing_to_follow_like_any_other(followers: SubscriptionRepository) -> None:
    everything = SubscriptionTarget.all_orders()
    followers.add("c-1", everything, NOW, MOST)
    followers.add("c-1", CUSTOMER, NOW, MOST)
    followers.add("c-2", everything, NOW, MOST)

    assert subscribers(followers, everything) == {"c-1", "c-2"}
    assert followers.has_any(NOW)
    followers.remove("c-1")
    assert subscribers(followers, everything) == {"c-2"}
    assert not subscribers(followers, CUSTOMER)


def test_who_has_gone_follows_nothing_any_more(followers: SubscriptionRepository) -> None:
    for connection, what in (("c-1", ORDER), ("c-1", CUSTOMER), ("c-2", ORDER)):
        followers.add(connection, what, NOW, MOST)

    followers.remove("c-1")
    followers.remove("c-1")
    followers.remove("c-3", CUSTOMER)

    assert subscribers(followers, ORDER) == {"c-2"}
    assert not subscribers(followers, CUSTOMER)


def test_a_connection_follows_fifty_things_and_no_more(followers: SubscriptionRepository) -> None:
    for number in range(MAX_SUBSCRIPTIONS):
        followers.add("c-1", SubscriptionTarget.order(f"order-{number}"), NOW, MOST)

    with pytest.raises(SubscriptionLimitError):
        followers.add("c-1", ORDER, NOW, MOST)

    followers.add("c-1", SubscriptionTarget.order("order-0"), NOW, MOST)  # it has that one
    followers.add("c-2", ORDER, NOW, MOST)
    assert subscribers(followers, ORDER) == {"c-2"}


def test_so_many_follow_the_same_and_no_more(followers: SubscriptionRepository) -> None:
    for number in range(3):
        followers.add(f"c-{number}", ORDER, NOW, at_most=3)

    with pytest.raises(SubscriptionLimitError):
        followers.add("c-9", ORDER, NOW, at_most=3)

    followers.add("c-0", ORDER, NOW, at_most=3)  # it does
    followers.add("c-9", CUSTOMER, NOW, at_most=3)
    assert subscribers(followers, ORDER) == {"c-0", "c-1", "c-2"}
    followers.remove("c-1")
    followers.add("c-9", ORDER, NOW, at_most=3)
    assert subscribers(followers, ORDER) == {"c-0", "c-2", "c-9"}


def test_who_was_refused_has_followed_nothing(followers: SubscriptionRepository) -> None:
    followers.add("c-1", ORDER, NOW, at_most=1)
    for _ in range(MAX_SUBSCRIPTIONS + 1):  # or else it would follow too much in the end
        with pytest.raises(SubscriptionLimitError, match="connections can have the same subscription"):
            followers.add("c-2", ORDER, NOW, at_most=1)


def test_connections_that_ended_without_notice_take_nobodys_place(stores: Stores) -> None:
    # given two connections of three hours ago, and one of now
    followers, later = stores.subscriptions, after(NOW, KEPT_SECONDS)
    for connection, now in (("old-1", NOW), ("old-2", NOW), ("c-1", later)):
        followers.add(connection, ORDER, now, at_most=3)
    # one of which has expired from the table
    forget(followers, "old-2")
    # when
    followers.add("c-2", ORDER, later, at_most=3)
    followers.add("c-3", ORDER, later, at_most=3)
    # then
    assert subscribers(followers, ORDER) == {"c-1", "c-2", "c-3"}
    with pytest.raises(SubscriptionLimitError):
        followers.add("c-4", ORDER, later, at_most=3)


def test_however_many_subscribe_at_once_the_bound_holds(dynamodb_local_url: str) -> None:
    # given one subscriber per thread, each with its own client
    clients = [dynamodb_client(dynamodb_local_url) for _ in range(THREADS)]
    table = create_tables(clients[0], f"-f{uuid.uuid4()}")["ConnectionTable"]
    start = Barrier(THREADS)

    def subscribe(number: int) -> bool:
        followers = DynamoSubscriptionRepository(clients[number], table, Retry(backoff))
        start.wait()
        try:
            followers.add(f"c-{number}", ORDER, NOW, at_most=5)
        except SubscriptionLimitError:
            return False
        return True

    # when
    with ThreadPoolExecutor(THREADS) as threads:
        subscribed = list(threads.map(subscribe, range(THREADS)))
    # then
    assert sum(subscribed) == 5
    assert set(subscribers(DynamoSubscriptionRepository(clients[0], table, Retry(backoff)), ORDER)) == {
        f"c-{number}" for number in range(THREADS) if subscribed[number]
    }


def forget(followers: DynamoSubscriptionRepository, connection: str) -> None:
    """Delete a connection's own item, as TTL does."""
    key = {"followed": {"S": f"connection#{connection}"}, "connectionId": {"S": connection}}
    followers._client.delete_item(TableName=followers._table, Key=key)


def items_of(followers: DynamoSubscriptionRepository) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = followers._client.scan(TableName=followers._table)["Items"]
    return items


SCANNED = pytest.mark.parametrize("stores", ["moto", "dynamodb_local"], indirect=True)


@SCANNED
def test_what_is_left_of_a_connection_expires_after_its_longest_life(stores: Stores) -> None:
    stores.subscriptions.add("c-1", ORDER, "2026-11-20T10:00:00.000Z", MOST)

    items = items_of(stores.subscriptions)

    # the connection's own, the order's, and the marker of any subscription
    assert len(items) == 3
    assert {int(item["expiresAt"]["N"]) for item in items} == {1795168800 + KEPT_SECONDS}
    assert time.gmtime(1795168800)[:4] == (2026, 11, 20, 10)


@SCANNED
def test_what_a_late_subscription_left_behind_is_removed_when_it_is_found(stores: Stores) -> None:
    # given a subscription whose connection's item is already deleted
    followers = stores.subscriptions
    followers.add("c-1", ORDER, NOW, MOST)
    forget(followers, "c-1")
    # when
    followers.remove("c-1", ORDER)
    # then
    assert not subscribers(followers, ORDER)
    (left,) = (item for item in items_of(followers) if item["followed"]["S"] != "any")
    assert left.keys() == {"followed", "connectionId", "expiresAt"}  # an empty set, which expires
