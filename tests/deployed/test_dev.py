"""`make dev`: the next request runs the code saved in a checkout."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import dev
from local.dev import Fault, Reload, functions_of
from local.engine import ROOT, Engine
from order_capture_ops.stack import described
from tests.deployed.shop import StackClient, View, body_of, eventually
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("it is about the local engine")

FUNCTION = "functions/order_reader/app.py"
MODULE = "layers/order_capture/entrypoints/http/order_responses.py"
VIEW = "    return OrderSnapshot.of(order).values()"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is deployed, to be edited."""
    for top in ("functions", "layers/order_capture"):
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def reloads(shop: StackClient, engine: Engine, checkout: Path) -> Iterator[list[Reload]]:
    """What `make dev` has reported so far, which runs during the test."""
    reported: list[Reload] = []
    stop = threading.Event()
    running = threading.Thread(
        target=dev.follow,
        args=(checkout, engine, functions_of(described(shop.outputs)), stop),
        kwargs={"report": lambda reload, _: reported.append(reload)},
    )
    running.start()
    try:
        yield reported
    finally:
        stop.set()
        running.join()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_saved_code_answers_the_next_request(
    shop: StackClient, checkout: Path, reloads: list[Reload]
) -> None:
    # given
    order_id = shop.place(shop.new_customer(), {shop.new_product(): 1}, "1.00")
    shop.ended(order_id)

    def order(until: Callable[[View], bool]) -> View:
        return eventually(lambda: body_of(shop.get(f"/order/{order_id}")), until)

    eventually(lambda: len(reloads), lambda count: count == 1)
    assert "saved" not in shop.order(order_id)

    # when a module of the layer is saved
    edit(checkout / MODULE, VIEW, f'{VIEW} | {{"saved": "module"}}')
    # then the functions that load it run it, through their alias
    assert order(lambda view: "saved" in view)["saved"] == "module"
    assert reloads[-1].functions == {"order_api", "order_reader"}

    # when a function is saved
    edit(checkout / FUNCTION, "responses.order_view)", "lambda order: {'saved': 'function'})")
    assert order(lambda view: view.get("saved") == "function") == {"saved": "function"}
    assert reloads[-1].functions == {"order_reader"}

    # when a file with a syntax error is saved, then the error is shown, and the old code stays
    edit(checkout / FUNCTION, "handler = api_handler(", "handler = = api_handler(")
    line = (checkout / FUNCTION).read_text(encoding="utf-8").splitlines().index(
        'handler = = api_handler(app, probe="/order/{orderId}")'
    ) + 1
    eventually(lambda: reloads[-1].faults, bool)
    assert reloads[-1].faults == (Fault(FUNCTION, line, "invalid syntax"),)
    assert body_of(shop.get(f"/order/{order_id}")) == {"saved": "function"}

    # when it is fixed
    edit(checkout / FUNCTION, "handler = = api_handler(", "handler = api_handler(")
    edit(checkout / FUNCTION, "'saved': 'function'", "'saved': 'mended'")
    assert order(lambda view: view == {"saved": "mended"}) == {"saved": "mended"}


def test_without_it_the_functions_run_what_was_deployed(
    shop: StackClient, engine: Engine, checkout: Path
) -> None:
    # given: as above, once, and ended
    edit(checkout / MODULE, VIEW, f'{VIEW} | {{"saved": "module"}}')
    order_id = shop.place(shop.new_customer(), {shop.new_product(): 1}, "1.00")
    shop.ended(order_id)
    reloaded, stop = threading.Event(), threading.Event()
    running = threading.Thread(
        target=dev.follow,
        args=(checkout, engine, functions_of(described(shop.outputs)), stop, lambda *_: reloaded.set()),
    )
    running.start()
    assert reloaded.wait(60)
    assert "saved" in shop.order(order_id)
    # when
    stop.set()
    running.join()
    # then
    assert "saved" not in shop.order(order_id)
