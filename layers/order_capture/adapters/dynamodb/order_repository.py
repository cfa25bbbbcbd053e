"""Orders in a DynamoDB table. Key: `orderId`.

An order that is still open at the watchdog's first check has the attribute `stillOpen` until it ends. With
it, the order is in a sparse index, which finds the few late orders among millions of others.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import botocore.exceptions

from order_capture.adapters.dynamodb.transactions import conflicted, refused, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.check_results import check_result_from, check_result_values
from order_capture.adapters.serializers.fields import choice, integer, mapping, mappings, text, time
from order_capture.adapters.serializers.order_details import order_details_from, order_details_values
from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.application.ports import IdempotencyRecord, OrderCursor, VersionConflictError
from order_capture.application.retry import Retry
from order_capture.domain.errors import RequestInProgressError, TransientError, UnreadableError
from order_capture.domain.order import (
    CheckRecorded,
    CheckResult,
    CheckType,
    Order,
    OrderStatus,
    StatusChange,
)

logger = logging.getLogger(__name__)

CUSTOMER_INDEX = "CustomerIndex"
OPEN_INDEX = "OpenIndex"
_OPEN = "OPEN"  # the index's only partition: it can take as many orders as are ever late

_IS_NEW = "attribute_not_exists(orderId)"


class DynamoOrderRepository:
    """Implements `application.ports.OrderRepository`."""

    def __init__(self, client: Any, table: str, retry: Retry) -> None:
        self._client = client
        self._table = table
        self._retry = retry

    def add(self, orders: Sequence[Order]) -> Mapping[str, Order | None]:  # noqa: D102 - see the port
        if len(orders) == 1:
            item = self._put_new(to_order_item(orders[0]))
            return {orders[0].order_id: order_from(item)} if item else {}
        # Several orders are written in one transaction, DynamoDB's only batch write with conditions.
        # Without the condition, a repeated request could set an order that has moved on back to PENDING.
        # It costs one more write unit per order; up to 100 orders are one call.
        existing: dict[str, Order | None] = {}
        for attempt in self._retry:
            new = [order for order in orders if order.order_id not in existing]
            if not new:
                return existing
            reasons = transact(
                self._client,
                [
                    {
                        "Put": {
                            "TableName": self._table,
                            "Item": to_order_item(o),
                            "ConditionExpression": _IS_NEW,
                        }
                    }
                    for o in new
                ],
            )
            if reasons is None:
                return existing
            for position, item in refused(reasons):
                existing[new[position].order_id] = order_from(item) if item else None
            if conflicted(reasons):
                attempt.back_off()
        raise TransientError("The orders could not be written, and none was accepted.")

    def claim_key(self, record: IdempotencyRecord) -> IdempotencyRecord | None:  # noqa: D102
        item = self._put_new(
            to_item(
                {
                    "orderId": record.request_id,
                    "fingerprint": record.fingerprint,
                    "runningUntil": record.in_progress_until,
                    "time": record.time or None,  # closing the books deletes by this time
                }
            )
        )
        if item is None:
            return None
        values = from_item(item)
        return IdempotencyRecord(
            record.request_id,
            text(values, "fingerprint"),
            time(values, "runningUntil", ""),
            time(values, "time", ""),
        )

    def complete_key(self, request_id: str) -> None:  # noqa: D102
        self._client.update_item(
            TableName=self._table,
            Key=to_item({"orderId": request_id}),
            UpdateExpression="SET runningUntil = :over",
            ConditionExpression="attribute_exists(orderId)",
            ExpressionAttributeValues=to_item({":over": ""}),
        )

    def list_keys(  # noqa: D102
        self, customer_id: str, since: str, until: str, after: OrderCursor | None, limit: int
    ) -> Sequence[OrderCursor]:
        if since > until:
            return []  # DynamoDB refuses a BETWEEN that is the wrong way round
        more = {} if after is None else {"ExclusiveStartKey": to_item(_place_key(customer_id, after))}
        answer = self._client.query(
            TableName=self._table,
            IndexName=CUSTOMER_INDEX,
            KeyConditionExpression="customerId = :customer AND createTime BETWEEN :since AND :until",
            ExpressionAttributeValues=to_item({":customer": customer_id, ":since": since, ":until": until}),
            ScanIndexForward=False,
            Limit=limit,
            **more,
        )
        # A page never ends early: a hundred of the longest keys take 20 KB, and a page holds 1 MB.
        return [OrderCursor(item["createTime"]["S"], item["orderId"]["S"]) for item in answer["Items"]]

    def mark_open(self, order_id: str) -> None:  # noqa: D102
        try:
            self._client.update_item(
                TableName=self._table,
                Key=to_item({"orderId": order_id}),
                UpdateExpression="SET stillOpen = :open",
                # The version does not change, so that a function that has read the order can still save it.
                ConditionExpression="#status = :pending OR #status = :confirmed",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=to_item(
                    {":open": _OPEN, ":pending": OrderStatus.PENDING, ":confirmed": OrderStatus.CONFIRMED}
                ),
            )
        except botocore.exceptions.ClientError as error:
            # The order has ended, or is being written: then the next check marks it.
            if error.response["Error"]["Code"] not in {
                "ConditionalCheckFailedException",
                "TransactionConflictException",
            }:
                raise

    def list_open(self, after: OrderCursor | None, limit: int) -> Sequence[OrderCursor]:  # noqa: D102
        key = {"stillOpen": _OPEN}
        more = {}
        if after is not None:
            key |= {"createTime": after.create_time, "orderId": after.order_id}
            more = {"ExclusiveStartKey": to_item(key)}
        found: list[OrderCursor] = []
        while len(found) < limit:
            answer = self._client.query(
                TableName=self._table,
                IndexName=OPEN_INDEX,
                KeyConditionExpression="stillOpen = :open",
                ExpressionAttributeValues=to_item({":open": _OPEN}),
                Limit=limit - len(found),
                **more,
            )
            found += [OrderCursor(item["createTime"]["S"], item["orderId"]["S"]) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                break
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        return found

    def get(self, order_id: str) -> Order | None:  # noqa: D102
        answer = self._client.get_item(
            TableName=self._table, Key=to_item({"orderId": order_id}), ConsistentRead=True
        )
        return order_from(answer["Item"]) if "Item" in answer else None

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Order]:  # noqa: D102
        found: dict[str, Order] = {}
        keys = [to_item({"orderId": order_id}) for order_id in order_ids]
        for attempt in self._retry:
            if not keys:
                return found
            answer = self._client.batch_get_item(
                RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}}
            )
            for item in answer["Responses"].get(self._table, []):
                order_id = item["orderId"]["S"]
                try:
                    if order := order_from(item):
                        found[order_id] = order
                except Exception:  # one malformed item must not block the rest of a batch
                    logger.exception("an order can't be read", extra={"order_id": order_id})
            # Some keys may be left unread, with HTTP 200.
            keys = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if keys:
                attempt.back_off()
        raise TransientError("orders could not be read")

    def save(self, order: Order, expected_version: int, key: RequestKey | None = None) -> None:  # noqa: D102
        update = {
            "TableName": self._table,
            "Key": to_item({"orderId": order.order_id}),
            # Only the attributes that change: one that a newer release has added survives an older release
            # that is still running beside it.
            "UpdateExpression": "SET #status = :status, checks = :checks, timeline = :timeline, "
            f"version = :version{'' if order.is_open else ' REMOVE stillOpen'}",
            "ConditionExpression": "version = :over",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": to_item(
                {f":{name}": value for name, value in _changing_values(order).items()}
                | {":over": expected_version}
            ),
        }
        if key is not None:
            return self._save_once(order, update, key)
        try:
            self._client.update_item(**update)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in {
                "ConditionalCheckFailedException",
                "TransactionConflictException",
            }:
                raise VersionConflictError(order.order_id) from error
            raise
        return None

    def _save_once(self, order: Order, update: dict[str, Any], key: RequestKey) -> None:
        """Make the update and write its key's record in one transaction. No order has the record's id."""
        record = {"orderId": key.request_id, "fingerprint": key.fingerprint, "answer": _order_values(order)}
        put = {"TableName": self._table, "Item": to_item(record), "ConditionExpression": _IS_NEW}
        reasons = transact(self._client, [{"Put": put}, {"Update": update}])
        if reasons is None:
            return
        if any(position == 0 for position, _ in refused(reasons)):
            raise RequestInProgressError
        raise VersionConflictError(order.order_id)

    def first_answer(self, request_id: str) -> FirstAnswer[Order] | None:  # noqa: D102
        answer = self._client.get_item(
            TableName=self._table, Key=to_item({"orderId": request_id}), ConsistentRead=True
        )
        if "answer" not in answer.get("Item", {}):
            return None
        values = from_item(answer["Item"])
        return FirstAnswer(values["fingerprint"], _order_from(values["answer"]))

    def _put_new(self, item: Item) -> Item | None:
        """Write an item if its id is new; otherwise return the existing item."""
        for attempt in self._retry:
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=_IS_NEW,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return None
            except botocore.exceptions.ClientError as error:
                match error.response["Error"]["Code"]:
                    case "ConditionalCheckFailedException":
                        return cast("Item", cast("dict[str, Any]", error.response)["Item"])
                    case "TransactionConflictException":
                        attempt.back_off()
                    case _:
                        raise
        raise TransientError("The order could not be written, and was not accepted.")


def _place_key(customer_id: str, place: OrderCursor) -> dict[str, str]:
    return {"customerId": customer_id, "createTime": place.create_time, "orderId": place.order_id}


def _changing_values(order: Order) -> dict[str, Any]:
    return {
        "status": order.status,
        "checks": {check: check_result_values(decision) for check, decision in order.checks.items()},
        "timeline": [step_values(step) for step in order.timeline],
        "version": order.version,
    }


def to_order_item(order: Order) -> Item:
    """The item of an order."""
    return to_item(_order_values(order))


def _order_values(order: Order) -> dict[str, Any]:
    return {
        **order_details_values(order.details),
        **_changing_values(order),
        "createTime": order.create_time,
        "correlationId": order.correlation_id,
        "fingerprint": order.fingerprint,
        "callbackUrl": order.callback_url or None,
        "runningUntil": order.in_progress_until or None,
    }


def order_from(item: Mapping[str, Any]) -> Order | None:
    """The order in an item; None for an idempotency record, which is no order (see `claim_key` and `save`).

    Raises:
        OrderCaptureError, LookupError, TypeError, ValueError, ArithmeticError: the item does not have the
            form that this system writes.
    """
    return _order_from(from_item(item)) if "status" in item else None


def _order_from(values: Mapping[str, Any]) -> Order:
    status, timeline = choice(values, "status", OrderStatus), timeline_from(values)
    if next(step.status for step in reversed(timeline) if isinstance(step, StatusChange)) is not status:
        raise UnreadableError("status must be the last one in timeline")
    return Order(
        details=order_details_from(values),
        create_time=time(values, "createTime"),
        correlation_id=text(values, "correlationId"),
        fingerprint=text(values, "fingerprint"),
        timeline=timeline,
        status=status,
        checks=checks_from(values),
        version=integer(values, "version"),
        callback_url=text(values, "callbackUrl", ""),
        in_progress_until=time(values, "runningUntil", ""),
    )


def checks_from(values: Mapping[str, Any]) -> dict[CheckType, CheckResult]:
    """The results of an order's checks so far."""
    answers = mapping(values, "checks")
    return {
        choice({"checks": name}, "checks", CheckType): check_result_from(mapping(answers, name))
        for name in answers
    }


def step_values(step: StatusChange | CheckRecorded) -> dict[str, Any]:
    """`{status, time, sequence, reason}`, without a reason where there is none, or `{check, time}`."""
    if isinstance(step, CheckRecorded):
        return {"check": step.check, "time": step.time}
    return {"status": step.status, "time": step.time, "sequence": step.sequence, "reason": step.reason}


def timeline_from(values: Mapping[str, Any]) -> tuple[StatusChange | CheckRecorded, ...]:
    """The steps of an order.

    Raises:
        UnreadableError: the timeline does not have the form that this system writes.
    """
    timeline = tuple(_step_from(step) for step in mappings(values, "timeline"))
    changes = [step for step in timeline if isinstance(step, StatusChange)]
    if not changes or timeline[0] is not changes[0]:
        raise UnreadableError("timeline must begin with a status")
    if [change.sequence for change in changes] != [*range(1, len(changes) + 1)]:
        raise UnreadableError("timeline must have a sequence without a gap")
    if {step.check for step in timeline if isinstance(step, CheckRecorded)} != {*mapping(values, "checks")}:
        raise UnreadableError("timeline must have the same checks as checks")
    return timeline


def _step_from(values: Mapping[str, Any]) -> StatusChange | CheckRecorded:
    if "check" in values:
        return CheckRecorded(choice(values, "check", CheckType), time(values, "time"))
    return StatusChange(
        choice(values, "status", OrderStatus),
        time(values, "time"),
        integer(values, "sequence"),
        text(values, "reason") if "reason" in values else None,
    )
