"""Structured logs by Powertools' Logger, without personal data.

Logger writes each record as a line of JSON to stdout. Lambda keeps such a line unchanged. It filters lines by
their `level`, if they also have a `timestamp` by RFC 3339 (Lambda Developer Guide, "Log-level filtering"). So
LoggingConfig's JSON in template.yaml neither wraps the lines nor loses them.

All other modules use the standard library's logging: Logger has our package's name, so it gets their records.

A log may contain ids of orders, requests, messages, deliveries and connections, correlation ids, statuses,
counts, and classes of errors with their stack frames. It never contains the id of a customer or product, an
amount, an address, a secret, a token or a body. An error's text may repeat such a value, so it is not logged
either, except for errors whose text is ours (`_LOGGABLE_ERRORS`).
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from typing import Any

import botocore.exceptions
from aws_lambda_powertools import Logger

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

_LOGGABLE_ERRORS = (
    LedgerInconsistencyError,
    InvalidMessageError,
    MissingSettingError,
    RejectedMessagesError,
    TransientError,
    UnreadableError,
)


@cache
def configure() -> Logger:
    """Set up the process's Logger: our records are written, and errors are redacted in all records.

    At DEBUG, botocore logs every request, with its body and the function's session token. The runtime sets
    the root logger's level from `ApplicationLogLevel`. So only our own loggers can be at DEBUG.
    """
    logging.setLogRecordFactory(_Discreet)
    root = logging.getLogger()
    root.setLevel(max(root.level, logging.INFO))
    others = logging.StreamHandler(sys.stdout)
    if not root.handlers:  # not on Lambda, whose runtime writes the records of other loggers
        root.addHandler(others)
    logger = Logger(
        service="order_capture",
        utc=True,
        use_rfc3339=True,
        json_serializer=_line,
        location="%(name)s:%(lineno)d",
        log_record_order=["timestamp", "level", "message", "location"],
    )
    others.setFormatter(logger.registered_formatter)
    return logger


def _line(values: Mapping[str, Any]) -> str:
    """A line of the log; values of other than JSON's types become text."""
    return decimal_json.dumps(
        {name: each if isinstance(each, str | int | list) else str(each) for name, each in values.items()}
    )


def described(error: BaseException) -> str:
    """An error's class, and its text only if that can be logged."""
    name = type(error).__name__
    if isinstance(error, botocore.exceptions.ClientError):
        return f"{name}: {', '.join(map(str, codes_of(error)))} ({error.operation_name})"
    return f"{name}: {error}" if isinstance(error, _LOGGABLE_ERRORS) else name


class _Discreet(logging.LogRecord):
    """A record whose error is redacted to a text: its class, its stack frames, and its causes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[1]:
            # A field that neither Lambda's JSON format nor Powertools' sets itself.
            self.exception = "\n".join(map(_with_its_frames, _chain(self.exc_info[1])))
        self.exc_info = None


def _chain(error: BaseException) -> list[BaseException]:
    """The causes of an error, the first one first, and the error itself."""
    chain: list[BaseException] = []
    next_one: BaseException | None = error
    while next_one is not None and next_one not in chain:
        chain.insert(0, next_one)
        next_one = next_one.__cause__ or (None if next_one.__suppress_context__ else next_one.__context__)
    return chain


def _with_its_frames(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)) + described(error)
