"""The demo: place a few orders, follow each to its end, and print the balances before and after.

All orders but one are polled; that one is followed over a WebSocket connection. One customer has a webhook,
and one order has a callbackUrl.

The demo checks itself: every order must end as expected, for the expected reason, and the books must add up.
"""

import dataclasses
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from local.console import console, step
from local.receiver import Receiver
from order_capture.adapters.serializers import decimal_json
from order_capture_ops.errors import CommandError

# Balances and stock, set by every run. Orders are checked in any order, so the ones that are expected to ship
# must leave enough for each other.
CREDIT = {
    "alice": Decimal("500.00"),
    "bob": Decimal("20.00"),
    "carol": Decimal("200.00"),
    "dave": Decimal("10.00"),
}
STOCK = {"coffee": 40, "mug": 25, "grinder": 2, "espresso-machine": 3}
PRICES = {"mug": Decimal("9.50")}  # the other products have no fixed price

_WEBHOOK_CUSTOMER = "alice"  # has a webhook
_CALLBACK_CUSTOMER = "dave"  # whose order has a callbackUrl
_CALLBACK_WEBHOOK = f"{_CALLBACK_CUSTOMER}.{'0' * 32}"  # its secret signs callbacks
_EVENTS = {"PENDING": "placed"}  # other events have the status's name

# Seconds within which every order must end. It takes ten when all functions start on a busy machine.
_TIMEOUT = 120
_OPEN = {"PENDING", "CONFIRMED"}


class DemoError(CommandError):
    """The demo had an unexpected result."""


@dataclass
class DemoOrder:
    """An order, its expected result, and its state so far."""

    customer: str
    product: str
    qty: int
    total: Decimal
    expected: str = "SHIPPED"
    code: str | None = None
    requested: Decimal | int | None = None
    available: Decimal | int | None = None
    price: Decimal | None = None
    callback_url: str = ""

    order_id: str = ""
    statuses: list[str] = field(default_factory=list)
    checks: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0

    @property
    def body(self) -> dict[str, Any]:
        """The request body."""
        # The invalid order has no units; its unit price is the total.
        price = {"unitPrice": self.total / (self.qty or 1)} if self.product in PRICES else {}
        items = [{"productId": self.product, "qty": self.qty, **price}]
        callback = {"callbackUrl": self.callback_url} if self.callback_url else {}
        return {"customerId": self.customer, "items": items, "totalAmount": self.total, **callback}

    @property
    def status(self) -> str:
        """The latest status seen."""
        return self.statuses[-1] if self.statuses else ""

    @property
    def refusal(self) -> dict[str, Any] | None:
        """The result of the check that declined it."""
        return next((c for c in self.checks.values() if c and c["outcome"] == "DECLINED"), None)

    def update(self, view: dict[str, Any]) -> bool:
        """Update it from a response of the API; returns whether its status has changed."""
        self.order_id, self.checks = view["orderId"], view["checks"]
        if view["status"] == self.status:
            return False
        if view["status"] == "SHIPPED" and self.status == "PENDING":
            self.statuses.append("CONFIRMED")  # it must have been CONFIRMED between two requests
        self.statuses.append(view["status"])
        self.seconds = time.monotonic() - self.started
        return True

    def reason(self) -> str:
        """The reason of its rejection, with amounts."""
        refusal = self.refusal
        if refusal is None:
            return ""
        amounts = (refusal.get(name) for name in ("asked", "available", "price", "unitPrice"))
        return _reason(refusal["code"], refusal["id"], *amounts)

    def difference(self) -> str | None:
        """The difference from the expected result; None if there is none."""
        expected, actual = self.expected, self.status
        if self.code:
            of_stock = any(word in self.code for word in ("PRODUCT", "STOCK", "PRICE"))
            declined_by = self.product if of_stock else self.customer
            amounts = (self.requested, self.available, self.price, self.total / self.qty)
            expected += f", {_reason(self.code, declined_by, *amounts)}"
        if self.refusal:
            actual += f", {self.reason()}"
        return None if actual == expected else f"order {self.order_id}: expected {expected}; it is {actual}"


Amount = Decimal | int | None


def _reason(
    code: str, entity: str, requested: Amount, available: Amount, price: Amount, unit_price: Amount
) -> str:
    amounts = "" if available is None else f" asked {requested}, available {available}"
    if price is not None:
        amounts = f" price {price}, ordered at {unit_price}"
    return f"{code}: {entity}{amounts}"


def _orders() -> list[DemoOrder]:
    return [
        DemoOrder("alice", "coffee", 2, Decimal("31.00")),
        DemoOrder(
            "bob", "espresso-machine", 1, Decimal("449.00"), "REJECTED",
            "INSUFFICIENT_BALANCE", requested=Decimal("449.00"), available=Decimal("20.00"),
        ),
        DemoOrder(
            "carol", "grinder", 5, Decimal("60.00"), "REJECTED",
            "INSUFFICIENT_STOCK", requested=5, available=2,
        ),
        DemoOrder("alice", "unicorn", 1, Decimal("9.99"), "REJECTED", "UNKNOWN_PRODUCT"),
        DemoOrder("bob", "mug", 1, Decimal("0.01"), "REJECTED", "PRICE_MISMATCH", price=PRICES["mug"]),
    ]  # fmt: skip


def _batch(callback_url: str) -> list[DemoOrder]:
    return [
        DemoOrder("alice", "mug", 4, Decimal("38.00")),
        DemoOrder("carol", "coffee", 3, Decimal("46.50")),
        DemoOrder(_CALLBACK_CUSTOMER, "mug", 1, Decimal("9.50"), callback_url=callback_url),
    ]


def _followed_order() -> DemoOrder:
    return DemoOrder("carol", "mug", 2, Decimal("19.00"))


class Api:
    """The deployed API."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        bearer = {"Authorization": f"Bearer {token}"}
        # No trust_env: the user's proxy must not be used for the loopback interface.
        self._http = httpx.Client(base_url=url, headers=bearer, timeout=30, trust_env=False)

    def get(self, path: str) -> dict[str, Any]:
        """Get the JSON at this path, with exact decimals."""
        return self._answer(self._http.get(path), 200)

    def post(self, path: str, body: dict[str, Any], expected: int) -> dict[str, Any]:
        """Post a body with a new idempotency key; returns the response's JSON."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        return self._answer(
            self._http.post(path, content=decimal_json.dumps(body), headers=headers), expected
        )

    def delete(self, path: str) -> None:
        """Delete the resource at this path."""
        self._answer(self._http.delete(path), 200)

    @staticmethod
    def _answer(response: httpx.Response, expected: int) -> dict[str, Any]:
        if response.status_code != expected:
            request = response.request
            raise DemoError(
                f"{request.method} {request.url.path} answered {response.status_code} instead of {expected}: "
                f"{response.text[:500]}"
            )
        answer: dict[str, Any] = decimal_json.loads(response.text)
        return answer


# By "account/<customer>" or "stock/<product>".
Balances = dict[str, dict[str, Decimal]]
_COLUMNS = ("balance", "held", "settled")


def run(api_url: str, socket_url: str, token: str) -> None:
    """Run the demo against a deployed API and its WebSocket API, with a service's token.

    Raises:
        DemoError: an order or a balance is not as expected.
    """
    api = Api(api_url, token)
    with Receiver() as receiver, Receiver() as callbacks:
        body = {"customerId": _WEBHOOK_CUSTOMER, "url": receiver.url}
        webhook = api.post("/webhooks", body, 201)
        receiver.secret = webhook["secret"]
        callbacks.secret = api.post(f"/webhooks/{_CALLBACK_WEBHOOK}/rotate-secret", {}, 200)["secret"]
        try:
            shipped = _show(
                api, receiver, callbacks, lambda order: _place_and_follow(api, socket_url, token, order)
            )
        finally:
            api.delete(f"/webhooks/{webhook['webhookId']}")
    _print_next(api_url, shipped)


def _show(
    api: Api,
    receiver: Receiver,
    callbacks: Receiver,
    place_and_follow: Callable[[DemoOrder], None],
) -> DemoOrder:
    """Place the orders, one by `place_and_follow`, and check their results; returns a shipped one."""
    with step("Loading demo accounts and stock"):
        for customer, credit in CREDIT.items():
            api.post("/account", {"customerId": customer, "balance": credit}, 200)
        for product, units in STOCK.items():
            api.post("/stock", {"productId": product, "balance": units, "price": PRICES.get(product)}, 200)
    before = _balances(api)
    _print_balances("Balances before", before)

    orders, batch = _orders(), _batch(callbacks.url)
    console.print("\n[bold]The orders[/]: five single ones, then a batch with three valid and one invalid")
    for order in orders:
        order.started = time.monotonic()
        order.update(api.post("/order", order.body, 202))
    problem = _send_batch(api, batch)
    orders += batch
    _follow(api, orders)
    console.print(f"  and the invalid one in the batch: [yellow]{escape(problem)}[/]\n", soft_wrap=True)

    console.print("[bold]One more[/], followed over a WebSocket connection")
    followed = _followed_order()
    try:
        place_and_follow(followed)
    except (OSError, WebSocketException) as error:
        raise DemoError(f"the WebSocket connection failed: {error!r}") from error
    orders.append(followed)
    console.print()

    with step("Waiting for the holds of rejected orders to be released"):
        after = _settled_balances(api, before)
    subscribed = [order for order in orders if order.customer == _WEBHOOK_CUSTOMER]
    differences = _check_webhooks(
        receiver,
        subscribed,
        f"{_WEBHOOK_CUSTOMER}'s receiver got {{}} webhooks about {len(subscribed)} orders",
    )
    differences += _check_webhooks(
        callbacks,
        [order for order in orders if order.callback_url],
        f"{_CALLBACK_CUSTOMER}'s order has a callbackUrl, which got {{}} webhooks",
    )
    _print_balances("Balances after", after, before)
    differences += [each for order in orders if (each := order.difference())]
    differences += _audit(orders, before, after)
    if differences:
        raise DemoError("\n  ".join(["the demo had unexpected results:", *differences]))
    console.print("\n[green]Every order ended as expected, and the books add up.[/]\n")
    return orders[0]


def _check_webhooks(receiver: Receiver, orders: list[DemoOrder], summary: str) -> list[str]:
    """Check the webhooks about these orders; returns the differences, or prints the summary."""
    expected = {
        (order.order_id, f"order.{_EVENTS.get(s, s).lower()}") for order in orders for s in order.statuses
    }
    with step(f"Waiting for {orders[0].customer}'s webhooks"):
        deadline = time.monotonic() + _TIMEOUT
        while not expected <= (received := _events(receiver)) and time.monotonic() < deadline:
            time.sleep(0.05)
    if expected != received or receiver.rejected:
        return [
            f"webhooks: {len(received)} of {len(expected)} events were received, "
            f"{receiver.rejected} were rejected"
        ]
    forged = httpx.post(receiver.url, json={"type": "order.shipped"}, trust_env=False)
    if forged.status_code != 400:
        return ["webhooks: the receiver accepted a forged one"]
    console.print(
        f"  {summary.format(len(received))}: each signature [green]verified[/]; "
        "a forged one was [green]rejected[/]",
        soft_wrap=True,
    )
    return []


def _events(receiver: Receiver) -> set[tuple[str, str]]:
    return {(event["subject"], event["type"]) for event in list(receiver.events.values())}


def _send_batch(api: Api, batch: list[DemoOrder]) -> str:
    """Send the batch with an invalid order among the valid ones; returns that order's problem."""
    invalid = dataclasses.replace(batch[0], qty=0)
    sent = [batch[0], invalid, *batch[1:]]
    for order in batch:
        order.started = time.monotonic()
    answers = api.post("/orders", {"orders": [order.body for order in sent]}, 202)["orders"]
    problem = answers.pop(1).get("problem")
    if not problem or len(answers) != len(batch):
        raise DemoError(f"POST /orders should have rejected the second order only: {answers}")
    for order, view in zip(batch, answers, strict=True):
        order.update(view)
    errors = problem.get("errors") or [{"field": "", "message": problem["detail"]}]
    return "; ".join(f"{error['field']} {error['message']}" for error in errors)


def _follow(api: Api, orders: list[DemoOrder]) -> None:
    """Print the orders' statuses until none is open."""
    deadline = time.monotonic() + _TIMEOUT
    # Updating lines needs a terminal; a log gets a line for each change.
    table = (
        Live(_table(orders), console=console, auto_refresh=False) if console.is_terminal else nullcontext()
    )
    with table as live:
        if not live:
            for order in orders:
                _print_line(order)
        while open_orders := [order for order in orders if order.status in _OPEN]:
            if time.monotonic() > deadline:
                waiting = ", ".join(f"{order.order_id} ({order.status})" for order in open_orders)
                raise DemoError(
                    f"still open after {_TIMEOUT} s: {waiting}. `make logs` shows the functions' logs"
                )
            for order in open_orders:
                if order.update(api.get(f"/order/{order.order_id}/status")):
                    if live:
                        live.update(_table(orders), refresh=True)
                    else:
                        _print_line(order)
            time.sleep(0.05)


def _place_and_follow(api: Api, socket_url: str, token: str, order: DemoOrder) -> None:
    """Subscribe to a customer over a WebSocket connection, place the order, and print its events."""
    headers = {"Authorization": f"Bearer {token}"}
    with connect(socket_url, additional_headers=headers, open_timeout=30, proxy=None) as socket:
        socket.send(decimal_json.dumps({"action": "subscribe", "customerId": order.customer}))
        answer = decimal_json.loads(socket.recv(timeout=_TIMEOUT))
        if answer != {"subscribed": {"customerId": order.customer}}:
            raise DemoError(f"the subscription to {order.customer}'s orders failed: {answer}")
        order.started = time.monotonic()
        order.order_id = api.post("/order", order.body, 202)["orderId"]
        latest = 0
        while order.status in ("", *_OPEN):
            event = decimal_json.loads(socket.recv(timeout=_TIMEOUT))
            # Events may be repeated or arrive out of order, which shows in their sequence.
            if event["subject"] != order.order_id or int(event["sequence"]) <= latest:
                continue
            latest = int(event["sequence"])
            order.update(event["data"])
            console.print(f"  [dim]event:[/] {event['type']} after {order.seconds:.1f} s")
    _print_line(order)


def _table(orders: Iterable[DemoOrder]) -> Group:
    """The orders with their statuses, one line each and another for the reason. Nothing is truncated."""
    lines = []
    for order in orders:
        what = f"{order.customer}: {order.qty} {order.product} for {order.total}"
        after = f" after {order.seconds:.1f} s" if len(order.statuses) > 1 else ""
        lines.append(Text.from_markup(f"  {escape(what)}: {_trail(order)}{after}", overflow="fold"))
        if reason := order.reason():
            lines.append(Text(f"    {reason}", overflow="fold"))
    return Group(*lines)


def _trail(order: DemoOrder) -> str:
    colour = {"SHIPPED": "green", "REJECTED": "red"}.get(order.status, "yellow")
    return " → ".join([*order.statuses[:-1], f"[{colour}]{order.status}[/]"])


def _print_line(order: DemoOrder) -> None:
    console.print(
        f"  {order.customer}: {order.qty} {order.product} for {order.total}: {_trail(order)}"
        + (f" after {order.seconds:.1f} s. {order.reason()}" if len(order.statuses) > 1 else ""),
        soft_wrap=True,
    )


def _balances(api: Api) -> Balances:
    paths = [f"/account/{customer}" for customer in CREDIT] + [f"/stock/{product}" for product in STOCK]
    views = {path: api.get(path) for path in paths}
    return {path[1:]: {name: Decimal(view[name]) for name in _COLUMNS} for path, view in views.items()}


def _settled_balances(api: Api, before: Balances) -> Balances:
    """The balances once all holds of the demo are released, or when the time is up."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        balances = _balances(api)
        is_settled = all(balances[key]["held"] == before[key]["held"] for key in balances)
        if is_settled or time.monotonic() > deadline:
            return balances
        time.sleep(0.1)


def _print_balances(title: str, balances: Balances, before: Balances | None = None) -> None:
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column(title, overflow="fold")
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for key, row in balances.items():
        changes = {name: value - before[key][name] if before else 0 for name, value in row.items()}
        table.add_row(
            key.replace("/", " "),
            *(
                (f"[dim]({changes[name]:+})[/]  " if changes[name] else "") + f"{row[name]}"
                for name in _COLUMNS
            ),
        )
    console.print()
    console.print(table)


def _audit(orders: list[DemoOrder], before: Balances, after: Balances) -> list[str]:
    """Where the balances differ from the sums of the shipped orders."""
    shipped = [order for order in orders if order.expected == "SHIPPED"]
    differences = []
    for key, was in before.items():
        kind, name = key.split("/")
        if kind == "account":
            spent = sum((order.total for order in shipped if order.customer == name), start=Decimal(0))
        else:
            spent = Decimal(sum(order.qty for order in shipped if order.product == name))
        expected = {"balance": was["balance"] - spent, "held": was["held"], "settled": was["settled"] + spent}
        if after[key] != expected:
            differences.append(f"{key}: expected {_amounts(expected)}; it is {_amounts(after[key])}")
    return differences


def _amounts(row: dict[str, Decimal]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())


def _print_next(api_url: str, shipped: DemoOrder) -> None:
    order = decimal_json.dumps(
        {
            "customerId": "alice",
            "items": [{"productId": "mug", "qty": 1, "unitPrice": PRICES["mug"]}],
            "totalAmount": PRICES["mug"],
        }
    )
    token = '-H "$(make -s token)"'  # nosec B105 # the command that prints one
    console.print("[bold]The API is up[/] at", api_url, soft_wrap=True)
    console.print("\nTry it:", soft_wrap=True)
    for line in (
        f"curl -i {api_url}/order {token} -H 'Content-Type: application/json' -d '{order}'",
        f"curl {api_url}/order/{shipped.order_id} {token}",
        f"curl {api_url}/account/alice {token}",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print("\n`make logs` prints the functions' logs, `make stop` stops the engine.")
