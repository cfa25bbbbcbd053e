"""A service that keeps copies of accounts and stock: from the topics of the deployed stack alone."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from local import stack
from local.engine import ROOT, Engine
from tests.deployed.listener import Listener, listening
from tests.deployed.shop import StackClient, body_of, eventually, order_body
from tests.support.copies import Copy

TOPICS = {"/account": "AccountTopicArn", "/stock": "StockTopicArn"}
Views = dict[str, Any]


@dataclasses.dataclass
class CopySubscriber:
    """External queues behind both topics, and the copies built from them."""

    shop: StackClient
    listeners: Mapping[str, Listener]
    copies: dict[str, Copy] = dataclasses.field(default_factory=lambda: {path: Copy() for path in TOPICS})

    def forget(self) -> None:
        """Lose both copies."""
        self.copies = {path: Copy() for path in TOPICS}

    def views(self, *paths: str) -> Views:
        """The copies' state for each path, as `GET` would show it."""
        for place, listener in self.listeners.items():
            self.copies[place].apply(listener.take())
        return {path: self.copies[path.rpartition("/")[0]].view(path.rpartition("/")[2]) for path in paths}

    def originals(self, *paths: str) -> Views:
        """What `GET` shows."""
        answers = {path: self.shop.get(path) for path in paths}
        assert {answer.status_code for answer in answers.values()} <= {200, 404}
        return {
            path: body_of(answer) if answer.status_code == 200 else None for path, answer in answers.items()
        }

    def has_all(self, *paths: str) -> None:
        """Assert that each copy eventually equals the original."""
        originals = self.originals(*paths)
        assert eventually(lambda: self.views(*paths), lambda views: views == originals) == originals


@pytest.fixture
def follower(shop: StackClient) -> Iterator[CopySubscriber]:
    with ExitStack() as listeners:
        yield CopySubscriber(
            shop, {path: listeners.enter_context(listening(shop, topic)) for path, topic in TOPICS.items()}
        )


def republish(engine: Engine, *arguments: str) -> Views:
    """Run the operator's command; returns its output."""
    finished = subprocess.run(
        [sys.executable, "-m", "order_capture_ops", "republish", *arguments, "--stack", stack.NAME, "--json"],
        cwd=ROOT,
        env=engine.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    counts: Views = json.loads(finished.stdout)
    return counts


def test_copies_equal_the_tables_at_all_times_and_after_a_rebuild(
    shop: StackClient, engine: Engine, follower: CopySubscriber
) -> None:
    # given: orders that ship, a rejected one, a deleted customer, and a product that was created again
    alice, gone = shop.new_customer("100.00"), shop.new_customer("5.00")
    pen, cap = shop.new_product(20), shop.new_product(3)
    orders = [order_body(alice, {pen: 1}, "1.00") for _ in range(10)]
    order_ids = [each["orderId"] for each in body_of(shop.post("/orders", {"orders": orders}))["orders"]]
    order_ids += [shop.place(alice, {pen: 1, cap: 4}, "1.00")]
    assert shop.request("DELETE", f"/account/{gone}").status_code == 204
    shop.all_ended(order_ids)
    shop.come_to_rest()
    assert shop.request("DELETE", f"/stock/{cap}").status_code == 204
    assert shop.post("/stock", {"productId": cap, "balance": 7}).status_code == 200
    paths = (f"/account/{alice}", f"/account/{gone}", f"/stock/{pen}", f"/stock/{cap}")
    # then
    follower.has_all(*paths)
    assert follower.views(*paths)[f"/account/{gone}"] is None
    assert follower.views(*paths)[f"/stock/{pen}"]["settled"] == 10
    assert follower.copies["/account"].states[gone]["deleted"]
    # and when the copies are lost
    follower.forget()
    assert follower.views(*paths) == dict.fromkeys(paths)
    counted = republish(engine, "--dry-run")
    assert counted["published"] is False
    assert republish(engine, "--rate", "1000")["ledgers"].keys() == {"account", "product"}
    follower.has_all(*paths)
    assert follower.copies["/account"].states[gone]["deleted"]


def test_a_deleted_entity_is_unknown_everywhere(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("10.00"), shop.new_product(5)
    key = {"Idempotency_Key": f"delete-{pen}"}
    # when
    deleted = shop.request("DELETE", f"/stock/{pen}", **key)
    again = shop.request("DELETE", f"/stock/{pen}", **key)
    # then
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (204, "true")
    assert shop.get(f"/stock/{pen}").status_code == 404
    assert shop.request("DELETE", f"/stock/{pen}").status_code == 404
    order = shop.ended(shop.place(alice, {pen: 1}, "1.00"))
    assert (order["status"], order["checks"]["stock"]["code"]) == ("REJECTED", "UNKNOWN_PRODUCT")
