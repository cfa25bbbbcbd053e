"""Explain why a message is in a dead-letter queue, by decoding it again as its function does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError

from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.application.channels import Channel, ChannelKind
from order_capture.application.snapshots import OrderSnapshot
from order_capture.domain.errors import InvalidMessageError
from order_capture.domain.events import OrderEventType

_MODELS: Mapping[str, type[BaseModel]] = {
    **envelopes.COMMANDS,
    **{str(each): OrderSnapshot for each in OrderEventType},
}


def rejection_reason(channel: Channel, body: str) -> str | None:
    """Why a channel's function rejects this message; None if it can decode it."""
    if channel.kind is ChannelKind.STREAM:
        return stream_failure(body)
    # The reports decode more fields of an event than the functions that forward it.
    decode = envelopes.decode_checked if channel.name == "report" else envelopes.decode
    try:
        decode(body)
    except InvalidMessageError as error:
        return _validation_error(body) or str(error)
    kind = str(decimal_json.loads(body)["type"])
    if kind in channel.types:
        return None
    return f"{kind} is not for this queue, which takes {_or(sorted(channel.types))}"


def stream_failure(body: str) -> str:
    """Describe a dead letter of a stream's function: an item, or a batch of changes.

    Lambda's own records of failed batches are described in
    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    try:
        record = decimal_json.loads(body)
        if keys := record.get("keys"):
            key = ", ".join(f"{name} {value}" for name, value in keys.items())
            return f"the item with {key} can't be read: it was written by hand, or by a newer release"
        batch, condition = record["DDBStreamBatchInfo"], record["requestContext"]["condition"]
        since = batch.get("approximateArrivalOfFirstRecord", "an unknown time")
        return f"{batch['batchSize']} changes since {since} were dropped ({condition})"
    except (LookupError, TypeError, ValueError, AttributeError):
        return "it is not a record of a failed stream batch"


def _validation_error(body: str) -> str:
    """The first validation error of a body; empty if its models accept it."""
    try:
        event = decimal_json.loads(body)
    except (ValueError, RecursionError):
        return "it is not JSON"
    if not isinstance(event, dict):
        return "it is JSON, but not an object"
    kind = event.get("type")
    if kind is not None and kind not in _MODELS:
        return f"its type {kind!r} is not known to this release"
    if kind is not None and event.get("dataschema") not in (None, envelopes.dataschema(kind)):
        return f"its dataschema {event['dataschema']!r} is of a version that this release does not read"
    models: dict[str, type[BaseModel]] = {"": envelopes.CloudEvent} | (
        {"data": _MODELS[kind]} if kind else {}
    )
    for prefix, model in models.items():
        try:
            model.model_validate(event.get(prefix) if prefix else event)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = _path(prefix, first["loc"])
            return f"{field} is missing" if first["type"] == "missing" else f"{field}: {first['msg']}"
    return ""


def _path(prefix: str, location: Iterable[str | int]) -> str:
    """A field's path as in the API: data.items[0].qty."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{prefix}{''.join(parts)}".removeprefix(".")


def _or(names: list[str]) -> str:
    return " or ".join(names) if len(names) <= 2 else f"{', '.join(names[:-1])} or {names[-1]}"
