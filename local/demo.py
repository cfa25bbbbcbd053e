"""The demo: a handful of orders, each followed to its end, and the books before and after.

All but one are asked after; of that one, the demo is told. Webhooks tell of one
customer's, and of an order that names an address of its own.

It checks itself: every order must end as it should, for the reason it should, and the books must add up.
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
import simplejson
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from local.console import console, step
from local.receiver import Receiver
from order_capture_ops.errors import CommandError

# What the demo's customers may spend and what is in stock, set anew by every run.
# The orders are checked in any order, so those that are to be shipped leave enough for one another.
CREDIT = {
    "alice": Decimal("500.00"),
    "bob": Decimal("20.00"),
    "carol": Decimal("200.00"),
    "dave": Decimal("10.00"),
}
STOCK = {"coffee": 40, "mug": 25, "grinder": 2, "espresso-machine": 3}
PRICES = {"mug": Decimal("9.50")}  # the others cost what an order says

_TOLD = "alice"  # has a webhook
_CALLED_BACK = "dave"  # names an address with the order
_CALLBACKS = f"{_CALLED_BACK}.{'0' * 32}"  # the webhook that signs what is sent there
_EVENTS = {"PENDING": "placed"}  # the others are called as the status is

# Seconds until every order has to be decided and shipped; ten, when all functions start on a busy machine.
_PATIENCE = 120
_OPEN = {"PENDING", "CONFIRMED"}


class DemoError(CommandError):
    """Something did not come out as it should."""


@dataclass
class DemoOrder:
    """An order, how it has to end, and what is known of it so far."""

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
        """The order as it is posted."""
        # Of the invalid order, which is for none, one would cost the total.
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
        """The check that refused it."""
        return next((c for c in self.checks.values() if c and c["outcome"] == "DECLINED"), None)

    def saw(self, view: dict[str, Any]) -> bool:
        """Take in an answer of the API; say whether the status is a new one."""
        self.order_id, self.checks = view["orderId"], view["checks"]
        if view["status"] == self.status:
            return False
        if view["status"] == "SHIPPED" and self.status == "PENDING":
            self.statuses.append("CONFIRMED")  # the only way there; it was passed between two looks
        self.statuses.append(view["status"])
        self.seconds = time.monotonic() - self.started
        return True

    def reason(self) -> str:
        """The refusal in words, with its figures."""
        refusal = self.refusal
        if refusal is None:
            return ""
        figures = (refusal.get(name) for name in ("asked", "available", "price", "unitPrice"))
        return _reason(refusal["code"], refusal["id"], *figures)

    def complaint(self) -> str | None:
        """What is wrong with how it ended, if anything."""
        wanted, seen = self.expected, self.status
        if self.code:
            of_stock = any(word in self.code for word in ("PRODUCT", "STOCK", "PRICE"))
            refused_by = self.product if of_stock else self.customer
            figures = (self.requested, self.available, self.price, self.total / self.qty)
            wanted += f", {_reason(self.code, refused_by, *figures)}"
        if self.refusal:
            seen += f", {self.reason()}"
        return None if seen == wanted else f"order {self.order_id}: expected {wanted}; it is {seen}"


Figure = Decimal | int | None


def _reason(
    code: str, of: str, requested: Figure, available: Figure, price: Figure, unit_price: Figure
) -> str:
    figures = "" if available is None else f" asked {requested}, available {available}"
    if price is not None:
        figures = f" price {price}, ordered at {unit_price}"
    return f"{code}: {of}{figures}"


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
        DemoOrder(_CALLED_BACK, "mug", 1, Decimal("9.50"), callback_url=callback_url),
    ]


def _told_order() -> DemoOrder:
    return DemoOrder("carol", "mug", 2, Decimal("19.00"))


class Api:
    """The deployed API."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        bearer = {"Authorization": f"Bearer {token}"}
        # No trust_env: a proxy for the world outside is not for the loopback interface.
        self._http = httpx.Client(base_url=url, headers=bearer, timeout=30, trust_env=False)

    def get(self, path: str) -> dict[str, Any]:
        """The JSON at this path, decimals exact."""
        return self._answer(self._http.get(path), 200)

    def post(self, path: str, body: dict[str, Any], expected: int) -> dict[str, Any]:
        """Post it, with a key of its own, and give the JSON that it got."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        return self._answer(self._http.post(path, content=simplejson.dumps(body), headers=headers), expected)

    def delete(self, path: str) -> None:
        """Delete what is there."""
        self._answer(self._http.delete(path), 200)

    @staticmethod
    def _answer(response: httpx.Response, expected: int) -> dict[str, Any]:
        if response.status_code != expected:
            request = response.request
            raise DemoError(
                f"{request.method} {request.url.path} answered {response.status_code} instead of {expected}: "
                f"{response.text[:500]}"
            )
        answer: dict[str, Any] = simplejson.loads(response.text, use_decimal=True)
        return answer


# By "account/<customer>" or "stock/<product>".
Books = dict[str, dict[str, Decimal]]
_COLUMNS = ("balance", "held", "settled")


def run(api_url: str, socket_url: str, token: str) -> None:
    """Run the demo against a deployed API and its WebSocket API, with a service's token.

    Raises:
        DemoError: an order or the books did not come out as they should.
    """
    api = Api(api_url, token)
    with Receiver() as receiver, Receiver() as called:
        body = {"customerId": _TOLD, "url": receiver.url}
        webhook = api.post("/webhooks", body, 201)
        receiver.secret = webhook["secret"]
        called.secret = api.post(f"/webhooks/{_CALLBACKS}/rotate-secret", {}, 200)["secret"]
        try:
            shipped = _show(api, receiver, called, lambda order: _be_told(api, socket_url, token, order))
        finally:
            api.delete(f"/webhooks/{webhook['webhookId']}")
    _print_next(api_url, shipped)


def _show(api: Api, receiver: Receiver, called: Receiver, be_told: Callable[[DemoOrder], None]) -> DemoOrder:
    """Send the orders, one by `be_told`, and judge how they end; one that has shipped."""
    with step("Loading demo accounts and stock"):
        for customer, credit in CREDIT.items():
            api.post("/account", {"customerId": customer, "balance": credit}, 200)
        for product, units in STOCK.items():
            api.post("/stock", {"productId": product, "balance": units, "price": PRICES.get(product)}, 200)
    before = _books(api)
    _print_books("The books before", before)

    orders, batch = _orders(), _batch(called.url)
    console.print(
        "\n[bold]The orders[/]: five on their own, then a batch of three good ones and an invalid one"
    )
    for order in orders:
        order.started = time.monotonic()
        order.saw(api.post("/order", order.body, 202))
    problem = _send_batch(api, batch)
    orders += batch
    _follow(api, orders)
    console.print(f"  and the invalid one in the batch: [yellow]{escape(problem)}[/]\n", soft_wrap=True)

    console.print("[bold]One more[/], whose news come over a WebSocket connection")
    told = _told_order()
    try:
        be_told(told)
    except (OSError, WebSocketException) as error:
        raise DemoError(f"the WebSocket connection failed: {error!r}") from error
    orders.append(told)
    console.print()

    with step("Waiting for what the refused orders held to come back"):
        after = _settled_books(api, before)
    told_of = [order for order in orders if order.customer == _TOLD]
    heard = _heard(
        receiver, told_of, f"{_TOLD}'s receiver was sent {{}} webhooks about {len(told_of)} orders"
    )
    heard += _heard(
        called,
        [order for order in orders if order.callback_url],
        f"{_CALLED_BACK}'s order has a callbackUrl, which was sent {{}} webhooks",
    )
    _print_books("The books after", after, before)
    complaints = [c for order in orders if (c := order.complaint())] + heard + _audit(orders, before, after)
    if complaints:
        raise DemoError("\n  ".join(["the demo did not come out as it should:", *complaints]))
    console.print("\n[green]Every order ended as it should, and the books add up.[/]\n")
    return orders[0]


def _heard(receiver: Receiver, orders: list[DemoOrder], summary: str) -> list[str]:
    """What is wrong with what a receiver was told of these orders; nothing of it is what the summary says."""
    told = {
        (order.order_id, f"order.{_EVENTS.get(s, s).lower()}") for order in orders for s in order.statuses
    }
    with step(f"Waiting for {orders[0].customer}'s receiver to be told of it"):
        deadline = time.monotonic() + _PATIENCE
        while not told <= (heard := _events(receiver)) and time.monotonic() < deadline:
            time.sleep(0.05)
    if told != heard or receiver.refused:
        return [
            f"webhooks: {len(heard)} of {len(told)} events were received, {receiver.refused} were refused"
        ]
    forged = httpx.post(receiver.url, json={"type": "order.shipped"}, trust_env=False)
    if forged.status_code != 400:
        return ["webhooks: the receiver took a forged one"]
    console.print(
        f"  {summary.format(len(heard))}: each signature [green]verified[/]; "
        "a forged one was [green]refused[/]",
        soft_wrap=True,
    )
    return []


def _events(receiver: Receiver) -> set[tuple[str, str]]:
    return {(event["subject"], event["type"]) for event in list(receiver.events.values())}


def _send_batch(api: Api, batch: list[DemoOrder]) -> str:
    """Send the batch with an invalid order among the good ones; the problem that it got."""
    invalid = dataclasses.replace(batch[0], qty=0)
    sent = [batch[0], invalid, *batch[1:]]
    for order in batch:
        order.started = time.monotonic()
    answers = api.post("/orders", {"orders": [order.body for order in sent]}, 202)["orders"]
    problem = answers.pop(1).get("problem")
    if not problem or len(answers) != len(batch):
        raise DemoError(f"POST /orders should have refused the second order alone: {answers}")
    for order, view in zip(batch, answers, strict=True):
        order.saw(view)
    errors = problem.get("errors") or [{"field": "", "message": problem["detail"]}]
    return "; ".join(f"{error['field']} {error['message']}" for error in errors)


def _follow(api: Api, orders: list[DemoOrder]) -> None:
    """Show the orders going through their statuses until none is open."""
    deadline = time.monotonic() + _PATIENCE
    # Lines that change need a terminal; a log gets a line for each change.
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
                    f"after {_PATIENCE} s still open: {waiting}. `make logs` shows the functions' logs"
                )
            for order in open_orders:
                if order.saw(api.get(f"/order/{order.order_id}/status")):
                    if live:
                        live.update(_table(orders), refresh=True)
                    else:
                        _print_line(order)
            time.sleep(0.05)


def _be_told(api: Api, socket_url: str, token: str, order: DemoOrder) -> None:
    """Follow the customer over a WebSocket connection, place the order, and show what is told of it."""
    headers = {"Authorization": f"Bearer {token}"}
    with connect(socket_url, additional_headers=headers, open_timeout=30, proxy=None) as socket:
        socket.send(simplejson.dumps({"action": "subscribe", "customerId": order.customer}))
        answer = simplejson.loads(socket.recv(timeout=_PATIENCE))
        if answer != {"subscribed": {"customerId": order.customer}}:
            raise DemoError(f"nobody is to be told of {order.customer}'s orders: {answer}")
        order.started = time.monotonic()
        order.order_id = api.post("/order", order.body, 202)["orderId"]
        latest = 0
        while order.status in ("", *_OPEN):
            event = simplejson.loads(socket.recv(timeout=_PATIENCE), use_decimal=True)
            # Events may come twice, and one before another that it follows: their sequence tells.
            if event["subject"] != order.order_id or int(event["sequence"]) <= latest:
                continue
            latest = int(event["sequence"])
            order.saw(event["data"])
            console.print(f"  [dim]told:[/] {event['type']} after {order.seconds:.1f} s")
    _print_line(order)


def _table(orders: Iterable[DemoOrder]) -> Group:
    """The orders as they stand, a line each, and one more for a reason: nothing is cut to fit."""
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


def _books(api: Api) -> Books:
    paths = [f"/account/{customer}" for customer in CREDIT] + [f"/stock/{product}" for product in STOCK]
    views = {path: api.get(path) for path in paths}
    return {path[1:]: {name: Decimal(view[name]) for name in _COLUMNS} for path, view in views.items()}


def _settled_books(api: Api, before: Books) -> Books:
    """The books once nothing of the demo is held any more, or after a while as they are."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        books = _books(api)
        if all(books[key]["held"] == before[key]["held"] for key in books) or time.monotonic() > deadline:
            return books
        time.sleep(0.1)


def _print_books(title: str, books: Books, before: Books | None = None) -> None:
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column(title, overflow="fold")
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for key, row in books.items():
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


def _audit(orders: list[DemoOrder], before: Books, after: Books) -> list[str]:
    """Where the books differ from what the shipped orders account for."""
    shipped = [order for order in orders if order.expected == "SHIPPED"]
    wrong = []
    for key, was in before.items():
        kind, name = key.split("/")
        if kind == "account":
            spent = sum((order.total for order in shipped if order.customer == name), start=Decimal(0))
        else:
            spent = Decimal(sum(order.qty for order in shipped if order.product == name))
        wanted = {"balance": was["balance"] - spent, "held": was["held"], "settled": was["settled"] + spent}
        if after[key] != wanted:
            wrong.append(f"{key}: expected {_figures(wanted)}; the books say {_figures(after[key])}")
    return wrong


def _figures(row: dict[str, Decimal]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())


def _print_next(api_url: str, shipped: DemoOrder) -> None:
    order = simplejson.dumps(
        {
            "customerId": "alice",
            "items": [{"productId": "mug", "qty": 1, "unitPrice": 9.5}],
            "totalAmount": 9.5,
        }
    )
    token = '-H "$(make -s token)"'
    console.print("[bold]The API is up[/] at", api_url, soft_wrap=True)
    console.print("\nTry it:", soft_wrap=True)
    for line in (
        f"curl -i {api_url}/order {token} -H 'Content-Type: application/json' -d '{order}'",
        f"curl {api_url}/order/{shipped.order_id} {token}",
        f"curl {api_url}/account/alice {token}",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print("\n`make logs` shows what the functions say, `make stop` stops it all.")
