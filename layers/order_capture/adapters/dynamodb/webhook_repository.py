"""Webhooks and their deliveries in a DynamoDB table. Key: `customerId` and `entry`.

A webhook's id contains its customer's, so that the item's key follows from it. The table's TTL removes
deliveries thirty days after they began, and likewise the health of the hosts that callbacks go to.

The record of an Idempotency-Key has its own key, since the same key may come for another customer. The ids of
a customer's registered webhooks are also in a set; a condition on its size keeps their limit. Adding an id to
the set, or removing one, is idempotent.

Most customers have no webhooks, and their events need no lookup: one item has the slot of each customer that
ever had one, a number below 1024 that several customers may share. It is written before the webhook and read
consistently. So a read after an event misses no webhook that was registered before the event.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import botocore.exceptions

from order_capture.adapters.dynamodb.transactions import refused, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.fields import choice, integer, mappings, text, texts, time
from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.application.ports import Clock, VersionConflictError
from order_capture.application.retry import Retry
from order_capture.domain.errors import RequestInProgressError, TransientError, WebhookLimitError
from order_capture.domain.events import OrderEventType
from order_capture.domain.webhooks import (
    SLOTS,
    Attempt,
    Delivery,
    DeliveryStatus,
    Lane,
    ReceiverHealth,
    Share,
    Webhook,
    WebhookStatus,
    customer_id_of,
    unix_seconds,
)

KEPT_SECONDS = 30 * 24 * 3600
# Read of one customer: far more than a customer may have.
MAX_WEBHOOKS_READ = 100

# The shortest time that a key is kept: TTL removes an item after its time, within a few days
# (https://repost.aws/knowledge-center/dynamodb-expired-ttl-not-deleted). Until then, the record still counts.
KEY_SECONDS = 2 * 24 * 3600

_WEBHOOK, _DELIVERY, _HOST, _REFUSED = "WEBHOOK#", "DELIVERY#", "HOST#", "REFUSED#"
_SHARE = "SHARE"
_REGISTERED = "REGISTERED"
_SLOTS = {"customerId": "#", "entry": "SLOTS"}  # no customer's id has a "#"
SLOTS_OF_CUSTOMERS = 1024  # as texts, all of them are 3 KB: one read unit

_Value = TypeVar("_Value", Webhook, Delivery)


class DynamoWebhookRepository:
    """Implements `application.webhooks.ports.WebhookRepository`."""

    def __init__(self, client: Any, table: str, clock: Clock, retry: Retry) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._retry = retry

    def may_have_webhooks(self, customer_ids: Collection[str]) -> Collection[str]:  # noqa: D102
        slots = (self._get(_SLOTS) or {}).get("slots", {"SS": []})["SS"]
        return {customer_id for customer_id in customer_ids if _slot(customer_id) in slots}

    def add(self, webhook: Webhook, key: RequestKey | None = None) -> Webhook | None:  # noqa: D102
        self._announce(webhook.customer_id)
        put = self._new(_webhook_item(webhook))
        if key is None:
            existing = self._put_new(put)
        else:
            existing = self._transact([{"Put": put}], _webhook_item(webhook), key).get(0)
        return _webhook_from(existing) if existing else None

    def register(  # noqa: D102
        self, webhook: Webhook, at_most: int, key: RequestKey | None = None
    ) -> None:
        self._announce(webhook.customer_id)
        item = _webhook_item(webhook)
        name = self._registered(
            webhook,
            "ADD webhookIds :this",
            {":most": {"N": str(at_most)}},
            ConditionExpression="attribute_not_exists(webhookIds) OR size(webhookIds) < :most",
        )
        if 0 in self._transact([name, {"Put": self._new(item)}], item, key):
            raise WebhookLimitError(at_most)

    def get(self, webhook_id: str) -> Webhook | None:  # noqa: D102
        item = self._get(_webhook_key(webhook_id))
        return _webhook_from(item) if item else None

    def of_customer(self, customer_id: str) -> Sequence[Webhook]:  # noqa: D102
        return [_webhook_from(item) for item in self._query(customer_id, _WEBHOOK, MAX_WEBHOOKS_READ)]

    def remove(self, webhook: Webhook, key: RequestKey | None = None) -> bool:  # noqa: D102
        delete = {
            "TableName": self._table,
            "Key": to_item(_webhook_key(webhook.webhook_id)),
            "ConditionExpression": "attribute_exists(entry)",
        }
        name = self._registered(webhook, "DELETE webhookIds :this")
        return not self._transact([{"Delete": delete}, name], _webhook_item(webhook), key)

    def rotate(self, webhook: Webhook, expected: str, key: RequestKey | None = None) -> None:  # noqa: D102
        update = {
            "TableName": self._table,
            "Key": to_item(_webhook_key(webhook.webhook_id)),
            "UpdateExpression": "SET secret = :secret, previousSecret = :previous, previousUntil = :until,"
            " updateTime = :now",
            "ConditionExpression": "secret = :over",
            "ExpressionAttributeValues": to_item(
                {
                    ":secret": webhook.secret,
                    ":previous": webhook.previous_secret,
                    ":until": webhook.previous_until,
                    ":now": webhook.update_time,
                    ":over": expected,
                }
            ),
        }
        if self._transact([{"Update": update}], _webhook_item(webhook), key):
            raise VersionConflictError(webhook.webhook_id)

    def answer_with(self, delivery: Delivery, key: RequestKey) -> None:  # noqa: D102
        self._transact([], _delivery_item(replace(delivery, body="")), key)

    def answered_webhook(self, request_id: str) -> FirstAnswer[Webhook] | None:  # noqa: D102
        return self._first_answer(request_id, _webhook_from)

    def answered_delivery(self, request_id: str) -> FirstAnswer[Delivery] | None:  # noqa: D102
        return self._first_answer(request_id, _delivery_from)

    def disable(self, webhook_id: str, now: str) -> None:  # noqa: D102
        self._update(
            _webhook_key(webhook_id),
            "SET #status = :disabled, updateTime = :now",
            "attribute_exists(entry)",
            {":disabled": WebhookStatus.DISABLED, ":now": now},
            {"#status": "status"},
        )

    def share(self, customer_id: str) -> Share:  # noqa: D102
        values = from_item(self._get({"customerId": customer_id, "entry": _SHARE}) or {})
        slots = {lane: tuple(time(values, f"{lane}{n}", "") for n in range(SLOTS[lane])) for lane in Lane}
        took = {"answer_ms": integer(values, "answerMs")} if "answerMs" in values else {}
        return Share(customer_id, slots, **took)

    def take(  # noqa: D102
        self, customer_id: str, lane: Lane, slot: int, now: str, until: str
    ) -> bool:
        return self._update(
            {"customerId": customer_id, "entry": _SHARE},
            f"SET {lane}{slot} = :until, expireTime = :expire",
            f"attribute_not_exists({lane}{slot}) OR {lane}{slot} <= :now",
            {":until": until, ":now": now, ":expire": unix_seconds(now) + KEPT_SECONDS},
        )

    def release(  # noqa: D102
        self,
        customer_id: str,
        lane: Lane,
        slot: int,
        taken: str,
        until: str,
        answer_ms: int | None = None,
    ) -> None:
        took = {} if answer_ms is None else {":answerMs": answer_ms}
        self._update(
            {"customerId": customer_id, "entry": _SHARE},
            f"SET {lane}{slot} = :until" + (", answerMs = :answerMs" if took else ""),
            f"{lane}{slot} = :taken",  # after its time, another function may hold it
            {":until": until, ":taken": taken, **took},
        )

    def receiver(self, webhook_id: str, name: str) -> ReceiverHealth:  # noqa: D102
        item = self._get(_receiver_key(webhook_id, name))
        return _receiver_from(webhook_id, name, item or {})

    def save_receiver(self, receiver: ReceiverHealth, expected: ReceiverHealth, now: str) -> bool:  # noqa: D102
        condition = "restUntil = :over" + (
            "" if expected.backoff_until else " OR attribute_not_exists(restUntil)"
        )
        if receiver.name:
            expires, expire = ", expireTime = :expire", {":expire": unix_seconds(now) + KEPT_SECONDS}
        else:
            condition, expires, expire = f"attribute_exists(entry) AND ({condition})", "", {}
        return self._update(
            _receiver_key(receiver.webhook_id, receiver.name),
            "SET failures = :failures, restUntil = :rest, slowUntil = :slow, slowFor = :slowFor" + expires,
            condition,
            {
                ":failures": receiver.failures,
                ":rest": receiver.backoff_until,
                ":slow": receiver.slow_until,
                ":slowFor": receiver.slow_for,
                ":over": expected.backoff_until,
                **expire,
            },
        )

    def refuse_order(self, webhook_id: str, order_id: str, now: str) -> None:  # noqa: D102
        self._client.update_item(
            TableName=self._table,
            Key=to_item(_key(webhook_id, f"{_REFUSED}{webhook_id}#{order_id}")),
            UpdateExpression="SET expireTime = :expire",
            ExpressionAttributeValues=to_item({":expire": unix_seconds(now) + KEPT_SECONDS}),
        )

    def is_refused(self, webhook_id: str, order_id: str) -> bool:  # noqa: D102
        return self._get(_key(webhook_id, f"{_REFUSED}{webhook_id}#{order_id}")) is not None

    def add_delivery(self, delivery: Delivery) -> None:  # noqa: D102
        self._put_new(self._new(_delivery_item(delivery)))

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:  # noqa: D102
        item = self._get(_key(webhook_id, f"{_DELIVERY}{webhook_id}#{delivery_id}"))
        return _delivery_from(item) if item else None

    def deliveries(  # noqa: D102
        self, webhook_id: str, before: str | None, limit: int
    ) -> Sequence[Delivery]:
        prefix = f"{_DELIVERY}{webhook_id}#"
        start = {} if before is None else {"ExclusiveStartKey": to_item(_key(webhook_id, prefix + before))}
        items = self._query(customer_id_of(webhook_id), prefix, limit=limit, ScanIndexForward=False, **start)
        return [_delivery_from(item) for item in items]

    def save_delivery(self, delivery: Delivery, expected: Delivery) -> bool:  # noqa: D102
        changing = _changing_values(delivery)
        return self._update(
            _delivery_key(delivery),
            "SET " + ", ".join(f"#{name} = :{name}" for name in changing),
            "#nextTime = :overTime AND #status = :overStatus AND #round = :overRound",
            {f":{name}": value for name, value in changing.items()}
            | {
                ":overTime": expected.next_time,
                ":overStatus": expected.status,
                ":overRound": expected.attempt_series,
            },
            {f"#{name}": name for name in changing},
        )

    def _announce(self, customer_id: str) -> None:
        self._client.update_item(
            TableName=self._table,
            Key=to_item(_SLOTS),
            UpdateExpression="ADD slots :this",
            ExpressionAttributeValues={":this": {"SS": [_slot(customer_id)]}},
        )

    def _get(self, key: dict[str, str]) -> Item | None:
        answer = self._client.get_item(TableName=self._table, Key=to_item(key), ConsistentRead=True)
        return answer.get("Item") or None

    def _query(self, customer_id: str, prefix: str, limit: int, **more: Any) -> list[Item]:
        """A customer's items whose entries begin with `prefix`, at most `limit`."""
        items: list[Item] = []
        while True:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="customerId = :customer AND begins_with(entry, :prefix)",
                ExpressionAttributeValues=to_item({":customer": customer_id, ":prefix": prefix}),
                ConsistentRead=True,
                Limit=limit - len(items),
                **more,
            )
            items += answer["Items"]
            if len(items) >= limit or "LastEvaluatedKey" not in answer:
                return items
            # A page ends at 1 MB: a hundred deliveries with large orders may be more than that.
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _new(self, item: Item) -> dict[str, Any]:
        """The action that writes an item if its key is new."""
        return {
            "TableName": self._table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(entry)",
        }

    def _registered(
        self, webhook: Webhook, change: str, values: Mapping[str, Any] | None = None, **condition: str
    ) -> dict[str, Any]:
        """The action that changes the set of a customer's registered webhooks. Callbacks are never in it."""
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item({"customerId": webhook.customer_id, "entry": _REGISTERED}),
                "UpdateExpression": change,
                "ExpressionAttributeValues": {":this": {"SS": [webhook.webhook_id]}, **(values or {})},
                **condition,
            }
        }

    def _transact(
        self, actions: Sequence[dict[str, Any]], answer: Item, key: RequestKey | None
    ) -> Mapping[int, Item | None]:
        """Write all or nothing, with the first answer to an idempotency key if there is a key.

        Returns:
            The actions whose condition failed, by position, with the current item; none if it is written.

        Raises:
            RequestInProgressError: the key already has a first answer.
            TransientError: other requests kept writing the same items.
        """
        if key is not None:
            record = {
                **_record_key(key.request_id),
                "fingerprint": key.fingerprint,
                "expireTime": unix_seconds(self._clock()) + KEY_SECONDS,
            }
            actions = [*actions, {"Put": self._new({**to_item(record), "answer": {"M": answer}})}]
        for attempt in self._retry:
            reasons = transact(self._client, actions)
            if reasons is None:
                return {}
            if failed := dict(refused(reasons)):
                if key is not None and len(actions) - 1 in failed:
                    raise RequestInProgressError
                return failed
            attempt.back_off()
        raise TransientError("Too many requests are changing this webhook. Send the same request again.")

    def _first_answer(self, request_id: str, read: Callable[[Item], _Value]) -> FirstAnswer[_Value] | None:
        item = self._get(_record_key(request_id))
        return FirstAnswer(item["fingerprint"]["S"], read(item["answer"]["M"])) if item else None

    def _put_new(self, put: dict[str, Any]) -> Item | None:
        """Write an item if its key is new; otherwise return the existing item."""
        try:
            self._client.put_item(**put, ReturnValuesOnConditionCheckFailure="ALL_OLD")
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            existing: Item = error.response["Item"]  # type: ignore[typeddict-item]
            return existing
        return None

    def _update(
        self,
        key: dict[str, str],
        expression: str,
        condition: str,
        values: Mapping[str, Any],
        names: Mapping[str, str] | None = None,
    ) -> bool:
        """Update an item; returns whether the condition held and it is written."""
        for attempt in self._retry:
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=to_item(key),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=to_item(values),
                    **({"ExpressionAttributeNames": names} if names else {}),
                )
                return True
            except botocore.exceptions.ClientError as error:
                match error.response["Error"]["Code"]:
                    case "ConditionalCheckFailedException":
                        return False
                    case "TransactionConflictException":  # it is being rotated or removed
                        attempt.back_off()
                    case _:
                        raise
        raise TransientError("The webhook is changing at this moment.")


def _record_key(request_id: str) -> dict[str, str]:
    """The key of an idempotency record. Customer ids have no "#"."""
    return {"customerId": f"REQUEST#{request_id}", "entry": "REQUEST"}


def _key(webhook_id: str, entry: str) -> dict[str, str]:
    return {"customerId": customer_id_of(webhook_id), "entry": entry}


def _slot(customer_id: str) -> str:
    return str(zlib.crc32(customer_id.encode()) % SLOTS_OF_CUSTOMERS)


def _webhook_key(webhook_id: str) -> dict[str, str]:
    return _key(webhook_id, _WEBHOOK + webhook_id)


def _receiver_key(webhook_id: str, name: str) -> dict[str, str]:
    """The health of a webhook's own URL is in the webhook's item; for callbacks, each host has an item."""
    return _key(webhook_id, f"{_HOST}{webhook_id}#{name}") if name else _webhook_key(webhook_id)


def _delivery_key(delivery: Delivery) -> dict[str, str]:
    return _key(delivery.webhook_id, f"{_DELIVERY}{delivery.webhook_id}#{delivery.delivery_id}")


def _webhook_item(webhook: Webhook) -> Item:
    """The item of a new webhook; other attributes are added later, one by one."""
    values = {
        "url": webhook.url,
        "eventTypes": [str(each) for each in webhook.event_types],
        "secret": webhook.secret,
        "status": webhook.status,
        "createTime": webhook.create_time,
        "updateTime": webhook.update_time,
    }
    return to_item({**_webhook_key(webhook.webhook_id), **values})


def _webhook_from(item: Item) -> Webhook:
    values = from_item(item)
    return Webhook(
        webhook_id=text(values, "entry").removeprefix(_WEBHOOK),
        customer_id=text(values, "customerId"),
        url=text(values, "url"),
        event_types=tuple(
            choice({"eventTypes": each}, "eventTypes", OrderEventType) for each in texts(values, "eventTypes")
        ),
        secret=text(values, "secret"),
        create_time=time(values, "createTime"),
        update_time=time(values, "updateTime"),
        status=choice(values, "status", WebhookStatus),
        previous_secret=text(values, "previousSecret", ""),
        previous_until=time(values, "previousUntil", ""),
        known=_receiver_from(text(values, "entry").removeprefix(_WEBHOOK), "", item),
    )


def _receiver_from(webhook_id: str, name: str, item: Item) -> ReceiverHealth:
    values = from_item(item)
    return ReceiverHealth(
        webhook_id,
        name,
        integer(values, "failures", 0),
        time(values, "restUntil", ""),
        time(values, "slowUntil", ""),
        integer(values, "slowFor", 0),
    )


def _changing_values(delivery: Delivery) -> dict[str, Any]:
    return {
        "status": delivery.status,
        "since": delivery.series_start,
        "nextTime": delivery.next_time,
        "round": delivery.attempt_series,
        "tries": delivery.attempt_count,
        "attempts": [{"time": each.time, "result": each.result} for each in delivery.attempts],
        "expireTime": unix_seconds(delivery.series_start) + KEPT_SECONDS,
    }


def _delivery_item(delivery: Delivery) -> Item:
    values = {
        "deliveryId": delivery.delivery_id,
        "webhookId": delivery.webhook_id,
        "orderId": delivery.order_id,
        "eventType": delivery.event_type,
        "body": delivery.body,
        "correlationId": delivery.correlation_id,
        "createTime": delivery.create_time,
        "callbackUrl": delivery.callback_url or None,
        **_changing_values(delivery),
    }
    return to_item({**_delivery_key(delivery), **values})


def _delivery_from(item: Item) -> Delivery:
    values = from_item(item)
    return Delivery(
        delivery_id=text(values, "deliveryId"),
        webhook_id=text(values, "webhookId"),
        order_id=text(values, "orderId"),
        event_type=text(values, "eventType"),
        body=text(values, "body"),
        correlation_id=text(values, "correlationId"),
        create_time=time(values, "createTime"),
        series_start=time(values, "since"),
        next_time=time(values, "nextTime"),
        status=choice(values, "status", DeliveryStatus),
        attempt_series=integer(values, "round"),
        attempt_count=integer(values, "tries"),
        attempts=tuple(
            Attempt(time(each, "time"), text(each, "result")) for each in mappings(values, "attempts")
        ),
        callback_url=text(values, "callbackUrl", ""),
    )
