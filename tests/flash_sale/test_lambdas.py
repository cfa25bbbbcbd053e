"""The model of Lambda: cold and warm environments, limits, timeouts, process state; and streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.lambdas import Lambda, StreamMapping, ThrottledError, TimedOutError
from benchmarks.flash_sale.wiring import Function, StreamSource
from order_capture.adapters import time_budget
from tests.support.aws.dynamodb import Change
from tests.support.virtual_time import Time

FUNCTION = Function("f", 10, {}, [], [])


class Account:
    """One function, and the result of each call."""

    def __init__(self, work: Callable[[Account, Any], object], **constants: float) -> None:
        self.time = Time()
        self.log: list[tuple[float, str]] = []
        values = {"invocation_ms": 0, "cold_start_ms": 700, "warm_api": 0, **constants}
        self.lambdas = Lambda(
            self.time,
            Constants(**values),
            {"f": FUNCTION},
            lambda name: lambda event, context: work(self, context),
        )

    def call(self, at: float) -> None:
        def run() -> None:
            try:
                self.lambdas.invoke("f", {})
                result = "done"
            except (ThrottledError, TimedOutError) as error:
                result = type(error).__name__
            self.log.append((round(self.time.now, 3), result))

        self.time.spawn(run, at)


def busy(account: Account, context: Any) -> None:
    account.lambdas.sleep(1)


def test_a_first_call_starts_cold_and_the_next_one_finds_its_environment() -> None:
    account = Account(busy)

    account.call(0)
    account.call(5)
    account.time.run(10)

    assert account.log == [(1.7, "done"), (6.0, "done")]
    assert account.lambdas.cold_starts == 1


def test_new_environments_are_limited_and_so_are_all_executions_together() -> None:
    account = Account(busy, scaling_per_second=0.2, cold_start_ms=0)
    for at in (0, 0.1, 0.2, 6):
        account.call(at)
    account.time.run(10)
    assert account.log == [(0.2, "ThrottledError"), (1.0, "done"), (1.1, "done"), (7.0, "done")]

    crowded = Account(busy, concurrency=1, warm_api=10)
    crowded.call(0)
    crowded.call(0.5)
    crowded.time.run(10)
    assert crowded.log == [(0.5, "ThrottledError"), (1.0, "done")]


def test_a_function_is_stopped_at_its_timeout_wherever_it_waits() -> None:
    account = Account(lambda account, context: account.lambdas.sleep(60), cold_start_ms=0)

    account.call(0)
    account.time.run(100)

    assert account.log == [(10.0, "TimedOutError")]


def test_the_context_says_how_much_time_is_left() -> None:
    left: list[int] = []

    def work(account: Account, context: Any) -> None:
        left.append(context.get_remaining_time_in_millis())
        account.lambdas.sleep(4)
        left.append(context.get_remaining_time_in_millis())

    account = Account(work)
    account.call(0)
    account.time.run(10)

    assert left == [10_000, 6_000]


def test_each_environment_keeps_what_a_process_keeps_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "_ends_at", 0.0)
    seen: list[float] = []

    def work(account: Account, context: Any) -> None:
        time_budget._ends_at += 1
        account.lambdas.sleep(1)
        seen.append(time_budget._ends_at)

    account = Account(work, cold_start_ms=0)
    for at in (0, 0.5, 3):  # two at the same time, and one in the environment of either
        account.call(at)
    account.time.run(10)

    assert seen == [1, 1, 2]


def test_a_stream_s_lane_gets_the_changes_of_an_item_in_order_and_again_if_the_function_fails() -> None:
    time, batches = Time(), []

    def invoke(event: dict[str, Any]) -> None:
        batches.append((time.now, [record["n"] for record in event["Records"]]))
        time.sleep(1)
        if len(batches) == 1:
            raise RuntimeError

    mapping = StreamMapping(
        time,
        Constants(shards=1),
        StreamSource("T", [{"n": [0, 1, 2]}], 2, 0, 5),
        ("id",),
        invoke,
        lambda _: None,
    )
    for number in range(4):  # the filter leaves the last one out
        mapping.take(Change("T", ("a",), None, {}), {"n": number})
    time.run(10)

    assert batches == [(0, [0, 1]), (2, [0, 1]), (3, [2])]
