"""The protocol with one safeguard taken out of the real code, to see that the simulation notices.

Where two safeguards cover each other, no fault shows that one is missing: then both are out, and the
mutant's name says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError

from order_capture.adapters.dynamodb import (
    ledger_repository,
    order_repository,
    transactions,
)
from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository
from order_capture.adapters.dynamodb.types import from_item
from order_capture.adapters.messaging import envelopes, publishers
from order_capture.adapters.messaging.publishers import QueuePublisher, TopicPublisher
from order_capture.application import batches
from order_capture.application.idempotency import FirstAnswer
from order_capture.application.ledger import adjust_balance, check_orders
from order_capture.application.ledger.adjust_balance import AdjustBalance, Adjusted, BalanceRequest
from order_capture.application.ledger.check_orders import CheckOrders
from order_capture.application.messages import (
    CheckOrder,
    Message,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
)
from order_capture.application.orders import decide_orders, update_with_retry
from order_capture.application.orders.capture_orders import CaptureOrders
from order_capture.application.orders.decide_orders import DecideOrders
from order_capture.application.orders.publish_order_events import OrderChange, PublishOrderEvents
from order_capture.application.orders.watch_orders import WatchOrders
from order_capture.application.ports import (
    IdempotencyRecord,
    VersionConflictError,
    WriteRefusedError,
)
from order_capture.domain import ledger, stripes
from order_capture.domain.errors import InvalidMessageError, TransientError
from order_capture.domain.ledger import Adjustment, Balance, BalanceChange, Entry, Hold, LedgerSpec, Release
from order_capture.domain.order import (
    REFUSED,
    TRANSITIONS,
    CheckResult,
    CheckType,
    DeclineCode,
    NextAction,
    Order,
    OrderDetails,
    OrderStatus,
    Outcome,
)
from order_capture.entrypoints import sqs
from tests.simulation import cloud, functions
from tests.simulation.enumeration import SCENARIOS, broken_in, singles
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


def _movements_without(clause: str, *values: str) -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        return _without(real(table, key, movement, now), clause, *values)

    return mock.patch.object(ledger_repository, "balance_update", changed)


def _entries_without(kind: type[Entry]) -> AbstractContextManager[Any]:
    real = DynamoLedgerRepository._put

    def changed(self: DynamoLedgerRepository, entry: Entry) -> Action:
        action = real(self, entry)
        return _without(action, "attribute_not_exists") if isinstance(entry, kind) else action

    return mock.patch.object(DynamoLedgerRepository, "_put", changed)


@mutant("hold: the balance is not a condition")
def _balance() -> AbstractContextManager[Any]:
    return _movements_without("balance >=", ":least_balance")


@mutant("hold: a tombstone is no obstacle")
def _tombstone() -> AbstractContextManager[Any]:
    return _movements_without("deleted <>", ":tombstone")


_AT_THE_PRICE = "(attribute_not_exists(price)", ":unpriced", ":unitPrice"


@mutant("hold: the price is not a condition")
def _price() -> AbstractContextManager[Any]:
    return _movements_without(*_AT_THE_PRICE)


@mutant("hold: an order that names no price is held at any")
def _no_price() -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        action = real(table, key, movement, now)
        return _without(action, *_AT_THE_PRICE) if movement.unit_price is None else action

    return mock.patch.object(ledger_repository, "balance_update", changed)


@mutant("hold: a price that was seen before is taken for the price")
@contextmanager
def _remembered_price() -> Iterator[None]:
    real, begin = ledger.decide_holds, functions.put_into
    remembered: dict[str, Balance | None] = {}

    def changed(kind: LedgerSpec, orders: Any, seen: Mapping[str, Balance | None]) -> dict[str, CheckResult]:
        prices = {entity: head.price for entity, head in seen.items() if head and head.price is not None}
        remembered.update(
            {entity: Balance(kind.max_balance, price=price) for entity, price in prices.items()}
        )
        return real(kind, orders, {**remembered, **seen})

    def forgetting(surroundings: functions.Surroundings) -> None:
        remembered.clear()
        begin(surroundings)

    with (
        mock.patch.object(check_orders, "decide_holds", changed),
        mock.patch.object(functions, "put_into", forgetting),
    ):
        yield


@mutant("adjust: a price that changes leaves the head's as it was")
def _price_unchanged() -> AbstractContextManager[Any]:
    return mock.patch.object(adjust_balance, "_new_price", return_value=None)


@mutant("delete: the price stays, and is that of what is made again")
def _price_survives() -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        return real(table, key, replace(movement, price=None) if movement.deleted else movement, now)

    return mock.patch.object(ledger_repository, "balance_update", changed)


@mutant("hold: what is deleted counts as used up")
def _used_up() -> AbstractContextManager[Any]:
    return mock.patch.object(ledger, "active_or_none", lambda head: head)


@mutant("delete: what is held is no obstacle")
def _delete_what_is_held() -> AbstractContextManager[Any]:
    def changed(kind: LedgerSpec, head: Balance, now: str) -> Balance:
        return replace(head, balance=ledger.ZERO, version=head.version + 1, update_time=now, deleted=True)

    return mock.patch.object(adjust_balance, "delete", changed)


@mutant("adjust: what was deleted stays so when it is set again")
def _stays_deleted() -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        return real(table, key, replace(movement, deleted=movement.deleted or None), now)

    return mock.patch.object(ledger_repository, "balance_update", changed)


@mutant("hold: an entry that exists is written over")
def _hold_entry() -> AbstractContextManager[Any]:
    return _entries_without(Hold)


@mutant("release: an entry that exists is written over")
def _release_entry() -> AbstractContextManager[Any]:
    return _entries_without(Release)


@mutant("save: the whole order is written again as a whole")
def _save_whole() -> AbstractContextManager[Any]:
    def changed(self: DynamoOrderRepository, order: Order, expected_version: int) -> None:
        try:
            self._client.put_item(
                TableName=self._table,
                Item=order_repository.to_order_item(order),
                ConditionExpression="version = :over",
                ExpressionAttributeValues={":over": {"N": str(expected_version)}},
            )
        except ClientError as error:
            raise VersionConflictError from error

    return mock.patch.object(DynamoOrderRepository, "save", changed)


@mutant("adjust: an entry that exists is written over")
def _adjustment_entry() -> AbstractContextManager[Any]:
    return _entries_without(Adjustment)


@mutant("adjust: a first head is written over one that exists")
def _first_head() -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        action = real(table, key, movement, now)
        return _without(action, "attribute_not_exists") if movement.expected == 0 else action

    return mock.patch.object(ledger_repository, "balance_update", changed)


@mutant("adjust: the head's version is not a condition")
def _adjust_version() -> AbstractContextManager[Any]:
    return _movements_without("version =", ":expected")


@mutant("save: the order's version is not a condition")
def _save_version() -> AbstractContextManager[Any]:
    def changed(self: DynamoOrderRepository, order: Order, expected_version: int) -> None:
        client = self._client
        loose = mock.Mock(update_item=lambda **call: client.update_item(**_loose(call)))
        with mock.patch.object(self, "_client", loose):
            real(self, order, expected_version)

    def _loose(call: Action) -> Action:
        return dict(_without({"Update": call}, "version =", ":over")["Update"])

    real = DynamoOrderRepository.save
    return mock.patch.object(DynamoOrderRepository, "save", changed)


def _ship_without_status() -> AbstractContextManager[Any]:
    real = DynamoShipmentRepository._ship

    def changed(self: DynamoShipmentRepository, *arguments: Any) -> Action:
        return _without(real(self, *arguments), "#status =", ":confirmed")

    return mock.patch.object(DynamoShipmentRepository, "_ship", changed)


@mutant("ship: the order's status is not a condition")
def _ship_status() -> AbstractContextManager[Any]:
    return _ship_without_status()


@mutant("ship: neither the status nor what is held is a condition")
@contextmanager
def _ship_unconditionally() -> Iterator[None]:
    with _ship_without_status(), _movements_without("held >=", ":least_held"):
        yield


@mutant("capture: an order that exists is written over")
def _overwrite() -> AbstractContextManager[Any]:
    def changed(self: DynamoOrderRepository, item: Any) -> None:
        self._client.put_item(TableName=self._table, Item=item)

    return mock.patch.object(DynamoOrderRepository, "_put_new", changed)


def _not_counted_up(action: Action) -> Action:
    """An update that leaves the version as it is."""
    ((kind, what),) = action.items()
    changes = what["UpdateExpression"].removeprefix("SET ").split(", ")
    kept = [change for change in changes if not change.startswith("version =")]
    values = {name: value for name, value in what["ExpressionAttributeValues"].items() if name != ":one"}
    return {kind: {**what, "UpdateExpression": f"SET {', '.join(kept)}", "ExpressionAttributeValues": values}}


@mutant("hold: the head's version is not counted up")
def _head_version() -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        action = real(table, key, movement, now)
        return _not_counted_up(action) if movement.expected is None else action

    return mock.patch.object(ledger_repository, "balance_update", changed)


@mutant("ship: the order's version is not counted up")
def _ship_version() -> AbstractContextManager[Any]:
    real = DynamoShipmentRepository._ship
    return mock.patch.object(
        DynamoShipmentRepository, "_ship", lambda *arguments: _not_counted_up(real(*arguments))
    )


# What is written, and in what order


Write = Callable[[DynamoLedgerRepository, Sequence[BalanceChange], Sequence[Entry], str], None]


def _writes(change: Callable[[Write], Write]) -> AbstractContextManager[Any]:
    return mock.patch.object(DynamoLedgerRepository, "write", change(DynamoLedgerRepository.write))


@mutant("hold: an order that has an entry is held again")
def _hold_again() -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedgerRepository,
            movements: Sequence[BalanceChange],
            entries: Sequence[Entry],
            now: str,
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
            self: DynamoLedgerRepository,
            movements: Sequence[BalanceChange],
            entries: Sequence[Entry],
            now: str,
        ) -> None:
            if len(movements) < 2:
                return real(self, movements, entries, now)
            for movement in movements:
                real(self, [movement], [e for e in entries if [*e.amounts][:1] == [movement.head]], now)
            return None

        return changed

    return _writes(change)


def _decline_unrecorded(codes: frozenset[DeclineCode | None]) -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedgerRepository,
            movements: Sequence[BalanceChange],
            entries: Sequence[Entry],
            now: str,
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
    def changed(movements: Any) -> list[BalanceChange]:
        return list({movement.head: movement for movement in movements}.values())

    return mock.patch.object(check_orders, "aggregate", changed)


@mutant("ship: a batch settles only one of its orders")
def _settle_one() -> AbstractContextManager[Any]:
    def changed(movements: Any) -> list[BalanceChange]:
        return list({movement.head: movement for movement in movements}.values())

    return mock.patch.object(ledger_repository, "aggregate", changed)


@mutant("hold: heads are not counted down from order to order, and what is returned comes again together")
def _not_counted_down() -> AbstractContextManager[Any]:
    real = ledger.decide_holds

    def changed(kind: LedgerSpec, orders: Iterable[OrderDetails], seen: Any) -> dict[str, CheckResult]:
        return {order_id: d for details in orders for order_id, d in real(kind, [details], seen).items()}

    return _both(
        mock.patch.object(check_orders, "decide_holds", changed),
        mock.patch.object(sqs, "_redeliver_soon"),
    )


@mutant("hold: what was decided before is not answered again")
def _answered_once() -> AbstractContextManager[Any]:
    real = CheckOrders._hold

    def changed(self: CheckOrders, group: Any) -> dict[str, CheckResult]:
        write, fresh = self.ledger.write, set[str]()

        def noting(movements: Any, entries: Sequence[Hold], now: str) -> None:
            write(movements, entries, now)
            fresh.update(entry.order_id for entry in entries)

        with mock.patch.object(self.ledger, "write", noting):
            decided = real(self, group)
        return {order_id: decision for order_id, decision in decided.items() if order_id in fresh}

    return mock.patch.object(CheckOrders, "_hold", changed)


@mutant("hold: money is added up in floats")
def _floats() -> AbstractContextManager[Any]:
    real = ledger.aggregate

    def changed(movements: Any) -> list[BalanceChange]:
        movements = list(movements)
        totals: dict[str, float] = {}
        for movement in movements:
            totals[movement.head] = totals.get(movement.head, 0.0) + float(movement.held)
        return [
            replace(each, held=held, balance=each.balance + each.held - held)
            for each in real(movements)
            for held in [Decimal(repr(totals[each.head]))]
        ]

    return mock.patch.object(check_orders, "aggregate", changed)


@mutant("hold: of two lines of one product, one is checked")
def _lines() -> AbstractContextManager[Any]:
    real = LedgerSpec.required_amounts

    def changed(self: LedgerSpec, details: Any) -> dict[str, Decimal]:
        if self.check is CheckType.BALANCE:
            return real(self, details)
        return {line.product_id: Decimal(line.qty) for line in details.items}

    return mock.patch.object(LedgerSpec, "required_amounts", changed)


@mutant("release: each look releases again")
def _released_twice() -> AbstractContextManager[Any]:
    return mock.patch.object(Release, "key", property(lambda self: f"RELEASE#{self.order_id}#{self.time}"))


@mutant("release: what is released is not what was held")
def _release_one() -> AbstractContextManager[Any]:
    def changed(entity: str, amount: Decimal) -> BalanceChange:
        return BalanceChange(entity, balance=2 * amount, held=-amount)

    return mock.patch.object(BalanceChange, "release", staticmethod(changed))


@mutant("release: of several products, only the first")
def _release_first() -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedgerRepository,
            movements: Sequence[BalanceChange],
            entries: Sequence[Entry],
            now: str,
        ) -> None:
            one = bool(entries) and isinstance(entries[0], Release)
            real(self, movements[:1] if one else movements, entries, now)

        return changed

    return _writes(change)


@mutant("release: what was declined as well")
def _release_declined() -> AbstractContextManager[Any]:
    real = CheckOrders._release

    def changed(self: CheckOrders, details: OrderDetails) -> None:
        holds = self.ledger.holds

        def as_held(order_ids: Any) -> dict[str, Hold]:
            return {
                order_id: replace(
                    hold,
                    decision=replace(hold.decision, outcome=Outcome.HELD),
                    amounts=hold.amounts or {hold.entity: hold.decision.requested},
                )
                for order_id, hold in holds(order_ids).items()
            }

        with mock.patch.object(self.ledger, "holds", as_held):
            real(self, details)

    return mock.patch.object(CheckOrders, "_release", changed)


@mutant("release: the hold is read without consistency, and a mark that is refused is taken for done")
@contextmanager
def _stale_hold() -> Iterator[None]:
    def get(self: DynamoLedgerRepository, keys: Any) -> Any:
        wanted = [{self._key: {"S": partition}, "entry": {"S": entry}} for partition, entry in keys]
        answer = self._client.batch_get_item(RequestItems={self._table: {"Keys": wanted}})
        return [from_item(item) for item in answer["Responses"][self._table]]

    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedgerRepository,
            movements: Sequence[BalanceChange],
            entries: Sequence[Entry],
            now: str,
        ) -> None:
            marks = [
                e for e in entries if isinstance(e, Hold) and e.decision.code is DeclineCode.ORDER_CLOSED
            ]
            with suppress(WriteRefusedError) if marks else nullcontext():
                real(self, movements, entries, now)

        return changed

    with mock.patch.object(DynamoLedgerRepository, "_get_many", get), _writes(change):
        yield


@mutant("adjust: no receipt of a key is written")
def _receipts() -> AbstractContextManager[Any]:
    real = AdjustBalance.adjust

    def changed(self: AdjustBalance, request: BalanceRequest) -> Adjusted:
        return real(self, replace(request, idempotent=False))

    return mock.patch.object(AdjustBalance, "adjust", changed)


@mutant("adjust: a key that comes again with another request is not noticed")
def _reused_for_adjusting() -> AbstractContextManager[Any]:
    real = DynamoLedgerRepository.adjustment
    never = mock.Mock(__ne__=lambda self, other: False)

    def changed(self: DynamoLedgerRepository, entity: str, adjustment_id: str) -> Adjustment | None:
        earlier = real(self, entity, adjustment_id)
        return earlier and replace(earlier, fingerprint=never)

    return mock.patch.object(DynamoLedgerRepository, "adjustment", changed)


def _capturing(change: Callable[[Order, Order | None], Order | None]) -> AbstractContextManager[Any]:
    """What a repeated order is held against is changed: the order that is there, given the one that came."""
    real = CaptureOrders._publish

    def changed(self: CaptureOrders, placed: Any, existing: Any, **more: Any) -> Any:
        came = {order.order_id: order for order in placed}
        seen = {order_id: change(came[order_id], order) for order_id, order in existing.items()}
        return real(self, placed, seen, **more)

    return mock.patch.object(CaptureOrders, "_publish", changed)


@mutant("capture: a key that comes again with another order is not noticed")
def _reused() -> AbstractContextManager[Any]:
    return _capturing(lambda came, order: order and replace(order, fingerprint=came.fingerprint))


@mutant("capture: a key that comes again with another batch is not noticed")
def _reused_for_batches() -> AbstractContextManager[Any]:
    real = DynamoOrderRepository.claim_key

    def changed(self: DynamoOrderRepository, record: IdempotencyRecord) -> IdempotencyRecord | None:
        earlier = real(self, record)
        return earlier and replace(earlier, fingerprint=record.fingerprint)

    return mock.patch.object(DynamoOrderRepository, "claim_key", changed)


@mutant("cancel: no record of a key is written")
def _unrecorded() -> AbstractContextManager[Any]:
    real = DynamoOrderRepository.save
    return mock.patch.object(
        DynamoOrderRepository,
        "save",
        lambda self, order, expected_version, key=None: real(self, order, expected_version),
    )


@mutant("cancel: the record of a key is written before the order, not with it")
def _recorded_first() -> AbstractContextManager[Any]:
    real = transactions.transact

    def changed(client: Any, actions: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
        if [kind for each in actions for kind in each] != ["Put", "Update"]:
            return real(client, actions)
        if refused := real(client, actions[:1]):
            return refused
        refused = real(client, actions[1:])
        return refused and [{"Code": "None"}, *refused]

    return mock.patch.object(order_repository, "transact", changed)


@mutant("cancel: a repeated request is answered with the order as it stands now")
def _cancelled_as_it_stands() -> AbstractContextManager[Any]:
    real = DynamoOrderRepository.first_answer

    def changed(self: DynamoOrderRepository, request_id: str) -> FirstAnswer[Order] | None:
        first = real(self, request_id)
        return first and replace(first, value=self.get(first.value.order_id) or first.value)

    return mock.patch.object(DynamoOrderRepository, "first_answer", changed)


@mutant("capture: a repeated request is answered with the order as it stands now")
def _as_it_stands() -> AbstractContextManager[Any]:
    return mock.patch.object(Order, "initial_snapshot", lambda self: self)


@mutant("capture: an order without a key that was not published is not withdrawn")
def _not_withdrawn() -> AbstractContextManager[Any]:
    return mock.patch.object(CaptureOrders, "_withdraw")


@mutant("capture: published before it is written")
def _publish_first() -> AbstractContextManager[Any]:
    real = CaptureOrders._publish

    def changed(self: CaptureOrders, placed: Any, *arguments: Any, **more: Any) -> Any:
        self.checks.send([CheckOrder.of(order.details, order.correlation_id) for order in placed])
        return real(self, placed, *arguments, **more)

    return mock.patch.object(CaptureOrders, "_publish", changed)


# How the status moves


@mutant("decide: one check is enough to confirm")
def _half_checked() -> AbstractContextManager[Any]:
    real = Order.record_check

    def changed(self: Order, check: CheckType, decision: CheckResult, *, now: str) -> Order:
        order = real(self, check, decision, now=now)
        pending = order.status is OrderStatus.PENDING
        return order._move(OrderStatus.CONFIRMED, now) if pending else order

    return mock.patch.object(Order, "record_check", changed)


@mutant("decide: of two answers in a batch, one counts")
def _one_answer() -> AbstractContextManager[Any]:
    real = DecideOrders._record_checks

    def changed(self: DecideOrders, order: Order, results: Any) -> Order:
        return real(self, order, results[-1:])

    return mock.patch.object(DecideOrders, "_record_checks", changed)


@mutant("decide: an answer that comes again is taken in again")
def _answered_again() -> AbstractContextManager[Any]:
    real = Order.record_check

    def changed(self: Order, check: CheckType, decision: CheckResult, *, now: str) -> Order:
        others = {each: answer for each, answer in self.checks.items() if each is not check}
        return real(replace(self, checks=others), check, decision, now=now)

    return mock.patch.object(Order, "record_check", changed)


def _following_up(changed: Callable[[Order], NextAction | None]) -> AbstractContextManager[Any]:
    return mock.patch.object(Order, "next_action", changed)


@mutant("refused: no release before both checks have answered")
def _late_release() -> AbstractContextManager[Any]:
    real = Order.next_action
    return _following_up(
        lambda order: (
            real(order) if order.status not in REFUSED or len(order.checks) == len(CheckType) else None
        )
    )


@mutant("refused: no release where one of the checks declined")
def _declined_enough() -> AbstractContextManager[Any]:
    real = Order.next_action

    def changed(self: Order) -> NextAction | None:
        declined = any(answer.outcome is Outcome.DECLINED for answer in self.checks.values())
        return None if self.status in REFUSED and declined else real(self)

    return _following_up(changed)


@mutant("decide: an answer moves any status")
def _any_status() -> AbstractContextManager[Any]:
    real = Order.record_check

    def changed(self: Order, check: CheckType, decision: CheckResult, *, now: str) -> Order:
        if check in self.checks:
            return self
        return real(replace(self, status=OrderStatus.PENDING), check, decision, now=now)

    return mock.patch.object(Order, "record_check", changed)


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
    real = Order.record_check

    def changed(self: Order, check: CheckType, decision: CheckResult, *, now: str) -> Order:
        decided = real(self, check, replace(decision, outcome=Outcome.HELD), now=now)
        return replace(decided, checks={**decided.checks, check: self.checks.get(check, decision)})

    return mock.patch.object(Order, "record_check", changed)


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


@mutant("publish: entries that failed are ignored")
def _sns_failures() -> AbstractContextManager[Any]:
    real = TopicPublisher._call
    return mock.patch.object(TopicPublisher, "_call", lambda self, entries: _all_is_well(real(self, entries)))


@mutant("send: entries that failed are ignored")
def _sqs_failures() -> AbstractContextManager[Any]:
    real = QueuePublisher._call
    return mock.patch.object(QueuePublisher, "_call", lambda self, entries: _all_is_well(real(self, entries)))


@mutant("send: what could not be sent is not reported")
def _unreported() -> AbstractContextManager[Any]:
    real = publishers._Publisher._send

    def changed(*arguments: Any) -> tuple[set[str], set[str]]:
        real(*arguments)
        return set(), set()

    return mock.patch.object(publishers._Publisher, "_send", changed)


@mutant("read: unprocessed keys are ignored, and an order that is not found is done with")
@contextmanager
def _unprocessed() -> Iterator[None]:
    real = DynamoOrderRepository.get_many

    def changed(self: DynamoOrderRepository, order_ids: Any) -> Any:
        client = self._client

        def read(**call: Any) -> Any:
            return {**client.batch_get_item(**call), "UnprocessedKeys": {}}

        with mock.patch.object(self, "_client", mock.Mock(batch_get_item=read)):
            return real(self, order_ids)

    with mock.patch.object(DynamoOrderRepository, "get_many", changed), ExitStack() as stack:
        for use_case in (DecideOrders, WatchOrders):
            stack.enter_context(_seeing_only(use_case, lambda order: order is not None))
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

    with mock.patch.object(batches, "collecting_failures", changed):
        yield


@mutant("queues: a message that can't be read is taken for done")
def _unread() -> AbstractContextManager[Any]:
    def is_read(body: str) -> bool:
        with suppress(InvalidMessageError):
            return bool(envelopes.decode(body))
        return False

    patches = ExitStack()
    for name in cloud.FED:
        app = functions.app(name)
        real: functions.Handler = app.handler

        def changed(event: Any, context: object, real: functions.Handler = real) -> Any:
            records = [each for each in event["Records"] if is_read(each["body"])]
            # SQS never delivers an empty batch, and Powertools refuses one.
            return real({"Records": records}, context) if records else {"batchItemFailures": []}

        patches.enter_context(mock.patch.object(app, "handler", changed))
    return patches


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


@mutant("events: those that could not be published are passed by")
def _events_swallowed() -> AbstractContextManager[Any]:
    real = TopicPublisher.send_all

    def changed(self: TopicPublisher, messages: Sequence[Message]) -> None:
        with suppress(TransientError):
            real(self, messages)

    return mock.patch.object(TopicPublisher, "send_all", changed)


@mutant("events: an order that changes twice in one batch is published once")
def _events_collapsed() -> AbstractContextManager[Any]:
    real = PublishOrderEvents.publish

    def changed(self: PublishOrderEvents, changes: Sequence[OrderChange]) -> None:
        last = {after.order_id: (before, after) for before, after in changes}
        real(self, list(last.values()))

    return mock.patch.object(PublishOrderEvents, "publish", changed)


@mutant("events: a new id each time that one is published")
def _events_new_ids() -> AbstractContextManager[Any]:
    return mock.patch.object(envelopes, "event_id", side_effect=lambda *_: str(uuid.uuid4()))


# What the watchdog does


def _seeing_only(
    use_case: type[DecideOrders | WatchOrders], wanted: Callable[[Order | None], bool]
) -> AbstractContextManager[Any]:
    """A use case that takes its messages about other orders for done."""
    real: Any = use_case.process

    def changed(self: DecideOrders | WatchOrders, messages: Any) -> Any:
        known = self.orders.get_many(sorted({message.order_id for message in messages}))
        return real(self, [each for each in messages if wanted(known.get(each.order_id))])

    return mock.patch.object(use_case, "process", changed)


def _passing_by(*statuses: OrderStatus) -> AbstractContextManager[Any]:
    return _seeing_only(WatchOrders, lambda order: order is None or order.status not in statuses)


@mutant("watchdog: passes by pending orders")
def _by_pending() -> AbstractContextManager[Any]:
    return _passing_by(OrderStatus.PENDING)


@mutant("watchdog: passes by confirmed orders")
def _by_confirmed() -> AbstractContextManager[Any]:
    return _passing_by(OrderStatus.CONFIRMED)


@mutant("watchdog: passes by refused orders")
def _by_refused_orders() -> AbstractContextManager[Any]:
    return _passing_by(*REFUSED)


@mutant("watchdog: passes by refused orders, and an early release leaves no mark")
@contextmanager
def _by_refused() -> Iterator[None]:
    with _passing_by(*REFUSED), _decline_unrecorded(frozenset({DeclineCode.ORDER_CLOSED})):
        yield


@mutant("watchdog: never looks again")
def _one_look() -> AbstractContextManager[Any]:
    real = QueuePublisher.send

    def changed(self: QueuePublisher, messages: Any) -> set[str]:
        return real(self, [m for m in messages if not (isinstance(m, WatchOrder) and m.attempts)])

    return mock.patch.object(QueuePublisher, "send", changed)


@mutant("watchdog: looks at a confirmed order only once")
def _one_look_at_confirmed() -> AbstractContextManager[Any]:
    real = WatchOrders.process

    def changed(self: WatchOrders, messages: Sequence[WatchOrder]) -> set[str]:
        shipped = set[str]()

        def ship(messages: Sequence[ShipOrder]) -> set[str]:
            shipped.update(message.details.order_id for message in messages)
            return send(messages)

        def watch(messages: Sequence[WatchOrder]) -> set[str]:
            return send_watches([message for message in messages if message.order_id not in shipped])

        send, send_watches = self.shipping.send, self.watches.send
        with mock.patch.object(self.shipping, "send", ship), mock.patch.object(self.watches, "send", watch):
            return real(self, messages)

    return mock.patch.object(WatchOrders, "process", changed)


@mutant("watchdog: sends nothing to the checkers again")
def _checks_nothing() -> AbstractContextManager[Any]:
    real = TopicPublisher.send

    def changed(self: TopicPublisher, messages: Any) -> set[str]:
        mine = self._sender.source.endswith("order_watchdog")
        return real(self, [m for m in messages if not (mine and isinstance(m, CheckOrder))])

    return mock.patch.object(TopicPublisher, "send", changed)


@mutant("what follows is sent only by who changed the status, and the watchdog passes by what is decided")
@contextmanager
def _only_on_change() -> Iterator[None]:
    real = update_with_retry.update_with_retry

    def changed(orders: Any, retry: Any, order_id: str, order: Any, *arguments: Any) -> Any:
        decided = real(orders, retry, order_id, order, *arguments)
        return decided if order is None or decided.status is not order.status else _Silent(decided)

    decided = [status for status in OrderStatus if status is not OrderStatus.PENDING]
    with mock.patch.object(decide_orders, "update_with_retry", changed), _passing_by(*decided):
        yield


class _Silent:
    """An order from whose status nothing follows."""

    def __init__(self, order: Order) -> None:
        self.status = order.status

    def next_action(self) -> None:
        return None


@mutant("cancel: sends no release, and the watchdog passes by refused orders")
@contextmanager
def _cancel_silently() -> Iterator[None]:
    real = TopicPublisher.send

    def changed(self: TopicPublisher, messages: Any) -> set[str]:
        mine = self._sender.source.endswith("order_api")
        return real(self, [m for m in messages if not (mine and isinstance(m, ReleaseOrder))])

    with mock.patch.object(TopicPublisher, "send", changed), _passing_by(OrderStatus.CANCELLED):
        yield


# Stripes


@mutant("stripes: an order is declined on one read of the heads, which is no snapshot")
def _stale_sum() -> AbstractContextManager[Any]:
    def changed(self: Any, entity: str) -> None:
        heads = self._ledger.heads(entity, self._stripes[entity])
        self.heads[entity], self.balances[entity] = heads, stripes.total(entity, heads)

    return mock.patch.object(check_orders._KnownBalances, "_collect", changed)


@mutant("stripes: an order is declined on what the one head has")
def _one_head() -> AbstractContextManager[Any]:
    def changed(entity: str, heads: Mapping[str, Balance]) -> Balance | None:
        root = heads.get(entity)
        return root and replace(root, balance=max(head.balance for head in heads.values()))

    return mock.patch.object(check_orders, "total", changed)


@mutant("stripes: a refill is not one step with the hold")
def _refill_apart() -> AbstractContextManager[Any]:
    def change(real: Write) -> Write:
        def changed(
            self: DynamoLedgerRepository,
            movements: Sequence[BalanceChange],
            entries: Sequence[Entry],
            now: str,
        ) -> None:
            donors = [each for each in movements if each.transfer < 0 and not each.held]
            if donors and entries and isinstance(entries[0], Hold):
                real(self, donors, [], now)
                movements = [each for each in movements if each not in donors]
            real(self, movements, entries, now)

        return changed

    return _writes(change)


@mutant("stripes: a refill adds, and takes from nobody")
def _refill_from_nowhere() -> AbstractContextManager[Any]:
    real = stripes.refill

    def changed(*arguments: Any) -> list[BalanceChange]:
        return real(*arguments)[-1:]

    return mock.patch.object(check_orders, "refill", changed)


@mutant("stripes: what a head gives is not a condition")
def _given_blindly() -> AbstractContextManager[Any]:
    real = ledger_repository.balance_update

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        action = real(table, key, movement, now)
        is_donor = movement.transfer < 0 and movement.expected is None
        return _without(action, "balance >=", ":least_balance") if is_donor else action

    return mock.patch.object(ledger_repository, "balance_update", changed)


@mutant("stripes: another head is settled than the one that holds")
def _settled_elsewhere() -> AbstractContextManager[Any]:
    real = BalanceChange.settle

    def changed(head: str, amount: Decimal) -> BalanceChange:
        return real(stripes.entity_of(head), amount)

    return mock.patch.object(BalanceChange, "settle", staticmethod(changed))


@mutant("stripes: what a stripe holds is released on the root")
def _released_elsewhere() -> AbstractContextManager[Any]:
    real = BalanceChange.release

    def changed(head: str, amount: Decimal) -> BalanceChange:
        return real(stripes.entity_of(head), amount)

    return mock.patch.object(BalanceChange, "release", staticmethod(changed))


@mutant("stripes: the root keeps what it gave its stripes")
def _split_doubles() -> AbstractContextManager[Any]:
    real = stripes.split

    def changed(*arguments: Any) -> list[BalanceChange]:
        root, *others = real(*arguments)
        return [replace(root, balance=root.balance / len(others)), *others]

    return mock.patch.object(check_orders, "split", changed)


@mutant("stripes: a root is split once more, over the stripes that there are")
def _split_again() -> AbstractContextManager[Any]:
    real = ledger_repository._new_head

    def changed(table: str, key: str, movement: BalanceChange, now: str) -> Action:
        action = real(table, key, movement, now)
        return _without(action, "attribute_not_exists") if stripes.is_stripe(movement.head) else action

    return _both(
        mock.patch.object(ledger_repository, "_new_head", changed),
        _movements_without("attribute_not_exists(stripes)"),
        _root_unstriped(),
    )


def _root_unstriped() -> AbstractContextManager[Any]:
    """Nobody notices that a root has stripes already when he splits it."""
    real = DynamoLedgerRepository.head

    def changed(self: DynamoLedgerRepository, entity: str) -> Balance | None:
        root = real(self, entity)
        return root and replace(root, stripes=0)

    return mock.patch.object(DynamoLedgerRepository, "head", changed)


def _both(*patches: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    together = ExitStack()
    for each in patches:
        together.enter_context(each)
    return together


@mutant("stripes: two roots, each of which is split for itself")
def _two_roots() -> AbstractContextManager[Any]:
    real = stripes.split

    def changed(*arguments: Any) -> list[BalanceChange]:
        return [replace(each, stripes=None, is_hold=each.is_hold) for each in real(*arguments)]

    return mock.patch.object(check_orders, "split", changed)


def _gathered(changed: Callable[[BalanceChange], BalanceChange]) -> AbstractContextManager[Any]:
    """Where all heads are set or deleted, the stripes are changed in another way."""
    real = stripes.gather

    def gather(*arguments: Any, **marks: Any) -> list[BalanceChange]:
        root, *others = real(*arguments, **marks)
        return [root, *map(changed, others)]

    return mock.patch.object(adjust_balance, "gather", gather)


@mutant("stripes: a stripe is forgotten when all are deleted or set")
def _forgotten() -> AbstractContextManager[Any]:
    real = stripes.gather

    def changed(*arguments: Any, **marks: Any) -> list[BalanceChange]:
        return real(*arguments, **marks)[:-1]

    return mock.patch.object(adjust_balance, "gather", changed)


@mutant("stripes: what is deleted stays for sale on its stripes")
def _for_sale() -> AbstractContextManager[Any]:
    return _gathered(lambda each: replace(each, deleted=None))


@mutant("stripes: a new price is that of the root alone")
def _old_price() -> AbstractContextManager[Any]:
    return _gathered(lambda each: replace(each, price=None))


@mutant("stripes: a balance is set whatever the stripes have sold meanwhile")
def _set_blindly() -> AbstractContextManager[Any]:
    return _gathered(lambda each: replace(each, expected=None))


@mutant("stripes: an order's decision is kept under the head that it was made on")
def _decision_by_head() -> AbstractContextManager[Any]:
    real = DynamoLedgerRepository._put

    def changed(self: DynamoLedgerRepository, entry: Entry) -> Action:
        action = real(self, entry)
        if isinstance(entry, Hold) and entry.amounts:
            action["Put"]["Item"][self._key] = {"S": next(iter(entry.amounts))}
        return action

    return mock.patch.object(DynamoLedgerRepository, "_put", changed)


@mutant("history: a head does not name the entries that it was written by")
def _nameless() -> AbstractContextManager[Any]:
    return mock.patch.object(BalanceChange, "made_by", lambda self, _entries: self)


@mutant("history: a head names the entries of other heads as well")
def _names_of_others() -> AbstractContextManager[Any]:
    def changed(movement: BalanceChange, entries: Sequence[Entry]) -> BalanceChange:
        amounts = {entry.key: amount for entry in entries for amount in entry.amounts.values()}
        return replace(movement, entries={**movement.entries, **amounts})

    return mock.patch.object(BalanceChange, "made_by", changed)


@dataclass(frozen=True)
class Caught:
    """How many schedules it took to see that a mutant is one, and what fell first; None if it lives."""

    name: str
    schedules: int
    broken: str | None


ROUGHLY = 2_000  # seeds, in which most mutants fall; what falls to a single fault alone is enumerated then


def hunt(name: str, limit: int = 10_000) -> Caught:
    """Run the schedules that `make test` runs, with a mutant, until one fails."""
    number = 0
    with functions.simulated(), MUTANTS[name](), swept():
        for number, broken in enumerate(_schedules(limit), 1):
            if broken:
                return Caught(name, number, broken[0])
    return Caught(name, number, None)


def _schedules(limit: int) -> Iterator[list[str]]:
    """What does not hold in the schedules of seed 0, 1, 2, …; between them, those with a single fault."""
    for seed in range(ROUGHLY):
        yield run_seed(seed).broken
    for scenario in SCENARIOS:
        for case in singles(scenario, interleaving=0):
            yield broken_in(case)
    for seed in range(ROUGHLY, limit):
        yield run_seed(seed).broken
