"""Short descriptions of calls and messages for a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_capture.adapters.serializers import decimal_json


def gist(body: str) -> str:
    """A message in a word or two: its type and its order."""
    try:
        event = decimal_json.loads(body)
        data = event["data"]
        what = [str(data[name]) for name in ("check", "outcome", "code") if data.get(name)]
        return " ".join([event["type"], event["subject"][:8], *what])
    except (ValueError, LookupError, TypeError):
        return f"poison {body[:20]!r}"


def what(params: Mapping[str, Any]) -> str:
    """The subject of a call: the items that it reads or writes, or the messages that it sends."""
    if "TransactItems" in params:
        return ", ".join(_action(*next(iter(each.items()))) for each in params["TransactItems"])
    if "RequestItems" in params:
        ((_, request),) = params["RequestItems"].items()
        return ", ".join(sorted(_key(key) for key in request["Keys"]))
    if "Key" in params:
        return _action("Update" if "UpdateExpression" in params else "", params)
    if "Item" in params:
        return _action("Put", params)
    if "MessageBody" in params:
        return str(params["MessageBody"])[:60]
    entries = params.get("Entries") or params["PublishBatchRequestEntries"]
    if "VisibilityTimeout" in entries[0]:
        return ", ".join(f"again in {entry['VisibilityTimeout']} s" for entry in entries)
    return ", ".join(gist(entry.get("MessageBody") or entry["Message"]) for entry in entries)


def _action(kind: str, action: Mapping[str, Any]) -> str:
    values = action.get("ExpressionAttributeValues", {})
    shown = [f"{name[1:]}={next(iter(values[name].values()))}" for name in _SHOWN if name in values]
    item = action.get("Key") or {name: action["Item"][name] for name in _KEYS if name in action["Item"]}
    return " ".join([kind, _key(item), *shown]).strip()


def _key(key: Mapping[str, Any]) -> str:
    return "/".join(str(attribute["S"])[:24] for attribute in key.values())


_KEYS = ("orderId", "customerId", "productId", "entry")
_SHOWN = (":status", ":balance", ":held", ":settled", ":shipped", ":over", ":deleted")
