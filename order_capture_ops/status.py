"""What an operator needs first, at one look: queues, dead letters, alarms, open orders, consumers."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from order_capture_ops import dead_letters, diagnosis
from order_capture_ops.cli import age, block, console, count_of, table
from order_capture_ops.dead_letters import DeadLetterQueue, Letter
from order_capture_ops.logs import FunctionLog, LogLine
from order_capture_ops.stack import Stack
from order_capture_ops.stuck import Tick, waits_for
from order_capture_ops.tables import Order, Tables, is_order, read_order

OLD_SECONDS = 120
"""An order that is open for longer needs somebody's attention: the queues' age alarms have the same bound."""

_OLDEST_SHOWN = 5
_TROUBLE = {"WARNING", "ERROR", "CRITICAL"}
_ATTRIBUTES = {
    "waiting": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
# What puts right what the dead letters of a stream's function stand for (docs/how-to/runbook.md).
_REPAIRS = {
    "ChangePublisher": ("watch", "republish-events SINCE={since}"),
    "LedgerPublisher": ("republish RATE=100",),
    "HistoryProjector": ("rebuild-history",),
}


@dataclass(frozen=True)
class QueueStatus:
    """A queue on an order's way."""

    name: str
    waiting: int
    in_flight: int
    delayed: int
    oldest: float | None
    """Age in seconds of the oldest message; None where nothing measures it, as on the local engine."""


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter, and why it is one."""

    message_id: str
    reason: str
    readable: bool
    """Whether its function can read it: then it may succeed when it is moved back."""
    type: str | None
    order_id: str | None
    order_status: str | None
    age: float
    receives: int
    excerpt: str


@dataclass(frozen=True)
class DeadLetters:
    """The letters of a queue: how many there are, and the first of them."""

    queue: str
    count: int
    letters: list[DeadLetter]


@dataclass(frozen=True)
class Alarm:
    """An alarm that is in ALARM."""

    name: str
    reason: str


@dataclass(frozen=True)
class Consumer:
    """A function that is not fed by its queue or stream as it should be."""

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
    """How a stack stands."""

    queues: list[QueueStatus] = field(default_factory=list)
    dead_letters: list[DeadLetters] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    """Only those with a fault."""
    open_orders: dict[str, int] = field(default_factory=dict)
    """How many are open, by status."""
    oldest_orders: list[OldOrder] = field(default_factory=list)
    unreadable_orders: int = 0
    attention: list[str] = field(default_factory=list)
    """What needs somebody's attention; all is well if there is nothing."""
    next: list[str] = field(default_factory=list)
    """Commands that help."""


def status(stack: Stack, limit: int = 10, tick: Tick = lambda *_: None) -> Status:
    """How a stack stands. It takes nothing out of any queue: dead letters are visible again at once.

    Args:
        stack: which.
        limit: dead letters that are looked into of each queue.
        tick: is told how many more things were read.
    """
    found = Status()
    mappings = _mappings(stack)
    orders = _read_orders(stack, found, tick)
    found.queues = _queues(stack)
    for dlq in dead_letters.all_queues(stack):
        sqs = stack.client("sqs")
        if number := dead_letters.count(sqs, dlq):
            function = _consumer_of(mappings, dlq)
            letters = dead_letters.peek(sqs, dlq, limit, lambda more: tick("dead letters", more))
            explained = [_explain(stack, dlq, letter, function) for letter in letters]
            found.dead_letters.append(DeadLetters(dlq.name, max(number, len(letters)), explained))
    found.alarms = _alarms(stack)
    found.consumers = [
        Consumer(each["function"], each["source"], each["State"], each.get("LastProcessingResult", ""))
        for each in mappings
        if each["State"] not in ("Enabled", "Enabling", "Creating", "Updating")
        or each.get("LastProcessingResult", "").startswith(("PROBLEM", "FAILED"))
    ]
    _judge(stack, found, orders)
    return found


def show(found: Status, stack: Stack) -> None:
    """Print it for people."""
    shown = table(f"Queues of {stack.name}", "", right=("waiting", "in flight", "delayed", "oldest"))
    for queue in found.queues:
        oldest = "-" if queue.oldest is None else age(queue.oldest)
        shown.add_row(queue.name, *map(_number, (queue.waiting, queue.in_flight, queue.delayed)), oldest)
    console.print(shown)
    for letters in found.dead_letters:
        console.print(f"[bold red]{letters.queue}[/]: {count_of(letters.count, 'dead letter')}")
        for letter in letters.letters:
            order = f"order {letter.order_id}" if letter.order_id else ""
            block(
                f"  {letter.message_id}",
                f"why: {letter.reason}",
                " ".join(filter(None, (letter.type, order, letter.order_status))),
                f"{age(letter.age)} old, received {letter.receives} times",
                f"body: {letter.excerpt}",
            )
        if (more := letters.count - len(letters.letters)) > 0:
            console.print(f"    and {more:,} more")
    for alarm in found.alarms:
        block(f"Alarm {alarm.name}", alarm.reason)
    for consumer in found.consumers:
        block(f"{consumer.function} ← {consumer.source}", f"{consumer.state}. {consumer.last_result}")
    counts = ", ".join(f"{number:,} {name}" for name, number in sorted(found.open_orders.items()))
    console.print(f"Open orders: {counts or 'none'}")
    for oldest_order in found.oldest_orders:
        waits = (f"waits for {each}" for each in oldest_order.waits_for)
        block(
            f"  {oldest_order.order_id}", f"{oldest_order.status}, placed {age(oldest_order.age)} ago", *waits
        )
    if not found.attention:
        console.print("[green]✓[/] All is well.")
    for each in found.attention:
        console.print(f"[red]✗[/] {each}")
    if found.next:
        console.print("Next:")
        for command in found.next:
            console.print(f"  {command}", markup=False)


def _judge(stack: Stack, found: Status, orders: list[Order]) -> None:
    """Say what needs attention, and what helps."""
    commands: list[str] = []
    for each in found.dead_letters:
        name = each.queue.removesuffix("Dlq")
        since = datetime.now(UTC) - timedelta(
            seconds=max((letter.age for letter in each.letters), default=0) + 60
        )
        found.attention.append(f"{each.queue} has {count_of(each.count, 'dead letter')}")
        if repairs := _REPAIRS.get(name):
            commands += (repair.format(since=f"{since:%Y-%m-%dT%H:%MZ}") for repair in repairs)
        elif any(letter.readable for letter in each.letters):
            commands.append(f"redrive QUEUE={_snake(name)}")
        else:
            commands.append(f"redrive QUEUE={_snake(name)} DRY_RUN=1")
    found.attention += (f"Alarm {alarm.name}" for alarm in found.alarms)
    for consumer in found.consumers:
        found.attention.append(f"{consumer.function} is not fed by {consumer.source}: {consumer.state}")
        commands.append(f"logs FUNCTION={_function(consumer.function, stack)} SINCE=10m")
    if old := sum(order.age() > OLD_SECONDS for order in orders):
        found.attention.append(f"Open for more than {age(OLD_SECONDS)}: {count_of(old, 'order')}")
        commands += ["stuck", "watch"]
    if found.unreadable_orders:
        found.attention.append(f"Not readable: {count_of(found.unreadable_orders, 'order')}")
        commands.append("audit")
    found.next = list(dict.fromkeys(f"make {command}{stack.suffix}" for command in commands))


def _read_orders(stack: Stack, found: Status, tick: Tick) -> list[Order]:
    """The open orders, by a scan of the whole table, which has no index for them."""
    tables = Tables.of(stack)
    orders: list[Order] = []
    for page in tables.orders.pages():
        for item in filter(is_order, page):
            order = read_order(item)
            found.unreadable_orders += order is None
            if order and order.is_open:
                orders.append(order)
        tick("orders", len(page))
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
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_ATTRIBUTES.values()))
        counts = {key: int(answer["Attributes"].get(each, 0)) for key, each in _ATTRIBUTES.items()}
        found.append(QueueStatus(name, **counts, oldest=oldest.get(name)))
    return found


def _oldest(stack: Stack, urls: dict[str, str]) -> dict[str, float]:
    """The age of each queue's oldest message: SQS has it as a metric only."""
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
    answer = stack.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries,
        StartTime=now - timedelta(minutes=5),
        EndTime=now,
        ScanBy="TimestampDescending",
    )
    return {each["Label"]: each["Values"][0] for each in answer["MetricDataResults"] if each["Values"]}


def _alarms(stack: Stack) -> list[Alarm]:
    """Those in ALARM. CloudFormation calls them <stack>-<logical id>-<random>."""
    pages = stack.client("cloudwatch").get_paginator("describe_alarms")
    ours = re.compile(rf"{re.escape(stack.name)}-(\w+)-\w+")
    return [
        Alarm(match[1], alarm.get("AlarmDescription") or alarm.get("StateReason", ""))
        for page in pages.paginate(StateValue="ALARM", AlarmNamePrefix=f"{stack.name}-")
        for alarm in (*page["MetricAlarms"], *page.get("CompositeAlarms", ()))
        if (match := ours.fullmatch(alarm["AlarmName"]))
    ]


def _mappings(stack: Stack) -> list[dict[str, Any]]:
    """The event source mappings of the stack's functions, with the names of function and source."""
    names = {value for output, value in stack.outputs.items() if output.endswith("FunctionName")}
    found = []
    for page in stack.client("lambda").get_paginator("list_event_source_mappings").paginate():
        for each in page["EventSourceMappings"]:
            # …:function:name, and maybe an alias or version behind it
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
    """The name of the function that reads the queue of a dead-letter queue; empty behind a topic."""
    sources = {url.rpartition("/")[2] for url in dlq.targets}
    readers = {each["function"] for each in mappings if each["source"] in sources}
    return readers.pop() if len(readers) == 1 else ""


def _explain(stack: Stack, dlq: DeadLetterQueue, letter: Letter, function: str) -> DeadLetter:
    if not dlq.targets:
        reason: str | None = diagnosis.lost_place(letter.body)
    else:
        reason = diagnosis.refusal(dlq.name, letter.body)
    readable = reason is None
    order = Tables.of(stack).orders.get({"orderId": letter.order_id}) if letter.order_id else None
    return DeadLetter(
        letter.message_id,
        reason or _from_log(stack, letter, function),
        readable,
        letter.type,
        letter.order_id,
        str(order["status"]["S"]) if order and is_order(order) else None,
        letter.age,
        letter.receives,
        diagnosis.excerpt(letter.body),
    )


def _from_log(stack: Stack, letter: Letter, function: str) -> str:
    """What its function wrote of a message that it can read, but not handle."""
    if not function:
        return "SNS could not deliver it to a queue"
    group = next(
        stack.outputs[output.replace("FunctionName", "LogGroupName")]
        for output, value in stack.outputs.items()
        if value == function and output.endswith("FunctionName")
    )
    details = [letter.message_id, *filter(None, [letter.order_id])]
    since = int((time.time() - letter.age - 60) * 1000)
    pattern = " ".join(f'?"{term}"' for term in details) if stack.on_aws else ""
    lines = FunctionLog(stack.client("logs"), function, group, since, pattern).read()
    named = [line for line in lines if line.level in _TROUBLE and line.concerns(details[0], details[-1])]
    name = _function(function, stack)
    if not named:
        return (
            f"{name} can read it and has no log line of it: it may have timed out (make logs FUNCTION={name})"
        )
    return f"{name}: {_in_words(max(named, key=lambda line: line.time))}"


def _in_words(line: LogLine) -> str:
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
