"""No log line of this suite names a customer. This test runs last (see `conftest.py`)."""

from __future__ import annotations

import re

from tests.deployed.shop import StackClient, eventually, order_body
from tests.support.receiver import FakeReceiver
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("its receiver is on the loopback interface")

# Every customer and product of this suite has such an id; so begin all tokens, and all secrets of webhooks.
# A traceback shows lines of code, in which an address may stand, but none on the loopback interface.
NAMES = re.compile(
    r"customer-[0-9a-f]{8}-|product-[0-9a-f]{8}-|whsec_|eyJ[\w-]{8}|Bearer \w|http://127\.0\.0\.1"
)
AMOUNTS = ("7331.97", "133713.37")


def test_no_log_names_a_customer_a_product_an_amount_an_address_or_a_secret(shop: StackClient) -> None:
    # given: beside all that the suite has done, amounts that stand out, a webhook, a callback and a refusal
    alice, bob, pen = shop.new_customer("133713.37"), shop.new_customer("1.00"), shop.new_product()
    with FakeReceiver() as receiver:
        shop.post("/webhooks", {"customerId": alice, "url": receiver.url})
        body = order_body(alice, {pen: 1}, "7331.97") | {"callbackUrl": receiver.url}
        placed = [str(shop.post("/order", body).json()["orderId"]), shop.place(bob, {pen: 1}, "7331.97")]
        assert [view["status"] for view in shop.all_ended(placed)] == ["SHIPPED", "REJECTED"]
        eventually(lambda: len(receiver.received), lambda count: count >= 6)
    # when
    groups = [name for name in shop.outputs if name.endswith("LogGroupName")]
    lines = {name: shop.log_lines(name.removesuffix("LogGroupName"), "") for name in groups}
    # then
    assert any("handled" in line for line in lines["ChangePublisherLogGroupName"])
    found = [
        f"{name}: {line}"
        for name, each in lines.items()
        for line in each
        if NAMES.search(line) or any(amount in line for amount in AMOUNTS)
    ]
    assert not found, found[:5]
