"""What an order costs with everything that runs by default: counted from the real calls of the real handlers.

They run over moto, wired as template.yaml, from the request until the order is shipped and its events are
published and counted (there are no webhooks or subscribers). By then the history of the ledgers is written,
their states are published, and the watchdog has checked the order.

AWS's rules turn calls into units: a write costs a unit for each started KB of the item, twice that in a
transaction, and one for each KB that an index has of a new item. A billable request is one to API Gateway,
Lambda, SNS or SQS, including those of Lambda's poller: for each ten messages one to receive them and
one to delete them. DynamoDB bills units, and Lambda reads streams for free. prices.toml has the dollars.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from moto import mock_aws

from order_capture.entrypoints import logs
from tests.support.pipeline import MAX_RECEIVED, Pipeline
from tests.support.shop import Shop, order_of
from tests.support.sizes import stored_size

PRICES = Path(__file__).with_name("prices.toml")
WATCH_DELAY = 60  # seconds, the template's
BATCH = 10  # messages that a queue's function receives at a time
FLASH_SALE = 60  # orders: enough that all batches are full
CHUNK = 64 * 1024  # bytes of a request to SNS or SQS that are billed as one request
MEMORY_GB = 0.5
PARTS = {
    "HistoryTable": "history",
    "ReportTable": "reports",
    "WebhookTable": "webhooks",
    "ConnectionTable": "followers",
}
"""What the units of these tables are for; those of all others are the order's own processing."""


@dataclass(frozen=True)
class Scenario:
    """Orders, sent all at once, so that batches are full, or each when the previous one is done."""

    name: str
    orders: Sequence[dict[str, Any]]
    apart: bool = False
    idempotent: bool = False
    together: bool = False
    """Whether all orders are sent in one request."""


@dataclass(frozen=True)
class Cost:
    """What one order takes, and the dollars for a million of them."""

    scenario: str
    orders: int
    calls: float
    """Network calls of our code."""
    requests: Mapping[str, float]
    write_units: Mapping[str, float]
    table_write_units: Mapping[str, float]
    """By table, including its indexes: each table has its own quota."""
    read_units: Mapping[str, float]
    published: float
    """Messages to topics; a request may contain several."""
    lambda_milliseconds: float
    log_bytes: float
    dollars_per_million: Mapping[str, float]

    @property
    def total_dollars(self) -> float:
        """Dollars for a million orders."""
        return sum(self.dollars_per_million.values())


@cache
def prices() -> dict[str, Any]:
    """The price file."""
    return tomllib.loads(PRICES.read_text())


class _Output(io.StringIO):
    """The bytes and lines that are written to the log."""

    size = lines = 0

    def write(self, text: str) -> int:
        self.size += len(text.encode())
        self.lines += text.count("\n")
        return len(text)


@dataclass
class Meter:
    """Counts the AWS calls of one pipeline."""

    pipeline: Pipeline
    requests: Counter[str] = field(default_factory=Counter)
    write_units: Counter[str] = field(default_factory=Counter)
    table_write_units: Counter[str] = field(default_factory=Counter)
    read_units: Counter[str] = field(default_factory=Counter)
    published: int = 0
    calls: int = 0
    milliseconds: float = 0.0
    output: _Output = field(default_factory=_Output)

    def __post_init__(self) -> None:
        self.pipeline.on_answer(self._take)

    def invoked(self, times: int = 1, messages: int = 0) -> None:
        """Record calls of a function, for this number of messages."""
        assumed = prices()["assumed"]
        self.requests["lambda"] += times
        self.milliseconds += times * assumed["milliseconds_per_invocation"]
        self.milliseconds += messages * assumed["milliseconds_per_message"]

    def _take(self, operation: str, parameters: dict[str, Any], answer: dict[str, Any]) -> None:
        service, _, name = operation.partition(".")
        self.calls += 1
        self.milliseconds += prices()["milliseconds_per_call"][name]
        if service != "dynamodb":
            size = sum(len(text.encode()) for text in _texts(parameters))
            self.requests[service] += math.ceil(size / CHUNK)
            self.published += len(parameters["PublishBatchRequestEntries"]) if service == "sns" else 0
            return
        match name:
            case "PutItem" | "UpdateItem":
                self._write(parameters, 1)
            case "TransactWriteItems":
                for action in (action for each in parameters["TransactItems"] for action in each.values()):
                    self._write(action, 2)
            case "BatchWriteItem":
                for table, requests in parameters["RequestItems"].items():
                    for each in requests:
                        self._write({"TableName": table, "Item": each["PutRequest"]["Item"]}, 1)
            case "GetItem":
                self._read(parameters["TableName"], [answer.get("Item", {})], parameters)
            case "BatchGetItem":
                for table, keys in parameters["RequestItems"].items():
                    found = answer["Responses"][table]
                    missing: list[dict[str, Any]] = [{}] * (len(keys["Keys"]) - len(found))
                    self._read(table, [*found, *missing], keys)
            case "Query":
                whole: dict[str, Any] = {"": {"L": [{"M": item} for item in answer["Items"]]}}
                self._read(parameters["TableName"], [whole], parameters)
            case _:
                raise ValueError(f"no rule for what {operation} costs")

    def _write(self, action: dict[str, Any], factor: int) -> None:
        table, item = action["TableName"], action.get("Item", {})
        key = action.get("Key") or self.pipeline.key_of(table, item)
        size = max(stored_size(item), stored_size(self.pipeline.stored(table, key)))
        # A new item is also written to its table's indexes; updates never change the indexed attributes.
        indexed = sum(
            math.ceil(stored_size(each) / 1024) for each in self.pipeline.index_entries(table, item)
        )
        units = factor * max(1, math.ceil(size / 1024)) + indexed
        self.write_units[PARTS.get(table, "order")] += units
        self.table_write_units[table] += units

    def _read(self, table: str, items: list[dict[str, Any]], how: dict[str, Any]) -> None:
        factor = 1 if how.get("ConsistentRead") else 0.5
        units = sum(factor * max(1, math.ceil(stored_size(item) / 4096)) for item in items)
        self.read_units[PARTS.get(table, "order")] += units  # type: ignore[assignment]


def measure(names: Sequence[str] = ()) -> list[Cost]:
    """Measure what an order of one item costs, in all scenarios or in the named ones."""
    return [_run(scenario) for scenario in scenarios() if not names or scenario.name in names]


def scenarios() -> list[Scenario]:
    """All measured scenarios."""

    def hot(number: int) -> list[dict[str, Any]]:
        return [order_of(f"customer-{index}", 10, pen=1) for index in range(number)]

    apart = [order_of(f"customer-{index}", 10, **{f"pen{index}": 1}) for index in range(BATCH)]
    return [
        Scenario("tens", hot(BATCH)),
        Scenario("a product each", apart),
        Scenario("one by one", hot(BATCH), apart=True),
        Scenario("flash sale", hot(FLASH_SALE)),
        Scenario("tens, a key", hot(BATCH), idempotent=True),
        Scenario("POST /orders", hot(BATCH), together=True),
    ]


def calls_before_the_answer(orders: int) -> int:
    """The calls that our code makes before it responds to a request with this number of orders."""
    with Pipeline.running() as pipeline, _logging_to(_Output()):
        body = order_of() if orders == 1 else {"orders": [order_of(f"c{i}") for i in range(orders)]}
        Shop(pipeline).post(body)
        return len(pipeline.calls)


def _run(scenario: Scenario) -> Cost:
    with mock_aws(), _logging_to(_Output()):
        pipeline = Pipeline()
        shop = Shop(pipeline)
        orders = scenario.orders
        products = {line["productId"] for order in orders for line in order["items"]}
        shop.open({order["customerId"]: 100 for order in orders}, dict.fromkeys(products, 1000))
        pipeline.skip_streams()
        for name in pipeline.consumers():
            pipeline.configure(name, **_MEASURED)
        pipeline.configure("order_api", **_MEASURED)
        meter = Meter(pipeline)
        with _logging_to(meter.output):
            for number, body in enumerate([{"orders": orders}] if scenario.together else orders):
                answer = shop.post(body, f"key-{number}" if scenario.idempotent else None)
                if answer.status != 202:
                    raise RuntimeError(f"an order was answered with {answer.status}")
                meter.requests["apigateway"] += 1
                meter.invoked()
                if scenario.apart:
                    _finish(pipeline, meter, apart=True)
            _finish(pipeline, meter, apart=scenario.apart)
        pipeline.close()
        shipped = sum(shop.account(order["customerId"])[2] > 0 for order in orders)
        if shipped != len(orders):
            raise RuntimeError(f"{shipped} of {len(orders)} orders shipped")
    return _cost(scenario, meter)


_MEASURED = {"POWERTOOLS_METRICS_NAMESPACE": "OrderCapture", "POWERTOOLS_SERVICE_NAME": "order-capture"}
"""Set by the template for all functions (Globals): metrics are written as log lines."""


def _finish(pipeline: Pipeline, meter: Meter, *, apart: bool) -> None:
    """Run all that follows. Sources with a batching window wait until everything faster is done."""
    for window in sorted({*pipeline.consumers().values()}):
        while _deliver(pipeline, meter, window=window, apart=apart):
            pass
    pipeline.wait(WATCH_DELAY)  # the watchdog checks each order, and finds it shipped
    while _deliver(pipeline, meter, window=0, apart=apart):
        pass


def _deliver(pipeline: Pipeline, meter: Meter, *, window: int, apart: bool) -> bool:
    """Deliver the waiting messages; returns whether there were any.

    Where orders come apart, so does all that follows: what is last on an order's way is handed over first, so
    that nothing is there for a batch, but in a window.
    """
    handed = False
    for name in reversed([name for name, waits in pipeline.consumers().items() if waits <= window]):
        before = pipeline.invocations
        records = pipeline.publish_changes(only=[name])
        meter.invoked(pipeline.invocations - before, records)
        messages = pipeline.deliver(name)
        if messages:
            # A window collects messages from several receives.
            meter.requests["sqs"] += messages if apart else math.ceil(messages / MAX_RECEIVED)
            meter.requests["sqs"] += math.ceil(messages / MAX_RECEIVED)  # to delete them
            meter.invoked(1, messages)
        handed = handed or records + messages > 0
        if handed and apart:
            return True
    return handed


def _cost(scenario: Scenario, meter: Meter) -> Cost:
    file, number = prices(), len(scenario.orders)
    million, assumed = file["dollars_per_million"], file["assumed"]
    requests, api = meter.requests, meter.requests["apigateway"]
    log_bytes = (
        meter.output.size
        + (meter.output.lines + api) * assumed["bytes_per_log_event"]
        + api * assumed["access_log_bytes"]
    )
    # A request and its function share one trace.
    traces = assumed["sampled_traces"] * requests["lambda"]
    dollars = {
        "writes": meter.write_units.total() * million["dynamodb_write_units"],
        "reads": meter.read_units.total() * million["dynamodb_read_units"],
        "api": api * million["api_requests"],
        "lambda": requests["lambda"] * million["lambda_requests"]
        + meter.milliseconds / 1000 * MEMORY_GB * million["lambda_gb_seconds"],
        "sqs": requests["sqs"] * million["sqs_requests"],
        "sns": requests["sns"] * million["sns_requests"],
        "logs": log_bytes / 1e9 * 1e6 * file["dollars_per_gb"]["logs"],
        "traces": traces * million["xray_traces"],
    }
    return Cost(
        scenario.name,
        number,
        calls=meter.calls / number,
        requests=_each(requests, number),
        write_units=_each(meter.write_units, number),
        table_write_units=_each(meter.table_write_units, number),
        read_units=_each(meter.read_units, number),
        published=meter.published / number,
        lambda_milliseconds=meter.milliseconds / number,
        log_bytes=log_bytes / number,
        dollars_per_million=_each(dollars, number),
    )


def _each(totals: Mapping[str, float], number: int) -> dict[str, float]:
    return {name: total / number for name, total in totals.items()}


def _texts(value: Any) -> Iterator[str]:
    """All strings in the parameters of a call: the payload."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


@contextlib.contextmanager
def _logging_to(output: _Output) -> Iterator[None]:
    """Redirect the functions' log and metric lines there."""
    logger = logs.configure()
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(output)
    try:
        with contextlib.redirect_stdout(output):
            yield
    finally:
        handler.setStream(before)
