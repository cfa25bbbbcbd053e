"""Shared by all commands: argument types, error messages and exit codes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions
import httpx
import pytest

from order_capture.domain.errors import TransientError
from order_capture_ops import cli
from order_capture_ops.cli import Parser, run
from order_capture_ops.errors import CommandError, UsageError

KINDS: dict[str, Callable[[str], Any]] = {
    "a positive number": cli.positive_number,
    "a number": cli.non_negative_number,
    "a whole number": cli.integer_between(1, 100),
    "a port": cli.port,
    "an id": cli.identifier,
    "a time": cli.parse_time,
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("a positive number", text) for text in ("0", "-1", "abc", "nan", "inf", "", "1,5")),
        *(("a number", text) for text in ("-1", "abc", "nan", "inf", "")),
        *(("a whole number", text) for text in ("0", "101", "-1", "abc", "1.5", "1e1", "", "1_0", "9" * 400)),
        *(("a port", text) for text in ("0", "65536", "70000", "abc", "-1", "")),
        *(("an id", text) for text in ("", "a b", "a/b", "a" * 65, "ä", "a\n")),
        *(("a time", text) for text in ("", "yesterday", "10", "10 m", "2w", "-1h", "2026-13-01", "999999d")),
    ],
)
def test_an_invalid_value_is_rejected_with_what_is_allowed(kind: str, text: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"such as|from 1 to|characters of|2026-11-20"
    ) as refused:
        KINDS[kind](text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(3)),
    ],
)
def test_a_time_may_be_an_age(text: str, ago: timedelta) -> None:
    assert abs(datetime.now(UTC) - ago - cli.parse_time(text)) < timedelta(seconds=30)


@pytest.mark.parametrize(
    "text", ["2026-11-20T10:00Z", "2026-11-20T10:00:00", "2026-11-20T11:00:00+01:00", "2026-11-20 10:00"]
)
def test_a_time_may_be_rfc_3339_and_is_utc_by_default(text: str) -> None:
    assert cli.parse_time_text(text) == "2026-11-20T10:00:00.000Z"


def test_an_invalid_argument_is_named_with_its_variable_and_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = Parser(prog="make redrive", example="make redrive QUEUE=order_update RATE=10")
    parser.add_argument("--rate", type=cli.positive_number)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--rate", "0"])

    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "Error: RATE (--rate): '0' is not a number above 0, such as 10",
        "For example: make redrive QUEUE=order_update RATE=10",
    ]


def client_error(code: str, message: str = "the message") -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CommandError("in words"), "in words"),
        (client_error("ExpiredToken"), "aws sso login"),
        (client_error("InvalidClientTokenId"), "AWS_PROFILE"),
        (
            client_error("AccessDenied", "User x is not authorized to perform: y"),
            "not authorized to perform: y",
        ),
        (client_error("ThrottlingException"), "try again"),
        (client_error("Other", "on\ntwo lines"), "DescribeStacks: Other: on two lines"),
        (botocore.exceptions.NoRegionError(), "AWS_REGION=eu-west-1"),
        (botocore.exceptions.NoCredentialsError(), "aws sso login"),
        (botocore.exceptions.ProfileNotFound(profile="nope"), "nope"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"), "does not respond"),
        (botocore.exceptions.UnauthorizedSSOTokenError(), "aws sso login"),
        (httpx.ConnectError("refused"), "make run"),
        (PermissionError(13, "Permission denied", "env.json"), "Permission denied: env.json"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_one_line_with_what_to_do(
    error: Exception, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert run(fail) == 1
    assert run(fail, failed=2) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert expected in lines[0]


def test_an_unexpected_error_is_one_line_and_its_trace_is_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "TRACE_FILE", tmp_path / "here/error.log")

    assert run(lambda: int("many")) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError" in line
    assert str(tmp_path / "here/error.log") in line
    assert "Traceback" in (tmp_path / "here/error.log").read_text()


@pytest.mark.parametrize(
    ("error", "codes", "expected"),
    [
        (UsageError("QUEUE is missing"), (2, 2), "QUEUE is missing"),
        (TransientError("not all were sent."), (1, 1), "Run it again"),
        (KeyboardInterrupt(), (130, 130), "Interrupted."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exit_codes(
    error: BaseException, codes: tuple[int, int], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert (run(fail), run(fail, failed=2)) == codes
    assert expected in capsys.readouterr().err


def test_a_closed_pipe_is_silent_and_never_the_success_of_a_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "dup2", lambda *_: None)

    def fail() -> int:
        raise BrokenPipeError

    assert run(fail) == 0
    assert run(fail, failed=2) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.9, "0s"), (59, "59s"), (200, "3m 20s"), (7500, "2h 5m"), (349200, "4d 1h"), (-5, "0s")],
)
def test_an_age_has_its_two_largest_units(seconds: float, expected: str) -> None:
    assert cli.age(seconds) == expected
