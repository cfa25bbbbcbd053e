"""The traditional design: order capture as a synchronous application. An order is answered with its decision.

It implements the contract of swagger.yaml. The serverless functions' code parses its requests and builds its
errors and responses, so that both do the same work. There is no token check. It differs from the contract in
that `POST /order` responds with 201 and the finished order, so there is no waiting, cancelling or following.

`benchmarks.traditional.server` runs it, with these variables:
- `DATABASE_URL`: the database;
- `CONNECTIONS`: how many connections each process has;
- `CREDIT_DELAY_MS`: see `credit`; without it there is no credit service.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi import Response as HttpResponse
from starlette.exceptions import HTTPException  # which the routing raises, rather than FastAPI's

from benchmarks.traditional import credit
from benchmarks.traditional.store import Store
from order_capture.adapters.serializers import decimal_json
from order_capture.adapters.system import clock, new_id
from order_capture.application.callers import Caller
from order_capture.domain.errors import NotFoundError, OrderCaptureError
from order_capture.domain.ledger import ACCOUNTS, STOCK
from order_capture.entrypoints.http import (
    conditional_get,
    ledger_requests,
    ledger_responses,
    order_requests,
    order_responses,
)
from order_capture.entrypoints.http.api import CORRELATION_HEADER, JSON, PROBLEM_JSON, Request, Response
from order_capture.entrypoints.http.problems import (
    RETRY_AFTER_SECONDS,
    MethodNotAllowedError,
    RequestInvalidError,
    is_retryable,
    problem,
)
from order_capture.entrypoints.http.requests import path_id

EVERYBODY = Caller("everybody")
"""There are no tokens, so all Idempotency-Keys belong to one caller."""


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to the database while the application runs."""
    app.state.store = await Store.open(os.environ["DATABASE_URL"], int(os.environ["CONNECTIONS"]))
    delay = os.environ.get("CREDIT_DELAY_MS")
    app.state.credit = credit.delayed(int(delay)) if delay else None
    try:
        yield
    finally:
        await app.state.store.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)  # swagger.yaml is the contract


# ----------------------------------------------------------------------------------------------- routes
@app.post("/order")
async def post_order(http: HttpRequest) -> HttpResponse:
    """Place an order, and respond with its decision."""
    request = await _request(http)
    order = order_requests.new_order(request, new_id, clock())
    await _check_credit(http)
    placed = await _store(http).place(order, keyed=request.idempotency_key is not None)
    headers = {"Location": f"order/{placed.order.order_id}"}
    view = order_responses.order_view(placed.order)
    return _answer(request, Response(view, HTTPStatus.CREATED, headers, placed.replayed))


@app.post("/orders")
async def post_orders(http: HttpRequest) -> HttpResponse:
    """Place the orders of a batch, in one transaction."""
    request = await _request(http)
    batch = order_requests.new_orders(request, new_id, clock())
    await _check_credit(http)
    placed = await _store(http).place_all(batch)
    view = order_responses.batch_view(placed)
    return _answer(request, Response(view, HTTPStatus.CREATED, replayed=placed.replayed))


@app.get("/order/{orderId}")
async def get_order(http: HttpRequest) -> HttpResponse:
    """Get an order."""
    request = await _request(http)
    order_id, *_ = conditional_get.requested_order(request)
    order = await _store(http).order(order_id)
    return _answer(request, conditional_get.answer(request, order, order_responses.order_view))


@app.get("/order/{orderId}/status")
async def get_order_status(http: HttpRequest) -> HttpResponse:
    """Get an order's status, and the reason."""
    request = await _request(http)
    order_id, *_ = conditional_get.requested_order(request)
    order = await _store(http).order(order_id)
    return _answer(request, conditional_get.answer(request, order, order_responses.status_view))


@app.post("/account")
async def post_account(http: HttpRequest) -> HttpResponse:
    """Set or adjust a customer's balance."""
    request = await _request(http)
    change = ledger_requests.account_change(request, new_id)
    adjusted = await _store(http).adjust(ACCOUNTS, change, clock())
    view = ledger_responses.head_view(ACCOUNTS, "customerId", change.entity, adjusted.head)
    return _answer(request, Response(view, replayed=adjusted.replayed))


@app.get("/account/{customerId}")
async def get_account(http: HttpRequest) -> HttpResponse:
    """Get a customer's balance."""
    request = await _request(http)
    request.refuse_parameters()
    entity = path_id(request, "customerId")
    balance = await _store(http).balance(ACCOUNTS, entity)
    return _answer(request, Response(ledger_responses.head_view(ACCOUNTS, "customerId", entity, balance)))


@app.post("/stock")
async def post_stock(http: HttpRequest) -> HttpResponse:
    """Set or adjust the stock of a product, and its price."""
    request = await _request(http)
    change = ledger_requests.stock_change(request, new_id)
    adjusted = await _store(http).adjust(STOCK, change, clock())
    view = ledger_responses.head_view(STOCK, "productId", change.entity, adjusted.head)
    return _answer(request, Response(view, replayed=adjusted.replayed))


@app.get("/stock/{productId}")
async def get_stock(http: HttpRequest) -> HttpResponse:
    """Get the stock of a product."""
    request = await _request(http)
    request.refuse_parameters()
    entity = path_id(request, "productId")
    balance = await _store(http).balance(STOCK, entity)
    return _answer(request, Response(ledger_responses.head_view(STOCK, "productId", entity, balance)))


@app.get("/health")
async def get_health(http: HttpRequest) -> HttpResponse:
    """Check whether orders can be placed: whether the database responds."""
    await _store(http).ping()
    return HttpResponse('{"status":"ok"}', media_type=JSON)


# ------------------------------------------------------------------------------- requests and responses
async def _request(http: HttpRequest) -> Request:
    """A request as the serverless functions read it."""
    request = Request(
        body=await http.body(),
        path={name: quote(value, safe="") for name, value in http.path_params.items()},
        query={name: http.query_params.getlist(name) for name in http.query_params},
        headers=dict(http.headers),
        request_id=new_id(),
        caller=EVERYBODY,
        operation=f"{http.method} {http.scope['route'].path}",
    )
    http.state.request = request
    _ = request.correlation_id  # must be absent or valid
    return request


def _answer(request: Request, response: Response) -> HttpResponse:
    headers = {**response.headers, CORRELATION_HEADER: request.correlation_id}
    if response.replayed:
        headers["Idempotency-Replayed"] = "true"
    if response.body is None:
        return HttpResponse(status_code=response.status, headers=headers)
    return HttpResponse(decimal_json.dumps(response.body), response.status, headers, media_type=JSON)


def _store(http: HttpRequest) -> Store:
    store: Store = http.app.state.store
    return store


async def _check_credit(http: HttpRequest) -> None:
    service: credit.CreditService | None = http.app.state.credit
    if service is not None:
        await service.check()


@app.exception_handler(OrderCaptureError)
@app.exception_handler(Exception)
async def refuse(http: HttpRequest, error: Exception) -> HttpResponse:
    """Respond with an error's problem document."""
    request: Request | None = getattr(http.state, "request", None)
    request_id = request.request_id if request else new_id()
    document = problem(error, request_id)
    headers: dict[str, str] = {CORRELATION_HEADER: request_id}
    if request is not None:
        with contextlib.suppress(RequestInvalidError):
            headers[CORRELATION_HEADER] = request.correlation_id
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = ", ".join(error.allowed)
    if is_retryable(error):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return HttpResponse(decimal_json.dumps(document), document["status"], headers, media_type=PROBLEM_JSON)


@app.exception_handler(HTTPException)
async def refuse_route(http: HttpRequest, error: HTTPException) -> HttpResponse:
    """Respond to an unknown path or method."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return await refuse(http, MethodNotAllowedError(sorted(allowed.split(", "))))
    return await refuse(http, NotFoundError("There is no such route."))
