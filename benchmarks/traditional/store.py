"""Orders and balances in PostgreSQL. schema.sql has the transaction of an order, and its rationale."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

from order_capture.adapters.serializers import decimal_json
from order_capture.adapters.serializers.check_results import check_result_from
from order_capture.application.ledger.adjust_balance import Adjusted, BalanceRequest
from order_capture.application.orders.capture_orders import Batch, Captured, CapturedBatch
from order_capture.domain import ledger
from order_capture.domain.errors import (
    IdempotencyConflictError,
    NotFoundError,
    OrderCaptureError,
    RequestInProgressError,
    TransientError,
)
from order_capture.domain.ledger import ACCOUNTS, LEDGERS, STOCK, Balance, LedgerSpec
from order_capture.domain.order import CheckResult, CheckType, Order, OrderDetails, OrderLine
from order_capture.domain.times import format_utc

_TABLES = {ACCOUNTS.check: ("account", "customer_id"), STOCK.check: ("stock", "product_id")}
_RUNNING = "OC409"  # see schema.sql

# Timeouts for locks, statements and connections: a client that has waited this long has given up, and its
# abandoned request would delay the others.
LOCK_SECONDS, STATEMENT_SECONDS, CONNECTION_SECONDS = 5, 8, 5


class Store:
    """The database, over a pool of connections. Each method is a transaction, most are one round trip.

    Each raises `TransientError` if the database can't be reached or is overloaded. The
    transaction had no effect, unless the connection broke during the commit: then a retry is safe only
    with an Idempotency-Key.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @staticmethod
    async def open(dsn: str, connections: int) -> Store:
        """Connect to a database, with all connections from the start: no request waits for a new one."""

        async def keep(_connection: asyncpg.Connection) -> None:
            """Skip the reset: a connection has no state to reset, and each reset would be a round trip."""

        settings = {
            "lock_timeout": f"{LOCK_SECONDS}s",
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "jit": "off",  # pays off only for queries slower than their compilation
        }
        # asyncpg prepares each statement once per connection.
        pool = await asyncpg.create_pool(
            dsn, min_size=connections, max_size=connections, reset=keep, server_settings=settings
        )
        return Store(pool)

    async def close(self) -> None:
        """Wait for open transactions, and disconnect."""
        await self._pool.close()

    async def ping(self) -> None:
        """Check that the database responds."""
        await self._pool.fetchval("SELECT 1")

    # ------------------------------------------------------------------------------------------- orders
    async def place(self, order: Order, *, keyed: bool) -> Captured:
        """Place one order: it is SHIPPED or REJECTED when this returns.

        Raises:
            IdempotencyConflictError: its key was used with another request.
            RequestInProgressError: the first request with its key is still running.
        """
        async with self._connection() as connection:
            row = await connection.fetchrow("SELECT * FROM place_order($1)", _json(_values(order, keyed)))
            if row["status"] is not None:
                return Captured(_decided(order, row["declined"]), replayed=False)
            return await self._replayed(connection, order)

    async def place_all(self, batch: Batch) -> CapturedBatch:
        """Place the valid orders of a batch, in one transaction.

        Raises:
            IdempotencyConflictError: its key was used with another request.
            RequestInProgressError: the first request with its key is still running.
        """
        valid = [entry for entry in batch.entries if isinstance(entry, Order)]
        async with self._connection() as connection:
            if batch.request_id is None:
                placed, replayed = await self._place(connection, valid), False
            else:
                async with connection.transaction():
                    first = await _first_answer(connection, batch.request_id, batch.fingerprint)
                    replayed = first is not None
                    if replayed:
                        placed = [await self._replayed(connection, order) for order in valid]
                    else:
                        placed = await self._place(connection, valid)
                        await _answer(connection, batch.request_id, batch.fingerprint, None)
        answers = iter(placed)
        entries: list[Captured | OrderCaptureError] = [
            next(answers) if isinstance(entry, Order) else entry for entry in batch.entries
        ]
        return CapturedBatch(entries, replayed)

    async def order(self, order_id: str) -> Order:
        """Return an order.

        Raises:
            NotFoundError: the order does not exist.
        """
        if not _is_uuid(order_id):
            raise NotFoundError("There is no such order.")
        async with self._connection() as connection:
            return await _find(connection, order_id)

    async def _place(self, connection: asyncpg.Connection, orders: Sequence[Order]) -> list[Captured]:
        if not orders:
            return []
        values = _json([_values(order, keyed=False) for order in orders])
        rows = await connection.fetch("SELECT * FROM place_orders($1)", values)
        return [
            Captured(_decided(order, row["declined"]), replayed=False)
            for order, row in zip(orders, rows, strict=True)
        ]

    async def _replayed(self, connection: asyncpg.Connection, order: Order) -> Captured:
        first = await _find(connection, order.order_id)
        if first.fingerprint and first.fingerprint != order.fingerprint:
            raise IdempotencyConflictError
        return Captured(first, replayed=True)

    # ----------------------------------------------------------------------------------------- balances
    async def adjust(self, kind: LedgerSpec, request: BalanceRequest, now: str) -> Adjusted:
        """Change a balance once, even if it is requested repeatedly.

        Raises:
            BalanceOutOfRangeError: it would fall below zero or exceed the maximum.
            IdempotencyConflictError: the key was used with another request.
            NotFoundError: there is no balance to adjust.
            RequestInProgressError: the first request with its key is still running.
        """
        table, id_column = _TABLES[kind.check]
        async with self._connection() as connection, connection.transaction():
            if request.idempotent:
                first = await _first_answer(connection, request.adjustment_id, request.fingerprint)
                if first is not None:
                    return Adjusted(_balance(decimal_json.loads(first)), replayed=True)
            # Orders lock the row; inserts lock the id, since the row may not exist yet.
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", request.entity, len(table)
            )
            row = await connection.fetchrow(
                f"SELECT * FROM {table} WHERE {id_column} = $1 FOR NO KEY UPDATE", request.entity
            )
            before = _balance(row) if row else None
            if before is None and request.balance is None:
                raise NotFoundError(f"{request.entity} is unknown: set its balance first.")
            after = ledger.adjust(
                kind, before, now, balance=request.balance, by=request.adjust, price=request.price
            )
            values = _columns(kind, request.entity, after)
            names = ", ".join(values)
            places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
            changed = ", ".join(f"{name} = excluded.{name}" for name in values if name != id_column)
            insert = f"INSERT INTO {table} ({names}) VALUES ({places})"
            update = f"ON CONFLICT ({id_column}) DO UPDATE SET {changed}"
            await connection.execute(f"{insert} {update}", *values.values())
            if request.idempotent:
                answer = {**values, "update_time": now}
                await _answer(connection, request.adjustment_id, request.fingerprint, answer)
            return Adjusted(after, replayed=False)

    async def balance(self, kind: LedgerSpec, entity: str) -> Balance:
        """Return the balance of a customer or product.

        Raises:
            NotFoundError: it has no balance.
        """
        table, id_column = _TABLES[kind.check]
        async with self._connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {table} WHERE {id_column} = $1", entity)
        if row is None:
            raise NotFoundError("No balance is set for it.")
        return _balance(row)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for a block; maps the database's errors to ours."""
        try:
            async with self._pool.acquire(timeout=CONNECTION_SECONDS) as connection:
                yield connection
        except _TRANSIENT as error:
            raise TransientError(
                "The database is too busy at this moment. Send the same request again."
            ) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate == _RUNNING:
                raise RequestInProgressError from error
            raise


_TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.LockNotAvailableError,  # LOCK_SECONDS have passed
    asyncpg.QueryCanceledError,  # STATEMENT_SECONDS have passed
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it is shut down
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # a deadlock; the lock order should prevent it
    asyncpg.InterfaceError,  # the connection is closed
)


async def _first_answer(connection: asyncpg.Connection, request_id: str, fingerprint: str) -> Any:
    """The response to the first request with a key, as JSON; None if this is the first."""
    await connection.execute("SELECT enter($1)", request_id)
    row = await connection.fetchrow("SELECT * FROM keyed_request WHERE request_id = $1", request_id)
    if row is None:
        return None
    if row["fingerprint"] != fingerprint:
        raise IdempotencyConflictError
    return row["answer"] or "null"


async def _answer(connection: asyncpg.Connection, request_id: str, fingerprint: str, answer: Any) -> None:
    """Store the response to a request with a key."""
    written = None if answer is None else _json(answer)
    await connection.execute(
        "INSERT INTO keyed_request VALUES ($1, $2, $3)", request_id, fingerprint, written
    )


async def _find(connection: asyncpg.Connection, order_id: str) -> Order:
    row = await connection.fetchrow("SELECT * FROM customer_order WHERE order_id = $1", order_id)
    if row is None:
        raise NotFoundError("There is no such order.")
    details = OrderDetails(
        order_id=str(row["order_id"]),
        customer_id=row["customer_id"],
        items=tuple(
            OrderLine(each["product_id"], each["qty"], _price(each["unit_price"]))
            for each in decimal_json.loads(row["items"])
        ),
        total_amount=row["total_amount"],
    )
    order = Order.place(
        details,
        now=format_utc(row["create_time"]),
        correlation_id=row["correlation_id"],
        fingerprint=row["fingerprint"] or "",
        callback_url=row["callback_url"],
    )
    return _decided(order, row["declined"])


def _decided(order: Order, declined: str | None) -> Order:
    """The order after it was placed. All its steps have the time of the transaction.

    For a refused order only the checks that refuse it are recorded: nothing is held for it.
    """
    now = order.create_time
    if declined is not None:
        for name, values in sorted(decimal_json.loads(declined).items()):
            order = order.record_check(CheckType[name.upper()], check_result_from(values), now=now)
        return order
    for check, kind in LEDGERS.items():
        order = order.record_check(check, _held(kind, order.details), now=now)
    return order.ship(now=now)


def _values(order: Order, keyed: bool) -> dict[str, Any]:
    """An order as arguments for `place_order`."""
    details = order.details
    prices = STOCK.unit_prices(details)
    return {
        "order_id": details.order_id,
        "customer_id": details.customer_id,
        "items": [
            {"product_id": line.product_id, "qty": line.qty, "unit_price": line.unit_price}
            for line in details.items
        ],
        "total_amount": details.total_amount,
        "correlation_id": order.correlation_id,
        "callback_url": order.callback_url,
        "fingerprint": order.fingerprint if keyed else None,
        "create_time": order.create_time,
        "lines": [
            {"product_id": product_id, "units": units, "unit_price": prices.get(product_id)}
            for product_id, units in STOCK.required_amounts(details).items()
        ],
    }


def _held(kind: LedgerSpec, details: OrderDetails) -> CheckResult:
    """The result of a check with a sufficient balance."""
    return ledger.decide_holds(kind, [details], {})[details.order_id]


def _columns(kind: LedgerSpec, entity: str, balance: Balance) -> dict[str, Any]:
    """A balance as a row of its table."""
    _, id_column = _TABLES[kind.check]
    number = int if kind is STOCK else Decimal
    return {
        id_column: entity,
        "balance": number(balance.balance),
        "settled": number(balance.settled),
        "version": balance.version,
        "update_time": datetime.fromisoformat(balance.update_time),
        **({"price": balance.price} if kind is STOCK else {}),
    }


def _balance(row: Mapping[str, Any]) -> Balance:
    """A balance from a row, or from the stored response to an earlier request."""
    time = row["update_time"]
    return Balance(
        balance=Decimal(row["balance"]),
        settled=Decimal(row["settled"]),
        version=row["version"],
        update_time=time if isinstance(time, str) else format_utc(time),
        price=_price(row.get("price")),
    )


def _price(value: Any) -> Decimal | None:
    return None if value is None else ACCOUNTS.amount(Decimal(value))


def _is_uuid(text: str) -> bool:
    """Whether it is a UUID as this application writes them, as all order ids are."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _json(value: Any) -> str:
    return decimal_json.dumps(value)
