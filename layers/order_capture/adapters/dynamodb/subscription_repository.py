"""WebSocket subscriptions in a DynamoDB table. Key: `followed` (the target) + `connectionId`.

A subscription is in two items that mirror each other. The target's item has the set of its connections. It is
read consistently, so that a subscriber is sent every event that is published after it subscribed. The
connection's item has the set of its targets, to be removed with the connection. A condition on a set's size
keeps its limit under concurrent writes. Adding to a set, or removing from it, is idempotent.

One more item has the time until which there may be any subscription at all. It is written before the first
subscription and extended once an hour. Reading it first saves a read per event while there are none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import botocore.exceptions

from order_capture.application.ports import SubscriptionTarget
from order_capture.application.retry import Retry
from order_capture.domain.errors import SubscriptionLimitError, TransientError

MAX_SUBSCRIPTIONS = 50  # of one connection in its lifetime: its item stays under 6 KB
# API Gateway ends a connection after two hours. Its items have no use after that.
CONNECTION_SECONDS = 2 * 60 * 60
KEPT_SECONDS = 3 * 60 * 60


class DynamoSubscriptionRepository:
    """Implements `application.ports.SubscriptionRepository`."""

    def __init__(self, client: Any, table: str, retry: Retry) -> None:
        self._client = client
        self._table = table
        self._retry = retry

    def add(  # noqa: D102 - see the port
        self, connection_id: str, what: SubscriptionTarget, now: str, at_most: int
    ) -> None:
        time = int(datetime.fromisoformat(now).timestamp())
        self._announce(time)
        # The connection's own item first: its expiry shows readers of the other set when it has ended.
        own = _connection_key(connection_id)
        if not self._add(own, "follows", _name(what), MAX_SUBSCRIPTIONS, time):
            raise SubscriptionLimitError(
                f"A connection can have {MAX_SUBSCRIPTIONS} subscriptions. Open another connection."
            )
        if self._add(_subscribers_key(what), "connections", connection_id, at_most, time):
            return
        # The set may be full of connections that ended without notice. They no longer count.
        if self._forget_ended(what, time) and self._add(
            _subscribers_key(what), "connections", connection_id, at_most, time
        ):
            return
        self._remove(own, "follows", {_name(what)})
        raise SubscriptionLimitError(f"Only {at_most} connections can have the same subscription.")

    def has_any(self, now: str) -> bool:  # noqa: D102
        return self._any_until() > datetime.fromisoformat(now).timestamp()

    def subscribers(  # noqa: D102
        self, targets: Collection[SubscriptionTarget]
    ) -> Mapping[SubscriptionTarget, Collection[str]]:
        items = self._read([_subscribers_key(each) for each in targets])
        found = {item["followed"]["S"]: item.get("connections", {"SS": []})["SS"] for item in items}
        return {each: found.get(_name(each), []) for each in targets}

    def remove(self, connection_id: str, *what: SubscriptionTarget) -> None:  # noqa: D102
        own = _connection_key(connection_id)
        names = self._set(own, "follows") | {_name(each) for each in what}
        # The list of targets goes last: if this is interrupted, the next run finds them again.
        for name in sorted(names):
            self._remove({"followed": {"S": name}, **_SUBSCRIBERS}, "connections", {connection_id})
        self._client.delete_item(TableName=self._table, Key=own)

    def _forget_ended(self, what: SubscriptionTarget, time: int) -> bool:
        """Remove ended connections from a set; returns whether there were any."""
        connections = self._set(_subscribers_key(what), "connections")
        items = self._read([_connection_key(connection_id) for connection_id in sorted(connections)])
        ended = connections - {
            item["connectionId"]["S"]
            for item in items
            if int(item["expiresAt"]["N"]) > time  # TTL may come days later
        }
        if ended:
            self._remove(_subscribers_key(what), "connections", ended)
        return bool(ended)

    def _announce(self, time: int) -> None:
        """Make `has_any` true for as long as the connection can last. Usually it already is."""
        if self._any_until() < time + CONNECTION_SECONDS:
            self._client.update_item(
                TableName=self._table,
                Key=_ANY,
                UpdateExpression="SET expiresAt = :expires",
                ExpressionAttributeValues={":expires": {"N": str(time + KEPT_SECONDS)}},
            )

    def _any_until(self) -> int:
        item = self._client.get_item(TableName=self._table, Key=_ANY, ConsistentRead=True).get("Item", {})
        return int(item.get("expiresAt", {"N": "0"})["N"])

    def _read(self, keys: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Read the existing items of these keys, in any order. One call takes a hundred keys.

        See https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
        """
        for attempt in self._retry:
            if not keys:
                return
            request = {self._table: {"Keys": keys, "ConsistentRead": True}}
            answer = self._client.batch_get_item(RequestItems=request)
            yield from answer["Responses"].get(self._table, [])
            keys = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if keys:
                attempt.back_off()
        if keys:
            raise TransientError("The subscriptions could not be read. Send the same request again.")

    def _set(self, key: dict[str, Any], name: str) -> set[str]:
        item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item", {})
        return set(item.get(name, {"SS": []})["SS"])

    def _add(self, key: dict[str, Any], name: str, member: str, at_most: int, time: int) -> bool:
        """Add to a set that has fewer than `at_most` members, or this one already; False if it is full."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key,
                UpdateExpression=f"SET expiresAt = :expires ADD {name} :these",
                ConditionExpression=f"attribute_not_exists({name}) OR size({name}) < :most"
                f" OR contains({name}, :this)",
                ExpressionAttributeValues={
                    ":expires": {"N": str(time + KEPT_SECONDS)},
                    ":these": {"SS": [member]},
                    ":this": {"S": member},
                    ":most": {"N": str(at_most)},
                },
            )
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def _remove(self, key: dict[str, Any], name: str, members: Set[str]) -> None:
        """Remove from a set, if there is one. Without the condition, an update would create an item."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key,
                UpdateExpression=f"DELETE {name} :these",
                ConditionExpression=f"attribute_exists({name})",
                ExpressionAttributeValues={":these": {"SS": sorted(members)}},
            )
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise


_SUBSCRIBERS = {"connectionId": {"S": "*"}}
_ANY = {"followed": {"S": "any"}, **_SUBSCRIBERS}


def _subscribers_key(what: SubscriptionTarget) -> dict[str, Any]:
    return {"followed": {"S": _name(what)}, **_SUBSCRIBERS}


def _name(what: SubscriptionTarget) -> str:
    """The target as a key. Ids have no "#"."""
    return f"{what.kind}#{what.id}"


def _connection_key(connection_id: str) -> dict[str, Any]:
    return {"followed": {"S": f"connection#{connection_id}"}, "connectionId": {"S": connection_id}}
