"""A deleted entity is unknown everywhere, holds nothing, and can be created again."""

from __future__ import annotations

import pytest

from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

BOTH = pytest.mark.parametrize("path", ["/account/alice", "/stock/pen"])


@pytest.fixture
def shop(pipeline: Pipeline) -> Shop:
    shop = Shop(pipeline)
    shop.open({"alice": 50, "bob": 50}, {"pen": 5})
    return shop


@BOTH
def test_a_deleted_entity_is_not_found_and_not_deleted_again(shop: Shop, path: str) -> None:
    deleted = shop.pipeline.ask("DELETE", path)

    assert (deleted.status, deleted.body) == (204, None)
    assert shop.pipeline.ask("GET", path).status == 404
    assert shop.pipeline.ask("DELETE", path).status == 404


@BOTH
def test_a_repeated_deletion_has_the_first_response_even_after_a_new_creation(shop: Shop, path: str) -> None:
    key = {"Idempotency-Key": "key-1"}
    shop.pipeline.ask("DELETE", path, headers=key)
    shop.open({"alice": 7}, {"pen": 7})

    again = shop.pipeline.ask("DELETE", path, headers=key)

    assert (again.status, again.headers["Idempotency-Replayed"]) == (204, "true")
    assert shop.pipeline.ask("GET", path).body["balance"] == 7


def test_a_key_that_deleted_one_account_deletes_no_other(shop: Shop) -> None:
    key = {"Idempotency-Key": "key-1"}
    shop.pipeline.ask("DELETE", "/account/alice", headers=key)

    other = shop.pipeline.ask("DELETE", "/account/bob", headers=key)

    assert other.status == 422
    assert shop.account("bob") == [50, 0, 0]
    assert shop.pipeline.ask("GET", "/account/alice").status == 404


@BOTH
def test_an_entity_with_holds_can_be_deleted_only_after_its_orders_end(shop: Shop, path: str) -> None:
    shop.order(order_of("alice", 10, pen=2))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.deliver("stock_checker")

    refused = shop.pipeline.ask("DELETE", path)
    shop.pipeline.run()

    assert refused.status == 409
    assert refused.body["type"] == "urn:order-capture:problem:still-held"
    assert f"hold {'10.00' if 'alice' in path else '2'} of it" in refused.body["detail"]
    assert shop.pipeline.ask("DELETE", path).status == 204


@pytest.mark.parametrize(
    ("path", "check", "code"),
    [("/account/alice", "balance", "UNKNOWN_CUSTOMER"), ("/stock/pen", "stock", "UNKNOWN_PRODUCT")],
)
def test_an_order_for_a_deleted_product_is_rejected_as_unknown_and_releases_all(
    shop: Shop, path: str, check: str, code: str
) -> None:
    order_id = shop.order(order_of("alice", 0, pen=1))
    shop.pipeline.ask("DELETE", path)
    shop.pipeline.run()

    view = shop.view(order_id)
    assert view["status"] == "REJECTED"
    assert (view["checks"][check]["code"], view["checks"][check]["available"]) == (code, None)
    other = shop.stock("pen") if check == "balance" else shop.account("alice")
    assert other[1:] == [0, 0]


def test_an_order_that_costs_nothing_ships_though_its_customer_is_gone(shop: Shop) -> None:
    order_id = shop.order(order_of("alice", 0, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
    assert shop.pipeline.ask("DELETE", "/account/alice").status == 204
    shop.pipeline.run()

    assert shop.status(order_id) == "SHIPPED"
    assert shop.pipeline.ask("GET", "/account/alice").status == 404


def test_a_recreated_entity_keeps_its_settled_amount(shop: Shop) -> None:
    shop.order(order_of("alice", 10, pen=2))
    shop.pipeline.run()
    shop.pipeline.ask("DELETE", "/account/alice")
    assert shop.pipeline.ask("POST", "/account", {"customerId": "alice", "adjust": 5}).status == 404
    version = int(shop.pipeline.item("AccountTable", customerId="alice", entry="BALANCE")["version"]["N"])

    assert shop.pipeline.ask("POST", "/account", {"customerId": "alice", "balance": 5}).status == 200

    assert shop.account("alice") == [5, 0, 10]
    head = shop.pipeline.item("AccountTable", customerId="alice", entry="BALANCE")
    assert int(head["version"]["N"]) == version + 1
    order_id = shop.order(order_of("alice", 5, pen=1))
    shop.pipeline.run()
    assert shop.status(order_id) == "SHIPPED"


def test_nothing_can_have_such_an_id(shop: Shop) -> None:
    assert shop.pipeline.ask("DELETE", "/account/a b").status == 404
    assert shop.pipeline.ask("DELETE", "/account/REQUEST%23x").status == 404
