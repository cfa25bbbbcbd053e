"""What a function is given by where it runs."""

from __future__ import annotations

import random
import re
import time

import pytest

from order_capture.adapters import runtime
from order_capture.application.ports import TRIES


def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_TABLE", "orders")
    assert runtime.setting("ORDER_TABLE") == "orders"

    monkeypatch.setenv("ORDER_TABLE", "")

    with pytest.raises(RuntimeError, match="ORDER_TABLE"):
        runtime.setting("ORDER_TABLE")


def test_the_clock_tells_utc_to_the_millisecond() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", runtime.clock())


def test_all_pauses_of_a_write_together_stay_well_inside_a_functions_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)

    for tries in range(1, TRIES + 1):
        runtime.pause(tries)

    assert slept == sorted(slept)
    assert sum(slept) < 2


def test_ids_are_unique_and_such_as_clients_may_use() -> None:
    ids = {runtime.new_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9._:@+~-]{1,64}", each) for each in ids)
