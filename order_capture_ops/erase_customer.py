"""Erase a customer: delete the name, and keep the books under a pseudonym.

Without the customer's orders, neither the products nor the reports would add up. So every order and ledger
entry of the customer gets a random pseudonym, which is not stored with the old name once the erasure is
complete. Data that only describes the customer is deleted.

The pseudonym is stored in the account's partition first, and deleted last: an interrupted erasure continues
with the same one, and the audit reports it as unfinished.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import botocore.exceptions

from order_capture.adapters import system
from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.dynamodb.subscription_repository import DynamoSubscriptionRepository
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ports import SubscriptionTarget
from order_capture.application.retry import Retry
from order_capture.domain.errors import NotFoundError, OpenHoldsError
from order_capture.domain.history import Commit
from order_capture.domain.ledger import ACCOUNTS, Adjustment
from order_capture.domain.stripes import SEPARATOR, head_names
from order_capture_ops.close_books import (
    EndedOrder,
    close_adjustments,
    delete_all,
    ended_orders,
    write,
)
from order_capture_ops.customer_data import (
    CustomerData,
    CustomerTables,
    account_items,
    collect,
    orders_of,
    query,
    stripes_of,
)
from order_capture_ops.errors import CommandError, UsageError
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack
from order_capture_ops.tables import (
    BALANCE_ENTRY,
    CLOSING_ENTRY,
    ERASURE_ENTRY,
    ORDER_PREFIX,
    UNREADABLE,
    LedgerTable,
    Tables,
)

PREFIX = "erased:"
PATIENCE = 60
"""Seconds to wait for changes in progress: an order placed a moment ago, the history's last record."""

_NAMED = 3  # open orders listed in an error


@dataclass
class Erasure:
    """What was erased, or would be in a dry run."""

    customer_id: str
    pseudonym: str = ""
    """Empty if there was nothing to keep under one."""
    found: dict[str, int] = field(default_factory=dict)
    """The number of items of each kind before the erasure."""


def erase_customer(
    stack: Stack,
    customer_id: str,
    *,
    dry_run: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
) -> Erasure:
    """Erase a customer. It may be interrupted, and run again.

    Raises:
        UsageError: the id is a pseudonym.
        CommandError: the customer has unfinished orders, or something could not be erased yet.
        TransientError: the tables are too busy; it may be run again.
    """
    if customer_id.startswith(PREFIX):
        raise UsageError(f"CUSTOMER: {customer_id} is the pseudonym of a customer who was erased.")
    data = collect(stack, customer_id, on_progress)
    erasure = Erasure(customer_id, found=data.counts)
    all_tables = CustomerTables.of(stack)
    tables = all_tables.tables
    _refuse_unfinished(tables, data)
    if dry_run or not any(data.counts.values()):
        return erasure
    erasure.pseudonym = _pseudonym(tables.accounts, customer_id)
    # The user first: no new tokens are issued. Then the account: tokens issued before are of no use.
    _delete_user(stack, customer_id)
    _delete_account(tables.accounts, customer_id)
    _unsubscribe(all_tables, data)
    _rename_orders(tables, customer_id, erasure.pseudonym, on_progress)
    _rename_account(tables, customer_id, erasure.pseudonym)
    _forget(all_tables, data, erasure.pseudonym)
    left = collect(stack, customer_id)
    left.account = [item for item in left.account if item["entry"]["S"] != ERASURE_ENTRY]
    if remaining := {name: number for name, number in left.counts.items() if number}:
        what = ", ".join(f"{name}: {number}" for name, number in remaining.items())
        raise CommandError(
            f"Something of {customer_id} was written in the meantime ({what}). Run the command again."
        )
    accounts = tables.accounts
    mark = {accounts.key: customer_id, "entry": ERASURE_ENTRY}
    accounts.client.delete_item(TableName=accounts.name, Key=to_item(mark))
    return erasure


def _refuse_unfinished(tables: Tables, data: CustomerData) -> None:
    """Refuse unfinished orders: they would continue under a name that differs from their messages'."""
    waiting = [f"{order_id} ({reason})" for order_id, reason in _unfinished(tables, data.orders)]
    if waiting:
        named = "\n".join(waiting[:_NAMED])
        more = f"\nand {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
        orders = "an open order" if len(waiting) == 1 else f"{len(waiting)} open orders"
        raise CommandError(
            f"{data.customer_id} has {orders}. "
            f"Cancel them or wait until they end, then run the command again:\n{named}{more}"
        )


def _unfinished(tables: Tables, orders: list[Item]) -> Iterator[tuple[str, str]]:
    for item, ended in ended_orders(tables, orders):
        if reason := ended.unfinished if ended else "it can't be read":
            yield item["orderId"]["S"], reason


def _pseudonym(accounts: LedgerTable, customer_id: str) -> str:
    """The customer's pseudonym: a new one, or an interrupted erasure's."""
    item = {
        accounts.key: customer_id,
        "entry": ERASURE_ENTRY,
        "pseudonym": f"{PREFIX}{uuid.uuid4().hex}",
        "time": system.clock(),
    }
    try:
        accounts.client.put_item(
            TableName=accounts.name,
            Item=to_item(item),
            ConditionExpression="attribute_not_exists(entry)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        existing: Any = error.response
        return str(existing["Item"]["pseudonym"]["S"])
    return str(item["pseudonym"])


def _delete_user(stack: Stack, customer_id: str) -> None:
    pool = stack.client("cognito-idp")
    try:
        pool.admin_delete_user(UserPoolId=stack.output("UserPoolId"), Username=customer_id)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "UserNotFoundException":
            raise


def _delete_account(accounts: LedgerTable, customer_id: str) -> None:
    """Delete the account as the API does: consumers with a copy get the tombstone."""
    retry = Retry(system.backoff)
    ledger = DynamoLedgerRepository(accounts.client, accounts.name, accounts.key, retry)
    request = BalanceRequest(customer_id, system.new_id(), "", idempotent=False, delete=True)
    try:
        AdjustBalance(ACCOUNTS, ledger, system.clock, retry).adjust(request)
    except NotFoundError:
        pass  # it does not exist, or was deleted before
    except OpenHoldsError as error:
        raise CommandError(f"{customer_id}: {error}") from error


def _unsubscribe(all_tables: CustomerTables, data: CustomerData) -> None:
    table = all_tables.connections
    subscriptions = DynamoSubscriptionRepository(table.client, table.name, Retry(system.backoff))
    target = SubscriptionTarget.customer(data.customer_id)
    for connection_id in data.connections:
        subscriptions.remove(connection_id, target)
    key = {"followed": f"customer#{data.customer_id}", "connectionId": "*"}
    table.client.delete_item(TableName=table.name, Key=to_item(key))


def _rename_orders(tables: Tables, customer_id: str, pseudonym: str, on_progress: ProgressCallback) -> None:
    """Give the orders the pseudonym, including those placed meanwhile, once they have ended."""
    for _ in range(PATIENCE):
        orders = orders_of(tables, customer_id)
        if not orders:
            return
        for item, ended in ended_orders(tables, orders):
            if ended and not ended.unfinished:
                write(tables.orders.client, _rename_order(tables, item, ended, pseudonym))
                on_progress("orders renamed", 1)
        # The index lags behind the table, and an order placed meanwhile is declined in a moment.
        system.sleep(1.0)
    raise CommandError(
        f"Orders of {customer_id} are still open. Wait until they have ended, and run the command again."
    )


def _rename_order(tables: Tables, item: Item, ended: EndedOrder, pseudonym: str) -> list[dict[str, Any]]:
    """Give an order and its entries the pseudonym in one transaction, so that they always agree."""
    customer_id, order_id, accounts = item["customerId"]["S"], ended.order.order_id, tables.accounts
    update = {
        "TableName": tables.orders.name,
        "Key": to_item({"orderId": order_id}),
        "UpdateExpression": "SET customerId = :pseudonym, checks = :checks, correlationId = :order, "
        "version = version + :one REMOVE callbackUrl",
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": to_item(
            {
                ":pseudonym": pseudonym,
                ":checks": _renamed(from_item(item)["checks"], customer_id, pseudonym),
                ":order": order_id,  # the client chose the old one, which may contain anything
                ":one": 1,
                ":version": ended.version,
            }
        ),
    }
    keys = (
        {accounts.key: f"{ORDER_PREFIX}{order_id}", "entry": entry.key}
        for entry in ended.entries[accounts]
        if entry
    )
    puts = [
        {
            "Put": {
                "TableName": accounts.name,
                "Item": to_item(_renamed(from_item(entry), customer_id, pseudonym)),
                "ConditionExpression": "attribute_exists(entry)",
            }
        }
        for entry in accounts.get_many(keys)
    ]
    return [{"Update": update}, *puts]


def _renamed(value: Any, customer_id: str, pseudonym: str) -> Any:
    """A value in which the pseudonym replaces the customer, and the account's stripes."""
    match value:
        case dict():
            return {
                _renamed(name, customer_id, pseudonym): _renamed(each, customer_id, pseudonym)
                for name, each in value.items()
            }
        case list():
            return [_renamed(each, customer_id, pseudonym) for each in value]
        case str() if value == customer_id or value.startswith(f"{customer_id}{SEPARATOR}"):
            return f"{pseudonym}{value.removeprefix(customer_id)}"
    return value


def _rename_account(tables: Tables, customer_id: str, pseudonym: str) -> None:
    """Move the account's figures to the pseudonym, and replace its adjustments by their sum.

    The result is a tombstone without a history, which the audit recognizes by its closing. The root is moved
    last, since it has the number of stripes.
    """
    accounts = tables.accounts
    items = account_items(accounts, customer_id)
    heads = {item[accounts.key]["S"]: item for item in items if item["entry"]["S"] == BALANCE_ENTRY}
    _await_history(tables, heads)
    close_adjustments(accounts, customer_id, [*_adjustments(accounts, items)])
    closings = accounts.closings({customer_id, *heads})
    for name in sorted(heads, reverse=True):
        actions = _move(accounts, heads[name], f"{pseudonym}{name.removeprefix(customer_id)}")
        if name == customer_id or name in closings:
            actions += _move_closing(accounts, name, closings.get(name), pseudonym, customer_id)
        write(accounts.client, actions)
    if customer_id not in heads and not accounts.closings([pseudonym]):
        write(accounts.client, _move_closing(accounts, customer_id, None, pseudonym, customer_id))


def _move(accounts: LedgerTable, item: Item, name: str) -> list[dict[str, Any]]:
    # Without the entries of its last write, and not listed.
    kept = {key: value for key, value in item.items() if key not in ("lastEntries", "listed")}
    delete = {
        "TableName": accounts.name,
        "Key": {key: item[key] for key in (accounts.key, "entry")},
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": {":version": item["version"]},
    }
    put = {"TableName": accounts.name, "Item": {**kept, accounts.key: {"S": name}}}
    return [{"Put": put}, {"Delete": delete}]


def _move_closing(
    accounts: LedgerTable, name: str, closing: Item | None, pseudonym: str, customer_id: str
) -> list[dict[str, Any]]:
    new = {
        **(closing or {"entry": {"S": CLOSING_ENTRY}}),
        accounts.key: {"S": f"{pseudonym}{name.removeprefix(customer_id)}"},
        "erased": {"N": "1"},
    }
    actions: list[dict[str, Any]] = [{"Put": {"TableName": accounts.name, "Item": new}}]
    if closing:
        key = {each: closing[each] for each in (accounts.key, "entry")}
        actions.append({"Delete": {"TableName": accounts.name, "Key": key}})
    return actions


def _adjustments(accounts: LedgerTable, items: list[Item]) -> Iterator[Adjustment]:
    for item in items:
        if item["entry"]["S"].startswith("ADJUST#"):
            try:
                entry = accounts.read_entry(item)
            except UNREADABLE as error:
                raise CommandError(f"{item['entry']['S']} can't be read: run make audit.") from error
            if isinstance(entry, Adjustment):
                yield entry


def _await_history(tables: Tables, heads: Mapping[str, Item]) -> None:
    """Wait until the history has the last write of each root and stripe: no record follows it."""
    waiting = dict(heads)
    for _ in range(PATIENCE):
        for name, item in list(waiting.items()):
            records = tables.history.records(tables.accounts, name)
            versions = {each.after.version for each in records if isinstance(each, Commit)}
            if Decimal(item["version"]["N"]) in versions or _is_closed(tables, item):
                del waiting[name]
        if not waiting:
            return
        system.sleep(1.0)
    raise CommandError(
        "The history does not have the account's last change yet. Run the command again in a minute."
    )


def _is_closed(tables: Tables, item: Item) -> bool:
    """Whether the history of the last write is already deleted."""
    return bool(item["updateTime"]["S"] <= tables.accounts.closed_until())


def _forget(all_tables: CustomerTables, data: CustomerData, pseudonym: str) -> None:
    """Delete data that only describes the customer."""
    tables, customer_id = all_tables.tables, data.customer_id
    accounts = tables.accounts
    root = query(accounts, accounts.key, pseudonym)
    stripes = max((stripes_of(item) for item in root), default=0)
    for name in head_names(customer_id, stripes):
        lines = query(tables.history, "entity", f"{accounts.key}#{name}")
        delete_all(tables.history, [{each: line[each] for each in ("entity", "line")} for line in lines])
    webhooks = [*query(all_tables.webhooks, "customerId", customer_id), *data.webhook_keys]
    delete_all(
        all_tables.webhooks, [{each: item[each] for each in ("customerId", "entry")} for item in webhooks]
    )
    delete_all(tables.orders, [{"orderId": item["orderId"]} for item in data.order_keys])
