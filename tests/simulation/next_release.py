"""A simulated next release of the functions: it adds unknown fields to what it writes and sends.

Otherwise it is this release. Both run side by side during a deployment, and must preserve each other's
attributes and fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTRIBUTE = "inALaterRelease"
_VALUE = {"M": {"a": {"L": [{"N": "1"}]}}}
_FIELD = f'"{ATTRIBUTE}":{{"a":[1]}}'


def with_more_fields(body: str) -> str:
    """A message with an additional field in its envelope, and one in its data."""
    return body if _FIELD in body else body.replace('"data":{', f'{_FIELD},"data":{{{_FIELD},', 1)


def with_more(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """A call as the next release makes it."""
    match operation:
        case "put_item":
            return _put(params)
        case "update_item":
            return _update(params)
        case "transact_write_items":
            actions = [
                {kind: _put(action) if kind == "Put" else _update(action)}
                for each in params["TransactItems"]
                for kind, action in each.items()
            ]
            return {**params, "TransactItems": actions}
        case "send_message_batch":
            return {**params, "Entries": _sent(params["Entries"], "MessageBody")}
        case "publish_batch":
            name = "PublishBatchRequestEntries"
            return {**params, name: _sent(params[name], "Message")}
    return params


def _put(action: Mapping[str, Any]) -> dict[str, Any]:
    return {**action, "Item": {**action["Item"], ATTRIBUTE: _VALUE}}


def _update(action: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **action,
        "UpdateExpression": f"{action['UpdateExpression']}, {ATTRIBUTE} = :more",
        "ExpressionAttributeValues": {**action["ExpressionAttributeValues"], ":more": _VALUE},
    }


def _sent(entries: list[dict[str, Any]], body: str) -> list[dict[str, Any]]:
    return [{**entry, body: with_more_fields(entry[body])} for entry in entries]
