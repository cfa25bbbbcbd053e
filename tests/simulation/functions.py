"""The real functions with the schedule's clients, settings, clock, waits and ids."""

from __future__ import annotations

import importlib.util
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, Protocol
from unittest import mock

from order_capture import bootstrap, config
from order_capture.adapters import aws_clients, system
from order_capture.adapters.dynamodb import order_repository
from order_capture.adapters.serializers import decimal_json
from order_capture.application.ledger import check_orders
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.domain.order import Order
from order_capture.entrypoints import dynamodb_streams
from tests.support.template import ROOT

Handler = Callable[[dict[str, Any], object], dict[str, Any]]

API = ("order_api", "order_reader", "account_api", "stock_api")
NAMES = (*API, "change_publisher", "balance_checker", "stock_checker", "order_update", "ship_order")
FUNCTIONS = (*NAMES, "order_watchdog")


class Surroundings(Protocol):
    """The environment of a function."""

    def client(self, service: str) -> Any:
        """A client of an AWS service, for the current task."""

    def env(self, name: str) -> str:
        """An environment variable."""

    def clock(self) -> str:
        """The time by the current task's clock."""

    def backoff(self, attempt: int) -> None:
        """Wait before the next attempt."""

    def new_id(self) -> str:
        """A unique id."""

    def random_fraction(self) -> float:
        """A random number from 0 to 1."""

    def hot_heads(self) -> HotHeads:
        """The contended heads that the current task remembers."""


_GIVEN = ("client", "env", "clock", "backoff", "new_id", "random_fraction", "hot_heads")


@cache
def app(name: str) -> ModuleType:
    """A function's own module, loaded for the simulation alone."""
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", ROOT / "functions" / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def handler(name: str) -> Handler:
    """What Lambda calls."""
    handle: Handler = app(name).handler
    return handle


@contextmanager
def simulated(*, split_at_once: bool = True) -> Iterator[None]:
    """While this lasts, the functions run in the environment last `put_into`; logs are off.

    `split_at_once`: a head is split at its first conflict, since two in a row are rare with random faults at
    every call.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with ExitStack() as patches:
            for module, name in _given():
                patches.enter_context(mock.patch.object(module, name, None))
            patches.enter_context(_read_once())
            if split_at_once:
                patches.enter_context(mock.patch.object(check_orders, "CONFLICTS_TO_SPLIT", 1))
            yield
    finally:
        logging.disable(disabled)


def put_into(surroundings: Surroundings) -> None:
    """Switch the functions to this environment."""
    _orders.clear()
    for module, name in _given():
        setattr(module, name, getattr(surroundings, name))


@cache
def _given() -> list[tuple[ModuleType, str]]:
    """The places where the functions look up their environment."""
    modules = (aws_clients, bootstrap, config, system, *map(app, FUNCTIONS))
    return [(module, name) for module in modules for name in _GIVEN if hasattr(module, name)]


MOST_KEPT = 20_000  # far more than a schedule has; a flash sale of 150,000 orders would keep gigabytes

_orders: dict[int, tuple[Mapping[str, Any], Order | None]] = {}
"""By the `id()` of an item of this schedule: the item, and its order."""


@contextmanager
def _read_once() -> Iterator[None]:
    """While this lasts, each JSON text and each item is parsed once; a name's id is computed once.

    Both checkers get each message, and every change of an order goes through several functions: parsing
    repeatedly takes a tenth of a schedule's time. The result depends only on the text or item,
    and is never changed.
    """
    read_order = order_repository.order_from

    def order_from(item: Mapping[str, Any]) -> Order | None:
        known = _orders.get(id(item))
        if known is None:  # the item is kept as well, so that no other one has its id
            if len(_orders) >= MOST_KEPT:
                _orders.clear()
            known = _orders[id(item)] = item, read_order(item)
        return known[1]

    with (
        mock.patch.object(decimal_json, "loads", lru_cache(decimal_json.loads)),
        mock.patch.object(order_repository, "order_from", order_from),
        mock.patch.object(dynamodb_streams, "order_from", order_from),
        mock.patch.object(uuid, "uuid5", lru_cache(maxsize=4096)(uuid.uuid5)),
    ):
        yield
