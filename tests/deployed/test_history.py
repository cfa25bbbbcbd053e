"""Past balances on the deployed stack equal the responses of GET at that time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import pytest

from order_capture.domain.times import format_utc
from tests.deployed.shop import StackClient, View, at_once, body_of, eventually

ORDERS, UNITS = 40, 15
WAVE = 10  # orders that come first, and all ship


def now() -> str:
    return format_utc(datetime.now(UTC))


def ask(shop: StackClient, path: str, at: str | None = None) -> View:
    answer = shop.get(path if at is None else f"{path}?at={at}")
    assert answer.status_code == 200, answer.text
    return body_of(answer)


def history(shop: StackClient, path: str, limit: int) -> list[View]:
    """All entries from all pages, newest first."""
    entries: list[View] = []
    query = f"limit={limit}"
    while query:
        answer = shop.get(f"{path}/history?{query}")
        assert answer.status_code == 200, answer.text
        entries += body_of(answer)["entries"]
        query = answer.headers.get("Link", "").removeprefix("<history?").removesuffix('>; rel="next"')
    return entries


def figures(view: View) -> View:
    return {name: view[name] for name in ("balance", "held", "settled")}


def count(entries: list[View]) -> dict[str, int]:
    """The number of entries of each type, without adjustments."""
    return dict(Counter(each["type"] for each in entries if each["type"] != "ADJUST"))


def has_counts(counts: dict[str, int], entries: list[View]) -> bool:
    return count(entries) == counts


def test_a_past_balance_equals_the_response_of_that_time(shop: StackClient) -> None:
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    paths = (f"/account/{alice}", f"/stock/{pen}")
    responses = []
    for step in range(4):
        if step == 2:
            shop.post("/stock", {"productId": pen, "adjust": -3})
        else:
            shop.ended(shop.place(alice, {pen: 1}, "10.00"))
        # right after the write, and by the time before asking as well as after it
        for path in paths:
            requested = now()
            responses += [(path, requested, ask(shop, path)), (path, now(), ask(shop, path))]
        time.sleep(0.05)

    for path, at, view in responses:
        assert ask(shop, path, at) == view
    # three states of the account and four of the stock
    assert len({str(view) for _, _, view in responses}) == 7


@pytest.mark.timeout(300)
def test_of_forty_orders_in_two_waves_every_state_that_was_seen_is_seen_again(shop: StackClient) -> None:
    # given a product with stock for some of the orders, and a client that keeps polling
    alice, pen = shop.new_customer("1000.00"), shop.new_product(UNITS)
    paths = (f"/account/{alice}", f"/stock/{pen}")
    responses: list[tuple[str, str, View]] = []
    is_over = threading.Event()

    def take_down() -> None:
        responses.extend((path, now(), ask(shop, path)) for path in paths)

    def keep_asking() -> None:
        while not is_over.is_set():
            take_down()
            time.sleep(0.05)

    take_down()
    asking = threading.Thread(target=keep_asking)
    asking.start()
    # when
    try:
        order_ids: list[str] = []
        for wave in (WAVE, ORDERS - WAVE):
            order_ids += at_once(wave, lambda _: shop.place(alice, {pen: 1}, "1.00"))
            statuses = [view["status"] for view in shop.all_ended(order_ids)]
            shop.come_to_rest()
            take_down()  # however busy the machine is, this state is seen
    finally:
        is_over.set()
        asking.join()
    # then every entry is in the history, once
    taken = {"HOLD": ORDERS, "SETTLE": UNITS}
    for path, expected in ((paths[0], {**taken, "RELEASE": ORDERS - UNITS}), (paths[1], taken)):
        # the books' stream is read after the books are written
        entries = eventually(partial(history, shop, path, 7), partial(has_counts, expected))
        assert count(entries) == expected
        orders = [(each["type"], each["orderId"]) for each in entries if each["type"] != "ADJUST"]
        assert len(set(orders)) == len(orders)
        assert {order_id for _, order_id in orders} == set(order_ids)
        assert entries == history(shop, path, limit=100)
    assert statuses.count("SHIPPED") == UNITS
    # and each earlier response is reproduced: for exactly its own time, unless another write was in progress
    # at that moment
    overlaps = 0
    for path, requested, view in responses:
        if ask(shop, path, view["updateTime"]) != view:
            overlaps += 1
            assert figures(view) in [each["after"] for each in history(shop, path, 100) if "after" in each]
        then = ask(shop, path, requested)
        assert sum(figures(then).values()) == sum(figures(view).values())
    assert len({str(view) for _, _, view in responses}) > 4
    assert overlaps <= len(responses) // 10, f"{overlaps} of {len(responses)}"


def test_an_invalid_time_is_rejected_by_name(shop: StackClient) -> None:
    pen = shop.new_product(1)

    for query, field in (("at=2999-01-01T00:00:00Z", "at"), ("at=soon", "at"), ("when=now", "when")):
        answer = shop.get(f"/stock/{pen}?{query}")
        assert (answer.status_code, body_of(answer)["errors"][0]["field"]) == (400, field)
    answer = shop.get(f"/stock/{pen}/history?cursor=none")
    assert (answer.status_code, body_of(answer)["errors"][0]["field"]) == (400, "cursor")
    assert shop.get(f"/stock/{pen}?at=2020-01-01T00:00:00Z").status_code == 404
    assert shop.get(f"/stock/never-{pen}/history").status_code == 404
