"""The state of a stack at a glance: queues, dead letters, alarms, open orders, consumers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from order_capture.adapters.operations.function_logs import CloudWatchFunctionLogs
from order_capture.adapters.operations.queues import SqsQueues
from order_capture.application.channels import ChannelKind
from order_capture.application.operations.list_dead_letters import ListDeadLetters
from order_capture.application.operations.list_open_orders import OpenOrder
from order_capture.application.operations.ports import QueueStatus
from order_capture.application.retry import always
from order_capture_ops.cli import age, block, console, pluralize, table
from order_capture_ops.open_orders import open_orders, orders
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack

OLD_SECONDS = 120
"""An order open for longer needs attention. The queues' age alarms have the same threshold."""

_OLDEST_SHOWN = 5
_MAX_EXCERPT = 160
# Commands that repair what a failed stream function missed (docs/how-to/runbook.md).
_REPAIRS = {
    "ChangePublisher": ("watch SCAN=1", "republish-events SINCE={since}"),
    "LedgerPublisher": ("republish RATE=100",),
    "HistoryProjector": ("rebuild-history",),
}


@dataclass(frozen=True)
class WaitingMessages:
    """A queue that orders or events pass through."""

    name: str
    waiting: int
    in_flight: int
    delayed: int
    oldest: float | None
    """Age in seconds of the oldest message; None without such a metric, as on the local engine."""


@dataclass(frozen=True)
class DiagnosedDeadLetter:
    """A dead letter, and the reason why it is one."""

    message_id: str
    reason: str
    readable: bool
    """Whether its function can decode it, so that a redrive may succeed."""
    type: str | None
    order_id: str | None
    order_status: str | None
    age: float
    receives: int
    excerpt: str


@dataclass(frozen=True)
class DiagnosedQueue:
    """The number of messages in a dead-letter queue, and the first of them."""

    queue: str
    count: int
    messages: list[DiagnosedDeadLetter]


@dataclass(frozen=True)
class Alarm:
    """An alarm in state ALARM."""

    name: str
    reason: str


@dataclass(frozen=True)
class Consumer:
    """A function whose event source mapping is disabled or fails."""

    function: str
    source: str
    state: str
    last_result: str


@dataclass(frozen=True)
class OldOrder:
    """One of the oldest open orders, and what it waits for."""

    order_id: str
    status: str
    age: float
    waits_for: list[str]


@dataclass
class Status:
    """The state of a stack."""

    queues: list[WaitingMessages] = field(default_factory=list)
    dead_letters: list[DiagnosedQueue] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    """Only the failing ones."""
    open_orders: dict[str, int] = field(default_factory=dict)
    """The number of orders that were open when the watchdog first checked them and still are, by status."""
    oldest_orders: list[OldOrder] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    """The problems; empty if there are none."""
    next: list[str] = field(default_factory=list)
    """Commands to run next."""


def status(stack: Stack, limit: int = 10, on_progress: ProgressCallback = lambda *_: None) -> Status:
    """Read the state of a stack. Dead letters stay in their queues, and are visible again at once.

    Args:
        stack: the stack.
        limit: how many dead letters of each queue are read.
        on_progress: is called with the number of orders and messages read.
    """
    found = Status()
    late = _read_orders(stack, found, on_progress)
    queues = SqsQueues(stack).statuses()
    found.queues = [
        WaitingMessages(
            f"{each.channel.resource}Queue", each.waiting, each.in_flight, each.delayed, each.oldest
        )
        for each in queues
        if each.channel.kind is ChannelKind.QUEUE
    ]
    for each in queues:
        if each.dead_letters:
            found.dead_letters.append(_diagnosed(stack, each, limit))
            on_progress("dead letters", len(found.dead_letters[-1].messages))
    mappings = _mappings(stack)
    found.alarms = _alarms(stack)
    found.consumers = [
        Consumer(each["function"], each["source"], each["State"], each.get("LastProcessingResult", ""))
        for each in mappings
        if each["State"] not in ("Enabled", "Enabling", "Creating", "Updating")
        or each.get("LastProcessingResult", "").startswith(("PROBLEM", "FAILED"))
    ]
    _list_problems(stack, found, late)
    return found


def show(found: Status, stack: Stack) -> None:
    """Print the state of a stack."""
    shown = table(f"Queues of {stack.name}", "", right=("waiting", "in flight", "delayed", "oldest"))
    for queue in found.queues:
        oldest = "-" if queue.oldest is None else age(queue.oldest)
        shown.add_row(queue.name, *map(_number, (queue.waiting, queue.in_flight, queue.delayed)), oldest)
    console.print(shown)
    for dlq in found.dead_letters:
        console.print(f"[bold red]{dlq.queue}[/]: {pluralize(dlq.count, 'dead letter')}")
        for message in dlq.messages:
            order = f"order {message.order_id}" if message.order_id else ""
            block(
                f"  {message.message_id}",
                f"reason: {message.reason}",
                " ".join(filter(None, (message.type, order, message.order_status))),
                f"{age(message.age)} old, received {message.receives} times",
                f"body: {message.excerpt}",
            )
        if (more := dlq.count - len(dlq.messages)) > 0:
            console.print(f"    and {more:,} more")
    for alarm in found.alarms:
        block(f"Alarm {alarm.name}", alarm.reason)
    for consumer in found.consumers:
        block(f"{consumer.function} ← {consumer.source}", f"{consumer.state}. {consumer.last_result}")
    counts = ", ".join(f"{number:,} {name}" for name, number in sorted(found.open_orders.items()))
    console.print(f"Orders that have been open too long: {counts or 'none'}")
    for old in found.oldest_orders:
        waits = (f"waits for {each}" for each in old.waits_for)
        block(f"  {old.order_id}", f"{old.status}, placed {age(old.age)} ago", *waits)
    if not found.attention:
        console.print("[green]✓[/] No problems found.")
    for each in found.attention:
        console.print(f"[red]✗[/] {each}")
    if found.next:
        console.print("Next:")
        for command in found.next:
            console.print(f"  {command}", markup=False)


def _list_problems(stack: Stack, found: Status, orders: list[OpenOrder]) -> None:
    """List what needs attention, and the commands to run next."""
    commands: list[str] = []
    for dlq in found.dead_letters:
        name = dlq.queue.removesuffix("Dlq")
        oldest = max((message.age for message in dlq.messages), default=0)
        since = datetime.now(UTC) - timedelta(seconds=oldest + 60)
        found.attention.append(f"{dlq.queue} has {pluralize(dlq.count, 'dead letter')}")
        if repairs := _REPAIRS.get(name):
            commands += (repair.format(since=f"{since:%Y-%m-%dT%H:%MZ}") for repair in repairs)
        elif any(message.readable for message in dlq.messages):
            commands.append(f"redrive QUEUE={_snake(name)}")
        else:
            commands.append(f"redrive QUEUE={_snake(name)} DRY_RUN=1")
    found.attention += (f"Alarm {alarm.name}" for alarm in found.alarms)
    for consumer in found.consumers:
        found.attention.append(f"{consumer.function} does not consume {consumer.source}: {consumer.state}")
        commands.append(f"logs FUNCTION={_function(consumer.function, stack)} SINCE=10m")
    if old := sum(order.age > OLD_SECONDS for order in orders):
        found.attention.append(f"Open for more than {age(OLD_SECONDS)}: {pluralize(old, 'order')}")
        commands += ["stuck", "watch"]
    found.next = list(dict.fromkeys(f"make {command}{stack.suffix}" for command in commands))


def _read_orders(stack: Stack, found: Status, on_progress: ProgressCallback) -> list[OpenOrder]:
    """The orders that have been open too long."""
    orders = [*open_orders(stack, on_progress)]
    found.open_orders = dict(Counter(str(each.order.status) for each in orders))
    found.oldest_orders = [
        OldOrder(each.order.order_id, str(each.order.status), each.age, [*each.waits_for])
        for each in orders[:_OLDEST_SHOWN]
    ]
    return orders


def _alarms(stack: Stack) -> list[Alarm]:
    """The stack's alarms in state ALARM. CloudFormation names them <stack>-<logical id>-<random>."""
    pages = stack.client("cloudwatch").get_paginator("describe_alarms")
    ours = re.compile(rf"{re.escape(stack.name)}-(\w+)-\w+")
    return [
        Alarm(match[1], alarm.get("AlarmDescription") or alarm.get("StateReason", ""))
        for page in pages.paginate(StateValue="ALARM", AlarmNamePrefix=f"{stack.name}-")
        for alarm in (*page["MetricAlarms"], *page.get("CompositeAlarms", ()))
        if (match := ours.fullmatch(alarm["AlarmName"]))
    ]


def _mappings(stack: Stack) -> list[dict[str, Any]]:
    """The event source mappings of the stack's functions, with function and source names."""
    names = {value for output, value in stack.outputs.items() if output.endswith("FunctionName")}
    found = []
    for page in stack.client("lambda").get_paginator("list_event_source_mappings").paginate():
        for each in page["EventSourceMappings"]:
            # …:function:name, maybe with an alias or version
            function = each["FunctionArn"].partition(":function:")[2].partition(":")[0]
            if function in names:
                # …:queue-name, or …:table/name/stream/time
                source = (
                    each["EventSourceArn"].rpartition(":")[2]
                    if ":sqs:" in each["EventSourceArn"]
                    else (each["EventSourceArn"].partition(":table/")[2].partition("/")[0])
                )
                found.append({**each, "function": function, "source": source})
    return found


def _diagnosed(stack: Stack, queue: QueueStatus, limit: int) -> DiagnosedQueue:
    use_case = ListDeadLetters(SqsQueues(stack), orders(stack), CloudWatchFunctionLogs(stack), always)
    found = use_case.list(queue.channel, limit)
    return DiagnosedQueue(
        f"{queue.channel.resource}Dlq",
        found.count,
        [
            DiagnosedDeadLetter(
                each.message.message_id,
                each.reason,
                each.readable,
                each.message.type,
                each.message.order_id,
                each.order_status,
                each.message.age,
                each.message.receives,
                _excerpt(each.message.body),
            )
            for each in found.messages
        ],
    )


def _excerpt(body: str) -> str:
    """The beginning of a body in one line, without terminal control characters."""
    line = "".join(char if char.isprintable() else " " for char in " ".join(body.split()))
    return line if len(line) <= _MAX_EXCERPT else f"{line[:_MAX_EXCERPT]}…"


def _function(name: str, stack: Stack) -> str:
    """A deployed function's name as in functions/."""
    outputs = {value: output for output, value in stack.outputs.items() if output.endswith("FunctionName")}
    return _snake(outputs[name].removesuffix("FunctionName")) if name in outputs else name


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
