"""When the local engine reads an event source's next batch, and when it starts another process."""

from __future__ import annotations

import pytest

from local import engine_pollers
from local.engine_pollers import MAX_BATCH_BYTES, Poller, fitting, wait_for_warm

SLOW = 0.5


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pollers, "CORES", 2)


def queue(*, batch_size: int = 10, window: float = 0.0, limit: int = 5) -> Poller:
    return Poller(batch_size, window, limit, SLOW)


def test_a_message_is_taken_at_once() -> None:
    assert queue().is_due(1, 100.0, idle=False)


def test_nothing_is_taken_where_nothing_waits() -> None:
    assert not queue().is_due(0, 100.0, idle=True)


def test_a_batch_fills_while_the_one_before_it_is_in_progress() -> None:
    poller = queue()
    poller.start(100.0)
    assert not poller.is_due(9, 100.1, idle=False)


def test_a_full_batch_starts_beside_others_while_there_is_a_core_for_it() -> None:
    poller = queue()
    poller.start(100.0)
    assert poller.is_due(10, 100.1, idle=False)
    poller.start(100.1)
    assert not poller.is_due(10, 100.2, idle=False)


def test_a_slow_batch_does_not_hold_up_the_next_ones() -> None:
    """Such as one for a hanging webhook receiver, with one message per batch."""
    poller = queue(batch_size=1, limit=3)
    poller.start(90.0)
    poller.start(100.0)
    assert not poller.is_due(1, 100.0 + SLOW - 0.1, idle=False)
    assert poller.is_due(1, 100.0 + SLOW, idle=False)


def test_however_slow_they_are_no_more_are_in_progress_than_allowed() -> None:
    poller = queue(limit=2)
    poller.start(100.0)
    poller.start(100.0)
    assert not poller.is_due(100, 200.0, idle=True)


def test_an_ended_batch_makes_room_for_the_next_one() -> None:
    stream = queue(batch_size=100, limit=1)
    batch = stream.start(100.0)
    assert not stream.is_due(500, 110.0, idle=True)
    stream.end(batch)
    assert stream.is_due(1, 110.0, idle=True)


def test_a_window_is_waited_for_while_other_functions_run() -> None:
    poller = queue(batch_size=100, window=2.0)
    assert not poller.is_due(1, 100.0, idle=False)
    assert not poller.is_due(50, 101.9, idle=False)
    assert poller.is_due(51, 102.0, idle=False)


def test_a_window_ends_early_when_the_batch_is_full() -> None:
    assert queue(batch_size=100, window=2.0).is_due(100, 100.0, idle=False)


def test_a_window_ends_early_when_no_other_function_runs() -> None:
    poller = queue(batch_size=100, window=10.0)
    assert not poller.is_due(1, 100.0, idle=False)
    assert poller.is_due(1, 100.1, idle=True)


def test_each_batch_has_a_window_of_its_own() -> None:
    poller = queue(batch_size=100, window=2.0)
    poller.is_due(1, 100.0, idle=False)
    poller.end(poller.start(102.0))
    assert not poller.is_due(1, 102.1, idle=False)
    assert not poller.is_due(0, 103.0, idle=False)  # another function's filter dropped it
    assert not poller.is_due(1, 104.2, idle=False)
    assert poller.is_due(1, 106.2, idle=False)


def test_it_is_looked_at_again_when_its_window_ends() -> None:
    poller = queue(batch_size=100, window=0.3)
    poller.is_due(1, 100.0, idle=False)
    assert poller.check_after(100.1) == pytest.approx(0.2)


def test_it_is_looked_at_again_when_its_batch_has_become_slow() -> None:
    poller = queue()
    poller.start(100.0)
    poller.is_due(1, 100.1, idle=False)
    assert poller.check_after(100.1) == pytest.approx(SLOW - 0.1)


@pytest.mark.parametrize(
    ("sizes", "at_most", "taken"),
    [
        ([100] * 300, 500, 300),
        ([100] * 600, 500, 500),
        ([MAX_BATCH_BYTES // 2] * 5, 500, 2),
        ([MAX_BATCH_BYTES * 2], 10, 1),
        ([], 10, 1),
    ],
)
def test_a_batch_has_what_one_invocation_takes(sizes: list[int], at_most: int, taken: int) -> None:
    assert fitting(sizes, at_most) == taken


def test_two_processes_a_core_are_started_without_waiting() -> None:
    assert wait_for_warm([100.0] * 3, 100.0, starting=False, start=1.0) == 0


def test_beyond_them_a_process_that_is_soon_free_is_waited_for() -> None:
    leased = [99.0, 99.0, 99.0, 99.8]
    assert wait_for_warm(leased, 100.0, starting=False, start=1.0) == pytest.approx(0.8)


def test_processes_that_are_busy_for_long_are_not_waited_for() -> None:
    """Such as those of requests that wait for an order's next status."""
    assert wait_for_warm([90.0] * 4, 100.0, starting=False, start=1.0) == 0


@pytest.mark.parametrize("processes", [1, 4])
def test_processes_of_a_function_start_one_after_the_other(processes: int) -> None:
    assert wait_for_warm([90.0] * processes, 100.0, starting=True, start=1.0) > 0
