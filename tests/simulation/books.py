"""The invariants I1 to I10, checked after every commit with independent books.

Nothing here uses the application's code: what an order requires, its allowed status changes and the
heads' figures are computed again from the stored items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from order_capture.domain.history import ChangeType, Commit, HistoryRecord
from order_capture.domain.ledger import Hold
from tests.support.aws.dynamodb import Change
from tests.support.aws.expressions import Item

ZERO = Decimal(0)
HEAD = "BALANCE"
REQUEST = "REQUEST#"
FIGURES = ("balance", "held", "settled")

REFUSED = frozenset({"REJECTED", "CANCELLED", "EXPIRED"})
TERMINAL = REFUSED | {"SHIPPED"}
MOVES: Mapping[str, frozenset[str]] = {
    "PENDING": frozenset({"PENDING", "CONFIRMED", "REJECTED", "CANCELLED", "EXPIRED"}),
    "CONFIRMED": frozenset({"CONFIRMED", "SHIPPED", "CANCELLED"}),
    **{status: frozenset({status}) for status in TERMINAL},
}
CHECKS = {"BALANCE": "AccountTable", "STOCK": "StockTable"}
FIXED = ("customerId", "items", "totalAmount", "createTime", "correlationId", "fingerprint")


@dataclass
class Tally:
    """The sums of the entries of one customer or product."""

    adjusted: Decimal = ZERO
    held: Decimal = ZERO
    released: Decimal = ZERO
    shipped: Decimal = ZERO
    heads: dict[str, Item] = field(default_factory=dict)
    """The root, by the name of the whole, and its stripes."""
    head: Item | None = None
    """The root."""
    balances: list[tuple[int, Decimal]] = field(default_factory=lambda: [(0, ZERO)])
    """Every total balance, with the commit that it began with."""
    turned: int = 0
    """The last commit that created, deleted or recreated it."""
    prices: list[tuple[int, Decimal | None]] = field(default_factory=lambda: [(0, None)])
    """Every price, with the commit that it began with."""

    def prices_since(self, commit: int) -> list[Decimal | None]:
        """Its price at a commit, and all later ones."""
        before = [price for since, price in self.prices if since <= commit]
        return [before[-1], *(price for since, price in self.prices if since > commit)]

    def least_balance_since(self, commit: int) -> Decimal:
        """Its lowest balance at a commit or later."""
        since = max(index for index, (number, _) in enumerate(self.balances) if number <= commit)
        return min(balance for _, balance in self.balances[since:])

    def sum(self, figure: str) -> Decimal:
        """One of the figures of all heads together."""
        return sum((decimal(head[figure]["N"]) for head in self.heads.values()), ZERO)

    @property
    def is_known(self) -> bool:
        """Whether the customer or product exists."""
        return self.head is not None and not is_deleted(self.head)


@dataclass
class Place:
    """One ledger's entries of one order: amounts by customer or product, and the decision."""

    held: dict[str, Decimal] = field(default_factory=dict)
    released: dict[str, Decimal] = field(default_factory=dict)
    decision: Item | None = None
    by_head: dict[str, Decimal] = field(default_factory=dict)
    """The held amounts by head."""


class Books:
    """All orders and both ledgers. `broken` are the broken invariants, each with its reason."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.orders: dict[str, Item] = {}
        self.adjustments: dict[str, int] = {}
        """How often the adjustment of each id was made."""
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._commits = 0
        self._placed: dict[str, int] = {}
        """The commit that placed each order."""
        self._lives: dict[str, list[str]] = {}
        """Every status of an order, in order."""
        self._moving: dict[str, Counter[tuple[str, str]]] = {ledger: Counter() for ledger in CHECKS.values()}
        """The entries of each ledger that changed a head, by customer or product."""
        self._on_head: dict[tuple[str, str], dict[str, Decimal]] = {}
        """What each head must have held and settled."""
        self._written: list[tuple[str, bool]] = []
        """The partitions that the current commit writes, and whether it is a head there."""
        self._holding: dict[tuple[str, str], Decimal] = {}
        """The holds of the current commit, by ledger and by customer or product."""

    def commit(self, changes: Sequence[Change]) -> None:
        """Apply a commit, and check the invariants that must hold at every instant."""
        self._commits += 1
        touched: dict[tuple[str, str], None] = {}
        for change in changes:
            lost = (change.old or {}).keys() - change.new.keys()
            is_over = change.new.get("status", {}).get("S") in TERMINAL
            if lost - ({"stillOpen"} if is_over else set()):
                self._break("I9", f"{change.table} {change.key} has lost {sorted(lost)}")
            if is_over and "stillOpen" in change.new:
                self._break("I5", f"{change.key} is over, and is listed as open")
        for change in changes:
            if change.table != "OrderTable" and change.key[1] == HEAD:
                entity = entity_of(change.key[0])
                touched[change.table, entity] = None
                self._moved(self._tally(change.table, entity), change.key[0], change.new)
        self._holding = _holding(changes)
        self._written = [(change.key[0], change.key[-1] == HEAD) for change in changes]
        for change in changes:
            if change.table != "OrderTable" and change.key[1] != HEAD:
                self._write_once(change)
                if not change.key[0].startswith(REQUEST):
                    for entity in self._entry(change, *change.key):
                        touched[change.table, entity] = None
        for change in changes:
            if change.table == "OrderTable" and "status" in change.new:
                for ledger, entity in self._order(change):
                    touched[ledger, entity] = None
        for ledger, entity in touched:
            self._head(ledger, entity)

    def at_rest(self) -> None:
        """Check the invariants that must hold after every message was processed."""
        for order_id, order in self.orders.items():
            status = order["status"]["S"]
            if status not in TERMINAL:
                self._break("I5", f"order {order_id} is {status} for ever")
            steps = [step["M"].get("check") or step["M"]["status"] for step in order["timeline"]["L"]]
            names = [step["S"] for step in steps]
            if len({*names}) != len(names):
                self._break("I9", f"order {order_id} has something twice in its timeline: {names}")
            for check, ledger in CHECKS.items():
                place = self._places.get((ledger, order_id), Place())
                if status in REFUSED and place.released != place.held:
                    code = "I7" if not place.released else "I8"
                    self._break(code, f"{order_id} is {status} and still holds {check} {place.held}")
        for (ledger, order_id), place in self._places.items():
            if order_id not in self.orders and place.held and place.released != place.held:
                self._break("I7", f"{ledger} holds {place.held} for {order_id}, which is no order")

    def published(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Check that exactly the orders' changes were published, with the right content."""
        expected = {
            (
                order_id,
                str(number),
                "order.placed" if status == "PENDING" else f"order.{status.lower()}",
            ): status
            for order_id, life in self._lives.items()
            for number, status in enumerate(life, 1)
        }
        received: dict[tuple[str, str, str], str] = {}
        ids: dict[str, tuple[str, str, str]] = {}
        for event in events:
            fact = event["subject"], event["sequence"], event["type"]
            if (
                ids.setdefault(event["id"], fact) != fact
                or received.get(fact, event["data"]["status"]) != (event["data"]["status"])
            ):
                self._break("I5", f"two events are one: {fact} and {ids[event['id']]}")
            received[fact] = event["data"]["status"]
        if len(ids) != len(received):
            self._break("I5", f"one event has several ids: {sorted(received)}")
        if received != expected:
            self._break(
                "I5", f"published {sorted(received.items())}; what happened is {sorted(expected.items())}"
            )

    def remembered(self, ledger: str, lines: Iterable[HistoryRecord]) -> None:
        """Check a ledger's stream: each entry once, in order, with consistent figures."""
        known: dict[str, Commit] = {}
        named: Counter[tuple[str, str]] = Counter()
        for line in lines:
            if isinstance(line, Hold):
                continue
            before = known.get(line.entity)
            if line.before != (before.after if before else None):
                self._break("I10", f"{line.entity}: what is undone from {line} is not {before}")
            known[line.entity] = line
            named.update(
                (line.entity, change.key) for change in line.changes if change.type is not ChangeType.TRANSFER
            )
        expected = Counter(self._moving[ledger])
        for order_id, order in self.orders.items():
            if order["status"]["S"] == "SHIPPED":
                place = self._places.get((ledger, order_id), Place())
                expected.update((head, f"SETTLE#{order_id}") for head in place.by_head)
        if named != expected:
            wrong = f"{named - expected} too much, {expected - named} too little"
            self._break("I10", f"the history of {ledger} has {wrong}")

    def status(self, order_id: str) -> str | None:
        """The status of an order, if it exists."""
        order = self.orders.get(order_id)
        return order["status"]["S"] if order else None

    # One change

    def _order(self, change: Change) -> list[tuple[str, str]]:
        """Check an order's change; return the heads that it must have changed."""
        (order_id,) = change.key
        new, old = change.new, change.old
        self.orders[order_id] = new
        self._placed.setdefault(order_id, self._commits)
        status = new["status"]["S"]
        was = old["status"]["S"] if old and "status" in old else None
        if status != was:
            self._lives.setdefault(order_id, []).append(status)
        if was is None:
            if status != "PENDING":
                self._break("I6", f"order {order_id} begins as {status}")
        elif old is not None:
            if status not in MOVES[was]:
                self._break("I6", f"order {order_id} went from {was} to {status}")
            if any(old[name] != new[name] for name in FIXED if name in old):
                self._break("I9", f"order {order_id} is not what it was placed as")
        self._answers(order_id, new)
        if status != "SHIPPED" or was == "SHIPPED":
            return []
        moved = []
        for ledger, required_amounts in demands(new).items():
            place = self._places.get((ledger, order_id), Place())
            if place.held != required_amounts or place.released:
                self._break(
                    "I4",
                    f"order {order_id} ships {required_amounts} and holds {place.held}, {place.released=}",
                )
            for entity, amount in required_amounts.items():
                self._tally(ledger, entity).shipped += amount
                moved.append((ledger, entity))
            for head, amount in place.by_head.items():
                self._expect(ledger, head, held=-amount, settled=amount)
        return moved

    def _answers(self, order_id: str, order: Item) -> None:
        for check, answer in order["checks"]["M"].items():
            place = self._places.get((CHECKS[check], order_id))
            kept = place.decision if place else None
            if kept is None or any(answer["M"].get(name) != kept.get(name) for name in ("outcome", "code")):
                self._break(
                    "I9", f"order {order_id} was answered {answer} of {check}; its ledger says {kept}"
                )

    def _entry(self, change: Change, partition: str, entry: str) -> set[str]:
        """Apply an entry; returns the customer or product whose balance it changed."""
        kind, _, entry_id = entry.partition("#")
        if kind == "ADJUST":
            self._adjusted(change, partition, entry_id)
            return {partition}
        if partition != f"ORDER#{entry_id}":
            self._break("I9", f"{entry} is not where the order {entry_id} asks for it, but at {partition}")
        place = self._places.setdefault((change.table, entry_id), Place())
        by_head = {head: decimal(amount["N"]) for head, amount in change.new["amounts"]["M"].items()}
        amounts: dict[str, Decimal] = {}
        for head, amount in by_head.items():
            amounts[entity_of(head)] = amounts.get(entity_of(head), ZERO) + amount
            self._moving[change.table][head, entry] += 1
        match kind:
            case "HOLD":
                self._held(change, place, entry_id, by_head, amounts)
            case "RELEASE":
                if by_head != place.by_head or place.released:
                    self._break("I8", f"{entry_id} gets back {by_head} and held {place.by_head}")
                place.released = amounts
                for entity, amount in amounts.items():
                    self._tally(change.table, entity).released += amount
                for head, amount in by_head.items():
                    self._expect(change.table, head, held=-amount)
            case _:
                self._break("I10", f"an entry of no known kind: {entry}")
        return {*amounts}

    def _adjusted(self, change: Change, entity: str, adjustment_id: str) -> None:
        amount = decimal(change.new["amount"]["N"])
        tally = self._tally(change.table, entity)
        self._moving[change.table][entity, f"ADJUST#{adjustment_id}"] += 1
        tally.adjusted += amount
        is_alone = not any(is_head and entity_of(head) == entity != head for head, is_head in self._written)
        if not _matches(change.new["after"]["M"], tally, is_alone=is_alone):
            self._break("I10", f"{adjustment_id} says that it led to {change.new['after']}: {tally.heads}")
        self.adjustments[adjustment_id] = self.adjustments.get(adjustment_id, 0) + 1

    def _held(
        self,
        change: Change,
        place: Place,
        order_id: str,
        by_head: Mapping[str, Decimal],
        amounts: dict[str, Decimal],
    ) -> None:
        if place.decision is not None:
            self._break("I9", f"{change.table} has two answers for {order_id}")
        place.decision = change.new
        for entity, amount in amounts.items():
            self._tally(change.table, entity).held += amount
        for entity in amounts or [change.new["entity"]["S"]]:
            self._known(change, entity, order_id)
        if change.new["outcome"]["S"] != "HELD":
            if by_head:
                self._break("I8", f"{order_id} is declined and takes {by_head}")
            return
        place.held, place.by_head = amounts, dict(by_head)
        for head, amount in by_head.items():
            self._expect(change.table, head, held=amount)

    def _expect(self, ledger: str, head: str, *, held: Decimal = ZERO, settled: Decimal = ZERO) -> None:
        expected = self._on_head.setdefault((ledger, head), {"held": ZERO, "settled": ZERO})
        expected["held"] += held
        expected["settled"] += settled

    def _moved(self, tally: Tally, name: str, head: Item) -> None:
        tally.heads[name] = head
        if "#" in name:
            return
        was_known = tally.is_known
        tally.head = head
        if tally.is_known is not was_known:
            tally.turned = self._commits
        if (price := price_of(head)) != tally.prices[-1][1]:
            tally.prices.append((self._commits, price))

    def _known(self, change: Change, entity: str, order_id: str) -> None:
        """No holds on deleted entities or at wrong prices; decisions must have been true since then."""
        named = _unit_prices(self.orders.get(order_id))
        if change.new["outcome"]["S"] == "HELD":
            tally = self._tally(change.table, entity)
            if not tally.is_known:
                self._break("I1", f"{order_id} holds something of {entity}, which is unknown")
            price = tally.prices[-1][1]
            if price is not None and named.get(entity) != price:
                self._break("I4", f"{order_id} holds {entity} at {named.get(entity)}, which costs {price}")
            return
        code = change.new["code"]["S"]
        if code == "ORDER_CLOSED":
            return
        requested = self._tally(change.table, change.new["id"]["S"])
        is_unknown = code.startswith("UNKNOWN")
        if requested.is_known is is_unknown and requested.turned < self._placed.get(order_id, 0):
            self._break("I9", f"{order_id} is answered {code} of {change.new['id']['S']}, which was never so")
        if code.startswith("INSUFFICIENT"):
            # At some time since it was placed, the balance was too low, apart from this write's holds.
            held_with_it = self._holding.get((change.table, change.new["id"]["S"]), ZERO)
            least = requested.least_balance_since(self._placed.get(order_id, 0)) - held_with_it
            if least >= decimal(change.new["asked"]["N"]):
                self._break(
                    "I9", f"{order_id} is answered {change.new}, and there was never less than {least}"
                )
        if code == "PRICE_MISMATCH":
            named_price = decimal(change.new["price"]["N"])
            own = decimal(change.new["unitPrice"]["N"]) if "unitPrice" in change.new else None
            since = requested.prices_since(self._placed.get(order_id, 0))
            if named_price not in since or named_price == own or own != named.get(change.new["id"]["S"]):
                self._break(
                    "I9", f"{order_id} names {named}, and is answered {own} and {named_price}; it was {since}"
                )

    def _write_once(self, change: Change) -> None:
        if change.old is not None:
            self._break("I10", f"the entry {change.key} was written again")

    def _head(self, ledger: str, entity: str) -> None:
        tally = self._tally(ledger, entity)
        balance, held, settled = (tally.sum(figure) for figure in FIGURES)
        if balance != tally.balances[-1][1]:
            tally.balances.append((self._commits, balance))
        for name, head in tally.heads.items():
            figures = [decimal(head[figure]["N"]) for figure in FIGURES]
            if min(figures) < 0:
                self._break("I1", f"{name}: balance, held and settled are {figures}")
            if is_deleted(head) and any(figures[:2]):
                self._break("I1", f"{name} is deleted, and has balance and held {figures[:2]}")
            expected = self._on_head.get((ledger, name), {"held": ZERO, "settled": ZERO})
            if figures[1:] != list(expected.values()):
                self._break("I4", f"{name}: held and settled are {figures[1:]}, and not {expected}")
            if name != entity and (is_deleted(head), price_of(head)) != (
                tally.head is not None and is_deleted(tally.head),
                tally.head and price_of(tally.head),
            ):
                self._break("I1", f"{name} is {head}, and its root is {tally.head}")
        if tally.adjusted != balance + held + settled:
            code = "I2" if ledger == "AccountTable" else "I3"
            self._break(code, f"{entity}: adjusted {tally.adjusted} is not {balance} + {held} + {settled}")
        if settled != tally.shipped:
            self._break("I4", f"{entity}: settled {settled}, shipped {tally.shipped}")
        if balance != tally.adjusted - tally.held + tally.released:
            self._break("I10", f"{entity}: the balance is {balance}, its entries come to another")

    def _tally(self, ledger: str, entity: str) -> Tally:
        tally = self._tallies.get((ledger, entity))
        if tally is None:
            tally = self._tallies[ledger, entity] = Tally()
        return tally

    def _break(self, invariant: str, reason: str) -> None:
        self.broken.append(f"{invariant}: {reason}")


def _holding(changes: Sequence[Change]) -> dict[tuple[str, str], Decimal]:
    """The holds of a commit, by ledger and by customer or product."""
    holding: dict[tuple[str, str], Decimal] = {}
    for change in changes:
        if change.table != "OrderTable" and change.key[1].startswith("HOLD#"):
            for head, amount in change.new["amounts"]["M"].items():
                place = change.table, entity_of(head)
                holding[place] = holding.get(place, ZERO) + decimal(amount["N"])
    return holding


def demands(order: Item) -> dict[str, dict[str, Decimal]]:
    """The required amounts of an order, by ledger and by customer or product."""
    units: dict[str, Decimal] = {}
    for line in order["items"]["L"]:
        product = line["M"]["productId"]["S"]
        units[product] = units.get(product, ZERO) + decimal(line["M"]["qty"]["N"])
    return {
        "AccountTable": {order["customerId"]["S"]: decimal(order["totalAmount"]["N"])},
        "StockTable": units,
    }


def _unit_prices(order: Item | None) -> dict[str, Decimal]:
    """The prices that an order names, by product."""
    lines = [line["M"] for line in order["items"]["L"]] if order else []
    return {line["productId"]["S"]: decimal(line["unitPrice"]["N"]) for line in lines if "unitPrice" in line}


def price_of(head: Item) -> Decimal | None:
    """The price of a head; negative means no price."""
    price = decimal(head["price"]["N"]) if "price" in head else ZERO - 1
    return price if price >= 0 else None


def is_deleted(head: Item) -> bool:
    """Whether a head is a tombstone."""
    return "deleted" in head and head["deleted"]["N"] == "1"


@lru_cache(maxsize=4096)
def decimal(text: str) -> Decimal:
    """A number of an item."""
    return Decimal(text)


def entity_of(head: str) -> str:
    """The customer or product of a head."""
    return head.partition("#")[0]


def _matches(after: Item, tally: Tally, *, is_alone: bool) -> bool:
    """Whether an adjustment's recorded result equals the state of the customer or product."""
    if tally.head is None:
        return False
    version = int(tally.sum("version"))
    if is_alone and len(tally.heads) > 1 and int(after["version"]["N"]) != version:
        return True  # only the root was written, and its stripes may have changed since they were read
    return (
        all(decimal(after[figure]["N"]) == tally.sum(figure) for figure in (*FIGURES, "version"))
        and is_deleted(after) is is_deleted(tally.head)
        and price_of(after) == price_of(tally.head)
    )
