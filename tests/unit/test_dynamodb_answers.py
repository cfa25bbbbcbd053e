"""DynamoDB's rarer responses: conflicts, throttling, and partly processed batches.

Neither moto nor DynamoDB Local produces them; the contract suite covers all others on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters.dynamodb import transactions
from order_capture.adapters.dynamodb.history_repository import BATCH_WRITES, DynamoHistoryRepository
from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository
from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository
from order_capture.adapters.dynamodb.subscription_repository import DynamoSubscriptionRepository
from order_capture.adapters.dynamodb.types import from_item, to_item
from order_capture.adapters.dynamodb.webhook_repository import DynamoWebhookRepository
from order_capture.adapters.serializers.fields import mapping, number, text, texts
from order_capture.application.ports import (
    SettleRefusedError,
    Shipment,
    SubscriptionTarget,
    VersionConflictError,
    WriteRefusedError,
)
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.errors import SubscriptionLimitError, TransientError, UnreadableError
from order_capture.domain.ledger import ACCOUNTS, STOCK, Hold
from order_capture.domain.order import MAX_ITEMS, OrderDetails
from order_capture.domain.webhooks import Lane, ReceiverHealth
from tests.support.factories import NOW, a_decline, delivery_of, details_of, held, placed, webhook_of
from tests.support.fakes import RecordedBackoff

CONFLICT, THROTTLED = {"Code": "TransactionConflict"}, {"Code": "ThrottlingError"}
FAILED, PASSED = {"Code": "ConditionalCheckFailed"}, {"Code": "None"}


class DynamoDb:
    """Returns its prepared responses, one for each call, then executes calls normally."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**arguments: Any) -> dict[str, Any]:
            self.calls.append((operation, arguments))
            answer = self._answers.pop(0) if self._answers else {}
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def error(code: str, **more: Any) -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError({"Error": {"Code": code}, **more}, "Operation")  # type: ignore[typeddict-item]


def cancelled(*reasons: dict[str, Any]) -> botocore.exceptions.ClientError:
    return error("TransactionCanceledException", CancellationReasons=list(reasons))


def hold(entity: str = "pen", order_id: str = "order-1") -> Hold:
    return Hold(entity, order_id, {entity: held().requested}, held(), NOW)


def ledger(dynamodb: DynamoDb) -> DynamoLedgerRepository:
    return DynamoLedgerRepository(dynamodb, "StockTable", "productId", Retry(RecordedBackoff()))


def orders(dynamodb: DynamoDb) -> tuple[DynamoOrderRepository, RecordedBackoff]:
    backoff = RecordedBackoff()
    return DynamoOrderRepository(dynamodb, "OrderTable", Retry(backoff)), backoff


def history(dynamodb: DynamoDb) -> tuple[DynamoHistoryRepository, RecordedBackoff]:
    backoff = RecordedBackoff()
    return DynamoHistoryRepository(dynamodb, "HistoryTable", "productId", Retry(backoff)), backoff


def webhooks(dynamodb: DynamoDb) -> DynamoWebhookRepository:
    return DynamoWebhookRepository(dynamodb, "WebhookTable", lambda: NOW, Retry(RecordedBackoff()))


def reports(dynamodb: DynamoDb) -> DynamoReportRepository:
    return DynamoReportRepository(dynamodb, "ReportTable")


def followers(dynamodb: DynamoDb) -> DynamoSubscriptionRepository:
    return DynamoSubscriptionRepository(dynamodb, "ConnectionTable", Retry(RecordedBackoff()))


class TestAWriteOfALedger:
    @pytest.mark.parametrize("busy", [CONFLICT, THROTTLED, {"Code": "ProvisionedThroughputExceeded"}])
    def test_that_meets_another_one_is_refused_as_such(self, busy: dict[str, Any]) -> None:
        with pytest.raises(WriteRefusedError) as refused:
            ledger(DynamoDb(cancelled(PASSED, busy))).write([], [hold("pen"), hold("ink", "order-2")], NOW)

        assert refused.value == WriteRefusedError({}, {}, conflict=True, contended=set())

    def test_may_meet_another_one_and_be_refused_for_what_is_there_at_once(self) -> None:
        there = {"Code": "ConditionalCheckFailed", "Item": dynamo_item(hold("pen"))}

        with pytest.raises(WriteRefusedError) as refused:
            ledger(DynamoDb(cancelled(there, CONFLICT))).write([], [hold("pen"), hold("ink", "order-2")], NOW)

        assert refused.value == WriteRefusedError(
            {"order-1": hold("pen")}, {}, conflict=True, contended=set()
        )

    @pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded", "SomethingNew"])
    def test_that_is_wrong_itself_is_an_error_and_no_refusal(self, code: str) -> None:
        with pytest.raises(botocore.exceptions.ClientError):
            ledger(DynamoDb(cancelled(FAILED, {"Code": code}))).write(
                [], [hold("pen"), hold("ink", "order-2")], NOW
            )

    def test_that_may_not_be_made_is_an_error(self) -> None:
        with pytest.raises(botocore.exceptions.ClientError):
            ledger(DynamoDb(error("AccessDeniedException"))).write([], [hold()], NOW)

    @pytest.mark.parametrize(
        "passing",
        [
            error("TransactionInProgressException"),
            error("ThrottlingException"),
            error("InternalServerError", ResponseMetadata={"HTTPStatusCode": 500}),
            botocore.exceptions.ReadTimeoutError(endpoint_url="https://dynamodb"),
            botocore.exceptions.EndpointConnectionError(endpoint_url="https://dynamodb"),
        ],
    )
    def test_that_can_not_be_made_just_now_may_be_made_later(self, passing: Exception) -> None:
        with pytest.raises(TransientError):
            ledger(DynamoDb(passing)).write([], [hold()], NOW)

    def test_asks_for_how_every_item_stood(self) -> None:
        dynamodb = DynamoDb()

        ledger(dynamodb).write([], [hold("pen"), hold("ink", "order-2")], NOW)

        ((operation, arguments),) = dynamodb.calls
        assert operation == "transact_write_items"
        actions = [action for each in arguments["TransactItems"] for action in each.values()]
        assert [action["ReturnValuesOnConditionCheckFailure"] for action in actions] == ["ALL_OLD"] * 2


def dynamo_item(entry: Hold) -> dict[str, Any]:
    """An entry as returned in a cancellation reason."""
    dynamodb = DynamoDb()
    ledger(dynamodb).write([], [entry], NOW)
    item: dict[str, Any] = dynamodb.calls[0][1]["TransactItems"][0]["Put"]["Item"]
    return item


def settle(dynamodb: DynamoDb, *orders: OrderDetails) -> None:
    accounts = DynamoLedgerRepository(dynamodb, "AccountTable", "customerId", Retry(RecordedBackoff()))
    shipments = [
        Shipment(details, ACCOUNTS.required_amounts(details), STOCK.required_amounts(details))
        for details in orders
    ]
    DynamoShipmentRepository(dynamodb, "OrderTable", accounts, ledger(dynamodb)).settle(shipments, NOW)


class TestASettlement:
    def test_that_meets_another_write_is_refused_as_such(self) -> None:
        with pytest.raises(SettleRefusedError) as refused:
            settle(DynamoDb(cancelled(PASSED, CONFLICT, PASSED)), details_of())

        assert refused.value == SettleRefusedError({}, short=False, conflict=True)

    def test_is_one_write_with_one_action_for_each_item(self) -> None:
        dynamodb = DynamoDb()

        settle(
            dynamodb, details_of("order-1"), details_of("order-2", items=(("pen", 1), ("ink", 1), ("pen", 1)))
        )

        ((_, arguments),) = dynamodb.calls
        keys = [str(sorted(action["Update"]["Key"].items())) for action in arguments["TransactItems"]]
        assert len(keys) == len(set(keys)) == 5  # two orders, one account, two products


class TestNewOrders:
    @pytest.mark.parametrize("number", [1, 3])
    def test_that_meet_another_write_are_written_after_a_pause(self, number: int) -> None:
        busy = error("TransactionConflictException") if number == 1 else cancelled(*[CONFLICT] * number)
        store, backoff = orders(DynamoDb(busy))

        assert store.add([placed(details_of(f"order-{i}")) for i in range(number)]) == {}

        assert backoff.after == [1]

    @pytest.mark.parametrize("number", [1, 3])
    def test_that_never_get_through_are_not_accepted(self, number: int) -> None:
        busy = error("TransactionConflictException") if number == 1 else cancelled(*[CONFLICT] * number)
        store, backoff = orders(DynamoDb(*[busy] * MAX_ATTEMPTS))

        with pytest.raises(TransientError):
            store.add([placed(details_of(f"order-{i}")) for i in range(number)])

        assert len(backoff.after) == MAX_ATTEMPTS - 1, "nothing is waited for after the last attempt"

    @pytest.mark.parametrize("number", [1, 3])
    def test_that_can_not_be_written_at_all_are_an_error(self, number: int) -> None:
        with pytest.raises(botocore.exceptions.ClientError):
            orders(DynamoDb(error("AccessDeniedException")))[0].add(
                [placed(details_of(f"order-{i}")) for i in range(number)]
            )


class TestAChangedOrder:
    def test_that_meets_another_write_is_read_again_like_one_that_was_changed(self) -> None:
        with pytest.raises(VersionConflictError):
            orders(DynamoDb(error("TransactionConflictException")))[0].save(placed(), expected_version=1)

    def test_that_can_not_be_written_at_all_is_an_error(self) -> None:
        with pytest.raises(botocore.exceptions.ClientError):
            orders(DynamoDb(error("AccessDeniedException")))[0].save(placed(), expected_version=1)


class TestReadingSeveralOrders:
    KEYS = ({"orderId": {"S": "order-1"}}, {"orderId": {"S": "order-2"}})

    def test_asks_again_for_those_that_were_left_out(self) -> None:
        items = [self.stored(f"order-{i}") for i in (1, 2)]
        left_out = {"OrderTable": {"Keys": [self.KEYS[1]]}}
        dynamodb = DynamoDb(
            {"Responses": {"OrderTable": items[:1]}, "UnprocessedKeys": left_out},
            {"Responses": {"OrderTable": items[1:]}, "UnprocessedKeys": {}},
        )
        store, backoff = orders(dynamodb)

        assert store.get_many(["order-1", "order-2"]).keys() == {"order-1", "order-2"}

        assert [call["RequestItems"]["OrderTable"]["Keys"] for _, call in dynamodb.calls] == [
            [*self.KEYS],
            [self.KEYS[1]],
        ]
        assert backoff.after == [1]

    def test_gives_up_on_those_that_are_always_left_out(self) -> None:
        nothing = {"Responses": {}, "UnprocessedKeys": {"OrderTable": {"Keys": [*self.KEYS]}}}
        store, _ = orders(DynamoDb(*[nothing] * MAX_ATTEMPTS))

        with pytest.raises(TransientError):
            store.get_many(["order-1", "order-2"])

    def test_sees_every_write_that_was_answered_before(self) -> None:
        dynamodb = DynamoDb({"Responses": {}})

        orders(dynamodb)[0].get_many(["order-1"])

        assert dynamodb.calls[0][1]["RequestItems"]["OrderTable"]["ConsistentRead"] is True

    @staticmethod
    def stored(order_id: str) -> dict[str, Any]:
        dynamodb = DynamoDb()
        orders(dynamodb)[0].add([placed(details_of(order_id))])
        item: dict[str, Any] = dynamodb.calls[0][1]["Item"]
        return item


class TestLinesOfAHistory:
    def test_are_written_no_more_in_a_call_than_it_takes(self) -> None:
        dynamodb = DynamoDb()

        history(dynamodb)[0].put([a_decline("pen", f"order-{i}") for i in range(60)])

        assert BATCH_WRITES == 25
        assert [len(call["RequestItems"]["HistoryTable"]) for _, call in dynamodb.calls] == [25, 25, 10]

    def test_that_were_left_out_are_written_again_after_a_pause(self) -> None:
        dynamodb = DynamoDb({"UnprocessedItems": {"HistoryTable": ["one of them"]}})
        store, backoff = history(dynamodb)

        store.put([a_decline("pen", f"order-{i}") for i in range(3)])

        assert len(dynamodb.calls) == 2
        assert dynamodb.calls[1][1]["RequestItems"] == {"HistoryTable": ["one of them"]}
        assert backoff.after == [1]

    def test_that_are_always_left_out_are_given_up(self) -> None:
        dynamodb = DynamoDb(*[{"UnprocessedItems": {"HistoryTable": ["one of them"]}}] * MAX_ATTEMPTS)

        with pytest.raises(TransientError):
            history(dynamodb)[0].put([a_decline("pen")])

        assert len(dynamodb.calls) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.add_delivery(delivery_of()),
        lambda store: store.save_delivery(delivery_of(), expected=delivery_of()),
        lambda store: store.save_receiver(
            ReceiverHealth("alice.1", "a"), ReceiverHealth("alice.1", "a"), NOW
        ),
        lambda store: store.refuse_order("alice.1", "order-1", NOW),
    ],
)
def test_what_is_known_of_deliveries_expires_after_thirty_days(
    write: Callable[[DynamoWebhookRepository], object],
) -> None:
    dynamodb = DynamoDb()

    write(webhooks(dynamodb))

    ((_, arguments),) = dynamodb.calls
    values = arguments.get("Item", {}) | arguments.get("ExpressionAttributeValues", {})
    expires = [value for name, value in values.items() if name.strip(":") in ("expire", "expireTime")]
    assert expires == [{"N": str(int(datetime.fromisoformat(NOW).timestamp()) + 30 * 24 * 3600)}]


def test_a_webhook_itself_does_not_expire() -> None:
    dynamodb = DynamoDb()

    webhooks(dynamodb).add(webhook_of())

    (stored,) = [arguments["Item"] for operation, arguments in dynamodb.calls if operation == "put_item"]
    assert "expireTime" not in stored


@pytest.mark.parametrize(
    "write",
    [
        lambda dynamodb: webhooks(dynamodb).add(webhook_of()),
        lambda dynamodb: webhooks(dynamodb).take("alice", Lane.QUICK, 0, NOW, NOW),
        lambda dynamodb: webhooks(dynamodb).save_delivery(delivery_of(), expected=delivery_of()),
        lambda dynamodb: followers(dynamodb).add(
            "connection-1", SubscriptionTarget.order("order-1"), NOW, 50
        ),
    ],
)
def test_a_write_that_can_not_be_made_at_all_is_an_error_and_no_refusal(
    write: Callable[[DynamoDb], object],
) -> None:
    with pytest.raises(botocore.exceptions.ClientError):
        write(DynamoDb(error("ProvisionedThroughputExceededException")))


_ANNOUNCED = {"Item": {"expiresAt": {"N": "9999999999"}}}
"""The marker that any subscription exists."""


def test_a_full_set_is_read_whole_before_anybody_in_it_is_taken_for_gone() -> None:
    # given a set that is full, and a batch that is answered in part
    table, full = "ConnectionTable", error("ConditionalCheckFailedException")
    alive = [{"connectionId": {"S": name}, "expiresAt": {"N": "9999999999"}} for name in ("one", "two")]
    rest = {"UnprocessedKeys": {table: {"Keys": ["two"]}}}
    dynamodb = DynamoDb(
        _ANNOUNCED,
        {},
        full,
        {"Item": {"connections": {"SS": ["one", "two"]}}},
        {"Responses": {table: alive[:1]}, **rest},
        {"Responses": {table: alive[1:]}},
    )
    # when
    with pytest.raises(SubscriptionLimitError):
        followers(dynamodb).add("three", SubscriptionTarget.order("order-1"), NOW, 2)
    # then only the refused subscriber is removed
    (*_, (_, removed)) = dynamodb.calls
    assert [operation for operation, _ in dynamodb.calls].count("batch_get_item") == 2
    assert removed["UpdateExpression"] == "DELETE follows :these"


def test_a_set_that_can_not_be_read_whole_is_left_as_it_is() -> None:
    table, full = "ConnectionTable", error("ConditionalCheckFailedException")
    unread = {"Responses": {}, "UnprocessedKeys": {table: {"Keys": ["one"]}}}
    one = {"Item": {"connections": {"SS": ["one"]}}}
    dynamodb = DynamoDb(_ANNOUNCED, {}, full, one, *[unread] * MAX_ATTEMPTS)

    with pytest.raises(TransientError):
        followers(dynamodb).add("two", SubscriptionTarget.order("order-1"), NOW, 1)

    assert dynamodb.calls[-1][0] == "batch_get_item"


@pytest.mark.parametrize(
    "read",
    [
        lambda dynamodb: ledger(dynamodb).head("pen"),
        lambda dynamodb: ledger(dynamodb).adjustment("pen", "adjustment-1"),
        lambda dynamodb: orders(dynamodb)[0].get("order-1"),
        lambda dynamodb: reports(dynamodb).generations(),
        lambda dynamodb: reports(dynamodb).rows(1, "2026-11-20", None, 10),
        lambda dynamodb: webhooks(dynamodb).get("alice.1"),
        lambda dynamodb: webhooks(dynamodb).of_customer("alice"),
        lambda dynamodb: webhooks(dynamodb).receiver("alice.1", "a.example"),
        lambda dynamodb: webhooks(dynamodb).is_refused("alice.1", "order-1"),
        lambda dynamodb: webhooks(dynamodb).delivery("alice.1", "delivery-1"),
        lambda dynamodb: webhooks(dynamodb).deliveries("alice.1", None, 10),
    ],
)
def test_every_read_sees_every_write_that_was_answered_before(read: Callable[[DynamoDb], object]) -> None:
    dynamodb = DynamoDb({"Items": []})

    read(dynamodb)

    assert dynamodb.calls[0][1]["ConsistentRead"] is True


@pytest.mark.parametrize(
    "read",
    [
        lambda dynamodb: ledger(dynamodb).holds(["order-1", "order-2"]),
        lambda dynamodb: ledger(dynamodb).heads("pen", 2),
        lambda dynamodb: followers(dynamodb).subscribers([SubscriptionTarget.order("order-1")]),
    ],
)
def test_every_read_of_many_sees_every_write_that_was_answered_before(
    read: Callable[[DynamoDb], object],
) -> None:
    dynamodb = DynamoDb({"Responses": {}})

    read(dynamodb)

    ((operation, arguments),) = dynamodb.calls
    assert operation == "batch_get_item"
    (request,) = arguments["RequestItems"].values()
    assert request["ConsistentRead"] is True


def test_what_is_left_out_of_an_item_is_none_and_what_has_no_type_is_not_written() -> None:
    assert to_item({"a": None, "b": "x"}) == {"b": {"S": "x"}}
    with pytest.raises(TypeError):
        to_item({"a": 0.1})


@pytest.mark.parametrize(
    "attribute", [{"B": b"x"}, {"BOOL": True}, {"NULL": True}, {"SS": ["x"]}, {"NS": ["1"]}, {"BS": [b"x"]}]
)
def test_a_type_that_only_a_newer_release_has_is_passed_over_where_it_is_not_used(
    attribute: dict[str, Any],
) -> None:
    values = from_item({"new": attribute, "old": {"S": "x"}})

    assert text(values, "old") == "x"
    for read in (text, number, mapping, texts):
        with pytest.raises(UnreadableError, match="new must be"):
            read(values, "new")


def test_the_largest_order_is_held_and_shipped_in_one_transaction() -> None:
    """A hold is an entry and a head for each product; shipping is the order, its account and products."""
    assert 2 + MAX_ITEMS <= transactions.MAX_ITEMS


def unread(*keys: dict[str, Any], found: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """A batch that was read in part."""
    return {"Responses": {"StockTable": list(found)}, "UnprocessedKeys": {"StockTable": {"Keys": list(keys)}}}


def test_what_a_batch_leaves_unread_is_read_again_alone() -> None:
    left = to_item({"productId": "ORDER#order-2", "entry": "HOLD#order-2"})
    found = [dynamo_item(hold()), dynamo_item(hold(order_id="order-2"))]
    dynamodb = DynamoDb(unread(left, found=found[:1]), {"Responses": {"StockTable": found[1:]}})

    holds = ledger(dynamodb).holds(["order-1", "order-2"])

    assert holds == {"order-1": hold(), "order-2": hold(order_id="order-2")}
    requests = [arguments["RequestItems"]["StockTable"] for _, arguments in dynamodb.calls]
    assert (requests[1]["Keys"], requests[1]["ConsistentRead"]) == ([left], True)


def test_heads_that_can_not_be_read_whole_are_not_taken_for_all() -> None:
    left = to_item({"productId": "pen#2", "entry": "BALANCE"})

    with pytest.raises(TransientError):
        ledger(DynamoDb(*[unread(left)] * MAX_ATTEMPTS)).heads("pen", 2)
