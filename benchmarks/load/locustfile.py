"""The clients, for Locust: each user repeats one of the mixes, chosen at random by weight.

`make load` prepares the customers and products and starts Locust with this file. A mix is a tag:
https://docs.locust.io/en/stable/writing-a-locustfile.html#tag-decorator
"""

from __future__ import annotations

import functools
import random
import signal
import ssl
import time
import uuid
from pathlib import Path
from typing import Any, TextIO

import gevent
from locust import FastHttpUser, events, tag, task
from locust.exception import StopUser
from locust.runners import STATE_RUNNING, STATE_SPAWNING

from benchmarks.load.traffic import BATCH_SIZE, PRICE, TERMINAL, Answer, Assignment, results_of

_READ_SECONDS = 30.0  # seconds until a reader gives up on an order; the command follows it further
_RUNNING = (STATE_SPAWNING, STATE_RUNNING)
_POLL_SECONDS = 0.25  # like a page that shows its order
_WAIT_SECONDS = 10
_TIMEOUT_SECONDS = 35.0  # API Gateway responds within 29


class _Run:
    """State shared by all users."""

    assignment: Assignment
    records: TextIO
    sent = 0
    at_work = 0
    environment: Any = None
    timer = gevent.Greenlet()

    @classmethod
    def start(cls, path: str) -> None:
        cls.assignment = Assignment.read(Path(path))
        cls.records = Path(cls.assignment.records).open("a", buffering=1)  # noqa: SIM115 (to the end)

    @classmethod
    def may_send(cls, orders: int) -> bool:
        if cls.sent + orders > cls.assignment.orders:
            return False
        cls.sent += orders
        return True


@events.init_command_line_parser.add_listener
def _add_arguments(parser: Any) -> None:
    parser.add_argument("--assignment", required=True, include_in_web_ui=False, help="what to do: a file")


@events.init.add_listener
def _start(environment: Any, **_: Any) -> None:
    # In the background of a script SIGINT is ignored, and the command stops the load with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _Run.environment = environment
    _Run.start(environment.parsed_options.assignment)


@events.spawning_complete.add_listener
def _end_in_time(**_: Any) -> None:
    """End the load after its duration. Locust's --run-time begins before the first user starts."""
    _Run.timer.kill()
    _Run.timer = gevent.spawn_later(_Run.assignment.seconds, _end, _Run.environment)


@events.test_stop.add_listener
def _forget_the_end(**_: Any) -> None:
    _Run.timer.kill()


def _end(environment: Any) -> None:
    """End the load; with a page, only the current run."""
    # Not from this greenlet: a user's must end as well, and the timer's is killed with the load.
    gevent.spawn(environment.runner.stop if environment.web_ui else environment.runner.quit)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """One context for all users: reading the machine's certificates takes longer than many requests."""
    return ssl.create_default_context()


class Shopper(FastHttpUser):
    """A client that sends one request after the other."""

    insecure = False  # Locust accepts any certificate by default, but only the target may get the token
    ssl_context_factory = staticmethod(_ssl_context)
    max_redirects = 0  # the target must not redirect the load
    network_timeout = connection_timeout = _TIMEOUT_SECONDS

    def __init__(self, environment: Any) -> None:
        self.host = _Run.assignment.url  # the user could enter another one on Locust's page
        if token := _Run.assignment.token:
            self.default_headers = {"Authorization": f"Bearer {token}"}
        super().__init__(environment)

    def on_start(self) -> None:
        """Locust's page accepts more users than the command allows: the excess stops at once."""
        self.is_at_work = _Run.at_work < _Run.assignment.users
        if not self.is_at_work:
            raise StopUser
        _Run.at_work += 1
        # Spread over the interval: with constant_throughput all would start together each time.
        self.due = time.monotonic() + random.uniform(0, self.interval)
        gevent.sleep(self.due - time.monotonic())

    @property
    def interval(self) -> float:
        """The minimum seconds between the starts of two tasks."""
        rate = _Run.assignment.rate
        return _Run.assignment.users / rate if rate else 0.0

    def wait_time(self) -> float:
        """Seconds until the next task is due. Late tasks are not made up for: the rate is a maximum."""
        now = time.monotonic()
        self.due = max(self.due + self.interval, now)
        return self.due - now

    def on_stop(self) -> None:
        """Locust calls this for every user."""
        if self.is_at_work:
            self.is_at_work = False
            _Run.at_work -= 1

    # ----------------------------------------------------------------------------------------- the mixes
    @tag("spread")
    @task(4)
    def spread(self) -> None:
        """All products equally."""
        products = list(_Run.assignment.shop.products)
        self._place(
            "spread", self._order(*random.sample(products, min(len(products), random.choice((1, 1, 2)))))
        )

    @tag("80/20")
    @task(3)
    def eighty_twenty(self) -> None:
        """Most orders for a few products."""
        shop = _Run.assignment.shop
        self._place(
            "80/20",
            self._order(random.choice(shop.popular if random.random() < 0.8 else list(shop.products))),
        )

    @tag("hot")
    @task(2)
    def hot(self) -> None:
        """All orders for one product."""
        self._place("hot", self._order(_Run.assignment.shop.hot_product, most=1))

    @tag("batches")
    @task(1)
    def batches(self) -> None:
        """Orders of different customers in one request."""
        products = list(_Run.assignment.shop.products)
        orders = [self._order(random.choice(products)) for _ in range(BATCH_SIZE)]
        self._count(len(orders))
        self._post("batches", "/orders", {"orders": orders}, str(uuid.uuid4()))

    @tag("keyed")
    @task(1)
    def keyed(self) -> None:
        """A double-click, and a later retry: all three must get the same order."""
        order, key = self._order(random.choice(list(_Run.assignment.shop.products))), str(uuid.uuid4())
        self._count(1)
        clicks = [gevent.spawn(self._post, "keyed", "/order", order, key) for _ in range(2)]
        try:
            gevent.joinall(clicks)
        finally:
            gevent.killall(clicks)  # if the load ends now, they are recorded without a response
        self._post("keyed", "/order", order, key)

    @tag("poll")
    @task(1)
    def poll(self) -> None:
        """A reader that polls."""
        self._read("poll", "", _POLL_SECONDS)

    @tag("wait")
    @task(1)
    def wait_for_end(self) -> None:
        """A reader that long-polls."""
        self._read("wait", f"?wait={_WAIT_SECONDS}", 0)

    # ------------------------------------------------------------------------------------------ requests
    def _order(self, *products: str, most: int = 3) -> dict[str, Any]:
        quantities = {product: random.randint(1, most) for product in products}
        return {
            "customerId": random.choice(list(_Run.assignment.shop.customers)),
            "items": [
                {"productId": product, "qty": qty, "unitPrice": PRICE} for product, qty in quantities.items()
            ],
            "totalAmount": PRICE * sum(quantities.values()),
        }

    def _count(self, orders: int) -> None:
        if not _Run.may_send(orders):
            _end(self.environment)
            raise StopUser

    def _place(self, mix: str, order: dict[str, Any]) -> Answer:
        self._count(1)
        return self._post(mix, "/order", order, str(uuid.uuid4()))

    def _post(self, mix: str, path: str, body: dict[str, Any], key: str) -> Answer:
        status, text = 0, b""
        sent_at, started = time.time(), time.perf_counter()
        try:
            with self.client.post(
                path,
                json=body,
                headers={"Idempotency-Key": key},
                name=f"{path} [{mix}]",
                catch_response=True,
            ) as response:
                status, text = response.status_code or 0, response.content or b""
                if status == 409 and mix == "keyed":
                    response.success()  # the other click's request is still running
        finally:
            # Also if the user is killed while waiting: the order may have been placed.
            answer = Answer(
                mix,
                f"POST {path}",
                sent_at,
                time.perf_counter() - started,
                status,
                key,
                body,
                results_of(text, status),
            )
            _Run.records.write(answer.line())
        return answer

    def _read(self, mix: str, query: str, pause: float) -> None:
        products = list(_Run.assignment.shop.products)
        placed = self._place(mix, self._order(random.choice(products)))
        order_id = next((result["orderId"] for result in placed.results if "orderId" in result), None)
        deadline = time.monotonic() + _READ_SECONDS
        while order_id and time.monotonic() < deadline and self.environment.runner.state in _RUNNING:
            route = "/order/{orderId}/status"
            sent_at, started = time.time(), time.perf_counter()
            response = self.client.get(f"/order/{order_id}/status{query}", name=f"{route} [{mix}]")
            _Run.records.write(
                Answer(
                    mix, f"GET {route}", sent_at, time.perf_counter() - started, response.status_code or 0
                ).line()
            )
            try:
                if response.json()["status"] in TERMINAL:
                    return
            except (ValueError, KeyError, TypeError):
                pause = max(pause, _POLL_SECONDS)  # errors return at once
            gevent.sleep(pause)
