"""What all commands share: how arguments are read, how failures are shown, how output fits a page.

Exit codes: 0 done; 1 it failed, or something is wrong and is listed; 2 an argument is not allowed, or (where
a 1 says that something is wrong) it could not be found out; 130 interrupted; 141 nobody reads on.
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

from order_capture.domain.errors import TransientError
from order_capture.domain.times import format_utc
from order_capture_ops.errors import CommandError, UsageError

FAILED, UNKNOWN, INTERRUPTED, UNREAD = 1, 2, 130, 141
TRACE = Path(__file__).resolve().parent.parent / ".local/error.log"
"""Where the stack trace of a defect is written: a person is shown one line."""

_PIPE_WIDTH = 10_000  # a pipe has no width of its own, and ids that are cut in two could not be searched for
_MAX_TCP_PORT = 65535
# What the Makefile calls an option that is not called as its variable is.
_VARIABLES = {"--cases": "N"}
_ID = re.compile(r"[A-Za-z0-9._:@+~-]{1,64}")  # as swagger.yaml has it
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


class Parser(argparse.ArgumentParser):
    """Answers an argument that is not allowed with what is allowed and an example, in two lines.

    People type `make redrive QUEUE=…`, so a message names the variable as well as the option.
    """

    def __init__(self, *, example: str = "", **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)
        self._example = example

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit with 2."""
        named = re.sub(r"^argument (\S+): ", lambda match: f"{_variable(match[1])}: ", message)
        raise SystemExit(refuse(named, self._example))


def refuse(message: str, example: str = "") -> int:
    """Print why an argument is not allowed; returns the exit code."""
    errors.print("[red]Error:[/]", escape(message))
    if example:
        errors.print("For example:", escape(example))
    return UNKNOWN


def run(command: Callable[[], int], *, failed: int = FAILED) -> int:
    """Run a command and return its exit code; whatever it raises becomes one line.

    Args:
        command: returns the exit code.
        failed: the exit code of a failure. `UNKNOWN` where a 1 says that something was found to be wrong.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code
    except UsageError as error:
        return refuse(str(error))
    except BrokenPipeError:
        # `make logs | head`: the interpreter would complain about its buffer at the end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD if failed == UNKNOWN else 0
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
    """What a person can do about an error, in one or two lines."""
    if isinstance(error, CommandError):
        return str(error)
    if isinstance(error, botocore.exceptions.ClientError):
        return _of_client(error)
    if isinstance(error, botocore.exceptions.BotoCoreError):
        return _of_botocore(error)
    if isinstance(error, httpx.HTTPError):
        return f"No answer over HTTP: {_first_line(error)}. Is the stack running? `make run` starts it."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    TRACE.parent.mkdir(parents=True, exist_ok=True)
    TRACE.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {_first_line(error)}. This is a defect: {TRACE} has its stack trace."


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
        return f"AWS throttles these calls: run it again in a minute, or with a lower RATE. [{call}]"
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
            return f"AWS does not answer: {_first_line(error)}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _variable(option: str) -> str:
    long = option.rpartition("/")[2]
    if not long.startswith("--"):
        return option
    return f"{_VARIABLES.get(long, long[2:].replace('-', '_').upper())} ({long})"


# ----------------------------------------------------------------------------------------- kinds of arguments
def positive(text: str) -> float:
    """A number above zero."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 10")


def not_negative(text: str) -> float:
    """A number of zero or more."""
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more, such as 30")


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number between these two."""

    def read(text: str) -> int:
        # int() would also take "1_000", "١" and more digits than are quick to read.
        if re.fullmatch(r"[+-]?[0-9]{1,18}", text) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least:,} to {most:,}")

    return read


port = whole(1, _MAX_TCP_PORT)
"""A TCP port."""


def identifier(text: str) -> str:
    """The id of an order or a customer."""
    if _ID.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no id: 1 to 64 characters of A-Z a-z 0-9 . _ : @ + ~ -")


def moment(text: str) -> datetime:
    """A time of RFC 3339 (UTC if it has no zone), a day, or how long ago: 90s, 10m, 2h, 3d."""
    if match := _DURATION.fullmatch(text):
        with contextlib.suppress(OverflowError):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    with contextlib.suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    raise argparse.ArgumentTypeError(
        f"{text!r} is no time: take 2026-11-20T10:00Z, a day (2026-11-20), or how long ago (90s, 10m, 2h, 3d)"
    )


def time_text(text: str) -> str:
    """A `moment` as it is written everywhere."""
    return format_utc(moment(text))


# ----------------------------------------------------------------------------------------------------- output
@contextlib.contextmanager
def progress() -> Iterator[Callable[..., None]]:
    """A bar for each thing that is counted: on stderr, on a terminal only, and gone at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tick(what: str, number: int, total: int | None = None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], advance=number)

        yield tick


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table in which nothing is cut: what has no room is folded into the next line."""
    made = Table(box=box.SIMPLE, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for column in right:
        made.add_column(column, justify="right", overflow="fold")
    return made


def block(title: str, *lines: str) -> None:
    """Print a title and the lines that belong to it, indented. Nothing is cut, an id is never broken."""
    print_wrapped(title, "", "    ", style="bold")
    for line in filter(None, lines):
        print_wrapped(line, "    ", "      ")


def print_wrapped(text: str, first: str, then: str, style: str = "") -> None:
    """Print a text, wrapped at spaces: the first line after `first`, others after `then`."""
    filled = textwrap.fill(
        text,
        console.width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print(Text(filled, style=style))


def count_of(number: int, noun: str) -> str:
    """So many of a thing: 1 order, 2 orders."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """How long something takes or has lasted, in its two largest units: 45s, 3m 20s, 2h 5m, 4d 1h."""
    left = max(0, int(seconds))
    days, hours, minutes = left // 86400, left // 3600 % 24, left // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {left % 60}s" if minutes else f"{left}s"
