"""Lost messages are recovered, and cancelled orders do not ship, on the deployed stack."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.system import backoff
from order_capture.application.retry import Retry
from order_capture.domain.order import Order, OrderDetails, OrderLine
from tests.deployed.shop import OPEN, Balances, StackClient, at_once, body_of, eventually


def write_only(shop: StackClient, customer: str, product: str, *, minutes_ago: int = 0) -> str:
    """Write an order as order_api does, without publishing, as if its process had died in between."""
    written = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    now = written.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    details = OrderDetails(str(uuid.uuid4()), customer, (OrderLine(product, 2),), Decimal("25.50"))
    order = Order.place(details, now=now, correlation_id="recovery", fingerprint="none")
    tables = shop.aws.client("dynamodb", endpoint_url=shop.endpoint)
    assert DynamoOrderRepository(tables, shop.outputs["OrderTableName"], Retry(backoff)).add([order]) == {}
    return details.order_id


def test_an_unpublished_order_ships_after_its_first_check(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    order_id = write_only(shop, alice, pen)
    # when
    order = shop.ended(order_id)
    # then: through the stream, the watch queue and the watchdog
    assert order["status"] == "SHIPPED"
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("74.50", settled="25.50")
    assert shop.units(pen) == Balances.of(8, settled=2)
    for function in ("ChangePublisher", "OrderWatchdog"):
        lines = eventually(partial(shop.log_lines, function, order_id), bool)
        assert lines, f"{function} had nothing to do with it"


def test_an_order_past_its_deadline_expires_and_holds_nothing(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    order_id = write_only(shop, alice, pen, minutes_ago=20)
    # when
    order = shop.ended(order_id)
    # then
    assert order["status"] == "EXPIRED"
    assert order["logs"][-1].endswith(" expired: not decided in time")
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("100.00")
    assert shop.units(pen) == Balances.of(10)


def test_an_unchecked_order_can_be_cancelled_and_never_ships(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    order_id = write_only(shop, alice, pen)
    # when
    answer = shop.request("POST", f"/order/{order_id}/cancel")
    # then
    assert answer.status_code == 200, answer.text
    assert body_of(answer)["status"] == "CANCELLED"
    assert body_of(answer) == shop.order(order_id)
    # and the check that comes leaves it so
    assert eventually(partial(shop.log_lines, "OrderWatchdog", order_id), bool), "it is never checked"
    shop.come_to_rest()
    assert shop.order(order_id)["status"] == "CANCELLED"
    assert shop.money(alice) == Balances.of("100.00")
    assert shop.units(pen) == Balances.of(10)


def test_an_order_that_has_shipped_can_not_be_cancelled(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    shipped = shop.ended(shop.place(alice, {pen: 1}, "10.00"))
    assert shipped["status"] == "SHIPPED"
    # when
    answer = shop.request("POST", f"/order/{shipped['orderId']}/cancel")
    # then
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = body_of(answer)
    assert problem["type"] == "urn:order-capture:problem:status-conflict"
    assert "SHIPPED" in problem["detail"]
    assert shop.order(shipped["orderId"]) == shipped


def test_an_unknown_order_can_not_be_cancelled(shop: StackClient) -> None:
    answer = shop.request("POST", f"/order/{uuid.uuid4()}/cancel")

    assert answer.status_code == 404
    assert body_of(answer)["type"] == "urn:order-capture:problem:not-found"


def test_orders_cancelled_while_in_progress_end_as_their_response_promised(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(100)

    def place_and_cancel(number: int) -> tuple[str, int]:
        order_id = shop.place(alice, {pen: 1}, "1.00")
        time.sleep(number * 0.05)  # so that some are early and some are late
        return order_id, shop.request("POST", f"/order/{order_id}/cancel").status_code

    # when
    answers = dict(at_once(20, place_and_cancel))
    # then
    assert set(answers.values()) <= {200, 409}
    orders = shop.all_ended(answers)
    for order in orders:
        assert order["status"] not in OPEN
        assert order["status"] == ("CANCELLED" if answers[order["orderId"]] == 200 else "SHIPPED")
    shop.come_to_rest()
    shipped = sum(order["status"] == "SHIPPED" for order in orders)
    assert shop.units(pen) == Balances.of(100 - shipped, settled=shipped)
    assert shop.money(alice) == Balances(Decimal(100 - shipped), Decimal(0), Decimal(shipped))
