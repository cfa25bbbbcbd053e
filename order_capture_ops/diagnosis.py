"""Explain why a message is in a dead-letter queue, by decoding it again as its function does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from contracts.registry import CHANNELS, ENVELOPE, MESSAGES
from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.domain.errors import InvalidMessageError

_ENVELOPED = {message.type: message for message in MESSAGES if message.enveloped}
_CHANNEL_TYPES = {channel.name: {each.type for each in channel.messages} for channel in CHANNELS}
# The reports decode more fields of an event than the functions that forward it.
_DECODERS: Mapping[str, Callable[[str], Any]] = {"Report": envelopes.decode_checked}
_MAX_EXCERPT = 160


def rejection_reason(dlq: str, body: str) -> str | None:
    """Why the function behind a dead-letter queue rejects this message; None if it can decode it."""
    name = dlq.removesuffix("Dlq")
    try:
        _DECODERS.get(name, envelopes.decode)(body)
    except InvalidMessageError as error:
        return _validation_error(body) or str(error)
    kind = str(decimal_json.loads(body)["type"])
    expected = _CHANNEL_TYPES.get(f"{name}Queue") or _CHANNEL_TYPES.get(name) or {kind}
    return None if kind in expected else f"{kind} is not for this queue, which takes {_or(sorted(expected))}"


def stream_failure(body: str) -> str:
    """What a dead letter of a stream's function stands for: an item, or a batch of changes.

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


def excerpt(body: str) -> str:
    """The beginning of a body in one line, without terminal control characters."""
    line = "".join(char if char.isprintable() else " " for char in " ".join(body.split()))
    return line if len(line) <= _MAX_EXCERPT else f"{line[:_MAX_EXCERPT]}…"


def _validation_error(body: str) -> str:
    """The first thing that is wrong with a body; empty if its models accept it."""
    try:
        event = decimal_json.loads(body)
    except (ValueError, RecursionError):
        return "it is not JSON"
    if not isinstance(event, dict):
        return "it is JSON, but not an object"
    kind = event.get("type")
    if kind is not None and kind not in _ENVELOPED:
        return f"its type {kind!r} is not known to this release"
    if kind is not None and event.get("dataschema") not in (None, _ENVELOPED[kind].dataschema):
        return f"its dataschema {event['dataschema']!r} is of a version that this release does not read"
    models = {"": ENVELOPE.model} | ({"data": _ENVELOPED[kind].model} if kind else {})
    for prefix, model in models.items():
        try:
            model.model_validate(event.get(prefix) if prefix else event)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = _path(prefix, first["loc"])
            return f"{field} is missing" if first["type"] == "missing" else f"{field}: {first['msg']}"
    return ""


def _path(prefix: str, location: Iterable[str | int]) -> str:
    """A field as the API names it: data.items[0].qty."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{prefix}{''.join(parts)}".removeprefix(".")


def _or(names: list[str]) -> str:
    return " or ".join(names) if len(names) <= 2 else f"{', '.join(names[:-1])} or {names[-1]}"
