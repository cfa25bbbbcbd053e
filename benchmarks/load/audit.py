"""Compare the books with the orders as a client sees them: every difference is a fault of the target."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from benchmarks.load.orders import Intake, Order, has_ended
from benchmarks.load.targets import Api, ApiError, View, exact, in_parallel
from benchmarks.load.traffic import Answer, Shop

_PAUSE_SECONDS = 0.25
ZERO = Decimal(0)


class Kind(StrEnum):
    """The promise that a fault breaks."""

    OVERSOLD = "oversold"
    LOST = "lost"
    DOUBLED = "doubled"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Fault:
    """A broken promise. `number` counts the affected orders, units or accounts."""

    kind: Kind
    subject: str
    what: str
    number: int = 1


@dataclass(frozen=True)
class Balance:
    """An account or a product: its initial balance, and its figures at the end."""

    initial: Decimal
    balance: Decimal
    held: Decimal
    settled: Decimal


@dataclass
class Books:
    """The target's data at the end."""

    accounts: dict[str, Balance] = field(default_factory=dict)
    products: dict[str, Balance] = field(default_factory=dict)
    listed: dict[str, View] | None = None
    """Every order of the run's customers; None if the target does not list orders."""


def read_books(
    api: Api, shop: Shop, patience: float, on_progress: Callable[[int], None] = lambda _: None
) -> Books:
    """Read all balances and, if the target lists them, all orders.

    Waits until nothing is held, for `patience` seconds at most.

    Raises:
        ApiError: an account or a product is missing.
    """
    deadline = time.monotonic() + patience
    wanted = {f"/account/{each}": money for each, money in shop.customers.items()}
    wanted |= {f"/stock/{each}": units for each, units in shop.stock.items()}
    found: dict[str, Balance] = {}
    remaining = list(wanted)
    while remaining:
        for path, view in zip(remaining, in_parallel(api.balance, remaining), strict=True):
            if view is None:
                raise ApiError(f"GET {path} answered 404, although it was created for this run")
            found[path] = Balance(
                Decimal(wanted[path]), exact(view["balance"]), exact(view["held"]), exact(view["settled"])
            )
        still_held = [path for path in remaining if found[path].held]
        on_progress(len(remaining) - len(still_held))
        remaining = still_held
        if time.monotonic() > deadline:
            break
        if remaining:
            time.sleep(_PAUSE_SECONDS)
    pages = list(in_parallel(api.orders_of, shop.customers))
    listed = None if None in pages else {str(view["orderId"]): view for page in pages for view in page or ()}
    return Books(
        {each: found[f"/account/{each}"] for each in shop.customers},
        {each: found[f"/stock/{each}"] for each in shop.stock},
        listed,
    )


def find_faults(
    intake: Intake,
    views: Mapping[str, View | None],
    books: Books,
    unknown: Collection[Answer] = (),
) -> list[Fault]:
    """Find every promise that the target broke.

    Args:
        intake: the accepted orders.
        views: the current state of each accepted order.
        books: the balances.
        unknown: requests whose effect is still unknown; what they may have taken is not a fault.
    """
    shipped = {order_id: view for order_id, view in views.items() if view and view["status"] == "SHIPPED"}
    units: dict[str, Decimal] = defaultdict(Decimal)
    money: dict[str, Decimal] = defaultdict(Decimal)
    for view in shipped.values():
        money[str(view["customerId"])] += exact(view["totalAmount"])
        for product, qty in _quantities(view).items():
            units[product] += qty
    may_be_units: dict[str, Decimal] = defaultdict(Decimal)
    may_be_money: dict[str, Decimal] = defaultdict(Decimal)
    for answer in unknown:
        for order in answer.sent_orders:
            may_be_money[order["customerId"]] += exact(order["totalAmount"])
            for product, qty in _quantities(order).items():
                may_be_units[product] += qty
    faults = [
        *_lost(intake.orders, views),
        *_doubled(intake, books.listed, may_exist=bool(unknown)),
    ]
    for product, balance in books.products.items():
        faults += _of_balance(f"product {product}", balance, units[product], may_be_units[product], "units")
    for customer, balance in books.accounts.items():
        faults += _of_balance(f"account {customer}", balance, money[customer], may_be_money[customer], "")
    return faults


def count(faults: Collection[Fault]) -> Counter[Kind]:
    """The number of faults of each kind."""
    counts: Counter[Kind] = Counter()
    for fault in faults:
        counts[fault.kind] += fault.number
    return counts


def _lost(orders: Mapping[str, Order], views: Mapping[str, View | None]) -> list[Fault]:
    faults = []
    for order_id, order in orders.items():
        view = views.get(order_id)
        if view is None:
            faults.append(Fault(Kind.LOST, f"order {order_id}", "was accepted, and does not exist"))
        elif not has_ended(view):
            faults.append(
                Fault(Kind.LOST, f"order {order_id}", f"was accepted, and is still {view['status']}")
            )
        elif not _is_as_sent(order, view):
            faults.append(Fault(Kind.INCONSISTENT, f"order {order_id}", "is not what was sent"))
    return faults


def _doubled(intake: Intake, listed: Mapping[str, View] | None, *, may_exist: bool) -> list[Fault]:
    faults = [
        Fault(Kind.DOUBLED, f"key {key}", f"has {len(ids)} orders: {', '.join(sorted(ids))}", len(ids) - 1)
        for key, places in intake.ids_by_key.items()
        for ids in places
        if len(ids) > 1
    ]
    if listed is not None and not may_exist:
        faults += [
            Fault(Kind.DOUBLED, f"order {order_id}", "exists, but no response has its id")
            for order_id in sorted(listed.keys() - intake.orders.keys())
        ]
    return faults


def _of_balance(subject: str, found: Balance, shipped: Decimal, may_be: Decimal, unit: str) -> list[Fault]:
    """The faults of an account or a product, given the amount of its shipped orders."""
    of = f" {unit}" if unit else ""
    faults = []
    # A product's oversold units are counted; an overdrawn account counts as one.
    oversold = max(shipped - found.initial, shipped - found.settled, -found.balance)
    if oversold > 0:
        what = (
            f"{shipped}{of} of {found.initial} are in shipped orders, {found.settled} settled, "
            f"balance {found.balance}"
        )
        faults.append(Fault(Kind.OVERSOLD, subject, what, int(oversold) if unit else 1))
    if (surplus := found.settled - shipped) > may_be:
        what = f"{found.settled}{of} settled, but {shipped} in shipped orders"
        faults.append(Fault(Kind.DOUBLED, subject, what, int(surplus) if unit else 1))
    if found.held > (may_be if may_be else ZERO):
        faults.append(
            Fault(Kind.INCONSISTENT, subject, f"{found.held}{of} still held, and every order has ended")
        )
    if (total := found.balance + found.held + found.settled) != found.initial:
        what = f"balance + held + settled is {total}{of}, and was {found.initial}"
        faults.append(Fault(Kind.INCONSISTENT, subject, what))
    return faults


def _is_as_sent(order: Order, view: View) -> bool:
    return (
        str(view["customerId"]) == order.sent["customerId"]
        and exact(view["totalAmount"]) == exact(order.sent["totalAmount"])
        and _quantities(view) == _quantities(order.sent)
    )


def _quantities(order: View) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for item in order["items"]:
        quantities[str(item["productId"])] += exact(item["qty"])
    return dict(quantities)
