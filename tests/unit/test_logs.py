"""A function's log: lines of JSON with the error and its place, without names of customers."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters import time_budget
from order_capture.domain.errors import RejectedMessagesError, TransientError, UnreadableError
from order_capture.entrypoints import logs
from order_capture.entrypoints.invocations import InvocationFailedError, invocation
from tests.support.factories import lambda_context
from tests.support.logs import fresh_logging

logger = logging.getLogger("order_capture.test")

CUSTOMER = "alice"  # a traceback shows lines of code, but not the values of variables


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The output of a new process, at DEBUG as Lambda's runtime sets it."""
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    with fresh_logging() as text:
        yield text


def test_a_line_is_json_with_what_happened_and_what_it_is_about(written: io.StringIO) -> None:
    logger.error("failed %d", 3, extra={"order_ids": ["order-1"], "exactly": Decimal("0.10")})

    line = json.loads(written.getvalue())
    assert (line["level"], line["message"]) == ("ERROR", "failed 3")
    assert line["location"].startswith("order_capture.test:")
    assert (line["order_ids"], line["exactly"]) == (["order-1"], "0.10")


def test_an_error_is_named_with_where_it_was_raised_but_not_with_what_it_is_about(
    written: io.StringIO,
) -> None:
    def looked_up(accounts: dict[str, str], customer: str) -> str:
        try:
            return accounts[customer]
        except KeyError as error:
            raise ValueError(f"{customer} has no account") from error

    try:
        looked_up({}, CUSTOMER)
    except ValueError:
        logger.exception("failed")

    line = json.loads(written.getvalue())
    assert CUSTOMER not in written.getvalue()
    assert [text for text in line["exception"].splitlines() if not text.startswith(" ")] == [
        "KeyError",
        "ValueError",
    ]
    assert "in looked_up" in line["exception"]


def test_what_caused_an_error_is_not_named_where_it_is_hidden(written: io.StringIO) -> None:
    try:
        try:
            raise KeyError("x")
        except KeyError:
            raise ValueError from None
    except ValueError:
        logger.exception("failed")

    assert "KeyError" not in written.getvalue()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("alice"), "KeyError"),
        (TransientError("too busy"), "TransientError: too busy"),
        (UnreadableError("logs is missing"), "UnreadableError: logs is missing"),
        (
            RejectedMessagesError({"alice"}),
            "RejectedMessagesError: 1 messages can't be sent: too large, or refused",
        ),
        (
            botocore.exceptions.ClientError(
                {"Error": {"Code": "ValidationException", "Message": "alice"}}, "PutItem"
            ),
            "ClientError: ValidationException (PutItem)",
        ),
        (
            botocore.exceptions.ClientError(
                {
                    "Error": {"Code": "TransactionCanceledException", "Message": "alice"},
                    "CancellationReasons": [
                        {"Code": "None"},
                        {"Code": "ValidationError", "Message": "12.34"},
                    ],
                },
                "TransactWriteItems",
            ),
            "ClientError: TransactionCanceledException, None, ValidationError (TransactWriteItems)",
        ),
        (botocore.exceptions.ParamValidationError(report="alice"), "ParamValidationError"),
    ],
)
def test_of_an_error_of_others_only_its_codes_are_logged(error: Exception, text: str) -> None:
    assert logs.described(error) == text


def test_at_debug_only_our_own_loggers_write_what_they_do(written: io.StringIO) -> None:
    for name in ("botocore.endpoint", "boto3", "urllib3.connectionpool", "anybody.else"):
        logging.getLogger(name).debug("the session token")
        logging.getLogger(name).info("no secret")
    logger.debug("of ours")

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["message"] for line in lines if line["level"] == "DEBUG"] == ["of ours"]
    assert sum(line["level"] == "INFO" for line in lines) == 4


def test_lambda_can_filter_a_line_by_its_level(written: io.StringIO) -> None:
    """It reads `level` if there is an RFC 3339 `timestamp`, and treats any other line as INFO."""
    logger.warning("careful")

    line = json.loads(written.getvalue())
    assert line["level"] == "WARNING"
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_what_others_log_of_an_error_does_not_repeat_what_it_is_about(written: io.StringIO) -> None:
    """Lambda's own handler writes their lines, with every attribute of a record."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logging.getLogger().addHandler(Kept())
    try:
        raise KeyError("alice")
    except KeyError:
        logging.getLogger("botocore").exception("failed")

    assert records[0].exc_info is None
    assert records[0].__dict__["exception"].endswith("KeyError")


def test_each_line_is_written_once(written: io.StringIO) -> None:
    logger.info("of ours")
    logging.getLogger("botocore").info("of others")

    assert [json.loads(line)["message"] for line in written.getvalue().splitlines()] == [
        "of ours",
        "of others",
    ]


def test_a_line_names_its_call_and_request_and_nothing_of_the_call_before(written: io.StringIO) -> None:
    @invocation
    def call(event: dict[str, Any], _context: object) -> None:
        logs.configure().append_keys(**event)
        logger.info("called")

    call({"correlation_id": "c-1"}, lambda_context(request_id="r-1"))
    call({}, lambda_context(request_id="r-2"))

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(line["function_request_id"], line.get("correlation_id")) for line in lines] == [
        ("r-1", "c-1"),
        ("r-2", None),
    ]


def test_what_leaves_a_handler_names_nobody(written: io.StringIO) -> None:
    @invocation
    def handler(_event: dict[str, Any], _context: object) -> None:
        raise KeyError(CUSTOMER)

    with pytest.raises(InvocationFailedError, match=r"^KeyError$") as raised:
        handler({}, None)

    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "KeyError" in written.getvalue()
    assert CUSTOMER not in written.getvalue()


@pytest.mark.parametrize(("left", "enough"), [(10_000, True), (2_000, False)])
def test_a_call_knows_whether_there_is_time_left_to_report_what_is_not_done(
    monkeypatch: pytest.MonkeyPatch, left: int, enough: bool
) -> None:
    monkeypatch.setattr(time_budget, "_ends_at", float("inf"))
    requested: list[bool] = []
    call: Callable[[dict[str, Any], Any], None] = invocation(
        lambda _event, _context: requested.append(time_budget.has_time_left())
    )

    call({}, lambda_context(left))

    assert requested == [enough]
