"""The state of a stack at a glance: queues, dead letters, alarms, open orders, consumers."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from order_capture_ops import dead_letters, diagnosis
from order_capture_ops.cli import age, block, console, pluralize, table
from order_capture_ops.dead_letters import DeadLetter, DeadLetterQueue
from order_capture_ops.logs import FunctionLog, LogLine
from order_capture_ops.open_orders import waits_for
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack
from order_capture_ops.tables import StoredOrder, Tables, is_order, read_order

OLD_SECONDS = 120
"""An order that is open for longer needs attention. The queues' age alarms have the same threshold."""

_OLDEST_SHOWN = 5
_PROBLEM_LEVELS = {"WARNING", "ERROR", "CRITICAL"}
_ATTRIBUTES = {
    "waiting": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
# Commands that repair what a failed stream function missed (docs/how-to/runbook.md).
_REPAIRS = {
    "ChangePublisher": ("watch", "republish-events SINCE={since}"),
    "LedgerPublisher": ("republish RATE=100",),
    "HistoryProjector": ("rebuild-history",),
}


@dataclass(frozen=True)
class QueueStatus:
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
    """Whether its function can decode it: then it may succeed after a redrive."""
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

    queues: list[QueueStatus] = field(default_factory=list)
    dead_letters: list[DiagnosedQueue] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    """Only the failing ones."""
    open_orders: dict[str, int] = field(default_factory=dict)
    """The number of open orders, by status."""
    oldest_orders: list[OldOrder] = field(default_factory=list)
    unreadable_orders: int = 0
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
    mappings = _mappings(stack)
    orders = _read_orders(stack, found, on_progress)
    found.queues = _queues(stack)
    for dlq in dead_letters.all_queues(stack):
        sqs = stack.client("sqs")
        if number := dead_letters.count(sqs, dlq):
            function = _consumer_of(mappings, dlq)
            messages = dead_letters.peek(sqs, dlq, limit, on_progress)
            diagnosed = [_diagnose(stack, dlq, message, function) for message in messages]
            found.dead_letters.append(DiagnosedQueue(dlq.name, max(number, len(messages)), diagnosed))
    found.alarms = _alarms(stack)
    found.consumers = [
        Consumer(each["function"], each["source"], each["State"], each.get("LastProcessingResult", ""))
        for each in mappings
        if each["State"] not in ("Enabled", "Enabling", "Creating", "Updating")
        or each.get("LastProcessingResult", "").startswith(("PROBLEM", "FAILED"))
    ]
    _list_problems(stack, found, orders)
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
    console.print(f"Open orders: {counts or 'none'}")
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


def _list_problems(stack: Stack, found: Status, orders: list[StoredOrder]) -> None:
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
    if old := sum(order.age() > OLD_SECONDS for order in orders):
        found.attention.append(f"Open for more than {age(OLD_SECONDS)}: {pluralize(old, 'order')}")
        commands += ["stuck", "watch"]
    if found.unreadable_orders:
        found.attention.append(f"Unreadable: {pluralize(found.unreadable_orders, 'order')}")
        commands.append("audit")
    found.next = list(dict.fromkeys(f"make {command}{stack.suffix}" for command in commands))


def _read_orders(stack: Stack, found: Status, on_progress: ProgressCallback) -> list[StoredOrder]:
    """The open orders. Scans the whole table, which has no index for them."""
    tables = Tables.of(stack)
    orders: list[StoredOrder] = []
    for page in tables.orders.pages():
        for item in filter(is_order, page):
            order = read_order(item)
            found.unreadable_orders += order is None
            if order and order.is_open:
                orders.append(order)
        on_progress("orders", len(page))
    orders.sort(key=lambda order: order.create_time)
    found.open_orders = dict(Counter(str(order.status) for order in orders))
    found.oldest_orders = [
        OldOrder(order.order_id, str(order.status), order.age(), list(waits_for(tables, order)))
        for order in orders[:_OLDEST_SHOWN]
    ]
    return orders


def _queues(stack: Stack) -> list[QueueStatus]:
    sqs, found = stack.client("sqs"), []
    urls = {
        name.removesuffix("Url"): url
        for name, url in sorted(stack.outputs.items())
        if name.endswith("QueueUrl")
    }
    oldest = _oldest(stack, urls) if stack.on_aws else {}
    for name, url in urls.items():
        response = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_ATTRIBUTES.values()))
        counts = {key: int(response["Attributes"].get(each, 0)) for key, each in _ATTRIBUTES.items()}
        found.append(QueueStatus(name, **counts, oldest=oldest.get(name)))
    return found


def _oldest(stack: Stack, urls: dict[str, str]) -> dict[str, float]:
    """The age of each queue's oldest message, which SQS has as a metric only."""
    queries = [
        {
            "Id": f"q{number}",
            "Label": name,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SQS",
                    "MetricName": "ApproximateAgeOfOldestMessage",
                    "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                },
                "Period": 60,
                "Stat": "Maximum",
            },
        }
        for number, (name, url) in enumerate(urls.items())
    ]
    now = datetime.now(UTC)
    response = stack.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries,
        StartTime=now - timedelta(minutes=5),
        EndTime=now,
        ScanBy="TimestampDescending",
    )
    return {each["Label"]: each["Values"][0] for each in response["MetricDataResults"] if each["Values"]}


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


def _consumer_of(mappings: Iterable[dict[str, Any]], dlq: DeadLetterQueue) -> str:
    """The function that consumes the source of a dead-letter queue; empty if this is a topic."""
    sources = {url.rpartition("/")[2] for url in dlq.targets}
    consumers = {each["function"] for each in mappings if each["source"] in sources}
    return consumers.pop() if len(consumers) == 1 else ""


def _diagnose(stack: Stack, dlq: DeadLetterQueue, message: DeadLetter, function: str) -> DiagnosedDeadLetter:
    if not dlq.targets:
        reason: str | None = diagnosis.stream_failure(message.body)
    else:
        reason = diagnosis.rejection_reason(dlq.name, message.body)
    readable = reason is None
    order = Tables.of(stack).orders.get({"orderId": message.order_id}) if message.order_id else None
    return DiagnosedDeadLetter(
        message.message_id,
        reason or _reason_from_log(stack, message, function),
        readable,
        message.type,
        message.order_id,
        str(order["status"]["S"]) if order and is_order(order) else None,
        message.age,
        message.receives,
        diagnosis.excerpt(message.body),
    )


def _reason_from_log(stack: Stack, message: DeadLetter, function: str) -> str:
    """What a function logged about a message that it can decode, but not handle."""
    if not function:
        return "SNS could not deliver it to a queue"
    group = next(
        stack.outputs[output.replace("FunctionName", "LogGroupName")]
        for output, value in stack.outputs.items()
        if value == function and output.endswith("FunctionName")
    )
    ids = [message.message_id, *filter(None, [message.order_id])]
    since = int((time.time() - message.age - 60) * 1000)
    pattern = " ".join(f'?"{each}"' for each in ids) if stack.on_aws else ""
    lines = FunctionLog(stack.client("logs"), function, group, since, pattern).read()
    relevant = [line for line in lines if line.level in _PROBLEM_LEVELS and line.concerns(ids[0], ids[-1])]
    name = _function(function, stack)
    if not relevant:
        return f"{name} logged nothing about it: it may have timed out (make logs FUNCTION={name})"
    return f"{name}: {_describe(max(relevant, key=lambda line: line.time))}"


def _describe(line: LogLine) -> str:
    trace = line.stack_trace
    return (
        f"{line.message} ({trace[-1].strip()})"
        if trace and trace[-1].strip() not in line.message
        else line.message
    )


def _function(name: str, stack: Stack) -> str:
    """A deployed function's name as in functions/."""
    outputs = {value: output for output, value in stack.outputs.items() if output.endswith("FunctionName")}
    return _snake(outputs[name].removesuffix("FunctionName")) if name in outputs else name


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
