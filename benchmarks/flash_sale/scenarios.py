"""The scenarios F1 to F7: the orders, their times, and the targets that must be met."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.flash_sale.model import Course, Sale

HOT = "hot-product"
CREDIT = 1_000
PRICE = 10


@dataclass(frozen=True)
class Target:
    """A figure of the outcome, and its maximum."""

    figure: str
    most: float
    text: str

    def met(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure is within the target; a missing figure is not."""
        measured = figures[self.figure]
        return measured is not None and measured <= self.most

    def unit(self, value: float) -> str:
        """A value for display."""
        return f"{value:,.0f}" if self.figure in ("dead_letters", "expired") else f"{value:,.1f} s"


@dataclass(frozen=True)
class Scenario:
    """A rush of orders with its targets."""

    name: str
    load: str
    orders: int
    units: Mapping[str, int]
    place: Callable[[Sale, random.Random], None]
    targets: Sequence[Target]
    customers: Sequence[str] = ()
    shipped: int | None = None
    """Exact number of orders that must ship; None: all."""


def _customers(number: int, prefix: str = "customer") -> list[str]:
    return [f"{prefix}-{index:06}" for index in range(number)]


def body_of(customer: str, product: str) -> str:
    """A request for one unit of a product."""
    return json.dumps(
        {"customerId": customer, "items": [{"productId": product, "qty": 1}], "totalAmount": PRICE}
    )


def _rush(
    customers: Sequence[str], seconds: float, products: Sequence[str] = (HOT,)
) -> Callable[[Sale, random.Random], None]:
    """Each customer orders once, at a random time within the given seconds."""

    def place(sale: Sale, chance: random.Random) -> None:
        for index, customer in enumerate(customers):
            sale.order(
                chance.uniform(0, seconds), "/order", body_of(customer, products[index % len(products)])
            )

    return place


def _decided(most: float) -> Target:
    return Target("decided_all", most, "all decided")


def _shipped(most: float) -> Target:
    return Target("shipped_all", most, "all shipped")


NO_DEAD_LETTERS = Target("dead_letters", 0, "dead letters")
NO_EXPIRED = Target("expired", 0, "expired")


def _f5() -> Scenario:
    hot, others = _customers(10_000), _customers(1_500, "other")
    products = [f"product-{index:04}" for index in range(1_000)]

    def place(sale: Sale, chance: random.Random) -> None:
        _rush(hot, 2)(sale, chance)
        for customer in others:
            body = body_of(customer, chance.choice(products))
            sale.order(chance.uniform(0, 30), "/order", body, is_other=True)

    return Scenario(
        "F5",
        "F3, and 50/s over 1,000 other products for 30 s",
        11_500,
        {HOT: 20_000, **dict.fromkeys(products, 1_000)},
        place,
        [Target("others_p99", 2, "the others' p99 decided")],
        [*hot, *others],
    )


def _f6() -> Scenario:
    def place(sale: Sale, chance: random.Random) -> None:
        products = list(F6_UNITS)
        for _ in range(20):
            orders = [
                {
                    "customerId": "customer-000000",
                    "items": [{"productId": chance.choice(products), "qty": 1}],
                    "totalAmount": 0.25,
                }
                for _ in range(100)
            ]
            sale.order(chance.uniform(0, 0.1), "/orders", json.dumps({"orders": orders}))

    return Scenario(
        "F6",
        "one customer, 20 batches of 100 orders at once",
        2_000,
        F6_UNITS,
        place,
        [_decided(10)],
        _customers(1),
    )


F6_UNITS = {f"product-{index:04}": 10_000 for index in range(500)}


def _f7() -> Scenario:
    customers = _customers(150_000)
    products = [f"product-{index:05}" for index in range(10_000)]
    return Scenario(
        "F7",
        "5,000/s over 10,000 products for 30 s",
        150_000,
        dict.fromkeys(products, 1_000),
        _rush(customers, 30, products),
        [Target("shipped_all", 40, "backlog empty"), Target("decided_p99", 5, "p99 decided")],
        customers,
    )


def hot_rush(
    name: str,
    load: str,
    number: int,
    seconds: float,
    targets: Sequence[Target],
    units: int = 20_000,
    shipped: int | None = None,
) -> Scenario:
    """Customers who each order a unit of one product."""
    customers = _customers(number)
    return Scenario(name, load, number, {HOT: units}, _rush(customers, seconds), targets, customers, shipped)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "F1": lambda: hot_rush(
        "F1",
        "100/s on one product for 60 s",
        6_000,
        60,
        [Target("decided_p99", 1, "p99 decided"), NO_DEAD_LETTERS],
    ),
    "F2": lambda: hot_rush("F2", "300 in 1 s on one product", 300, 1, [_decided(3), _shipped(5)]),
    "F3": lambda: hot_rush(
        "F3",
        "10,000 in 2 s on one product",
        10_000,
        2,
        [_decided(8), _shipped(12), NO_DEAD_LETTERS, NO_EXPIRED],
    ),
    "F4": lambda: hot_rush("F4", "10,000 in 2 s for 500 units", 10_000, 2, [_decided(8)], 500, 500),
    "F5": _f5,
    "F6": _f6,
    "F7": _f7,
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a scenario."""

    figures: Mapping[str, Any]
    broken: Sequence[str]
    """Promises about correct decisions that do not hold."""


def play(
    scenario: Scenario, seed: int, sale: Sale, progress: Callable[[Sale], None] = lambda sale: None
) -> Outcome:
    """Run a scenario. To be called while the functions are `surrounded`."""
    chance = random.Random(f"{scenario.name} {seed}")
    sale.open("AccountTable", dict.fromkeys(scenario.customers, CREDIT))
    sale.open("StockTable", scenario.units)
    scenario.place(sale, chance)
    sale.run(progress)
    return Outcome(figures_of(scenario, seed, sale), broken(scenario, sale))


def figures_of(scenario: Scenario, seed: int, sale: Sale) -> dict[str, Any]:
    """The measured figures, by their names in the JSON."""
    courses = list(sale.progress.courses.values())
    hot = [course for course in courses if not course.is_other]
    first = min(course.requested for course in courses)
    statuses, dynamodb = sale.progress.statuses, sale.dynamodb.figures
    due = [course for course in courses if course.shipped is not None]
    found: dict[str, Any] = {
        "scenario": scenario.name,
        "seed": seed,
        "orders": len(courses),
        "decided_p50": _quantile(_waits(hot), 0.5),
        "decided_p99": _quantile(_waits(hot), 0.99),
        "decided_all": _last([course.decided for course in courses], first),
        "shipped_all": _last([course.shipped for course in due], first)
        if statuses["SHIPPED"] + statuses["REJECTED"] == len(courses)
        else None,
        "shipped": statuses["SHIPPED"],
        "rejected": statuses["REJECTED"],
        "expired": statuses["EXPIRED"],
        "dead_letters": sum(sale.dead_letters.values()),
        "conflicts": round(dynamodb.conflicts / max(dynamodb.transactions, 1), 4),
        "returned": sum(sale.sqs.timed[queue].returned for queue in sale.mappings),
        "write_units": round(dynamodb.write_units / len(courses), 2),
        "functions": sale.lambdas.by_function,
    }
    if len(hot) < len(courses):
        found["others_p99"] = _quantile(_waits([course for course in courses if course.is_other]), 0.99)
    return found


def broken(scenario: Scenario, sale: Sale) -> list[str]:
    """The promises about correct decisions that do not hold."""
    found = broken_books(sale, scenario.orders)
    statuses = sale.progress.statuses
    most = sum(scenario.units.values())
    if statuses["SHIPPED"] > most:
        found.append(f"I3: {statuses['SHIPPED']} units were shipped of {most}")
    if scenario.shipped is not None and statuses["SHIPPED"] + statuses["EXPIRED"] < scenario.shipped:
        found.append(f"{scenario.name}: {scenario.shipped} could be shipped, {statuses['SHIPPED']} were")
    for order_id, order in sale.books.orders.items():
        check = order["checks"]["M"].get("STOCK", {}).get("M", {})
        if order["status"]["S"] == "REJECTED" and check.get("available", {}).get("N") != "0":
            found.append(f"{scenario.name}: {order_id} was refused, and is answered {check}")
    return found


def broken_books(sale: Sale, orders: int) -> list[str]:
    """The broken invariants, after this number of orders."""
    found = list(sale.books.broken)
    if len(sale.books.orders) != orders:
        found.append(f"I5: {orders} orders were placed, {len(sale.books.orders)} are there")
    return found


def _waits(courses: Sequence[Course]) -> list[float | None]:
    return [None if course.decided is None else course.decided - course.requested for course in courses]


def _quantile(values: Sequence[float | None], share: float) -> float | None:
    """The quantile of the values; None if it falls on a missing value."""
    found = sorted(values, key=lambda value: float("inf") if value is None else value)
    value = found[min(int(len(found) * share), len(found) - 1)]
    return None if value is None else round(value, 3)


def _last(times: Sequence[float | None], first: float) -> float | None:
    if not times or None in times:
        return None
    return round(max(time for time in times if time is not None) - first, 3)
