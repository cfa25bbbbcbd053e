"""A write is attempted several times, with a pause after each conflict, while time remains."""

from __future__ import annotations

from order_capture.application.retry import MAX_ATTEMPTS, Retry
from tests.support.fakes import RecordedBackoff


def test_a_write_that_always_conflicts_is_attempted_so_often_with_pauses_in_between() -> None:
    backoff = RecordedBackoff()

    attempts = 0
    for attempt in Retry(backoff):
        attempts += 1
        attempt.back_off()

    assert attempts == MAX_ATTEMPTS
    assert backoff.after == list(range(1, MAX_ATTEMPTS)), "nothing is waited for after the last attempt"


def test_an_attempt_that_did_not_conflict_is_followed_at_once() -> None:
    backoff = RecordedBackoff()

    assert [attempt.number for attempt in Retry(backoff, max_attempts=3)] == [1, 2, 3]

    assert backoff.after == []


def test_the_first_attempt_is_always_made_and_further_ones_only_while_there_is_time() -> None:
    time_left = iter([True, True, False])

    attempts = [attempt.number for attempt in Retry(RecordedBackoff(), lambda: next(time_left))]

    assert attempts == [1, 2, 3]
    assert [attempt.number for attempt in Retry(RecordedBackoff(), lambda: False)] == [1]


def test_nothing_is_waited_for_when_no_time_is_left() -> None:
    backoff = RecordedBackoff()

    for attempt in Retry(backoff, lambda: False):
        attempt.back_off()

    assert backoff.after == []
