"""The real functions, in surroundings of ours: clients, settings, clock, pause and ids of the schedule."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Protocol
from unittest import mock

from order_capture.adapters import wiring
from tests.support.template import ROOT

Handler = Callable[[dict[str, Any], object], dict[str, Any]]

API = ("order_api", "account_api", "stock_api")
NAMES = (*API, "change_publisher", "balance_checker", "stock_checker", "order_update", "ship_order")
FUNCTIONS = (*NAMES, "order_watchdog")


class Surroundings(Protocol):
    """What a function finds around it where it runs."""

    def client(self, service: str) -> Any:
        """A client of an AWS service, for the task that asks."""

    def setting(self, name: str) -> str:
        """An environment variable."""

    def clock(self) -> str:
        """The time by the clock of the task that asks."""

    def pause(self, tries: int) -> None:
        """Wait before the next try."""

    def new_id(self) -> str:
        """An id that no other thing has."""


_GIVEN = ("client", "setting", "clock", "pause", "new_id")


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


_around: dict[str, Callable[..., Any]] = {}


@contextmanager
def simulated() -> Iterator[None]:
    """While this lasts, the functions run in the surroundings that were last `put_into`; logs are off."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with ExitStack() as patches:
            for module in (wiring, *map(app, FUNCTIONS)):
                for name in _GIVEN:
                    if hasattr(module, name):
                        patches.enter_context(mock.patch.object(module, name, _ask(name)))
            yield
    finally:
        logging.disable(disabled)


def put_into(surroundings: Surroundings) -> None:
    """From now on the functions run in these surroundings."""
    _around.update({name: getattr(surroundings, name) for name in _GIVEN})


def _ask(name: str) -> Callable[..., Any]:
    def ask(*arguments: Any) -> Any:
        return _around[name](*arguments)

    return ask
