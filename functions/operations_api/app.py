"""operations_api: shows operators the queues, dead letters and open orders, and repairs stuck ones."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import clock
from order_capture.entrypoints.http import operations
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler

app = RestApi()


@app.get("/operations/queues")
def get_queues(request: Request) -> Response:
    """GET /operations/queues."""
    request.refuse_parameters()
    return Response(operations.queues_view(bootstrap.list_queues().list(), clock()))


@app.get("/operations/dead-letters/{queue}")
def get_dead_letters(request: Request) -> Response:
    """GET /operations/dead-letters/{queue}."""
    channel, limit = operations.requested_channel(request), operations.requested_letters(request)
    return Response(operations.dead_letters_view(bootstrap.list_dead_letters().list(channel, limit)))


@app.post("/operations/dead-letters/{queue}/redrive")
def post_redrive(request: Request) -> Response:
    """POST /operations/dead-letters/{queue}/redrive."""
    channel, wanted = operations.requested_channel(request), operations.requested_redrive(request)
    redriven = bootstrap.redrive_dead_letters().redrive(channel, wanted.limit, dry_run=wanted.dryRun)
    return Response(operations.redriven_view(channel, redriven, dry_run=wanted.dryRun))


@app.post("/operations/dead-letters/{queue}/discard")
def post_discard(request: Request) -> Response:
    """POST /operations/dead-letters/{queue}/discard."""
    channel, message_ids = operations.requested_channel(request), operations.requested_discard(request)
    discarded = bootstrap.discard_dead_letters().discard(channel, message_ids)
    return Response(operations.discarded_view(channel, message_ids, discarded))


@app.get("/operations/open-orders")
def get_open_orders(request: Request) -> Response:
    """GET /operations/open-orders."""
    query = operations.requested_open_orders(request)
    page = bootstrap.list_open_orders().list_page(query.cursor, query.limit)
    return Response(operations.open_orders_view(page), headers=operations.page_headers(request, page))


@app.post("/operations/open-orders/recheck")
def post_recheck(request: Request) -> Response:
    """POST /operations/open-orders/recheck."""
    wanted = operations.requested_recheck(request)
    rechecked = bootstrap.recheck_orders().recheck(wanted.orderIds)
    return Response({"rechecked": rechecked}, HTTPStatus.ACCEPTED)


handler = api_handler(app, probe="/operations/open-orders")
