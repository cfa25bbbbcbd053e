"""Who follows what, in a DynamoDB table. Key: `followed` (what) + `connectionId`.

One item for each subscription, found by what is followed and read consistently: whoever subscribes is told of
everything that is published after it. And one item for each connection, under its own id, with all that it
follows: the bound is kept by its condition, and it says what is to be removed with the connection.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import botocore.exceptions

from order_capture.application.ports import Followed
from order_capture.domain.errors import SubscriptionLimitError

MAX_FOLLOWED = 50  # by one connection in its life: its item stays under 6 KB
# API Gateway ends a connection after two hours. What is left of one then has no use any more.
KEPT_SECONDS = 3 * 60 * 60


class DynamoFollowers:
    """Implements `application.ports.Followers`."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def add(self, connection_id: str, what: Followed, now: str) -> None:  # noqa: D102 - the port says it
        expires = {"N": str(int(datetime.fromisoformat(now).timestamp()) + KEPT_SECONDS)}
        try:
            self._client.update_item(
                TableName=self._table,
                Key=_key(_connection(connection_id), connection_id),
                UpdateExpression="SET expiresAt = :expires ADD follows :these",
                ConditionExpression="attribute_not_exists(follows) OR size(follows) < :most"
                " OR contains(follows, :this)",
                ExpressionAttributeValues={
                    ":expires": expires,
                    ":these": {"SS": [_name(what)]},
                    ":this": {"S": _name(what)},
                    ":most": {"N": str(MAX_FOLLOWED)},
                },
            )
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            raise SubscriptionLimitError(
                f"A connection can follow {MAX_FOLLOWED} things. Open another one."
            ) from error
        self._client.put_item(
            TableName=self._table, Item={**_key(_name(what), connection_id), "expiresAt": expires}
        )

    def of(self, what: Followed) -> Collection[str]:  # noqa: D102
        found: set[str] = set()
        start: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="followed = :this",
                ExpressionAttributeValues={":this": {"S": _name(what)}},
                ConsistentRead=True,
                **start,
            )
            found.update(item["connectionId"]["S"] for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return found
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def remove(self, connection_id: str, *what: Followed) -> None:  # noqa: D102
        own = _key(_connection(connection_id), connection_id)
        item = self._client.get_item(TableName=self._table, Key=own, ConsistentRead=True).get("Item", {})
        names = {*item.get("follows", {"SS": []})["SS"], *map(_name, what)}
        # What says which they are goes last: if this is interrupted, the next time finds them again.
        for key in [*(_key(name, connection_id) for name in sorted(names)), own]:
            self._client.delete_item(TableName=self._table, Key=key)


def _key(followed: str, connection_id: str) -> dict[str, Any]:
    return {"followed": {"S": followed}, "connectionId": {"S": connection_id}}


def _name(what: Followed) -> str:
    """No id has a "#" in it."""
    return f"{'order' if what.is_order else 'customer'}#{what.id}"


def _connection(connection_id: str) -> str:
    return f"connection#{connection_id}"
