"""The orders of a run: which were accepted, and how each ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from benchmarks.load.targets import Api, View, in_parallel
from benchmarks.load.traffic import TERMINAL, Answer, results_of

# Seconds between two reads of the open orders. An order's duration comes from its own times, and each read
# adds load.
_PAUSE_SECONDS = 1.0
_FEW = 40  # orders: reading each is cheaper than reading the lists of all customers


@dataclass(frozen=True)
class Order:
    """An accepted order: what was sent and when; once it was followed, also its outcome."""

    order_id: str
    mix: str
    key: str
    sent: Mapping[str, Any]
    sent_at: float
    """Seconds since the epoch, by this machine's clock; of the first request if it was repeated."""
    answered_at: float
    answer_status: str
    """The order's status in the response: a synchronous server has decided it by then."""
    after_load: bool
    """Whether the only response with its id came after the load: then its duration is unknown."""


@dataclass
class Intake:
    """The results of the sent orders, from the responses."""

    orders: dict[str, Order] = field(default_factory=dict)
    """Accepted orders, by id."""
    ids_by_key: dict[str, list[set[str]]] = field(default_factory=dict)
    """All ids ever returned for a key, one set for each position in the request."""
    refused: Counter[int] = field(default_factory=Counter)
    """Orders that were never accepted, by the HTTP status of the last response; 0 without one."""
    unknown: list[Answer] = field(default_factory=list)
    """Requests without a response that shows whether their orders were placed."""


def take_in(answers: Iterable[Answer]) -> Intake:
    """Collect the responses to POST requests by their keys."""
    by_key: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.body:
            by_key.setdefault(answer.key, []).append(answer)
    intake = Intake()
    for key, repeated in by_key.items():
        in_order = sorted(repeated, key=lambda answer: answer.sent_at)
        places: list[set[str]] = [set() for _ in in_order[0].sent_orders]
        for answer in in_order:
            for place, result in enumerate(answer.results[: len(places)]):
                if "orderId" in result:
                    places[place].add(result["orderId"])
                    intake.orders.setdefault(result["orderId"], _order(in_order[0], answer, place))
        intake.ids_by_key[key] = places
        last = in_order[-1]
        missing = sum(not ids for ids in places)
        if missing and any(answer.is_unknown for answer in in_order):
            intake.unknown.append(last)
        if missing:
            # In a response with accepted orders, those without an id are invalid themselves.
            intake.refused[400 if any(places) else last.status] += missing
    return intake


def _order(first: Answer, answer: Answer, place: int) -> Order:
    return Order(
        order_id=answer.results[place]["orderId"],
        mix=first.mix,
        key=first.key,
        sent=first.sent_orders[place],
        sent_at=first.sent_at,
        answered_at=answer.sent_at + answer.seconds,
        answer_status=answer.results[place]["status"],
        after_load=answer.after_load,
    )


def ask_again(
    api: Api,
    unknown: Sequence[Answer],
    patience: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Retry, with their keys, the requests whose effect is unknown.

    Afterwards they have one: an existing order is returned, any other is placed. So the books can be audited.
    Requests not resolved within `patience` seconds stay unknown.
    """
    deadline = time.monotonic() + patience

    def send(answer: Answer) -> Answer:
        sent_at = time.time()
        if time.monotonic() > deadline:
            return replace(answer, after_load=True)
        response = api.post(answer.route.removeprefix("POST "), answer.body, answer.key)
        on_progress(1)
        return replace(
            answer,
            sent_at=sent_at,
            seconds=time.time() - sent_at,
            status=response.status_code,
            results=results_of(response.content, response.status_code),
            after_load=True,
        )

    return list(in_parallel(send, unknown))


def follow(
    api: Api,
    orders: Mapping[str, Order],
    patience: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, View | None]:
    """Each order after it has ended; None if it does not exist.

    Waits for `patience` seconds at most: orders still open then are returned as they are.
    """
    found: dict[str, View | None] = {}
    open_ids = set(orders)
    lists_orders = True
    deadline = time.monotonic() + patience
    while open_ids:
        listed: dict[str, View] = {}
        if lists_orders and len(open_ids) > _FEW:
            customers = sorted({str(orders[order_id].sent["customerId"]) for order_id in open_ids})
            pages = list(in_parallel(api.orders_of, customers))
            lists_orders = None not in pages
            listed = {str(view["orderId"]): view for page in pages for view in page or ()}
        # The list lags slightly: orders missing from it are read by id.
        unlisted = sorted(open_ids - listed.keys())
        found.update(zip(unlisted, in_parallel(api.order, unlisted), strict=True))
        found.update({order_id: listed[order_id] for order_id in open_ids & listed.keys()})
        ended = {order_id for order_id in open_ids if has_ended(found[order_id])}
        open_ids -= ended
        on_progress(len(ended))
        if time.monotonic() > deadline:
            break
        if open_ids:
            time.sleep(_PAUSE_SECONDS)
    return found


def has_ended(view: View | None) -> bool:
    """Whether an order exists and its status is final."""
    return view is not None and view["status"] in TERMINAL


@dataclass(frozen=True)
class ClockOffset:
    """Seconds by which the server's clock is ahead of this machine's, ± `uncertainty`."""

    seconds: float = 0.0
    uncertainty: float = 0.0


def clock_offset(orders: Mapping[str, Order], views: Mapping[str, View | None]) -> ClockOffset:
    """Compare the clocks: an order's `createTime` lies between its request and its response.

    All orders together narrow that down (Cristian's algorithm). Clocks that may agree are assumed to.
    """
    least, most = float("-inf"), float("inf")
    for order_id, order in orders.items():
        view = views.get(order_id)
        if view is not None and not order.after_load:
            created = epoch(view["createTime"])
            least = max(least, created - order.answered_at)
            most = min(most, created - order.sent_at)
    if least == float("-inf"):
        return ClockOffset()
    # Times are written in milliseconds, and clocks may drift: the bounds may cross by a little.
    seconds = 0.0 if least <= 0.001 and most >= -0.001 else (least + most) / 2
    return ClockOffset(seconds, max(0.0, (most - least) / 2) if seconds else 0.0)


def decided_seconds(order: Order, view: View | None, offset: ClockOffset) -> float | None:
    """Seconds from the request to the final status; None if there is none, or it is unknown.

    If the response has the final status, the response's time counts, else the order's `updateTime`. For a
    rejected order that may be the time of its second check, which is later, but never before the decision.
    """
    if view is None or not has_ended(view) or order.after_load:
        return None
    if order.answer_status in TERMINAL:
        return order.answered_at - order.sent_at
    return max(0.0, epoch(view["updateTime"]) - offset.seconds - order.sent_at)


def epoch(time_text: Any) -> float:
    """A response's time as seconds since the epoch."""
    return datetime.fromisoformat(str(time_text)).timestamp()
