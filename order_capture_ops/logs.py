"""Print the functions' logs, oldest first, one line per entry."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.text import Text

from order_capture.adapters.operations.function_logs import FunctionLog, LogLine, platform_failure
from order_capture_ops.cli import console, errors, print_wrapped, progress
from order_capture_ops.errors import UsageError
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables, is_order, read_order

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
        if name not in _HIDDEN_KEYS and value not in (None, "", [], {}) and not platform_failure(values)
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


def _flat(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _normalized(name: str) -> str:
    """A function's name for comparison: order_api, OrderApi, order-api and OrderApiFunction are equal."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("function")
