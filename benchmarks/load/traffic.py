"""What is sent, and how each response is recorded.

Needs only the standard library: Locust imports it as well, in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MIXES: Mapping[str, str] = {
    "spread": "orders of one or two products, all products alike",
    "80/20": "four of five orders are for one fifth of the products",
    "hot": "every order is for the same product",
    "batches": "POST /orders, ten orders each",
    "keyed": "each order three times with one Idempotency-Key, two of them at once",
    "poll": "place an order, then GET its status every 250 ms until it has ended",
    "wait": "place an order, then GET its status with ?wait=10 until it has ended",
}
TERMINAL = frozenset({"SHIPPED", "REJECTED", "CANCELLED", "EXPIRED"})
BATCH_SIZE = 10
PRICE = 2.5  # price of a unit of every product: its multiples are exact in floating point
PLENTY = 1_000_000  # units, or a customer's balance: more than any run uses
# Few enough to run out in a short run on a laptop, with several clients competing for the last units.
HOT_UNITS = 20
SCARCE_UNITS = 5
SCARCE_CREDIT = 10

_SCARCE_EVERY = 5  # so that in each mix some orders are refused, and overselling is possible
_POPULAR_SHARE = 5  # one fifth of the products gets four fifths of the orders of 80/20


@dataclass(frozen=True)
class Shop:
    """The customers and products of one run, with their initial balances. No other run uses them."""

    customers: dict[str, int]
    products: dict[str, int]
    """All products except the hot one."""
    hot_product: str
    hot_units: int

    @classmethod
    def create(
        cls,
        prefix: str,
        *,
        customers: int = 50,
        products: int = 50,
        hot_units: int = HOT_UNITS,
        scarce_units: int = SCARCE_UNITS,
        scarce_credit: int = SCARCE_CREDIT,
    ) -> Shop:
        """A shop whose ids all begin with `prefix`.

        Every fifth product has `scarce_units`, every fifth customer may spend `scarce_credit`; the others
        have plenty.
        """

        def units(number: int, scarce: int) -> int:
            return scarce if number % _SCARCE_EVERY == _SCARCE_EVERY - 1 else PLENTY

        return cls(
            {f"{prefix}-customer-{number}": units(number, scarce_credit) for number in range(customers)},
            {f"{prefix}-product-{number}": units(number, scarce_units) for number in range(products)},
            f"{prefix}-hot",
            hot_units,
        )

    @property
    def stock(self) -> dict[str, int]:
        """The units of every product, including the hot one."""
        return {**self.products, self.hot_product: self.hot_units}

    @property
    def popular(self) -> list[str]:
        """The fifth of the products that gets most of the orders of 80/20."""
        return list(self.products)[: max(1, len(self.products) // _POPULAR_SHARE)]


@dataclass(frozen=True)
class Assignment:
    """The command's instructions for Locust, in a file that only its owner can read, because of the token."""

    url: str
    token: str
    """Empty if none is needed."""
    shop: Shop
    records: str
    """The file for the responses."""
    users: int
    seconds: int
    """Seconds of load, from when all users have started."""
    rate: float | None
    """Tasks that may start per second, for all users together; None for no limit."""
    orders: int
    """Orders that all users together may send."""

    def write(self, path: Path) -> None:
        """Write the assignment to a new file."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Assignment:
        """Read what `write` wrote."""
        values = json.loads(path.read_text())
        return cls(**values | {"shop": Shop(**values["shop"])})


@dataclass(frozen=True)
class Answer:
    """One request and its response."""

    mix: str
    route: str
    """As in the contract: `POST /order`."""
    sent_at: float
    """Seconds since the epoch, by this machine's clock."""
    seconds: float
    status: int
    """The HTTP status; 0 without a response."""
    key: str = ""
    """The Idempotency-Key of a POST."""
    body: dict[str, Any] = field(default_factory=dict)
    """The body of a POST."""
    results: list[dict[str, str]] = field(default_factory=list)
    """For each order of the body, in the same order: `orderId` and `status`, or the type of its `problem`."""

    after_load: bool = False
    """Whether it was sent again after the load, to determine the outcome of its orders."""

    @property
    def sent_orders(self) -> list[dict[str, Any]]:
        """The orders in a POST."""
        if "orders" in self.body:
            orders: list[dict[str, Any]] = self.body["orders"]
            return orders
        return [self.body] if self.body else []

    @property
    def is_unknown(self) -> bool:
        """Whether an order may have been placed although the response does not show it."""
        if self.status in (0, 409) or self.status >= 500:
            return True
        return any(result.get("problem", "").endswith(":unavailable") for result in self.results)

    def line(self) -> str:
        """This response as a line of the records."""
        return json.dumps(asdict(self)) + "\n"


def results_of(text: str | bytes | None, status: int) -> list[dict[str, str]]:
    """The orders in a response to `POST /order` or `POST /orders`; empty if it has no readable ones."""
    if not 200 <= status < 300:
        return []
    try:
        body = json.loads(text or "")
        entries = body.get("orders", [body])
        return [
            {"orderId": str(entry["orderId"]), "status": str(entry["status"])}
            if "orderId" in entry
            else {"problem": str(entry["problem"]["type"])}
            for entry in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def read_answers(path: Path, offset: int = 0) -> tuple[list[Answer], int]:
    """The responses recorded from `offset` on, and the next offset. An unfinished line is left for later."""
    if not path.exists():
        return [], offset
    found = []
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            found.append(Answer(**json.loads(line)))
    return found, offset
