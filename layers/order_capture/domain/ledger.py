"""The ledger of holds, for customers' accounts and products' stock.

Accounts and stock work the same way. A *head* has the current balances. *Entries*, written once and never
changed, are the log of changes and the idempotency records. An order *holds* what it requires
(`balance` to `held`), and later either *settles* it (`held` to `settled`) or *releases* it (`held` back to
`balance`). No figure of a head ever falls below zero.

A customer or product has one head, its *root*; a contended one has *stripes* as well
(`domain.stripes`), which are heads like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from order_capture.domain.errors import BalanceOutOfRangeError, OpenHoldsError
from order_capture.domain.order import CheckResult, CheckType, DeclineCode, OrderDetails, Outcome

ZERO = Decimal(0)
UNPRICED = Decimal(-1)
"""Set as a product's price, it removes the price."""
ADJUSTMENT = "ADJUST#"
"""The prefix of adjustments' keys."""


@dataclass(frozen=True, slots=True)
class LedgerSpec:
    """The differences between the two ledgers."""

    check: CheckType
    quantum: Decimal  # the smallest amount: a cent, or one unit
    max_balance: Decimal  # the maximum of a balance
    unknown: DeclineCode
    insufficient: DeclineCode

    def amount(self, value: Decimal) -> Decimal:
        """`value` with this ledger's number of decimals."""
        return value.quantize(self.quantum) + 0  # turns -0 into 0

    def with_decimals(self, result: CheckResult) -> CheckResult:
        """A check's result, with this ledger's number of decimals."""
        available = None if result.available is None else self.amount(result.available)
        return replace(result, requested=self.amount(result.requested), available=available)

    def required_amounts(self, details: OrderDetails) -> dict[str, Decimal]:
        """The amounts that an order requires of this ledger, by customer or product, sorted.

        Two lines of one product are added up first: checked separately, both could pass with the same units.
        """
        if self.check is CheckType.BALANCE:
            return {details.customer_id: details.total_amount}
        units: dict[str, Decimal] = {}
        for line in sorted(details.items, key=lambda line: line.product_id):
            units[line.product_id] = units.get(line.product_id, ZERO) + line.qty
        return units

    def unit_prices(self, details: OrderDetails) -> dict[str, Decimal]:
        """The unit price that an order names for each product; absent if it names none or several."""
        if self.check is CheckType.BALANCE:
            return {}
        named: dict[str, set[Decimal | None]] = {}
        for line in details.items:
            named.setdefault(line.product_id, set()).add(line.unit_price)
        return {
            product_id: price
            for product_id, prices in named.items()
            if len(prices) == 1 and (price := next(iter(prices))) is not None
        }


ACCOUNTS = LedgerSpec(
    check=CheckType.BALANCE,
    quantum=Decimal("0.01"),
    max_balance=Decimal("999999999999.99"),
    unknown=DeclineCode.UNKNOWN_CUSTOMER,
    insufficient=DeclineCode.INSUFFICIENT_BALANCE,
)
STOCK = LedgerSpec(
    check=CheckType.STOCK,
    quantum=Decimal(1),
    max_balance=Decimal(1_000_000_000),
    unknown=DeclineCode.UNKNOWN_PRODUCT,
    insufficient=DeclineCode.INSUFFICIENT_STOCK,
)
LEDGERS = {kind.check: kind for kind in (ACCOUNTS, STOCK)}


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of a customer or product. The sum of all adjustments = balance + held + settled."""

    balance: Decimal  # what can still be spent or sold
    held: Decimal = ZERO  # taken by open orders
    settled: Decimal = ZERO  # finally spent or shipped
    version: int = 0  # 0: not written yet
    update_time: str = ""
    deleted: bool = False
    """A tombstone: it counts as unknown. It is kept for its version, which continues if it is created again,
    and for its entries, which are never deleted."""
    price: Decimal | None = None
    """The price of a unit; None: an order may name any."""
    stripes: int = 0
    """The number of a root's stripes. Once it has some, it keeps them."""
    balance_version: int = 0
    """Counts the writes that changed `balance`: two reads of all heads with equal counts are a snapshot."""
    transfers: int = 0
    """Counts the transfers to and from other heads of the same customer or product."""


def active_or_none(head: Balance | None) -> Balance | None:
    """The head, unless it is a tombstone."""
    return None if head is None or head.deleted else head


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A change of one head. It is refused as a whole if it would take any figure below zero.

    With `expected`, it is also refused unless the head has that version (0: it does not exist yet). A hold
    (`is_hold`) is also refused if the head is a tombstone, or has a price other than `unit_price`. `deleted`,
    `price` and `stripes` are the head's new tombstone mark, price and number of stripes (None: unchanged).
    With `stripes`, it is also refused if the root already has some. `transfer` is the part of `balance` that
    comes from other heads of the same customer or product, or goes to them. `entries` has the keys of the
    change's entries, with the amount of each.
    """

    head: str
    balance: Decimal = ZERO
    held: Decimal = ZERO
    settled: Decimal = ZERO
    expected: int | None = None
    is_hold: bool = False
    unit_price: Decimal | None = None
    deleted: bool | None = None
    price: Decimal | None = None
    stripes: int | None = None
    transfer: Decimal = ZERO
    entries: Mapping[str, Decimal] = field(default_factory=dict)

    @staticmethod
    def hold(head: str, amount: Decimal, unit_price: Decimal | None = None) -> BalanceChange:
        """Hold `amount`, for an order that names `unit_price`."""
        return BalanceChange(head, balance=-amount, held=amount, is_hold=True, unit_price=unit_price)

    # A deleted head holds nothing. So a later release or settlement can only be 0, of an order that costs
    # nothing. It is allowed: a tombstone's figures do not change.

    @staticmethod
    def release(head: str, amount: Decimal) -> BalanceChange:
        """Return `amount` to the balance."""
        return BalanceChange(head, balance=amount, held=-amount)

    @staticmethod
    def settle(head: str, amount: Decimal) -> BalanceChange:
        """Finally spend or ship `amount`."""
        return BalanceChange(head, held=-amount, settled=amount)

    @staticmethod
    def transferred(head: str, amount: Decimal, name: str) -> BalanceChange:
        """Move `amount` from other heads of the same customer or product to this one; if negative, to them.

        `name` is the same for both ends, and unique among the transfers of these heads.
        """
        return BalanceChange(head, balance=amount, transfer=amount, entries={f"TRANSFER#{name}": amount})

    def made_by(self, entries: Iterable[Entry]) -> BalanceChange:
        """The same change, with its part of these entries."""
        own = {entry.key: entry.amounts[self.head] for entry in entries if self.head in entry.amounts}
        return replace(self, entries={**self.entries, **own})


@dataclass(frozen=True, slots=True)
class Hold:
    """The decision about an order: one for all its lines, keyed by the order's id.

    `amounts` are the held amounts by head; empty if the order was declined. `entity` is the
    customer or product in whose history a decline is shown.
    """

    entity: str
    order_id: str
    amounts: Mapping[str, Decimal]
    decision: CheckResult
    time: str

    @property
    def key(self) -> str:
        """The key: exactly one result per order."""
        return f"HOLD#{self.order_id}"

    @property
    def is_held(self) -> bool:
        """Whether the order's amounts are held."""
        return self.decision.outcome is Outcome.HELD


@dataclass(frozen=True, slots=True)
class Release:
    """The release of an order's hold: `amounts` returned to the heads, as in its hold."""

    order_id: str
    amounts: Mapping[str, Decimal]
    time: str

    @property
    def key(self) -> str:
        """The key: an order is released once."""
        return f"RELEASE#{self.order_id}"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A balance was set, changed or deleted. `after` is the resulting head."""

    entity: str
    adjustment_id: str
    amount: Decimal
    fingerprint: str
    after: Balance
    time: str

    @property
    def key(self) -> str:
        """The key: the same request adjusts once."""
        return f"{ADJUSTMENT}{self.adjustment_id}"

    @property
    def amounts(self) -> Mapping[str, Decimal]:
        """The change by head: always of the root."""
        return {self.entity: self.amount}

    def receipt(self) -> Adjustment:
        """A copy that is found by its id alone, since a repeated key may come with another customer."""
        return replace(self, entity=idempotency_key_for(self.adjustment_id))


Entry = Hold | Release | Adjustment


def idempotency_key_for(adjustment_id: str) -> str:
    """The key of an idempotent adjustment's record. Ids of customers and products never contain "#"."""
    return f"REQUEST#{adjustment_id}"


def decide_holds(
    kind: LedgerSpec, orders: Iterable[OrderDetails], known_balances: Mapping[str, Balance | None]
) -> dict[str, CheckResult]:
    """Decide which orders are held, first come first served, by order id.

    An order gets everything that it requires or nothing. `known_balances` may be incomplete (None: there is
    no such customer or product); a missing one is assumed to suffice, which the write then verifies.
    """
    remaining = {
        entity: head.balance if (head := active_or_none(each)) else None
        for entity, each in known_balances.items()
    }
    results = {}
    for details in orders:
        required_amounts = kind.required_amounts(details)
        result = _wrong_price(kind, details, required_amounts, known_balances) or _decline(
            kind, required_amounts, remaining
        )
        if result is None:
            for entity, amount in required_amounts.items():
                if (available := remaining.get(entity)) is not None:
                    remaining[entity] = available - amount
            result = _held(kind, required_amounts)
        results[details.order_id] = result
    return results


def hold_entry(
    kind: LedgerSpec, details: OrderDetails, result: CheckResult, heads: Mapping[str, str], now: str
) -> Hold:
    """The entry that records `result`; `heads` names the head of each customer or product to hold it on."""
    required_amounts = kind.required_amounts(details)
    amounts = {heads[entity]: amount for entity, amount in required_amounts.items()}
    return Hold(
        primary_entity(required_amounts),
        details.order_id,
        amounts if result.outcome is Outcome.HELD else {},
        result,
        now,
    )


def rejected_hold(kind: LedgerSpec, details: OrderDetails, now: str) -> Hold:
    """The entry of a release that arrives before its hold: the late hold is then declined."""
    required_amounts = kind.required_amounts(details)
    result = CheckResult(
        Outcome.DECLINED, kind.amount(sum(required_amounts.values(), ZERO)), code=DeclineCode.ORDER_CLOSED
    )
    return Hold(primary_entity(required_amounts), details.order_id, {}, result, now)


def adjust(
    kind: LedgerSpec,
    head: Balance | None,
    now: str,
    *,
    balance: Decimal | None = None,
    by: Decimal | None = None,
    price: Decimal | None = None,
) -> Balance:
    """The head after its balance is set to `balance`, or changed `by` so much; with a new `price`, if given.

    Raises:
        BalanceOutOfRangeError: the balance would fall below zero or rise above the ledger's maximum.
    """
    old = head or Balance(balance=ZERO)
    new = old.balance + by if by is not None else balance
    if new is None:
        raise ValueError("an adjustment needs a balance or an amount")
    if new < 0:
        raise BalanceOutOfRangeError(
            f"The balance is {kind.amount(old.balance)}: a change by {kind.amount(by or ZERO)} "
            "would take it below zero."
        )
    # Held amounts count as well: they may be returned, by a write without an upper bound.
    if new + old.held > kind.max_balance:
        held = f", and open orders hold {kind.amount(old.held)} of it" if old.held else ""
        raise BalanceOutOfRangeError(f"A balance is at most {kind.amount(kind.max_balance)}{held}.")
    if price is None:
        price = old.price
    elif price == UNPRICED:
        price = None
    return replace(
        old,
        balance=new,
        version=old.version + 1,
        update_time=now,
        deleted=False,
        price=price,
    )


def delete(kind: LedgerSpec, head: Balance, now: str) -> Balance:
    """The head after its deletion: only the settled amount remains.

    Raises:
        OpenHoldsError: open orders hold a part of it.
    """
    if head.held > 0:
        raise OpenHoldsError(
            f"Open orders hold {kind.amount(head.held)} of it. It can be deleted once they are over."
        )
    return replace(head, balance=ZERO, version=head.version + 1, update_time=now, deleted=True, price=None)


def replay(entries: Iterable[Entry]) -> Decimal:
    """The balance of a customer or product, computed from its entries in any order."""
    balance = ZERO
    for entry in entries:
        total = sum(entry.amounts.values(), ZERO)
        balance += -total if isinstance(entry, Hold) else total
    return balance


def aggregate(changes: Iterable[BalanceChange]) -> list[BalanceChange]:
    """Changes without `expected`, with those of the same head added up into one.

    Holds at different prices can't all match the head's price: together they succeed only if it has none.
    """
    totals: dict[str, BalanceChange] = {}
    for change in changes:
        if (total := totals.get(change.head)) is None:
            totals[change.head] = change
            continue
        holds = [each for each in (total, change) if each.is_hold]
        totals[change.head] = BalanceChange(
            change.head,
            total.balance + change.balance,
            total.held + change.held,
            total.settled + change.settled,
            is_hold=bool(holds),
            unit_price=holds[0].unit_price if len({each.unit_price for each in holds}) == 1 else None,
            transfer=total.transfer + change.transfer,
            entries={**total.entries, **change.entries},
        )
    return list(totals.values())


def primary_entity(required_amounts: Mapping[str, Decimal] | Sequence[str]) -> str:
    """The customer or product that represents all that an order requires of a ledger: the first by its id."""
    return min(required_amounts)


def _wrong_price(
    kind: LedgerSpec,
    details: OrderDetails,
    required_amounts: Mapping[str, Decimal],
    known_balances: Mapping[str, Balance | None],
) -> CheckResult | None:
    unit_prices = kind.unit_prices(details)
    for entity, amount in required_amounts.items():
        head = active_or_none(known_balances.get(entity))
        unit_price = unit_prices.get(entity)
        if head is not None and head.price is not None and head.price != unit_price:
            return CheckResult(
                Outcome.DECLINED,
                kind.amount(amount),
                entity,
                DeclineCode.PRICE_MISMATCH,
                price=head.price,
                unit_price=unit_price,
            )
    return None


def _decline(
    kind: LedgerSpec, required_amounts: Mapping[str, Decimal], remaining: Mapping[str, Decimal | None]
) -> CheckResult | None:
    for entity, amount in required_amounts.items():
        if entity not in remaining:
            continue
        available = remaining[entity]
        requested = kind.amount(amount)
        if available is None:
            return CheckResult(Outcome.DECLINED, requested, entity, kind.unknown)
        if available < amount:
            return CheckResult(Outcome.DECLINED, requested, entity, kind.insufficient, kind.amount(available))
    return None


def _held(kind: LedgerSpec, required_amounts: Mapping[str, Decimal]) -> CheckResult:
    total = kind.amount(sum(required_amounts.values(), ZERO))
    return CheckResult(
        Outcome.HELD, total, entity=primary_entity(required_amounts) if len(required_amounts) == 1 else None
    )
