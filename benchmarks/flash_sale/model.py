"""The application in virtual time: its real functions, and a model of AWS around them."""

from __future__ import annotations

import gc
import json
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.exceptions

from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.dynamodb import ContendedDynamoDB
from benchmarks.flash_sale.lambdas import Lambda, StreamMapping, ThrottledError, TimedOutError
from benchmarks.flash_sale.queues import QueueMapping, TimedSQS
from benchmarks.flash_sale.wiring import Function, QueueSource, wiring
from order_capture.adapters import aws_clients, system, time_budget
from order_capture.adapters.aws_errors import is_unavailable
from order_capture.adapters.dynamodb import types
from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.retry import Retry
from order_capture.domain.ledger import ACCOUNTS, STOCK, LedgerSpec
from order_capture.entrypoints.invocations import InvocationFailedError
from tests.simulation import functions
from tests.simulation.books import TERMINAL, Books
from tests.support.aws.dynamodb import Change, DynamoDB
from tests.support.aws.sns import SNS
from tests.support.aws.sqs import queue_arn
from tests.support.factories import SERVICE_CLAIMS
from tests.support.virtual_time import Time

ON_THE_WAY = (
    "order_api",
    "balance_checker",
    "stock_checker",
    "order_update",
    "ship_order",
    "change_publisher",
    "order_watchdog",
)
"""The functions that process an order, and those that start and recover it."""
WATCHED = "OrderWatchQueue"
BOOKED = ("OrderTable", "AccountTable", "StockTable")
LEDGERS: Mapping[str, tuple[LedgerSpec, str]] = {
    "AccountTable": (ACCOUNTS, "customerId"),
    "StockTable": (STOCK, "productId"),
}
STEP = 0.5  # seconds of virtual time between two samples
MOST_SECONDS = 7_200.0  # far more than any deadline of an order: anything still active then would never end


@dataclass(frozen=True)
class Sample:
    """The state at a point in time."""

    time: float
    decided: int
    shipped: int
    waiting: int
    """Messages in the queues that process orders."""
    transactions: int
    conflicts: int


@dataclass
class Course:
    """When an order was requested, decided and shipped, in seconds; None until then."""

    requested: float
    is_other: bool = False
    decided: float | None = None
    shipped: float | None = None


@dataclass
class Progress:
    """The state of the orders so far."""

    courses: dict[str, Course] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    client_retries: int = 0


class Sale:
    """A stack with accounts and products, on which orders are placed; also the functions' environment."""

    def __init__(
        self,
        seed: int,
        constants: Constants,
        *,
        environment: str = "prod",
        concurrency: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`concurrency` replaces the template's MaximumConcurrency; `settings` are additional environment
        variables of all functions."""
        self.constants = constants
        self._chance = random.Random(seed)
        self._settings = dict(settings or {})
        self._mu: dict[float, float] = {}
        self._ids = 0
        self.time = Time()
        self.books = Books()
        self.progress = Progress()
        self._open_requests = 0
        plan = wiring(environment)
        self._functions = {name: plan.functions[name] for name in ON_THE_WAY}
        self.lambdas = Lambda(self.time, constants, self._functions, functions.handler)
        self._store = DynamoDB(lambda: self.time.now)
        for name, properties in plan.tables.items():
            self._store.create_table(TableName=name, **_keys(properties))
        self._store.on_commit = self.books.commit
        self.dynamodb = ContendedDynamoDB(self._store, self.time, constants, self.lambdas.sleep, self.pause)
        self.dynamodb.latency = self.latency
        self.sqs = TimedSQS(self.time, self.new_id, lambda: self.latency(constants.arrive_ms))
        for name in sorted(plan.queues, key=lambda name: "RedrivePolicy" in plan.queues[name]):
            self.sqs.create_queue(QueueName=name, Attributes=plan.queues[name])
        self._sns = SNS(_Fanned(self))  # type: ignore[arg-type]
        for name in plan.topics:
            self._sns.create_topic(Name=name)
        fed = {source.queue for function in self._functions.values() for source in function.queues}
        for each in plan.subscriptions:
            if each["queue"] in fed:
                self._sns.subscribe(
                    TopicArn=f"arn:aws:sns:us-east-1:123456789012:{each['topic']}",
                    Protocol="sqs",
                    Endpoint=queue_arn(each["queue"]),
                    Attributes=each["attributes"],
                )
        self._clients = {
            "dynamodb": Client(self.dynamodb, self),
            "sns": Client(self._sns, self, constants.publish_ms),
            "sqs": Client(self.sqs, self, constants.send_ms),
        }
        self.mappings = {
            source.queue: self._queue_mapping(function, source, concurrency)
            for function in self._functions.values()
            for source in function.queues
        }
        self._streams: dict[str, list[StreamMapping]] = {}
        for function in self._functions.values():
            for stream in function.streams:
                keys = tuple(part["AttributeName"] for part in plan.tables[stream.table]["KeySchema"])
                mapping = StreamMapping(
                    self.time,
                    constants,
                    stream,
                    keys,
                    partial(self.lambdas.invoke_until_taken, function.name),
                    self.pause,
                )
                self._streams.setdefault(stream.table, []).append(mapping)

    # The functions' environment

    def client(self, service: str) -> Client:
        """A client of an AWS service."""
        return self._clients[service]

    def env(self, name: str) -> str:
        """An environment variable of the current function."""
        assert self.lambdas.current is not None
        return self._settings.get(name) or self.lambdas.current.function.environment[name]

    def clock(self) -> str:
        """The virtual time."""
        return self.time.written()

    backoff = staticmethod(system.backoff)  # the application's own, with our clock and random numbers

    def new_id(self) -> str:
        """A unique id."""
        self._ids += 1
        return f"00000000-0000-4000-8000-{self._ids:012x}"

    def random_fraction(self) -> float:
        """A random number from 0 to 1."""
        return self._chance.random()

    def hot_heads(self) -> HotHeads:
        """The contended heads that the current environment remembers."""
        assert self.lambdas.current is not None
        return self.lambdas.current.hot_heads

    # Latencies

    def latency(self, median: float) -> float:
        """A random latency in seconds, from its median in ms."""
        sigma = self.constants.sigma
        return median / 1000 * math.exp(self._chance.gauss(0, sigma)) if sigma else median / 1000

    def pause(self, median: float) -> None:
        """Wait for this time."""
        self.lambdas.sleep(self.latency(median))

    # Clients

    def open(self, table: str, balances: Mapping[str, int]) -> None:
        """Set balances before any order, as the application sets the first of each amount."""
        kind, key = LEDGERS[table]
        retry = Retry(lambda attempt: None)
        ledger = DynamoLedgerRepository(self._store, table, key, retry)
        adjust = AdjustBalance(kind, ledger, self.clock, retry)
        first: dict[int, tuple[str, str, list[Change]]] = {}
        for entity, amount in balances.items():
            adjustment_id = self.new_id()
            if amount in first:
                names = dict(zip(first[amount][:2], (entity, adjustment_id), strict=True))
                puts = [
                    {"TableName": table, "Item": _renamed(change.new, names)} for change in first[amount][2]
                ]
                self._store.transact_write_items(TransactItems=[{"Put": put} for put in puts])
                continue
            changes: list[Change] = []
            self._store.on_commit = changes.extend
            adjust.adjust(
                BalanceRequest(entity, adjustment_id, "", idempotent=False, balance=Decimal(amount))
            )
            self._store.on_commit = self.books.commit
            self.books.commit(changes)
            first[amount] = entity, adjustment_id, changes
        self._store.stream(table).clear()

    def order(self, at: float, resource: str, body: str, *, is_other: bool = False) -> None:
        """Schedule a client's request."""
        self._open_requests += 1
        self.time.spawn(partial(self._request, resource, body, is_other), at - self.time.now)

    def _request(self, resource: str, body: str, is_other: bool) -> None:
        course = Course(self.time.now, is_other)
        event = {
            "httpMethod": "POST",
            "resource": resource,
            "pathParameters": None,
            "headers": None,
            "body": body,
            "requestContext": {"requestId": self.new_id(), "authorizer": {"claims": SERVICE_CLAIMS}},
        }
        while True:
            self.pause(self.constants.gateway_ms)
            try:
                answer = self.lambdas.invoke("order_api", event)
            except (ThrottledError, TimedOutError, InvocationFailedError):
                answer = {"statusCode": 503}
            if answer["statusCode"] < 500:
                break
            self.progress.client_retries += 1
            self.time.sleep(self._chance.uniform(0.5, 1.5) * self.constants.client_pause_ms / 1000)
        if answer["statusCode"] != 202:
            raise AssertionError(f"{resource} was answered {answer['statusCode']}: {answer['body']}")
        answered = json.loads(answer["body"])
        for order in answered.get("orders", [answered]):
            known = self.progress.courses.setdefault(order["orderId"], course)
            if known is not course:  # it was decided before its client got the response
                known.requested, known.is_other = course.requested, is_other
            elif "orders" in answered:
                self.progress.courses[order["orderId"]] = Course(course.requested, is_other)
        self._open_requests -= 1

    # Running

    def run(self, progress: Callable[[Sale], None] = lambda sale: None) -> None:
        """Run until nothing is left to do."""
        self._store.on_commit = self._committed
        while not self._is_at_rest() and self.time.now < MOST_SECONDS:
            self.time.run(self.time.now + STEP)
            self._sample()
            progress(self)
        self.books.at_rest()

    def _is_at_rest(self) -> bool:
        if self._open_requests or self.waiting or self.lambdas.current is not None:
            return False
        is_open = any(
            status not in TERMINAL for status in self.progress.statuses if self.progress.statuses[status]
        )
        is_watched = self.sqs.timed[WATCHED].depth or any(
            mapping.depth for mappings in self._streams.values() for mapping in mappings
        )
        refused = sum(
            number for status, number in self.progress.statuses.items() if status in ("EXPIRED", "CANCELLED")
        )
        return not is_watched or not (is_open or refused)

    @property
    def waiting(self) -> int:
        """Messages in all queues that process orders."""
        return sum(self.sqs.timed[queue].depth for queue in self.mappings if queue != WATCHED)

    @property
    def dead_letters(self) -> dict[str, int]:
        """The number of dead letters by queue."""
        return {
            name: len(queue.ready)
            for name, queue in self.sqs.timed.items()
            if name.endswith("Dlq") and queue.ready
        }

    def _sample(self) -> None:
        figures, statuses = self.dynamodb.figures, self.progress.statuses
        decided = sum(number for status, number in statuses.items() if status != "PENDING")
        self.progress.samples.append(
            Sample(
                self.time.now,
                decided,
                statuses["SHIPPED"],
                self.waiting,
                figures.transactions,
                figures.conflicts,
            )
        )

    def _queue_mapping(
        self, function: Function, source: QueueSource, concurrency: int | None
    ) -> QueueMapping:
        if concurrency is not None:
            source = QueueSource(source.queue, source.batch_size, source.window, concurrency)
        return QueueMapping(
            self.time,
            self.constants,
            source,
            self.sqs.timed[source.queue],
            partial(self.lambdas.invoke_until_taken, function.name),
            self.pause,
        )

    def _committed(self, changes: Sequence[Change]) -> None:
        booked = [change for change in changes if change.table in BOOKED]
        if booked:
            self.books.commit(booked)
        for change in changes:
            if change.table == "OrderTable" and "status" in change.new:
                self._moved(change)
        for table in {change.table for change in changes}:
            records = self._store.stream(table)
            # Deleting a missing item writes no stream record.
            of_table = [each for each in changes if each.table == table and (each.new or each.old)]
            for change, record in zip(of_table, records, strict=True):
                for mapping in self._streams.get(table, ()):
                    mapping.take(change, record)
            records.clear()

    def _moved(self, change: Change) -> None:
        status, now = change.new["status"]["S"], self.time.now
        was = change.old["status"]["S"] if change.old else None
        if status == was:
            return
        statuses = self.progress.statuses
        statuses[status] += 1
        if was is not None:
            statuses[was] -= 1
        (order_id,) = change.key
        if status == "PENDING":
            return
        course = self.progress.courses.setdefault(order_id, Course(now))
        if course.decided is None:
            course.decided = now
        if status == "SHIPPED":
            course.shipped = now


class _Fanned:
    """The queues behind a topic, which delivers later."""

    def __init__(self, sale: Sale) -> None:
        self._sale = sale

    def put(self, queue: str, body: str, attributes: Mapping[str, Any], group: str | None) -> str:
        sale = self._sale
        return sale.sqs.put(queue, body, attributes, sale.latency(sale.constants.fan_out_ms), group)


class Client:
    """A client of one AWS service, with botocore's own retries of throttled calls."""

    def __init__(self, service: object, sale: Sale, median: float | None = None) -> None:
        """`median` is the latency of each call in ms, unless the service adds its own."""
        self._service, self._sale, self._median = service, sale, median

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        call = partial(self._call, getattr(self._service, operation))
        self.__dict__[operation] = call
        return call

    def _call(self, ask: Callable[..., Any], **params: Any) -> Any:
        for attempt in range(1, aws_clients._ATTEMPTS + 1):
            aws_clients._check_each_try()
            if self._median is not None:
                self._sale.pause(self._median)
            try:
                return ask(**params)
            except botocore.exceptions.ClientError as error:
                # botocore does not retry a cancelled transaction as a throttled call, for any of its reasons
                # (botocore, retries/standard.py).
                if not is_unavailable(error) or attempt == aws_clients._ATTEMPTS:
                    raise
            self._sale.lambdas.sleep(self._sale._chance.random() * 2 ** (attempt - 1))
        raise AssertionError("not reached")


@contextmanager
def surrounded(sale: Sale) -> Iterator[None]:
    """While this lasts, the functions run in the environment of a sale."""
    clock = SimpleNamespace(monotonic=sale.lambdas.monotonic, sleep=sale.lambdas.sleep)
    chance = random.Random(sale._chance.random())
    with (
        functions.simulated(split_at_once=False),
        mock.patch.object(time_budget, "time", clock),
        mock.patch.object(system, "time", clock),
        mock.patch.object(system, "random", chance),
        mock.patch.dict(os.environ, sale._settings),
        _written_at_once(),
        _seldom_swept(),
    ):
        functions.put_into(sale)
        yield


@contextmanager
def _written_at_once() -> Iterator[None]:
    """While this lasts, values of plain types are serialised and deserialised without boto3's type checks;
    each number is converted once.

    The results are the same as boto3's. Its checks take a quarter of the run time.
    """
    serialize, deserialize = types._Serializer.serialize, types._Deserializer.deserialize
    number = lru_cache(maxsize=65_536, typed=True)(partial(serialize, types._serializer))

    def written(self: Any, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return {"S": value}
        if kind is Decimal or kind is int:
            return number(value)
        return {"M": types.to_item(value)} if kind is dict else serialize(self, value)

    def read(self: Any, value: Any) -> Any:
        return value["S"] if "S" in value and len(value) == 1 else deserialize(self, value)

    with (
        mock.patch.object(types._Serializer, "serialize", written),
        mock.patch.object(types._Deserializer, "deserialize", read),
    ):
        yield


@contextmanager
def _seldom_swept() -> Iterator[None]:
    """While this lasts, garbage is collected rarely: nearly all objects stay alive."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """An item with all occurrences of some names replaced."""
    match value:
        case str():
            for name, other in names.items():
                value = value.replace(name, other)
        case dict():
            return {_renamed(key, names): _renamed(each, names) for key, each in value.items()}
        case list():
            return [_renamed(each, names) for each in value]
    return value


def _keys(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: properties[name] for name in ("KeySchema", "GlobalSecondaryIndexes") if name in properties}
