"""Shared by all commands: argument parsing, error messages, output.

Exit codes: 0 success. 1 failure, or problems were found and are listed. 2 an argument is not allowed; or, for
commands whose 1 means problems, the check itself failed. 130 interrupted. 141 the output pipe was closed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import botocore.exceptions
import httpx
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from order_capture.domain.errors import OrderCaptureError, TransientError
from order_capture.domain.times import format_utc
from order_capture_ops.errors import CommandError, UsageError

FAILED, UNKNOWN, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
TRACE_FILE = Path(__file__).resolve().parent.parent / ".local/error.log"
"""The stack trace of an unexpected error is written here; the user sees one line."""

_PIPE_WIDTH = 10_000  # a pipe has no width, and wrapped ids could not be searched for
_MAX_TCP_PORT = 65535
# Options whose Makefile variable has another name.
_VARIABLES = {"--cases": "N"}
_ID = re.compile(r"[A-Za-z0-9._:@+~-]{1,64}")  # as in swagger.yaml
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


class Parser(argparse.ArgumentParser):
    """Rejects an invalid argument in two lines: what is allowed, and an example.

    Users type `make redrive QUEUE=…`, so a message names the variable as well as the option.
    """

    def __init__(self, *, example: str = "", **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)
        self._example = example

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with 2."""
        named = re.sub(r"^argument (\S+): ", lambda match: f"{_variable(match[1])}: ", message)
        raise SystemExit(print_usage_error(named, self._example))


def print_usage_error(message: str, example: str = "") -> int:
    """Print why an argument is invalid; returns the exit code."""
    errors.print("[red]Error:[/]", escape(message))
    if example:
        errors.print("For example:", escape(example))
    return UNKNOWN


def run(command: Callable[[], int], *, failed: int = FAILED) -> int:
    """Run a command and return its exit code; any exception is printed as one line.

    Args:
        command: returns the exit code.
        failed: the exit code of a failure. `UNKNOWN` for commands whose 1 means that problems were found.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code
    except UsageError as error:
        return print_usage_error(str(error))
    except BrokenPipeError:
        # `make logs | head`: without this, the interpreter prints an error when it flushes at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED if failed == UNKNOWN else 0
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED
    except TransientError as error:
        errors.print("[red]Error:[/]", escape(f"{error} Run it again."))
        return FAILED
    except Exception as error:
        errors.print("[red]Error:[/]", escape(explain(error)))
        return failed


def explain(error: Exception) -> str:
    """Describe an error and what to do about it, in one or two lines."""
    if isinstance(error, CommandError | OrderCaptureError):
        return str(error)
    if isinstance(error, botocore.exceptions.ClientError):
        return _of_client(error)
    if isinstance(error, botocore.exceptions.BotoCoreError):
        return _of_botocore(error)
    if isinstance(error, httpx.HTTPError):
        return f"HTTP request failed: {_first_line(error)}. Is the stack running? `make run` starts it."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    TRACE_FILE.parent.mkdir(parents=True, exist_ok=True)
    TRACE_FILE.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {_first_line(error)}. This is a bug: {TRACE_FILE} has the stack trace."


def _of_client(error: botocore.exceptions.ClientError) -> str:
    code = error.response["Error"].get("Code", "")
    message = " ".join(error.response["Error"].get("Message", "").split())
    call = error.operation_name
    if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        return f"Your AWS credentials have expired: sign in again (aws sso login). [{call}]"
    if code in ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"):
        return f"AWS does not accept your credentials: check AWS_PROFILE. [{call}: {message}]"
    if "AccessDenied" in code or code in ("AuthorizationError", "UnauthorizedOperation"):
        return f"Access denied: {message or call}"
    if "Throttl" in code or code in ("RequestLimitExceeded", "ProvisionedThroughputExceededException"):
        return f"AWS throttles these calls: try again in a minute, or with a lower RATE. [{call}]"
    return f"{call}: {code}: {message}"


def _of_botocore(error: botocore.exceptions.BotoCoreError) -> str:
    match error:
        case botocore.exceptions.NoRegionError():
            return (
                "No AWS region is set. For example: AWS_REGION=eu-west-1 make status STACK=order-capture-dev"
            )
        case botocore.exceptions.NoCredentialsError() | botocore.exceptions.PartialCredentialsError():
            return "No AWS credentials are set: sign in (aws sso login), or set AWS_PROFILE."
        case (
            botocore.exceptions.SSOError()
            | botocore.exceptions.TokenRetrievalError()
            | botocore.exceptions.CredentialRetrievalError()
        ):
            return f"Your AWS sign-in has expired or failed: aws sso login. [{_first_line(error)}]"
        case botocore.exceptions.HTTPClientError() | botocore.exceptions.ConnectionError():
            return f"AWS does not respond: {_first_line(error)}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _variable(option: str) -> str:
    long = option.rpartition("/")[2]
    if not long.startswith("--"):
        return option
    return f"{_VARIABLES.get(long, long[2:].replace('-', '_').upper())} ({long})"


# --------------------------------------------------------------------------------------------- argument types
def positive_number(text: str) -> float:
    """Parse a number above zero."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 10")


def non_negative_number(text: str) -> float:
    """Parse a number of zero or more."""
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more, such as 30")


def integer_between(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of integers from `least` to `most`."""

    def parse(text: str) -> int:
        # int() also accepts "1_000", "١" and numbers with so many digits that parsing them is slow.
        if re.fullmatch(r"[+-]?[0-9]{1,18}", text) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least:,} to {most:,}")

    return parse


port = integer_between(1, _MAX_TCP_PORT)
"""A TCP port."""


def identifier(text: str) -> str:
    """Parse the id of an order or a customer."""
    if _ID.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is not an id: 1 to 64 characters of A-Z a-z 0-9 . _ : @ + ~ -"
    )


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time (UTC by default), a day, or an age: 90s, 10m, 2h, 3d."""
    if match := _DURATION.fullmatch(text):
        with contextlib.suppress(OverflowError):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    with contextlib.suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a time: use 2026-11-20T10:00Z, a day (2026-11-20), or an age (90s, 10m, 2h, 3d)"
    )


def parse_time_text(text: str) -> str:
    """Parse a time like `parse_time`, and format it as the stored times are."""
    return format_utc(parse_time(text))


# ----------------------------------------------------------------------------------------------------- output
@contextlib.contextmanager
def progress() -> Iterator[Callable[..., None]]:
    """Show progress bars on stderr, if it is a terminal, and remove them at the end.

    Yields:
        a `ProgressCallback` that also takes the total.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(name: str, advance: int, total: int | None = None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total or None)
            bars.update(tasks[name], advance=advance)

        yield on_progress


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """Create a table that folds long values instead of truncating them."""
    created = Table(box=box.SIMPLE, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        created.add_column(column, overflow="fold")
    for column in right:
        created.add_column(column, justify="right", overflow="fold")
    return created


def block(title: str, *lines: str) -> None:
    """Print a title and its lines, indented. Nothing is truncated, and ids are never broken."""
    print_wrapped(title, "", "    ", style="bold")
    for line in filter(None, lines):
        print_wrapped(line, "    ", "      ")


def print_wrapped(text: str, first: str, then: str, style: str = "") -> None:
    """Print a text wrapped at spaces: `first` precedes the first line, `then` the others."""
    filled = textwrap.fill(
        text,
        console.width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print(Text(filled, style=style))


def pluralize(number: int, noun: str) -> str:
    """Format a count with its noun: 1 order, 2 orders."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """Format a duration in its two largest units: 45s, 3m 20s, 2h 5m, 4d 1h."""
    rounded = max(0, int(seconds))
    days, hours, minutes = rounded // 86400, rounded // 3600 % 24, rounded // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rounded % 60}s" if minutes else f"{rounded}s"
