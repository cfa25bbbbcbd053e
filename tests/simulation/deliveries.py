"""Webhooks in virtual time: the real use cases behind modelled queues, sender functions and receivers.

These take time here: each call of the store or of a queue, an invocation, and above all the receivers. An
invocation handles one message, as in template.yaml, and each lane runs as many concurrently as its
MaximumConcurrency allows. There is no sleeping: time jumps to the next event.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.application.messages import DeliverWebhook, Message, ReceivedOrderEvent
from order_capture.application.webhooks.deliver_webhooks import DeliverWebhooks
from order_capture.application.webhooks.dispatch_webhooks import DispatchWebhooks
from order_capture.domain.errors import TransientError
from order_capture.domain.order import OrderDetails, OrderLine
from order_capture.domain.webhooks import DeliveryResponse, Lane
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import webhook_of
from tests.support.fakes import MemoryPublisher
from tests.support.stores import memory_stores
from tests.support.virtual_time import Time

CALL = 0.005  # seconds that DynamoDB or SQS take for a call
INVOCATION = 0.005  # and Lambda, around a handler that is warm
VISIBILITY = 150
MAX_RECEIVES = 5
GRACE = 20


class Slow:
    """Adds a latency to every call."""

    def __init__(self, time: Time, of: object) -> None:
        self._time, self._of = time, of
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._of, name)

        def call(*args: Any, **named: Any) -> Any:
            self.calls += 1
            self._time.sleep(CALL)
            return method(*args, **named)

        return call


class Queue:
    """A standard queue of SQS, and its function: an `Outbox` for senders."""

    def __init__(self, time: Time, work: Callable[[DeliverWebhook], bool], concurrency: int) -> None:
        self._time, self._work = time, work
        self._free = concurrency
        self._order = itertools.count()
        self._visible: list[tuple[float, int, int, DeliverWebhook]] = []
        self.dead: list[DeliverWebhook] = []
        self.invocations = 0

    def send(self, messages: Sequence[Message]) -> set[str]:
        self._time.sleep(CALL)
        for message in messages:
            assert isinstance(message, DeliverWebhook)
            self._put(message, message.delay, 0)
        return set()

    def send_all(self, messages: Sequence[Message]) -> None:
        assert not self.send(messages)

    def _put(self, message: DeliverWebhook, delay: float, received: int) -> None:
        heapq.heappush(self._visible, (self._time.now + delay, next(self._order), received, message))
        self._time.spawn(self._poll, delay)

    def _poll(self) -> None:
        while self._free and self._visible and self._visible[0][0] <= self._time.now:
            _, _, received, message = heapq.heappop(self._visible)
            self._free -= 1
            self._time.spawn(partial(self._invoke, message, received + 1))

    def _invoke(self, message: DeliverWebhook, received: int) -> None:
        self.invocations += 1
        self._time.sleep(INVOCATION)
        done = self._work(message)
        self._free += 1
        if not done and received == MAX_RECEIVES:
            self.dead.append(message)
        elif not done:
            self._put(message, VISIBILITY, received)
        self._poll()


@dataclass
class Customer:
    """A customer with `rate` order events a second, each sent to all webhooks, or to a callback URL."""

    name: str
    rate: float
    receivers: Sequence[str]
    """Hosts, of a webhook each."""
    callbacks: Callable[[int], str] | None = None
    """The host that order number n names."""


@dataclass
class Model:
    """A stack that sends webhooks, with its customers."""

    seed: int
    behaviour: Callable[[str], Callable[[random.Random], tuple[float, int]]]
    """A host's receiver: the seconds until it responds, and the status."""
    concurrency: int = 10
    timeout: float = 15
    waits: dict[str, list[float]] = field(default_factory=dict)
    """For each customer: seconds from each event to its arrival."""

    def __post_init__(self) -> None:
        self.time, self.chance = Time(), random.Random(self.seed)
        self.store = memory_stores(DynamoDB()).webhooks
        self.slow = Slow(self.time, self.store)
        self.dead_letters = MemoryPublisher()
        self.lanes = {lane: Queue(self.time, partial(self._look, lane), self.concurrency) for lane in Lane}
        self.happened: dict[str, float] = {}
        self.arrived: set[str] = set()
        self.owed: dict[str, int] = {}
        self.is_over = False
        self.begins = 0.0

    def _look(self, lane: Lane, message: DeliverWebhook) -> bool:
        use_case = DeliverWebhooks(
            lane,
            self.slow,
            self._post,
            self.lanes,
            self.dead_letters,
            self.time.written,
            self.chance.random,
            self.timeout,
            MAX_DELAY_SECONDS,
        )
        try:
            use_case.process(message)
        except TransientError:
            return False
        return True

    def _post(self, url: str, headers: Any, body: str, timeout: float) -> DeliveryResponse:
        host = url.split("/")[2]
        takes, status = self.behaviour(host)(self.chance)
        if takes > timeout:
            self.time.sleep(timeout)
            return DeliveryResponse(None, f"no response within {timeout:g} s", is_late=True)
        self.time.sleep(takes)
        customer, event = body.split("/")
        if 200 <= status < 300 and headers["webhook-id"] not in self.arrived:
            self.arrived.add(headers["webhook-id"])
            if self.happened[event] >= self.begins:
                self.waits.setdefault(customer, []).append(self.time.now - self.happened[event])
        return DeliveryResponse(status)

    def run(self, seconds: float) -> None:
        """Run for this time, then until deliveries in progress end. Counting starts here."""
        self.waits, self.owed, self.begins = {}, {}, self.time.now
        self.time.run(self.time.now + seconds)
        self.is_over = True
        self.time.run(self.time.now + GRACE)

    def add(self, customer: Customer) -> None:
        for number, host in enumerate(customer.receivers):
            self.store.add(
                webhook_of(
                    webhook_id=f"{customer.name}.{number + 1:032x}",
                    customer_id=customer.name,
                    url=f"https://{host}/",
                )
            )
        self.time.spawn(partial(self._orders, customer))

    def _orders(self, customer: Customer) -> None:
        for number in itertools.count():
            self.time.sleep(self.chance.expovariate(customer.rate))
            if self.is_over:
                return
            self.time.spawn(partial(self._event, customer, number))

    def _event(self, customer: Customer, number: int) -> None:
        order_id = f"{customer.name}-{number}"
        self.happened[order_id] = self.time.now
        url = f"https://{customer.callbacks(number)}/" if customer.callbacks else ""
        self.owed[customer.name] = self.owed.get(customer.name, 0) + len(customer.receivers) + bool(url)
        event = ReceivedOrderEvent(
            order_id,
            "order.placed",
            1,
            self.time.written(),
            self.time.written(),
            OrderDetails(order_id, customer.name, (OrderLine("pen", 1),), Decimal(1)),
            f"{customer.name}/{order_id}",
            "c",
            url,
        )
        self.time.sleep(INVOCATION)
        DispatchWebhooks(self.slow, self.lanes, lambda: "whsec_b25l", self.time.written).process([event])


def quantile(values: Sequence[float], share: float) -> float:
    found = sorted(values)
    return found[min(int(len(found) * share), len(found) - 1)]
