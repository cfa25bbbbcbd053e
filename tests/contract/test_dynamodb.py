"""What the application relies on in DynamoDB's own calls."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import botocore.exceptions
import pytest

Action = dict[str, Any]


@pytest.fixture
def orders(tables: dict[str, str]) -> str:
    return tables["OrderTable"]


@pytest.fixture
def stock(tables: dict[str, str]) -> str:
    return tables["StockTable"]


def order(order_id: str, **values: Any) -> dict[str, Any]:
    return {"orderId": {"S": order_id}, **values}


def put(table: str, order_id: str, condition: str | None = None, **values: Any) -> Action:
    action: Action = {"TableName": table, "Item": order(order_id, **values)}
    if condition:
        action["ConditionExpression"] = condition
    return action


NEW = "attribute_not_exists(orderId)"


def add(table: str, order_id: str, amount: str, at_least: str) -> Action:
    """Add to `n`, if there is enough of it."""
    return {
        "TableName": table,
        "Key": order(order_id),
        "UpdateExpression": "SET n = n + :amount, #status = :status",
        "ConditionExpression": "attribute_exists(orderId) AND n >= :least",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {
            ":amount": {"N": amount},
            ":least": {"N": at_least},
            ":status": {"S": "CHANGED"},
        },
    }


def item(dynamodb: Any, table: str, order_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = dynamodb.get_item(TableName=table, Key=order(order_id), ConsistentRead=True)
    return found.get("Item")


def refused(dynamodb: Any, operation: str, **params: Any) -> Mapping[str, Any]:
    with pytest.raises(botocore.exceptions.ClientError) as error:
        getattr(dynamodb, operation)(**params)
    answer: Mapping[str, Any] = error.value.response
    return answer


def code(answer: Mapping[str, Any]) -> str:
    return str(answer["Error"]["Code"])


def test_an_item_is_read_as_it_was_written(dynamodb: Any, orders: str) -> None:
    values = {"n": {"N": "-2.5"}, "logs": {"L": [{"S": "a"}]}, "checks": {"M": {"STOCK": {"M": {}}}}}

    dynamodb.put_item(**put(orders, "one", NEW, **values))

    assert item(dynamodb, orders, "one") == order("one", **values)
    assert item(dynamodb, orders, "another") is None


@pytest.mark.parametrize(
    ("written", "read"),
    [("10.00", "10"), ("0.10", "0.1"), ("1000", "1000"), ("0.00", "0"), ("-0.50", "-0.5")],
)
def test_a_number_has_one_form(
    request: pytest.FixtureRequest, dynamodb: Any, orders: str, written: str, read: str
) -> None:
    if "moto" in request.node.callspec.id:
        pytest.skip("moto gives a number back as it was written")

    dynamodb.put_item(**put(orders, "one", n={"N": written}))

    assert item(dynamodb, orders, "one") == order("one", n={"N": read})


def test_a_sum_is_exact(dynamodb: Any, orders: str) -> None:
    dynamodb.put_item(**put(orders, "one", n={"N": "0.1"}))

    dynamodb.update_item(**add(orders, "one", "0.2", at_least="0.1"))

    assert item(dynamodb, orders, "one") == order("one", n={"N": "0.3"}, status={"S": "CHANGED"})


def test_an_item_that_exists_is_not_new_and_comes_with_the_refusal(dynamodb: Any, orders: str) -> None:
    dynamodb.put_item(**put(orders, "one", n={"N": "1"}))

    answer = refused(
        dynamodb,
        "put_item",
        **put(orders, "one", NEW, n={"N": "2"}),
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )

    assert code(answer) == "ConditionalCheckFailedException"
    assert answer["Item"] == order("one", n={"N": "1"})
    assert item(dynamodb, orders, "one") == order("one", n={"N": "1"})


def test_a_refusal_returns_no_item_that_was_not_asked_for(dynamodb: Any, orders: str) -> None:
    dynamodb.put_item(**put(orders, "one"))

    assert "Item" not in refused(dynamodb, "put_item", **put(orders, "one", NEW))


@pytest.mark.parametrize("least", ["5", "4.99", "-1"])
def test_at_least_counts_as_numbers_do(dynamodb: Any, orders: str, least: str) -> None:
    dynamodb.put_item(**put(orders, "one", n={"N": "5"}))

    dynamodb.update_item(**add(orders, "one", "1", least))

    assert item(dynamodb, orders, "one") == order("one", n={"N": "6"}, status={"S": "CHANGED"})


@pytest.mark.parametrize("stored", [{"N": "4"}, {"S": "9"}])
def test_too_little_and_what_is_no_number_is_refused(
    request: pytest.FixtureRequest, dynamodb: Any, orders: str, stored: Action
) -> None:
    if "moto" in request.node.callspec.id and "S" in stored:
        pytest.skip("moto does not compare text with a number")
    dynamodb.put_item(**put(orders, "one", n=stored))

    answer = refused(dynamodb, "update_item", **add(orders, "one", "1", at_least="5"))

    assert code(answer) == "ConditionalCheckFailedException"


def test_what_is_not_there_is_refused_by_any_condition_on_it(dynamodb: Any, orders: str) -> None:
    answer = refused(dynamodb, "update_item", **add(orders, "one", "1", at_least="0"))

    assert code(answer) == "ConditionalCheckFailedException"
    assert item(dynamodb, orders, "one") is None


@pytest.mark.parametrize(("mark", "is_written"), [(None, True), ("0", True), ("1", False)])
def test_what_is_unequal_to_a_mark_is_not_marked_or_has_no_mark(
    dynamodb: Any, orders: str, mark: str | None, is_written: bool
) -> None:
    values: dict[str, Any] = {} if mark is None else {"deleted": {"N": mark}}
    dynamodb.put_item(**put(orders, "o-1", **values))

    call: Action = {
        "TableName": orders,
        "Key": order("o-1"),
        "UpdateExpression": "SET n = :one",
        "ConditionExpression": "deleted <> :tombstone",
        "ExpressionAttributeValues": {":one": {"N": "1"}, ":tombstone": {"N": "1"}},
    }
    if is_written:
        dynamodb.update_item(**call)
    else:
        refused(dynamodb, "update_item", **call)

    assert item(dynamodb, orders, "o-1") == order(
        "o-1", **values, **({"n": {"N": "1"}} if is_written else {})
    )


def test_every_part_of_an_update_sees_the_item_as_it_was(dynamodb: Any, orders: str) -> None:
    dynamodb.put_item(**put(orders, "one", a={"N": "1"}, b={"N": "10"}, logs={"L": [{"S": "x"}]}))

    dynamodb.update_item(
        TableName=orders,
        Key=order("one"),
        UpdateExpression="SET a = b + :one, b = a + :one, logs = list_append(logs, :more)",
        ExpressionAttributeValues={":one": {"N": "1"}, ":more": {"L": [{"S": "y"}]}},
    )

    changed = order("one", a={"N": "11"}, b={"N": "2"}, logs={"L": [{"S": "x"}, {"S": "y"}]})
    assert item(dynamodb, orders, "one") == changed


@pytest.mark.parametrize(
    "wrong",
    [
        {"ExpressionAttributeValues": {":v": {"N": "1"}, ":unused": {"N": "1"}}},
        {"ExpressionAttributeValues": {":another": {"N": "1"}}},
        {"ExpressionAttributeValues": {":v": {"N": "1"}}, "ExpressionAttributeNames": {"#unused": "n"}},
        {"Key": {"another": {"S": "one"}}, "ExpressionAttributeValues": {":v": {"N": "1"}}},
        {"UpdateExpression": "SET missing = missing + :v", "ExpressionAttributeValues": {":v": {"N": "1"}}},
    ],
)
def test_a_request_that_makes_no_sense_is_not_done(dynamodb: Any, orders: str, wrong: Action) -> None:
    dynamodb.put_item(**put(orders, "one", n={"N": "1"}))
    update = {"TableName": orders, "Key": order("one"), "UpdateExpression": "SET n = :v", **wrong}

    assert code(refused(dynamodb, "update_item", **update)) == "ValidationException"
    assert item(dynamodb, orders, "one") == order("one", n={"N": "1"})


def test_a_transaction_is_all_or_nothing_over_tables(dynamodb: Any, orders: str, stock: str) -> None:
    pen = {"productId": {"S": "pen"}, "entry": {"S": "BALANCE"}}
    dynamodb.transact_write_items(
        TransactItems=[{"Put": put(orders, "one", NEW)}, {"Put": {"TableName": stock, "Item": pen}}]
    )

    answer = refused(
        dynamodb,
        "transact_write_items",
        TransactItems=[{"Put": put(orders, "two", NEW)}, {"Put": put(orders, "one", NEW)}],
    )

    assert code(answer) == "TransactionCanceledException"
    assert item(dynamodb, orders, "two") is None
    assert dynamodb.get_item(TableName=stock, Key=pen)["Item"] == pen


def test_the_reasons_come_in_the_order_of_the_actions_with_the_items_as_they_stand(
    dynamodb: Any, orders: str
) -> None:
    dynamodb.put_item(**put(orders, "one", n={"N": "1"}))
    returned = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

    reasons = refused(
        dynamodb,
        "transact_write_items",
        TransactItems=[
            {"Put": {**put(orders, "new", NEW), **returned}},
            {"Put": {**put(orders, "one", NEW), **returned}},
            {"Update": {**add(orders, "missing", "1", "0"), **returned}},
        ],
    )["CancellationReasons"]

    assert [reason["Code"] for reason in reasons] == [
        "None",
        "ConditionalCheckFailed",
        "ConditionalCheckFailed",
    ]
    assert [reason.get("Item") or None for reason in reasons] == [None, order("one", n={"N": "1"}), None]


def test_a_transaction_takes_each_item_once(dynamodb: Any, orders: str) -> None:
    twice = [{"Put": put(orders, "one")}, {"Put": put(orders, "one", n={"N": "1"})}]

    assert code(refused(dynamodb, "transact_write_items", TransactItems=twice)) == "ValidationException"
    assert item(dynamodb, orders, "one") is None


def test_a_transaction_takes_a_hundred_items_and_no_more(dynamodb: Any, orders: str) -> None:
    actions = [{"Put": put(orders, f"order-{i}", NEW)} for i in range(101)]

    assert code(refused(dynamodb, "transact_write_items", TransactItems=actions)) == "ValidationException"
    dynamodb.transact_write_items(TransactItems=actions[:100])
    assert item(dynamodb, orders, "order-99") is not None


def test_a_transaction_with_a_token_is_done_once(
    request: pytest.FixtureRequest, dynamodb: Any, orders: str
) -> None:
    if "moto" in request.node.callspec.id:
        pytest.skip("moto ignores tokens")
    dynamodb.put_item(**put(orders, "one", n={"N": "1"}))
    token = str(uuid.uuid4())
    actions = [{"Update": add(orders, "one", "1", "0")}]

    for _ in range(2):
        dynamodb.transact_write_items(TransactItems=actions, ClientRequestToken=token)
    others = [{"Update": add(orders, "one", "2", "0")}]
    answer = refused(dynamodb, "transact_write_items", TransactItems=others, ClientRequestToken=token)

    assert code(answer) == "IdempotentParameterMismatchException"
    assert item(dynamodb, orders, "one") == order("one", n={"N": "2"}, status={"S": "CHANGED"})


def test_a_batch_reads_what_there_is(dynamodb: Any, orders: str) -> None:
    for order_id in ("one", "two"):
        dynamodb.put_item(**put(orders, order_id))
    keys = [order(order_id) for order_id in ("one", "missing", "two")]

    answer = dynamodb.batch_get_item(RequestItems={orders: {"Keys": keys, "ConsistentRead": True}})

    assert sorted(each["orderId"]["S"] for each in answer["Responses"][orders]) == ["one", "two"]
    assert not answer.get("UnprocessedKeys")


@pytest.mark.parametrize("keys", [["one", "one"], [f"order-{i}" for i in range(101)]])
def test_a_batch_reads_each_key_once_and_a_hundred_at_most(
    dynamodb: Any, orders: str, keys: list[str]
) -> None:
    requested = {orders: {"Keys": [order(order_id) for order_id in keys]}}

    assert code(refused(dynamodb, "batch_get_item", RequestItems=requested)) == "ValidationException"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("attribute_not_exists(ids) OR size(ids) < :two", True),
        ("size(ids) < :one OR contains(ids, :a)", True),
        ("size(ids) < :one", False),
        ("contains(absent, :a)", False),
        ("size(absent) < :two", False),
        ("n >= :two AND (n <= :one OR begins_with(word, :a))", True),
        ("n > :two OR n < :two", False),
    ],
)
def test_conditions_are_joined_by_and_and_or(
    request: pytest.FixtureRequest, dynamodb: Any, orders: str, condition: str, holds: bool
) -> None:
    if "moto" in request.node.callspec.id and "size(absent)" in condition:
        pytest.skip("moto takes the size of what is not there for 0")
    values = {":one": {"N": "1"}, ":two": {"N": "2"}, ":a": {"S": "a"}}
    update: Action = {
        "TableName": orders,
        "Key": order("one"),
        "UpdateExpression": "SET seen = :one",
        "ConditionExpression": condition,
        "ExpressionAttributeValues": {":one": {"N": "1"}}
        | {name: value for name, value in values.items() if name in condition},
    }
    dynamodb.put_item(**put(orders, "one", n={"N": "2"}, ids={"SS": ["a"]}, word={"S": "ab"}))

    if holds:
        dynamodb.update_item(**update)
    else:
        assert code(refused(dynamodb, "update_item", **update)) == "ConditionalCheckFailedException"


def test_numbers_and_sets_are_added_to_what_there_is_and_what_there_is_not(
    dynamodb: Any, orders: str
) -> None:
    for _ in range(2):
        dynamodb.update_item(
            TableName=orders,
            Key=order("one"),
            UpdateExpression="SET n = :one ADD #sum :one, ids :these",
            ExpressionAttributeNames={"#sum": "sum"},
            ExpressionAttributeValues={":one": {"N": "1"}, ":these": {"SS": ["b", "a"]}},
        )

    found = item(dynamodb, orders, "one")
    assert found is not None
    assert sorted(found.pop("ids")["SS"]) == ["a", "b"]
    assert found == order("one", n={"N": "1"}, sum={"N": "2"})


def test_a_set_loses_members_and_is_gone_with_its_last_one(dynamodb: Any, orders: str) -> None:
    dynamodb.put_item(**put(orders, "one", ids={"SS": ["a", "b"]}))

    for members, left in ((["a", "c"], {"ids": {"SS": ["b"]}}), (["b"], {}), (["b"], {})):
        dynamodb.update_item(
            TableName=orders,
            Key=order("one"),
            UpdateExpression="DELETE ids :these",
            ExpressionAttributeValues={":these": {"SS": members}},
        )
        assert item(dynamodb, orders, "one") == order("one", **left)


def test_an_item_is_deleted_on_a_condition_and_one_that_is_not_there_without_one(
    dynamodb: Any, orders: str
) -> None:
    dynamodb.put_item(**put(orders, "one"))
    delete = {"TableName": orders, "Key": order("one")}

    exists = {**delete, "ConditionExpression": "attribute_exists(orderId)"}
    dynamodb.transact_write_items(TransactItems=[{"Delete": exists}])

    assert item(dynamodb, orders, "one") is None
    dynamodb.delete_item(**delete)
    reasons = refused(dynamodb, "transact_write_items", TransactItems=[{"Delete": exists}])
    assert code(reasons) == "TransactionCanceledException"


@pytest.mark.parametrize(
    ("range_key", "forward", "found"),
    [
        ("begins_with(entry, :a)", True, ["a1", "a2", "a3"]),
        ("entry > :a2", True, ["a3", "b"]),
        ("entry <= :a2", False, ["a2", "a1"]),
        ("entry BETWEEN :a2 AND :a3", True, ["a2", "a3"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_query_reads_a_partition_page_by_page(
    dynamodb: Any, stock: str, range_key: str, forward: bool, found: list[str], limit: int
) -> None:
    keys = [{"productId": {"S": "pen"}, "entry": {"S": entry}} for entry in ("b", "a3", "a1", "a2")]
    others = [{"productId": {"S": "ink"}, "entry": {"S": "a1"}}]
    puts = [{"PutRequest": {"Item": {**key, "n": {"N": "1"}}}} for key in (*keys, *others)]
    assert not dynamodb.batch_write_item(RequestItems={stock: puts}).get("UnprocessedItems")
    values = {f":{name}": {"S": name} for name in re.findall(r":(\w+)", range_key)}

    pages: list[list[dict[str, Any]]] = []
    more: dict[str, Any] = {}
    while not pages or more:
        answer = dynamodb.query(
            TableName=stock,
            KeyConditionExpression=f"productId = :pen AND {range_key}",
            ExpressionAttributeValues={":pen": {"S": "pen"}, **values},
            ScanIndexForward=forward,
            ConsistentRead=True,
            Limit=limit,
            **more,
        )
        pages.append(answer["Items"])
        more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]} if "LastEvaluatedKey" in answer else {}

    assert [each["entry"]["S"] for page in pages for each in page] == found
    assert all(len(page) <= limit for page in pages)


def test_a_batch_writes_each_key_once_and_25_at_most(
    request: pytest.FixtureRequest, dynamodb: Any, orders: str
) -> None:
    if "moto" in request.node.callspec.id:
        pytest.skip("moto writes a key twice in one batch")
    for keys in (["one", "one"], [f"order-{i}" for i in range(26)]):
        puts = [{"PutRequest": {"Item": order(order_id)}} for order_id in keys]
        error = refused(dynamodb, "batch_write_item", RequestItems={orders: puts})
        assert code(error) == "ValidationException"


def product(product_id: str, entry: str = "BALANCE", **values: str) -> dict[str, Any]:
    return {name: {"S": text} for name, text in {"productId": product_id, "entry": entry, **values}.items()}


def listed(dynamodb: Any, table: str, of: str = "all", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = dynamodb.query(
        TableName=table,
        IndexName="ListIndex",
        KeyConditionExpression="listed = :listed",
        ExpressionAttributeValues={":listed": {"S": of}},
        **more,
    )
    return found


def test_an_index_has_the_items_that_have_its_key_and_of_them_the_keys(dynamodb: Any, stock: str) -> None:
    dynamodb.put_item(TableName=stock, Item=product("pen", listed="all", colour="red"))
    dynamodb.put_item(TableName=stock, Item=product("ink", colour="red"))
    dynamodb.put_item(TableName=stock, Item=product("zip", listed="other"))

    assert listed(dynamodb, stock)["Items"] == [product("pen", listed="all")]
    assert listed(dynamodb, stock, "other")["Items"] == [product("zip", listed="other")]
    assert listed(dynamodb, stock, "nothing")["Items"] == []


def test_an_item_comes_into_an_index_with_its_key_and_goes_with_it(dynamodb: Any, stock: str) -> None:
    dynamodb.put_item(TableName=stock, Item=product("pen"))
    assert listed(dynamodb, stock)["Items"] == []

    dynamodb.update_item(
        TableName=stock,
        Key=product("pen"),
        UpdateExpression="SET listed = :all",
        ExpressionAttributeValues={":all": {"S": "all"}},
    )
    assert listed(dynamodb, stock)["Items"] == [product("pen", listed="all")]

    dynamodb.put_item(TableName=stock, Item=product("pen"))
    assert listed(dynamodb, stock)["Items"] == []


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_an_index_is_read_page_by_page(dynamodb: Any, stock: str, limit: int, forward: bool) -> None:
    keys = [("pen", "1"), ("ink", "1"), ("pen", "2"), ("zip", "1")]
    for product_id, entry in keys:
        dynamodb.put_item(TableName=stock, Item=product(product_id, entry, listed="all"))

    pages: list[list[dict[str, Any]]] = []
    more: dict[str, Any] = {}
    while not pages or more:
        answer = listed(dynamodb, stock, Limit=limit, ScanIndexForward=forward, **more)
        pages.append(answer["Items"])
        more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]} if "LastEvaluatedKey" in answer else {}

    found = [(each["productId"]["S"], each["entry"]["S"]) for page in pages for each in page]
    assert sorted(found) == sorted(keys), "those of one key come in any order, and once"
    assert [name for name, _ in found] == sorted((name for name, _ in keys), reverse=not forward)
    assert all(len(page) <= limit for page in pages)


def test_an_index_may_have_other_attributes_of_its_items(dynamodb: Any, tables: dict[str, str]) -> None:
    key = {"page": {"S": "1#placed#2026"}, "row": {"S": "000001"}}
    counted = {"M": {"order-1": {"L": [{"N": "1"}]}}}
    item = {**key, "listed": {"S": "1#placed"}, "time": {"S": "2026"}, "counted": counted}
    dynamodb.put_item(TableName=tables["ReportTable"], Item=item)

    found = listed(dynamodb, tables["ReportTable"], "1#placed")["Items"]

    assert found == [{**key, "listed": {"S": "1#placed"}, "counted": counted}]


def test_an_index_has_no_consistent_reads(request: pytest.FixtureRequest, dynamodb: Any, stock: str) -> None:
    if "moto" in request.node.callspec.id:
        pytest.skip("moto allows it")
    with pytest.raises(botocore.exceptions.ClientError) as error:
        listed(dynamodb, stock, ConsistentRead=True)
    assert error.value.response["Error"]["Code"] == "ValidationException"
