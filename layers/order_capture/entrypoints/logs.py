"""Structured logs from the standard library's logging, which name nobody.

On Lambda, the runtime itself writes each record as a line of JSON with all its `extra` fields
(LoggingConfig in template.yaml), at no cost to a cold start. Elsewhere nobody does, so that we do.

What a log may hold: ids of orders, requests, messages, deliveries and connections, correlation ids, statuses,
counts, and the classes of errors with where they were raised. Never the id of a customer or product, an
amount, an address, a secret, a token or a body. So the text of an error is not logged either, since it may
repeat what it is about, but for those whose text is ours (`_SPEAKING`).
"""

from __future__ import annotations

import logging
import os
import traceback
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.exceptions

from order_capture.adapters.aws_errors import codes_of
from order_capture.adapters.serializers import decimal_json
from order_capture.config import MissingSettingError
from order_capture.domain.errors import (
    InvalidMessageError,
    LedgerInconsistencyError,
    RejectedMessagesError,
    TransientError,
    UnreadableError,
)

_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_LOGGABLE_ERRORS = (
    LedgerInconsistencyError,
    InvalidMessageError,
    MissingSettingError,
    RejectedMessagesError,
    TransientError,
    UnreadableError,
)


class JsonFormatter(logging.Formatter):
    """A line of JSON per record, with the fields that Lambda's own format has."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; values of no JSON type as text."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value if isinstance(value, str | int | list) else str(value)
            for name, value in record.__dict__.items()
            if name not in _STANDARD
        }
        return decimal_json.dumps(line)


@cache
def configure() -> None:
    """Make our records visible and discreet, once a process. Lambda's own handler stays if there is one.

    At DEBUG, botocore writes every request down, with its body and the session token of the function, and the
    runtime sets the level of the root logger by `ApplicationLogLevel`. So DEBUG is for our own loggers alone.
    """
    logging.setLogRecordFactory(_Discreet)
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)
    root.setLevel(max(root.level, logging.INFO))
    logging.getLogger("order_capture").setLevel(os.environ.get("LOG_LEVEL", "INFO"))


def described(error: BaseException) -> str:
    """What an error is, without what it is about."""
    name = type(error).__name__
    if isinstance(error, botocore.exceptions.ClientError):
        return f"{name}: {', '.join(map(str, codes_of(error)))} ({error.operation_name})"
    return f"{name}: {error}" if isinstance(error, _LOGGABLE_ERRORS) else name


class _Discreet(logging.LogRecord):
    """A record whose error is a text: its class, where it was raised, and those that it came of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[1]:
            # Under a name that Lambda's JSON format does not use itself: it would pass over ours.
            self.exception = "\n".join(map(_with_its_frames, _chain(self.exc_info[1])))
        self.exc_info = None


def _chain(error: BaseException) -> list[BaseException]:
    """What an error came of, first things first, and the error itself."""
    chain: list[BaseException] = []
    next_one: BaseException | None = error
    while next_one is not None and next_one not in chain:
        chain.insert(0, next_one)
        next_one = next_one.__cause__ or (None if next_one.__suppress_context__ else next_one.__context__)
    return chain


def _with_its_frames(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)) + described(error)
