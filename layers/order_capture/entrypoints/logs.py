"""Structured logs by Powertools' Logger, which name nobody.

Logger writes each record as a line of JSON to stdout. Lambda takes such a line as it is. It filters the line
by its `level`, which it reads beside a `timestamp` by RFC 3339 (Lambda Developer Guide, "Log-level
filtering"). So LoggingConfig's JSON in template.yaml neither wraps it nor loses it.

All other modules log by the standard library: Logger is named as our package is, so their records are its.

What a log may hold: ids of orders, requests, messages, deliveries and connections, correlation ids, statuses,
counts, and the classes of errors with where they were raised. Never the id of a customer or product, an
amount, an address, a secret, a token or a body. So the text of an error is not logged either, since it may
repeat what it is about, but for those whose text is ours (`_SPEAKING`).
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
    """The process's Logger: our records are visible and discreet, and those of others are discreet.

    At DEBUG, botocore writes every request down, with its body and the session token of the function, and the
    runtime sets the level of the root logger by `ApplicationLogLevel`. So DEBUG is for our own loggers alone.
    """
    logging.setLogRecordFactory(_Discreet)
    root = logging.getLogger()
    root.setLevel(max(root.level, logging.INFO))
    others = logging.StreamHandler(sys.stdout)
    if not root.handlers:  # elsewhere than on Lambda, whose runtime writes what others than us log
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
    """A line of the log; values of no JSON type as text."""
    return decimal_json.dumps(
        {name: each if isinstance(each, str | int | list) else str(each) for name, each in values.items()}
    )


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
            # Under a name that neither Lambda's JSON format nor Powertools' fills itself.
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
