"""The deployed system, as its clients and its operators use it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from threading import Barrier
from typing import Any, TypeVar

import boto3
import httpx
import simplejson
from mypy_boto3_logs import CloudWatchLogsClient
from mypy_boto3_sqs import SQSClient

from local import stack
from local.tokens import Tokens
from tests.support import target

# Timeout in seconds: a step takes one on an idle machine, many if forty functions start at once. On AWS a
# queue's counts are accurate after a minute, and changed attributes take effect after another.
TIMEOUT = 180.0 if target.NAME else 60.0

_LOG_MARGIN = 60_000  # milliseconds by which clocks may differ

QUEUES = ("BalanceChecker", "StockChecker", "OrderUpdate", "ShipOrder")  # in processing order
OPEN = {"PENDING", "CONFIRMED"}

View = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Balances:
    """The figures of a customer or a product."""

    balance: Decimal
    held: Decimal
    settled: Decimal

    @classmethod
    def of(cls, balance: str | int, held: str | int = 0, settled: str | int = 0) -> Balances:
        """Figures as literals in a test."""
        return cls(Decimal(balance), Decimal(held), Decimal(settled))

    @property
    def total(self) -> Decimal:
        """The sum of all adjustments, which no order changes."""
        return self.balance + self.held + self.settled


def body_of(response: httpx.Response) -> View:
    """The JSON of a response, with exact numbers."""
    body: View = simplejson.loads(response.text, use_decimal=True)
    return body


def order_body(customer: str, items: Mapping[str, int] | Sequence[tuple[str, int]], total: str) -> View:
    """The body of an order. Pass two lines of one product as a sequence of pairs."""
    lines = items.items() if isinstance(items, Mapping) else items
    return {
        "customerId": customer,
        "items": [{"productId": product, "qty": qty} for product, qty in lines],
        "totalAmount": Decimal(total),
    }


class StackClient:
    """Drives the deployed stack, as a service with all scopes.

    Every customer and product is created for one test only.
    """

    def __init__(self, description: Mapping[str, str]) -> None:
        self.outputs = description
        self.aws: boto3.Session = stack.session(description)
        self.endpoint = description.get("endpointUrl")
        """The engine's address; None for a stack that was named, whose session knows where it is."""
        self.tokens = Tokens(description)
        self.sqs: SQSClient = self.aws.client("sqs", endpoint_url=self.endpoint)
        self._logs: CloudWatchLogsClient = self.aws.client("logs", endpoint_url=self.endpoint)
        limits = httpx.Limits(max_connections=None)
        # A proxy for external hosts must not be used for the loopback interface.
        self.is_outside = not description["apiUrl"].startswith("http://127.0.0.1:")
        self._http = httpx.Client(timeout=TIMEOUT, trust_env=self.is_outside, limits=limits)
        self._started = int(time.time() * 1000)

    # ------------------------------------------------------------------------------------------ over HTTP
    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET a path below the API's URL."""
        return self.request("GET", path, **headers)

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """POST JSON, or a text or bytes as they are. Header names take _ for -."""
        raw = body if isinstance(body, str | bytes) else simplejson.dumps(body, use_decimal=True)
        return self.request("POST", path, raw, **headers)

    def request(
        self, method: str, path: str, content: str | bytes | None = None, **headers: str
    ) -> httpx.Response:
        """Send a request, as a service unless Authorization is set; an empty one sends no token."""
        headers = {"Content_Type": "application/json", "Authorization": self.bearer()} | headers
        named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        if not headers["Authorization"]:
            del named[b"Authorization"]
        return self._http.request(method, self.outputs["apiUrl"] + path, content=content, headers=named)

    def bearer(self, customer: str = "") -> str:
        """The Authorization header of a customer who signs in, or of a service."""
        return f"Bearer {self.tokens.of_customer(customer) if customer else self.tokens.of_service()}"

    def follow(self, response: httpx.Response) -> httpx.Response:
        """GET a response's Location."""
        address = response.url.join(response.headers["Location"])
        return self._http.get(address, headers={"Authorization": self.bearer()})

    def new_customer(self, balance: str = "1000.00") -> str:
        """A new customer with this balance."""
        customer = f"customer-{uuid.uuid4()}"
        answer = self.post("/account", {"customerId": customer, "balance": Decimal(balance)})
        assert answer.status_code == 200, answer.text
        return customer

    def new_product(self, units: int = 1000) -> str:
        """A new product with this stock."""
        product = f"product-{uuid.uuid4()}"
        answer = self.post("/stock", {"productId": product, "balance": units})
        assert answer.status_code == 200, answer.text
        return product

    def place(
        self,
        customer: str,
        items: Mapping[str, int] | Sequence[tuple[str, int]],
        total: str,
        **headers: str,
    ) -> str:
        """Post an order with a key, retrying while the API is busy, as in the contract; returns its id."""
        headers = {"Idempotency_Key": str(uuid.uuid4())} | headers
        deadline = time.monotonic() + TIMEOUT
        while True:
            answer = self.post("/order", order_body(customer, items, total), **headers)
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                break
            time.sleep(int(answer.headers["Retry-After"]))
        assert answer.status_code == 202, answer.text
        order_id: str = body_of(answer)["orderId"]
        return order_id

    def order(self, order_id: str) -> View:
        """The current order."""
        answer = self.get(f"/order/{order_id}")
        assert answer.status_code == 200, answer.text
        return body_of(answer)

    def ended(self, order_id: str) -> View:
        """The order after it has ended."""
        return self.all_ended([order_id])[0]

    def all_ended(self, order_ids: Iterable[str]) -> list[View]:
        """The orders after all have ended."""
        deadline = time.monotonic() + TIMEOUT
        views = []
        for order_id in order_ids:
            while (view := self.order(order_id))["status"] in OPEN:
                assert time.monotonic() < deadline, f"still open after {TIMEOUT} s: {view}"
                time.sleep(0.05)
            views.append(view)
        return views

    def money(self, customer: str) -> Balances:
        """The figures of a customer."""
        return self._books(f"/account/{customer}")

    def units(self, product: str) -> Balances:
        """The figures of a product."""
        return self._books(f"/stock/{product}")

    def _books(self, path: str) -> Balances:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        view = body_of(answer)
        return Balances(view["balance"], view["held"], view["settled"])

    # -------------------------------------------------------------------------------------- as an operator
    def come_to_rest(self) -> None:
        """Wait until no message is queued or being processed, so that the books no longer change.

        A message is forwarded before it is deleted, and the queues are read in the order in which an order
        passes through them, so none is missed in between; the second check finds messages of a release.
        """
        still = 0
        deadline = time.monotonic() + TIMEOUT
        while still < 2:
            waiting = {queue: self.waiting(self.outputs[f"{queue}QueueUrl"]) for queue in QUEUES}
            still = 0 if any(waiting.values()) else still + 1
            assert time.monotonic() < deadline, f"messages still on their way after {TIMEOUT} s: {waiting}"
            time.sleep(0.05)

    @contextmanager
    def few_receives(self, *queues: str, receives: int) -> Iterator[None]:
        """Dead-letter failing messages after this number of receives, a second or more apart.

        As deployed they are received twenty times, ten of them after the queue's visibility timeout, which
        is a minute. Nothing else about the queues changes, and all is restored when they are empty.
        """
        urls = [self.outputs[f"{queue}QueueUrl"] for queue in queues]
        deployed = {
            url: self.sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
            )["Attributes"]
            for url in urls
        }
        try:
            for url in urls:
                redrive = json.loads(deployed[url]["RedrivePolicy"]) | {"maxReceiveCount": receives}
                self.sqs.set_queue_attributes(
                    QueueUrl=url, Attributes={"VisibilityTimeout": "1", "RedrivePolicy": json.dumps(redrive)}
                )
            yield
            # Remaining messages would be retried for minutes, during later tests.
            eventually(lambda: [self.waiting(url) for url in urls], lambda waiting: not any(waiting))
        finally:
            for url in urls:
                self.sqs.set_queue_attributes(QueueUrl=url, Attributes=dict(deployed[url]))

    def waiting(self, queue_url: str) -> int:
        """The number of messages in a queue, including those in flight."""
        attributes = self.sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return sum(int(count) for count in attributes.values())

    def log_lines(self, function: str, containing: str) -> list[str]:
        """The lines that a function wrote to its log group with this text in them."""
        group = self.outputs[f"{function}LogGroupName"]
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=self._started - _LOG_MARGIN
        )
        events = [event for page in pages for event in page["events"]]
        return [event["message"] for event in events if containing in event["message"]]


def eventually(look: Callable[[], Result], until: Callable[[Result], bool]) -> Result:
    """The value of `look` once it is as expected, or at the timeout, for an assert."""
    deadline = time.monotonic() + TIMEOUT
    while not until(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


def at_once(times: int, call: Callable[[int], Result]) -> list[Result]:
    """Call it this many times at the same moment, with 0, 1, 2, …, each in its own thread."""
    together = Barrier(times)

    def one(number: int) -> Result:
        together.wait()
        return call(number)

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(one, range(times)))
