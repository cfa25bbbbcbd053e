"""Print the functions' logs, oldest first, one line per entry."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.exceptions
from rich.text import Text

from order_capture_ops.cli import console, errors, print_wrapped, progress
from order_capture_ops.errors import UsageError
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables, is_order, read_order

# Lambda's own lines around every invocation, in its text and JSON formats.
_PLATFORM = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")
_PLATFORM_JSON = "platform."
# Not printed as key=value: printed elsewhere in the line, or of no use to an operator.
_HIDDEN_KEYS = {
    *("timestamp", "level", "message", "logger", "location", "requestId", "xray_trace_id", "taskName"),
    *("exception", "stackTrace", "errorType", "errorMessage", "service", "function_request_id"),
}
_SHORT = {"orders": "order", "order_ids": "order", "order_id": "order", "correlation_ids": "correlation"}
_SHORT |= {"correlation_id": "correlation", "message_id": "message", "request_id": "request"}
_LEVELS = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "WARN": "yellow", "DEBUG": "dim"}
_AWS_SINCE = timedelta(hours=1)  # a stack on AWS has months of logs, and reading them is billed
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class LogLine:
    """A log entry of a function."""

    time: int
    """Milliseconds since the epoch, as in CloudWatch."""
    function: str
    text: str

    @property
    def values(self) -> Mapping[str, Any]:
        """Its fields, if it is JSON."""
        try:
            values = json.loads(self.text)
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def message(self) -> str:
        """Its message, for people."""
        values = self.values
        if "message" in values:
            return str(values["message"])
        if "errorMessage" in values:
            return f"{values.get('errorType', 'error')}: {values['errorMessage']}"
        return _platform_failure(values) or self.text

    @property
    def level(self) -> str:
        """INFO, WARNING, ERROR, …; empty if it has none."""
        values = self.values
        return "ERROR" if _platform_failure(values) else str(values.get("level", ""))

    @property
    def stack_trace(self) -> list[str]:
        """The lines of its stack trace, if it has one."""
        found = self.values.get("exception") or self.values.get("stackTrace") or []
        return "".join(found).splitlines()

    def concerns(self, order_id: str, correlation_id: str) -> bool:
        """Whether it contains an order's id or correlation id."""
        return any(_id_pattern(each).search(self.text) for each in (order_id, correlation_id) if each)


def functions_of(stack: Stack) -> dict[str, str]:
    """The log group of each function, by the function's name as in functions/: order_api, …"""
    return {
        _snake(output.removesuffix("FunctionName")): stack.output(
            f"{output.removesuffix('FunctionName')}LogGroupName"
        )
        for output in sorted(stack.outputs)
        if output.endswith("FunctionName")
    }


def choose(known: Sequence[str], named: str) -> list[str]:
    """Select functions by name, in any spelling, or by an unambiguous part of the name.

    Raises:
        UsageError: a name is unknown or ambiguous.
    """
    chosen = []
    for name in re.split(r"[,\s]+", named.strip()):
        normalized = _normalized(name)
        for matches in (str.__eq__, str.startswith, str.__contains__):
            found = [each for each in known if matches(_normalized(each), normalized)]
            if found:
                break
        if len(found) != 1 or not normalized:
            which = f"could be {', '.join(found)}" if found and normalized else "is not a function"
            raise UsageError(f"FUNCTION={name} {which}.\nThere are: {', '.join(known)}")
        chosen += found
    return list(dict.fromkeys(chosen))


@dataclass
class FunctionLog:
    """One function's log, read incrementally."""

    logs: Any
    function: str
    group: str
    since: int = 0
    pattern: str = ""
    seen: set[tuple[str, int, str]] = field(default_factory=set)

    def read(self) -> list[LogLine]:
        """The new lines, without Lambda's own."""
        lines: list[LogLine] = []
        while new := self._new():
            lines += new
        return [line for line in lines if line.text and not _is_platform(line)]

    def _new(self) -> list[LogLine]:
        # The local engine returns the first 10,000 events of a time range, without a token for more.
        events = list(self._events())
        keys = [(event["logStreamName"], event["timestamp"], event["message"]) for event in events]
        new = [event for event, key in zip(events, keys, strict=True) if key not in self.seen]
        if new:
            self.since = max(event["timestamp"] for event in new)
            self.seen = {key for key in keys if key[1] == self.since}
        return [LogLine(event["timestamp"], self.function, event["message"].rstrip()) for event in new]

    def _events(self) -> Iterator[Mapping[str, Any]]:
        # On AWS a page may be empty and still have a token for the next:
        # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
        pages = self.logs.get_paginator("filter_log_events")
        pattern = {"filterPattern": self.pattern} if self.pattern else {}
        try:
            for page in pages.paginate(logGroupName=self.group, startTime=self.since, **pattern):
                yield from page["events"]
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise  # a function has no log group before its first invocation


def show(
    stack: Stack,
    *,
    functions: str = "",
    order_id: str | None = None,
    since: datetime | None = None,
    lines: int = 200,
    follow: bool = False,
    raw: bool = False,
) -> int:
    """Print the logs; returns the exit code."""
    groups = functions_of(stack)
    chosen = choose(list(groups), functions) if functions else list(groups)
    correlation_id = ""
    if order_id:
        correlation_id, placed = _order(stack, order_id)
        since = since or placed
    if since is None and stack.on_aws:
        since = datetime.now(UTC) - _AWS_SINCE
    start = int(since.timestamp() * 1000) if since else 0
    # Matches either term: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    terms = (f'?"{each}"' for each in (order_id, correlation_id) if each)
    pattern = " ".join(terms) if stack.on_aws else ""
    client = stack.client("logs")
    sources = [FunctionLog(client, name, groups[name], start, pattern) for name in chosen]
    width = max(map(len, chosen))
    newest, shown = lines, 0
    with progress() as on_progress:
        on_progress("logs", 0, len(sources))
        found = list(_read(sources, on_progress))
    while True:
        if order_id:
            found = [line for line in found if line.concerns(order_id, correlation_id)]
        for line in sorted(found, key=lambda line: line.time)[-newest:]:
            shown += 1
            if raw:
                print(_as_json(line), flush=True)
            else:
                print_line(line, width)
        if not follow:
            break
        newest = len(found) + lines * 100
        time.sleep(_POLL_SECONDS)
        found = list(_read(sources))
    if not shown:
        errors.print(f"No lines{f' since {since:%Y-%m-%d %H:%M:%SZ}' if since else ''}.")
    return 0


def _read(
    sources: Sequence[FunctionLog], on_progress: Callable[..., None] = lambda *_: None
) -> Iterator[LogLine]:
    for source in sources:
        yield from source.read()
        on_progress("logs", 1)


def print_line(line: LogLine, width: int) -> None:
    """Print time, level, function, message and keys, wrapped at the console's width."""
    clock = datetime.fromtimestamp(line.time / 1000).astimezone()
    level = Text(f"{line.level[:5]:5}", style=_LEVELS.get(line.level, ""))
    head = Text.assemble(
        f"{clock:%H:%M:%S}.{line.time % 1000:03} ", level, " ", (f"{line.function:{width}}", "cyan")
    )
    values = line.values
    keys = [
        f"{_SHORT.get(name, name)}={_flat(value)}"
        for name, value in values.items()
        if name not in _HIDDEN_KEYS and value not in (None, "", [], {}) and not _platform_failure(values)
    ]
    message = line.message
    if head.cell_len + 1 + len(f"{message}  {' '.join(keys)}") <= console.width:
        console.print(Text.assemble(head, " ", message, ("  " + " ".join(keys), "dim") if keys else ""))
    else:
        first, *rest = message.split("\n")
        if head.cell_len + 1 + len(first) <= console.width:
            console.print(Text.assemble(head, " ", first))
        else:
            console.print(head)
            print_wrapped(first, "    ", "    ")
        for part in rest:
            print_wrapped(part, "    ", "    ")
        if keys:
            print_wrapped(" ".join(keys), "    ", "    ", style="dim")
    for part in line.stack_trace:
        console.print(Text(f"    {part}", style="dim"))


def _order(stack: Stack, order_id: str) -> tuple[str, datetime | None]:
    """The correlation id of an order, and when it was placed; empty and None if there is no such order."""
    item = Tables.of(stack).orders.get({"orderId": order_id})
    order = read_order(item) if item and is_order(item) else None
    if order is None:
        errors.print(f"There is no order {order_id} in {stack.name}; showing the lines that contain its id.")
        return "", None
    # Its request was logged a little before its creation time.
    return order.correlation_id, datetime.fromisoformat(order.create_time) - timedelta(seconds=10)


def _as_json(line: LogLine) -> str:
    when = datetime.fromtimestamp(line.time / 1000, UTC).isoformat(timespec="milliseconds")
    values = line.values or {"timestamp": when.replace("+00:00", "Z"), "message": line.text}
    return json.dumps({"function": line.function, **values}, ensure_ascii=False)


def _is_platform(line: LogLine) -> bool:
    if line.text.startswith(_PLATFORM):
        return True
    values = line.values
    return str(values.get("type", "")).startswith(_PLATFORM_JSON) and not _platform_failure(values)


def _platform_failure(values: Mapping[str, Any]) -> str:
    """Lambda's own message about a failed invocation, such as a timeout; empty for any other line."""
    record = values.get("record")
    if not str(values.get("type", "")).startswith(_PLATFORM_JSON) or not isinstance(record, dict):
        return ""
    status = record.get("status", "success")
    return "" if status == "success" else f"{values['type']}: {status} {record.get('errorType', '')}".strip()


def _flat(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _id_pattern(text: str) -> re.Pattern[str]:
    """A pattern for an id that is not part of a longer id."""
    return re.compile(rf"(?<![A-Za-z0-9._:@+~-]){re.escape(text)}(?![A-Za-z0-9_:@+~-])")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _normalized(name: str) -> str:
    """A function's name for comparison: order_api, OrderApi, order-api and OrderApiFunction are equal."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("function")
