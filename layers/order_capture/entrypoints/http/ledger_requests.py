"""Requests about accounts and stock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from order_capture.application.ledger.adjust_balance import BalanceRequest
from order_capture.application.ledger.list_balances import BalanceQuery
from order_capture.domain.ledger import ACCOUNTS, STOCK, UNPRICED
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError
from order_capture.entrypoints.http.requests import (
    MAX_BODY_BYTES,
    MAX_PAGE,
    NOT_A_CURSOR,
    Body,
    Id,
    IdPrefix,
    Money,
    Price,
    Query,
    Units,
    WholeNumber,
    cursor_reader,
    fingerprint_of,
    is_id,
    path_id,
    query_of,
    read_body,
    request_key,
)

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request


class _Change(Body):
    """Exactly one of `balance` and `adjust`; where there is a `price`, it may come alone."""

    @model_validator(mode="after")
    def _one_of_two(self) -> _Change:
        given = {name: getattr(self, name) for name in self.model_fields_set & {"balance", "adjust"}}
        if not given and "price" in type(self).model_fields:
            if "price" in self.model_fields_set:
                return self
            raise PydanticCustomError(
                "one_of", "one of balance, adjust and price is required", {"field": "balance"}
            )
        if len(given) != 1 or None in given.values():
            raise PydanticCustomError(
                "one_of", "exactly one of balance and adjust is required", {"field": "balance"}
            )
        return self


class AccountChange(_Change):
    """The body of `POST /account`."""

    customerId: Id  # noqa: N815
    balance: Annotated[Money, Field(ge=0, le=ACCOUNTS.max_balance)] | None = None
    adjust: Annotated[Money, Field(ge=-ACCOUNTS.max_balance, le=ACCOUNTS.max_balance)] | None = None


class StockChange(_Change):
    """The body of `POST /stock`."""

    productId: Id  # noqa: N815
    balance: Annotated[Units, Field(ge=0, le=int(STOCK.max_balance))] | None = None
    adjust: Annotated[Units, Field(ge=-int(STOCK.max_balance), le=int(STOCK.max_balance))] | None = None
    price: Price | None = None


def _id_in_cursor(cursor: str) -> str:
    if not is_id(entity := pagination.unpack(cursor)):
        raise ValueError(cursor)
    return entity


class ListBalancesQuery(Query):
    """The query of `GET /account` and `GET /stock`."""

    prefix: IdPrefix | None = None
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, PlainValidator(cursor_reader(_id_in_cursor))] | None = None


def balances_query(request: Request) -> BalanceQuery:
    """The customers or products requested by `GET /account` and `GET /stock`.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    query = query_of(ListBalancesQuery, request)
    prefix = query.prefix or ""
    if query.cursor is not None and not query.cursor.startswith(prefix):
        # A cursor of another list. DynamoDB would refuse it.
        raise RequestInvalidError([FieldError("cursor", NOT_A_CURSOR)])
    return BalanceQuery(prefix, query.cursor, query.limit)


def account_change(request: Request, new_id: Callable[[], str]) -> BalanceRequest:
    """The change requested by `POST /account`.

    Raises:
        RequestInvalidError: with every invalid field.
    """
    body, of_body = read_body(AccountChange, request, MAX_BODY_BYTES)
    return _change(body.customerId, body.balance, body.adjust, of_body, request, new_id)


def stock_change(request: Request, new_id: Callable[[], str]) -> BalanceRequest:
    """The change requested by `POST /stock`.

    Raises:
        RequestInvalidError: with every invalid field.
    """
    body, of_body = read_body(StockChange, request, MAX_BODY_BYTES)
    balance, adjust = (None if units is None else Decimal(units) for units in (body.balance, body.adjust))
    change = _change(body.productId, balance, adjust, of_body, request, new_id)
    if "price" not in body.model_fields_set:
        return change
    if balance is None and adjust is None:
        change = replace(change, adjust=Decimal(0))
    return replace(change, price=UNPRICED if body.price is None else ACCOUNTS.amount(body.price))


def deletion(request: Request, new_id: Callable[[], str], name: str) -> BalanceRequest:
    """The deletion that a `DELETE` requests; `name` is the path parameter's name.

    Raises:
        NotFoundError: it is not a valid id.
        RequestInvalidError: with every invalid header or parameter.
    """
    entity = path_id(request, name)
    request.refuse_parameters()
    return _change(entity, None, None, "", request, new_id, delete=True)


def _change(
    entity: str,
    balance: Decimal | None,
    adjust: Decimal | None,
    of_body: str,
    request: Request,
    new_id: Callable[[], str],
    *,
    delete: bool = False,
) -> BalanceRequest:
    key, fingerprint = request_key(request, of_body), fingerprint_of(request, of_body)
    adjustment_id = key.request_id if key else new_id()
    return BalanceRequest(entity, adjustment_id, fingerprint, key is not None, balance, adjust, delete)
