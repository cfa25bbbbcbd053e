"""The event-driven design under a load: the real functions, on the model of AWS of `make flash-sale`."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import botocore.exceptions

from benchmarks.compare.load import Load, Outage, Outcome
from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.model import Sale, surrounded
from benchmarks.flash_sale.queues import QueueMapping
from benchmarks.flash_sale.scenarios import CREDIT, body_of, broken_books
from benchmarks.flash_sale.wiring import Function, QueueSource

MAX_CUSTOMERS = 20_000  # opening accounts takes time; more of them make no difference
CREDIT_CHECKER = "balance_checker"
CREDIT_TABLE = "AccountTable"

WARM: dict[str, float] = {"warm": 100, "warm_api": 2_000}
"""The state after hours of steady load: no cold starts."""
QUIET: dict[str, float] = {"warm": 5, "warm_api": 5}
"""The functions that a few orders a second keep warm."""


@dataclass(frozen=True)
class Design:
    """The wiring of the functions: as in template.yaml, or naive."""

    name: str
    batch_size: int | None = None
    """For every queue, instead of the template's."""
    stripes: int | None = None
    concurrency: int | None = None


AS_BUILT = Design("serverless")
NAIVE = Design("naive serverless", batch_size=1, stripes=0)
"""An invocation for each message, a transaction for each hold, and one item for each product."""


class Stack(Sale):
    """A sale that also records its clients' response times, and how busy each queue's consumers were."""

    def __init__(self, design: Design, seed: int, constants: Constants, outage: Outage | None) -> None:
        self.answers: list[float] = []
        self.busy_seconds: defaultdict[str, float] = defaultdict(float)
        self.received: Counter[str] = Counter()
        self.batches: Counter[str] = Counter()
        self._design = design
        settings = {} if design.stripes is None else {"LEDGER_STRIPES": str(design.stripes)}
        super().__init__(seed, constants, concurrency=design.concurrency, settings=settings)
        if outage is not None:
            self._clients["dynamodb"]._service = _CreditOutage(self, outage)

    def _request(self, resource: str, body: str, is_other: bool) -> None:
        requested = self.time.now
        super()._request(resource, body, is_other)
        self.answers.append(self.time.now - requested)

    def _queue_mapping(
        self, function: Function, source: QueueSource, concurrency: int | None
    ) -> QueueMapping:
        if self._design.batch_size is not None:
            source = replace(source, batch_size=self._design.batch_size)
        mapping = super()._queue_mapping(function, source, concurrency)
        mapping.invoke = partial(self._timed, source.queue, mapping.invoke)
        return mapping

    def _timed(self, queue: str, invoke: Callable[[dict[str, Any]], Any], event: dict[str, Any]) -> Any:
        started = self.time.now
        self.batches[queue] += 1
        self.received[queue] += len(event["Records"])
        try:
            return invoke(event)
        finally:
            self.busy_seconds[queue] += self.time.now - started


class _CreditOutage:
    """DynamoDB, whose account table responds to credit checks late or not at all during an outage."""

    def __init__(self, stack: Stack, outage: Outage) -> None:
        self._stack, self._outage, self._service = stack, outage, stack.dynamodb

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._service, operation)

    def transact_write_items(self, **params: Any) -> Any:
        """Delay or fail the call, one for all orders of a batch."""
        current = self._stack.lambdas.current
        is_credit_check = current is not None and current.function.name == CREDIT_CHECKER
        if is_credit_check and self._outage.lasts_at(self._stack.time.now):
            self._stack.lambdas.sleep(self._outage.seconds)
            if not self._outage.answers:
                raise botocore.exceptions.ConnectTimeoutError(endpoint_url=CREDIT_TABLE)
        return self._service.transact_write_items(**params)


@dataclass(frozen=True)
class Played:
    """The outcome of a load, and what it used."""

    outcome: Outcome
    broken: Sequence[str]
    batch: float
    """Average messages per batch of the checkers."""
    consumers: dict[str, float]
    """Busy consumers of each queue, per order a second."""
    conflicts: float
    """Share of the transactions that were refused."""


def play(
    load: Load,
    design: Design = AS_BUILT,
    *,
    seed: int,
    constants: Mapping[str, float] | None = None,
    progress: Callable[[int], None] = lambda decided: None,
) -> Played:
    """Run a load on the real functions. `progress` gets the number of decided orders."""
    stack = Stack(design, seed, Constants(**(constants or WARM)), load.outage)
    chance = random.Random(f"{load.name} {seed}")
    orders = len(load.times)
    customers = [f"customer-{index:06}" for index in range(min(orders, MAX_CUSTOMERS))]
    ordered = [f"product-{chance.randrange(load.products):05}" for _ in load.times]
    with surrounded(stack):
        stack.open("AccountTable", dict.fromkeys(customers, CREDIT * (1 + orders // len(customers))))
        stack.open("StockTable", dict.fromkeys(sorted(set(ordered)), 2 * orders))
        for index, (at, product) in enumerate(zip(load.times, ordered, strict=True)):
            stack.order(at, "/order", body_of(customers[index % len(customers)], product))
        stack.run(lambda sale: progress(sale.progress.samples[-1].decided))
    courses = list(stack.progress.courses.values())
    checkers = [queue for queue in stack.batches if "Checker" in queue]
    # Clients retry after a 5xx until their order is accepted, so none is refused in the end.
    outcome = Outcome.of(
        requested=orders,
        answers=stack.answers,
        decided=[course.decided - course.requested for course in courses if course.decided is not None],
        last=max((course.decided for course in courses if course.decided is not None), default=0.0),
        load=load,
        retries=stack.progress.client_retries,
        timeline=[(sample.time, float(sample.decided)) for sample in stack.progress.samples],
    )
    return Played(
        outcome,
        broken_books(stack, orders),
        batch=sum(stack.received[queue] for queue in checkers)
        / sum(stack.batches[queue] for queue in checkers),
        consumers={queue: seconds / orders for queue, seconds in stack.busy_seconds.items()},
        conflicts=stack.dynamodb.figures.conflicts / max(stack.dynamodb.figures.transactions, 1),
    )
