"""Who follows what: the table does what the fake does. (The fake of AWS's own calls has none of this.)"""

from __future__ import annotations

import itertools
import time

import pytest

from order_capture.adapters.dynamodb_followers import KEPT_SECONDS, MAX_FOLLOWED, DynamoFollowers
from order_capture.application.ports import Followed, Followers
from order_capture.domain.errors import SubscriptionLimitError
from tests.support.factories import NOW
from tests.support.fakes import MemoryFollowers
from tests.support.tables import create_tables

ORDER, CUSTOMER = Followed.order("one"), Followed.customer("one")
_numbers = itertools.count(1)


@pytest.fixture(params=["memory", "moto", "dynamodb_local"])
def followers(request: pytest.FixtureRequest) -> Followers:
    if request.param == "memory":
        return MemoryFollowers()
    client = request.getfixturevalue(f"{request.param}_client")
    return DynamoFollowers(client, create_tables(client, f"-f{next(_numbers)}")["ConnectionTable"])


def test_nobody_follows_what_nobody_asked_for(followers: Followers) -> None:
    assert not followers.of(ORDER)


def test_an_order_and_a_customer_of_the_same_id_are_two_things(followers: Followers) -> None:
    followers.add("c-1", ORDER, NOW)

    assert set(followers.of(ORDER)) == {"c-1"}
    assert not followers.of(CUSTOMER)


def test_several_follow_the_same_and_one_several(followers: Followers) -> None:
    for connection, what in (("c-1", ORDER), ("c-2", ORDER), ("c-1", CUSTOMER), ("c-1", ORDER)):
        followers.add(connection, what, NOW)

    assert set(followers.of(ORDER)) == {"c-1", "c-2"}
    assert set(followers.of(CUSTOMER)) == {"c-1"}


def test_who_has_gone_follows_nothing_any_more(followers: Followers) -> None:
    for connection, what in (("c-1", ORDER), ("c-1", CUSTOMER), ("c-2", ORDER)):
        followers.add(connection, what, NOW)

    followers.remove("c-1")
    followers.remove("c-1")
    followers.remove("c-3", CUSTOMER)

    assert set(followers.of(ORDER)) == {"c-2"}
    assert not followers.of(CUSTOMER)


def test_a_connection_follows_fifty_things_and_no_more(followers: Followers) -> None:
    for number in range(MAX_FOLLOWED):
        followers.add("c-1", Followed.order(f"order-{number}"), NOW)

    with pytest.raises(SubscriptionLimitError):
        followers.add("c-1", ORDER, NOW)

    followers.add("c-1", Followed.order("order-0"), NOW)  # it has that one
    followers.add("c-2", ORDER, NOW)
    assert set(followers.of(ORDER)) == {"c-2"}


@pytest.mark.parametrize("engine", ["moto", "dynamodb_local"])
def test_what_is_left_of_a_connection_expires_after_its_longest_life(
    request: pytest.FixtureRequest, engine: str
) -> None:
    client = request.getfixturevalue(f"{engine}_client")
    table = create_tables(client, f"-f{next(_numbers)}")["ConnectionTable"]
    DynamoFollowers(client, table).add("c-1", ORDER, "2026-11-20T10:00:00.000Z")

    items = client.scan(TableName=table)["Items"]

    assert len(items) == 2
    assert {int(item["expiresAt"]["N"]) for item in items} == {1795168800 + KEPT_SECONDS}
    assert time.gmtime(1795168800)[:4] == (2026, 11, 20, 10)


@pytest.mark.parametrize("engine", ["moto", "dynamodb_local"])
def test_what_a_late_subscription_left_behind_is_removed_when_it_is_found(
    request: pytest.FixtureRequest, engine: str
) -> None:
    # given a subscription whose connection's own item is gone already
    client = request.getfixturevalue(f"{engine}_client")
    table = create_tables(client, f"-f{next(_numbers)}")["ConnectionTable"]
    followers = DynamoFollowers(client, table)
    followers.add("c-1", ORDER, NOW)
    client.delete_item(
        TableName=table, Key={"followed": {"S": "connection#c-1"}, "connectionId": {"S": "c-1"}}
    )
    # when
    followers.remove("c-1", ORDER)
    # then
    assert client.scan(TableName=table)["Items"] == []
