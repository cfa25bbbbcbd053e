"""Why a message is among the dead letters, in words: it is read again, as its function reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from contracts.registry import CHANNELS, ENVELOPE, MESSAGES
from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.domain.errors import InvalidMessageError

_ENVELOPED = {message.type: message for message in MESSAGES if message.enveloped}
_CARRIED = {channel.name: {each.type for each in channel.messages} for channel in CHANNELS}
# Who counts reads more of an event than who passes it on.
_READERS: Mapping[str, Callable[[str], Any]] = {"Report": envelopes.decode_summary}
_EXCERPT = 160


def refusal(dlq: str, body: str) -> str | None:
    """Why the function behind a dead-letter queue refuses this message; None if it can read it."""
    name = dlq.removesuffix("Dlq")
    try:
        _READERS.get(name, envelopes.decode)(body)
    except InvalidMessageError as error:
        return _unreadable(body) or str(error)
    kind = str(decimal_json.loads(body)["type"])
    carried = _CARRIED.get(f"{name}Queue") or _CARRIED.get(name) or {kind}
    return None if kind in carried else f"{kind} is not for this queue, which takes {_or(sorted(carried))}"


def lost_place(body: str) -> str:
    """What a dead letter of a stream's function stands for: an item, or a batch of changes.

    Lambda's own letters are described in
    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    try:
        letter = decimal_json.loads(body)
        if keys := letter.get("keys"):
            named = ", ".join(f"{name} {value}" for name, value in keys.items())
            return f"the item with {named} can't be read: it was written by hand, or by a newer release"
        batch, condition = letter["DDBStreamBatchInfo"], letter["requestContext"]["condition"]
        since = batch.get("approximateArrivalOfFirstRecord", "an unknown time")
        return f"{batch['batchSize']} changes since {since} were given up ({condition})"
    except (LookupError, TypeError, ValueError, AttributeError):
        return "it is not a letter of a stream's function"


def excerpt(body: str) -> str:
    """The beginning of a body in one line, without what could steer a terminal."""
    line = "".join(char if char.isprintable() else " " for char in " ".join(body.split()))
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"


def _unreadable(body: str) -> str:
    """What is wrong with it; empty if its models find nothing."""
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
    for place, model in models.items():
        try:
            model.model_validate(event.get(place) if place else event)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = _path(place, first["loc"])
            return f"{where} is missing" if first["type"] == "missing" else f"{where}: {first['msg']}"
    return ""


def _path(place: str, location: Iterable[str | int]) -> str:
    """A field as the API names it: data.items[0].qty."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{place}{''.join(parts)}".removeprefix(".")


def _or(names: list[str]) -> str:
    return " or ".join(names) if len(names) <= 2 else f"{', '.join(names[:-1])} or {names[-1]}"
