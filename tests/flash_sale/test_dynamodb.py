"""Contention on one item: conflicting writes are refused, and a partition key has limited units a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.dynamodb import ContendedDynamoDB
from tests.support.aws.dynamodb import DynamoDB
from tests.support.virtual_time import Time


class Contended:
    """A table of products and its writers; `log` has the result and time of each write."""

    def __init__(self, **constants: float) -> None:
        self.time = Time()
        store = DynamoDB(lambda: self.time.now)
        index = {
            "IndexName": "ByShop",
            "KeySchema": [{"AttributeName": "shop"}, {"AttributeName": "name"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
        store.create_table(TableName="T", KeySchema=[{"AttributeName": "id"}], GlobalSecondaryIndexes=[index])
        self.client = ContendedDynamoDB(
            store,
            self.time,
            Constants(**{"transaction_ms": 10, "transaction_item_ms": 0, "refusal_ms": 6, **constants}),
            self.time.sleep,
            lambda median: self.time.sleep(median / 1000),
        )
        self.log: list[tuple[float, str, str]] = []

    def at(self, milliseconds: float, name: str, call: Callable[..., Any], **params: Any) -> None:
        def run() -> None:
            try:
                call(**params)
                result = "done"
            except ClientError as error:
                answer: Any = error.response
                codes = [reason["Code"] for reason in answer.get("CancellationReasons", [])]
                result = " ".join(codes) or answer["Error"]["Code"]
            self.log.append((round(self.time.now * 1000, 1), name, result))

        self.time.spawn(run, milliseconds / 1000)

    def transaction(self, milliseconds: float, name: str, *puts: dict[str, Any]) -> None:
        self.at(milliseconds, name, self.client.transact_write_items, TransactItems=list(puts))


def put(item: str, size: int = 0, condition: str | None = None, **more: str) -> dict[str, Any]:
    values = {"id": item, "text": "x" * size, **more}
    action: dict[str, Any] = {"TableName": "T", "Item": {name: {"S": text} for name, text in values.items()}}
    return {"Put": action if condition is None else {**action, "ConditionExpression": condition}}


def test_a_transaction_refuses_another_one_on_the_same_item_until_it_commits() -> None:
    table = Contended()

    table.transaction(0, "first", put("a"), put("b"))
    table.transaction(5, "second", put("b"), put("c"))
    table.transaction(5, "elsewhere", put("c"))
    table.transaction(10.5, "later", put("b"))
    table.time.run(1)

    assert table.log == [
        (10.0, "first", "done"),
        (11.0, "second", "TransactionConflict None"),
        (15.0, "elsewhere", "done"),
        (20.5, "later", "done"),
    ]
    assert table.client.figures.conflicts == 1


def test_a_plain_write_that_meets_a_transaction_is_refused_and_a_plain_read_is_not() -> None:
    table = Contended(read_ms=3, write_ms=4)

    table.transaction(0, "transaction", put("a"))
    table.at(1, "write", table.client.put_item, **put("a")["Put"])
    table.at(2, "read", table.client.get_item, TableName="T", Key={"id": {"S": "a"}}, ConsistentRead=True)
    table.at(11, "later", table.client.put_item, **put("a")["Put"])
    table.time.run(1)

    assert table.log == [
        (5.0, "read", "done"),
        (7.0, "write", "TransactionConflictException"),
        (10.0, "transaction", "done"),
        (15.0, "later", "done"),
    ]


def test_a_transactional_read_that_meets_a_transaction_is_refused() -> None:
    table = Contended(read_ms=3)
    keys = [{"Get": {"TableName": "T", "Key": {"id": {"S": item}}}} for item in ("a", "b")]

    table.transaction(0, "transaction", put("a"))
    table.at(1, "read", table.client.transact_get_items, TransactItems=keys)
    table.at(11, "later", table.client.transact_get_items, TransactItems=keys)
    table.time.run(1)

    assert table.log == [
        (7.0, "read", "TransactionConflict None"),
        (10.0, "transaction", "done"),
        (14.0, "later", "done"),
    ]


def test_a_deletion_is_a_write_like_any_other() -> None:
    table = Contended(write_ms=4)
    key = {"TableName": "T", "Key": {"id": {"S": "a"}}}

    table.transaction(0, "transaction", put("a"))
    table.at(1, "delete", table.client.delete_item, **key)
    table.at(11, "later", table.client.delete_item, **key)
    table.time.run(1)

    assert [(name, result) for _, name, result in table.log] == [
        ("delete", "TransactionConflictException"),
        ("transaction", "done"),
        ("later", "done"),
    ]


def test_conditions_are_evaluated_when_a_transaction_is_prepared() -> None:
    table = Contended()

    table.transaction(0, "first", put("a", condition="attribute_not_exists(id)"))
    table.transaction(11, "second", put("a", condition="attribute_not_exists(id)"), put("b"))
    table.time.run(1)

    assert table.log == [(10.0, "first", "done"), (17.0, "second", "ConditionalCheckFailed None")]


def test_a_transaction_takes_longer_for_each_item() -> None:
    table = Contended(transaction_item_ms=0.5)

    table.transaction(0, "large", *(put(str(number)) for number in range(100)))
    table.time.run(1)

    assert table.log == [(60.0, "large", "done")]


def test_a_partition_key_serves_so_many_write_units_a_second_and_a_transaction_takes_two_a_kilobyte() -> None:
    table = Contended(wcu_per_partition=10)

    table.transaction(0, "first", put("a", size=2_500))
    table.transaction(100, "second", put("a", size=2_500))
    table.transaction(300, "third", put("a", size=2_500))
    table.transaction(300, "another key", put("b", size=2_500))
    table.time.run(2)

    assert [(name, result) for _, name, result in table.log] == [
        ("first", "done"),
        ("second", "ThrottlingError"),
        ("third", "done"),
        ("another key", "done"),
    ]
    assert table.client.figures.write_units == 3 * 6


def test_a_plain_write_beyond_the_units_is_throttled() -> None:
    table = Contended(wcu_per_partition=1)

    table.at(0, "first", table.client.put_item, **put("a")["Put"])
    table.at(1, "second", table.client.put_item, **put("a")["Put"])
    table.at(1_100, "third", table.client.put_item, **put("a")["Put"])
    table.time.run(2)

    assert [result for *_, result in table.log] == ["done", "ProvisionedThroughputExceededException", "done"]


def test_a_new_item_takes_a_unit_of_the_index_under_the_index_s_own_key() -> None:
    table = Contended(wcu_per_partition=2)

    for number in range(3):
        table.at(
            number, f"order {number}", table.client.put_item, **put(str(number), shop="s", name="n")["Put"]
        )
    table.time.run(1)

    assert [result for *_, result in table.log].count("done") == 2


@pytest.mark.parametrize(("limit", "results"), [(2, ["done", "done"]), (1, ["done", "throttled"])])
def test_a_partition_key_serves_so_many_read_units_a_second(limit: int, results: list[str]) -> None:
    table = Contended(rcu_per_partition=limit)

    for number in range(2):
        table.at(
            number, "read", table.client.get_item, TableName="T", Key={"id": {"S": "a"}}, ConsistentRead=True
        )
    table.time.run(1)

    assert ["done" if result == "done" else "throttled" for *_, result in table.log] == results
