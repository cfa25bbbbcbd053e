"""The protocol with one safeguard taken out of the real code, to see that the simulation notices.

Where two safeguards cover each other, no fault shows that one is missing: then both are out, and the
mutant's name says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from unittest import mock

from order_capture.adapters import dynamodb_ledger, dynamodb_shipments, outboxes
from order_capture.adapters.dynamodb_ledger import DynamoLedger
from order_capture.adapters.dynamodb_orders import DynamoOrders
from order_capture.adapters.dynamodb_shipments import DynamoShipments
from order_capture.adapters.outboxes import QueueOutbox, TopicOutbox
from order_capture.application import (
    adjust_balance,
    capture_orders,
    check_orders,
    decide_orders,
    watch_orders,
)
from order_capture.application.messages import CheckOrder, ReleaseOrder, WatchOrder
from order_capture.application.ports import WriteRefusedError
from order_capture.domain.ledger import Entry, Hold, LedgerKind, Movement, Release
from order_capture.domain.order import (
    REFUSED,
    TRANSITIONS,
    Check,
    Decision,
    DeclineCode,
    Order,
    OrderStatus,
    Outcome,
)
from tests.simulation import functions
from tests.simulation.run import run_seed, swept

Mutant = Callable[[], AbstractContextManager[Any]]
MUTANTS: dict[str, Mutant] = {}
Action = dict[str, Any]


def mutant(name: str) -> Callable[[Mutant], Mutant]:
    """Name a mutant."""

    def named(make: Mutant) -> Mutant:
        MUTANTS[name] = make
        return make

    return named


# What a write is made on


def _without(action: Action, clause: str, *values: str) -> Action:
    """An action without a clause of its condition, and the values that only this clause uses."""
    ((kind, what),) = action.items()
    what = dict(what)
    clauses = [each for each in what["ConditionExpression"].split(" AND ") if not each.startswith(clause)]
    what["ConditionExpression"] = " AND ".join(clauses)
    if not clauses:
        del what["ConditionExpression"]
    if "ExpressionAttributeValues" in what:
        kept = {name: v for name, v in what["ExpressionAttributeValues"].items() if name not in values}
        what["ExpressionAttributeValues"] = kept
    return {kind: what}


def _movements_without(module: Any, clause: str, value: str) -> AbstractContextManager[Any]:
    real = dynamodb_ledger.movement_action

    def changed(table: str, key: str, movement: Movement, now: str) -> Action:
        return _without(real(table, key, movement, now), clause, value)

    return mock.patch.object(module, "movement_action", changed)


def _entries_without(kind: type[Entry]) -> AbstractContextManager[Any]:
    real = DynamoLedger._put

    def changed(self: DynamoLedger, entry: Entry) -> Action:
        action = real(self, entry)
        return _without(action, "attribute_not_exists") if isinstance(entry, kind) else action

    return mock.patch.object(DynamoLedger, "_put", changed)


@mutant("hold: the balance is not a condition")
def _balance() -> AbstractContextManager[Any]:
    return _movements_without(dynamodb_ledger, "balance >=", ":least_balance")


@mutant("hold: an entry that exists is written over")
def _hold_entry() -> AbstractContextManager[Any]:
    return _entries_without(Hold)


@mutant("release: an entry that exists is written over")
def _release_entry() -> AbstractContextManager[Any]:
    return _entries_without(Release)


@mutant("adjust: the head's version is not a condition")
def _adjust_version() -> AbstractContextManager[Any]:
    return _movements_without(dynamodb_ledger, "version =", ":expected")


@mutant("save: the order's version is not a condition")
def _save_version() -> AbstractContextManager[Any]:
    def changed(self: DynamoOrders, order: Order, over: int) -> None:
        client = self._client
        loose = mock.Mock(update_item=lambda **call: client.update_item(**_loose(call)))
        with mock.patch.object(self, "_client", loose):
            real(self, order, over)

    def _loose(call: Action) -> Action:
        return dict(_without({"Update": call}, "version =", ":over")["Update"])

    real = DynamoOrders.save
    return mock.patch.object(DynamoOrders, "save", changed)


def _ship_without_status() -> AbstractContextManager[Any]:
    real = DynamoShipments._ship

    def changed(self: DynamoShipments, *arguments: Any) -> Action:
        return _without(real(self, *arguments), "#status =", ":confirmed")

    return mock.patch.object(DynamoShipments, "_ship", changed)


@mutant("ship: the order's status is not a condition")
def _ship_status() -> AbstractContextManager[Any]:
    return _ship_without_status()


@mutant("ship: neither the status nor what is held is a condition")
@contextmanager
def _ship_unconditionally() -> Iterator[None]:
    with _ship_without_status(), _movements_without(dynamodb_shipments, "held >=", ":least_held"):
        yield


@mutant("capture: an order that exists is written over")
def _overwrite() -> AbstractContextManager[Any]:
    def changed(self: DynamoOrders, item: Any) -> None:
        self._client.put_item(TableName=self._table, Item=item)

    return mock.patch.object(DynamoOrders, "_put_new", changed)


# What is written, and in what order


Write = Callable[[DynamoLedger, Sequence[Movement], Sequence[Entry], str], None]


def _writes(change: Callable[[Write], Write]) -> AbstractContextManager[Any]:
    return mock.patch.object(DynamoLedger, "write", change(DynamoLedger.write))


@mutant("hold: an order that has an entry is held again")
def _hold_again() -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedger, movements: Sequence[Movement], entries: Sequence[Entry], now: str
        ) -> None:
            try:
                real(self, movements, entries, now)
            except WriteRefusedError as refusal:
                if movements and any(isinstance(each, Hold) for each in refusal.entries.values()):
                    real(self, movements, [], now)
                raise

        return changed

    return _writes(change)


@mutant("hold: the products of an order are held one by one")
def _not_atomic() -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedger, movements: Sequence[Movement], entries: Sequence[Entry], now: str
        ) -> None:
            if len(movements) < 2:
                return real(self, movements, entries, now)
            for movement in movements:
                real(self, [movement], [e for e in entries if e.entity == movement.entity], now)
            return None

        return changed

    return _writes(change)


def _decline_unrecorded(codes: frozenset[DeclineCode | None]) -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedger, movements: Sequence[Movement], entries: Sequence[Entry], now: str
        ) -> None:
            kept = [e for e in entries if not (isinstance(e, Hold) and e.decision.code in codes)]
            if kept or movements:
                real(self, movements, kept, now)

        return changed

    return _writes(change)


@mutant("hold: that an order was declined is not written down")
def _decline() -> AbstractContextManager[Any]:
    return _decline_unrecorded(frozenset(DeclineCode) - {DeclineCode.ORDER_CLOSED})


@mutant("hold: a group commit counts only one of its orders")
def _group_commit() -> AbstractContextManager[Any]:
    def changed(movements: Any) -> list[Movement]:
        return list({movement.entity: movement for movement in movements}.values())

    return mock.patch.object(check_orders, "merged", changed)


@mutant("hold: money is added up in floats")
def _floats() -> AbstractContextManager[Any]:
    def changed(movements: Any) -> list[Movement]:
        totals: dict[str, float] = {}
        for movement in movements:
            totals[movement.entity] = totals.get(movement.entity, 0.0) + float(movement.held)
        return [Movement.hold(entity, Decimal(repr(total))) for entity, total in totals.items()]

    return mock.patch.object(check_orders, "merged", changed)


@mutant("hold: of two lines of one product, one is checked")
def _lines() -> AbstractContextManager[Any]:
    real = LedgerKind.demand

    def changed(self: LedgerKind, terms: Any) -> dict[str, Decimal]:
        if self.check is Check.BALANCE:
            return real(self, terms)
        return {line.product_id: Decimal(line.qty) for line in terms.items}

    return mock.patch.object(LedgerKind, "demand", changed)


@mutant("release: each look releases again")
def _released_twice() -> AbstractContextManager[Any]:
    return mock.patch.object(Release, "key", property(lambda self: f"RELEASE#{self.order_id}#{self.time}"))


@mutant("release: what is released is not what was held")
def _release_one() -> AbstractContextManager[Any]:
    def changed(entity: str, amount: Decimal) -> Movement:
        return Movement(entity, balance=2 * amount, held=-amount)

    return mock.patch.object(Movement, "release", staticmethod(changed))


@mutant("release: the hold is read without consistency, and a mark that is refused is taken for done")
@contextmanager
def _stale_hold() -> Iterator[None]:
    def get(self: DynamoLedger, entity: str, entry: str) -> Any:
        key = {self._key: {"S": entity}, "entry": {"S": entry}}
        return self._client.get_item(TableName=self._table, Key=key).get("Item")

    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedger, movements: Sequence[Movement], entries: Sequence[Entry], now: str
        ) -> None:
            marks = [
                e for e in entries if isinstance(e, Hold) and e.decision.code is DeclineCode.ORDER_CLOSED
            ]
            with suppress(WriteRefusedError) if marks else nullcontext():
                real(self, movements, entries, now)

        return changed

    with mock.patch.object(DynamoLedger, "_get", get), _writes(change):
        yield


@mutant("adjust: no receipt of a key is written")
def _receipts() -> AbstractContextManager[Any]:
    real = adjust_balance.adjust_balance

    def changed(kind: Any, ledger: Any, change: Any, clock: Any, pause: Any) -> Any:
        return real(kind, ledger, replace(change, keyed=False), clock, pause)

    return mock.patch.object(adjust_balance, "adjust_balance", changed)


@mutant("capture: published before it is written")
def _publish_first() -> AbstractContextManager[Any]:
    real = capture_orders._capture

    def changed(orders: Any, checkers: Any, placed: Any, *arguments: Any, **more: Any) -> Any:
        checkers.send([CheckOrder(order.terms, order.correlation_id) for order in placed])
        return real(orders, checkers, placed, *arguments, **more)

    return mock.patch.object(capture_orders, "_capture", changed)


# How the status moves


@mutant("decide: an answer moves any status")
def _any_status() -> AbstractContextManager[Any]:
    real = Order.decide

    def changed(self: Order, check: Check, decision: Decision, *, now: str) -> Order:
        if check in self.checks:
            return self
        return real(replace(self, status=OrderStatus.PENDING), check, decision, now=now)

    return mock.patch.object(Order, "decide", changed)


def _more_transitions(more: Mapping[OrderStatus, set[OrderStatus]]) -> AbstractContextManager[Any]:
    return mock.patch.dict(
        TRANSITIONS,
        {status: TRANSITIONS[status] | after for status, after in more.items()},
    )


@mutant("cancel: whatever the status is")
def _cancel_any() -> AbstractContextManager[Any]:
    return _more_transitions({status: {OrderStatus.CANCELLED} for status in OrderStatus})


@mutant("expire: confirmed orders as well")
@contextmanager
def _expire_confirmed() -> Iterator[None]:
    real = Order.is_overdue

    def changed(self: Order, **times: Any) -> bool:
        confirmed = self.status is OrderStatus.CONFIRMED
        return real(replace(self, status=OrderStatus.PENDING) if confirmed else self, **times)

    more = {OrderStatus.CONFIRMED: {OrderStatus.EXPIRED}}
    with _more_transitions(more), mock.patch.object(Order, "is_overdue", changed):
        yield


@mutant("decide: a check that declined does not reject")
def _declined_is_fine() -> AbstractContextManager[Any]:
    real = Order.decide

    def changed(self: Order, check: Check, decision: Decision, *, now: str) -> Order:
        decided = real(self, check, replace(decision, outcome=Outcome.HELD), now=now)
        return replace(decided, checks={**decided.checks, check: self.checks.get(check, decision)})

    return mock.patch.object(Order, "decide", changed)


# What becomes of messages


@mutant("dedupe by message id, not by the order")
@contextmanager
def _by_message_id() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(_entries_without(Hold))
        for name in ("balance_checker", "stock_checker"):
            stack.enter_context(_once_per_message(name))
        yield


def _once_per_message(name: str) -> AbstractContextManager[Any]:
    app = functions.app(name)
    real, seen = app.handler, set[str]()

    def changed(event: Any, context: object) -> Any:
        fresh = [record for record in event["Records"] if record["messageId"] not in seen]
        report = real({"Records": fresh}, context)
        seen.update(record["messageId"] for record in fresh)
        return report

    return mock.patch.object(app, "handler", changed)


def _all_is_well(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "Failed": []}


@mutant("publish: entries that failed are ignored, and the watchdog passes by refused orders")
@contextmanager
def _sns_failures() -> Iterator[None]:
    real = TopicOutbox._publish

    def changed(self: TopicOutbox, entries: Any) -> dict[str, Any]:
        return _all_is_well(real(self, entries))

    with mock.patch.object(TopicOutbox, "_publish", changed), _passing_by(*REFUSED):
        yield


@mutant("send: entries that failed are ignored")
def _sqs_failures() -> AbstractContextManager[Any]:
    real = QueueOutbox._send_batch
    return mock.patch.object(
        QueueOutbox, "_send_batch", lambda self, entries: _all_is_well(real(self, entries))
    )


@mutant("send: what could not be sent is not reported")
def _unreported() -> AbstractContextManager[Any]:
    real = outboxes._send

    def changed(*arguments: Any) -> set[str]:
        real(*arguments)
        return set()

    return mock.patch.object(outboxes, "_send", changed)


@mutant("read: unprocessed keys are ignored, and an order that is not found is done with")
@contextmanager
def _unprocessed() -> Iterator[None]:
    real = DynamoOrders.get_many

    def changed(self: DynamoOrders, order_ids: Any) -> Any:
        client = self._client

        def read(**call: Any) -> Any:
            return {**client.batch_get_item(**call), "UnprocessedKeys": {}}

        with mock.patch.object(self, "_client", mock.Mock(batch_get_item=read)):
            return real(self, order_ids)

    with mock.patch.object(DynamoOrders, "get_many", changed), ExitStack() as stack:
        for name in ("order_update", "order_watchdog"):
            stack.enter_context(_seeing_only(name, lambda order: order is not None))
        yield


@mutant("queues: what raises is taken for done")
@contextmanager
def _acknowledged() -> Iterator[None]:
    @contextmanager
    def changed(failed: set[str], order_ids: Any) -> Iterator[None]:
        try:
            yield
        except Exception:
            return

    with ExitStack() as stack:
        for module in (check_orders, decide_orders, watch_orders):
            stack.enter_context(mock.patch.object(module, "given_back", changed))
        yield


@mutant("stream: a batch that failed is taken for done")
def _stream_swallows() -> AbstractContextManager[Any]:
    app = functions.app("change_publisher")
    real = app.handler

    def changed(event: Any, context: object) -> Any:
        try:
            return real(event, context)
        except Exception:
            return {}

    return mock.patch.object(app, "handler", changed)


# What the watchdog does


def _seeing_only(name: str, wanted: Callable[[Order | None], bool]) -> AbstractContextManager[Any]:
    """A function that takes its messages about other orders for done."""
    verb = {"order_update": "decide_orders", "order_watchdog": "watch_orders"}[name]
    app = functions.app(name)
    real = getattr(app, verb)
    position = {"decide_orders": 3, "watch_orders": 4}[verb]

    def changed(*arguments: Any) -> Any:
        known = arguments[0].get_many(sorted({message.order_id for message in arguments[position]}))
        messages = [each for each in arguments[position] if wanted(known.get(each.order_id))]
        return real(*arguments[:position], messages, *arguments[position + 1 :])

    return mock.patch.object(app, verb, changed)


def _passing_by(*statuses: OrderStatus) -> AbstractContextManager[Any]:
    return _seeing_only("order_watchdog", lambda order: order is None or order.status not in statuses)


@mutant("watchdog: passes by pending orders")
def _by_pending() -> AbstractContextManager[Any]:
    return _passing_by(OrderStatus.PENDING)


@mutant("watchdog: passes by confirmed orders")
def _by_confirmed() -> AbstractContextManager[Any]:
    return _passing_by(OrderStatus.CONFIRMED)


@mutant("watchdog: passes by refused orders, and an early release leaves no mark")
@contextmanager
def _by_refused() -> Iterator[None]:
    with _passing_by(*REFUSED), _decline_unrecorded(frozenset({DeclineCode.ORDER_CLOSED})):
        yield


@mutant("watchdog: never looks again")
def _one_look() -> AbstractContextManager[Any]:
    real = QueueOutbox.send

    def changed(self: QueueOutbox, messages: Any) -> set[str]:
        return real(self, [m for m in messages if not (isinstance(m, WatchOrder) and m.looks)])

    return mock.patch.object(QueueOutbox, "send", changed)


@mutant("what follows is sent only by who changed the status, and the watchdog passes by what is decided")
@contextmanager
def _only_on_change() -> Iterator[None]:
    real = decide_orders._decide

    def changed(orders: Any, order: Any, *arguments: Any) -> Any:
        decided = real(orders, order, *arguments)
        return decided if order is None or decided.status is not order.status else _Silent(decided)

    decided = [status for status in OrderStatus if status is not OrderStatus.PENDING]
    with mock.patch.object(decide_orders, "_decide", changed), _passing_by(*decided):
        yield


class _Silent:
    """An order from whose status nothing follows."""

    def __init__(self, order: Order) -> None:
        self.status = order.status

    def follow_up(self) -> None:
        return None


@mutant("cancel: sends no release, and the watchdog passes by refused orders")
@contextmanager
def _cancel_silently() -> Iterator[None]:
    real = TopicOutbox.send

    def changed(self: TopicOutbox, messages: Any) -> set[str]:
        mine = self._sender.source.endswith("order_api")
        return real(self, [m for m in messages if not (mine and isinstance(m, ReleaseOrder))])

    with mock.patch.object(TopicOutbox, "send", changed), _passing_by(OrderStatus.CANCELLED):
        yield


@dataclass(frozen=True)
class Caught:
    """How many schedules it took to see that a mutant is one, and what fell first; None if it lives."""

    name: str
    schedules: int
    broken: str | None


def hunt(name: str, limit: int = 10_000) -> Caught:
    """Run the schedules of seed 0, 1, 2, … with a mutant, until one fails."""
    with functions.simulated(), MUTANTS[name](), swept():
        for seed in range(limit):
            if broken := run_seed(seed).broken:
                return Caught(name, seed + 1, broken[0])
    return Caught(name, limit, None)
