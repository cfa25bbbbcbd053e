"""Tests that the fast profile leaves out on one day run on the following days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.support import profile

TODAY = date(2026, 11, 28)


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[date]]:
    """Consecutive days: each is today while it is yielded."""

    def following(number: int) -> Any:
        for passed in range(number):
            monkeypatch.setattr(profile, "DAY", TODAY + timedelta(passed))
            yield profile.DAY

    return following


@pytest.mark.parametrize(("whole", "number"), [(1, 1), (7, 1), (7, 3), (10, 4), (77, 4), (100, 99), (5, 9)])
def test_a_sample_covers_all_as_soon_as_there_are_enough_days(
    days: Callable[[int], list[date]], whole: int, number: int
) -> None:
    samples = [profile.sample(range(whole), number, "key") for _ in days(-(-whole // number))]

    assert {each for sample in samples for each in sample} == {*range(whole)}
    for sample in samples:
        assert len(sample) == min(number, whole)
        assert sample == sorted({*sample})


def test_a_sample_is_the_same_on_the_same_day_and_another_with_another_key(
    days: Callable[[int], list[date]],
) -> None:
    for _ in days(1):
        assert profile.sample(range(100), 4, "a") == profile.sample(range(100), 4, "a")
        assert profile.sample(range(100), 4, "a") != profile.sample(range(100), 4, "b")


@pytest.mark.parametrize(("whole", "part"), [(10, 10), (10, 3), (10, 4), (61, 4)])
def test_the_parts_of_the_days_cover_the_whole(
    days: Callable[[int], list[date]], whole: int, part: int
) -> None:
    assert {each for _ in days(whole) for each in profile.part_of_day(whole, part)} == {*range(whole)}


@pytest.mark.parametrize("path", ["tests/concurrency/test_{}.py::test", "tests/deployed/test_a.py::test_{}"])
def test_each_of_the_longest_tests_has_its_turn_within_a_few_days(
    days: Callable[[int], list[date]], path: str
) -> None:
    tests = [path.format(number) for number in range(7)]

    turns = [profile.turns_of_day(tests) for _ in days(4)]

    assert {each for turn in turns for each in turn} == {*tests}
    assert all(0 < len(turn) < len(tests) for turn in turns)


def test_all_others_have_theirs_each_day(days: Callable[[int], list[date]]) -> None:
    tests = ["tests/unit/test_a.py::test_a", "tests/deployed/test_fuzz.py::test_a", "tests/unit/test_b.py::b"]

    assert [profile.turns_of_day(tests) for _ in days(3)] == [{*tests}] * 3


class Item:
    """A test, as far as the selection needs it."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid

    def get_closest_marker(self, name: str) -> None:
        """It has none."""


def test_every_set_of_parameters_of_the_sampled_suites_runs_on_one_of_the_days(
    days: Callable[[int], list[date]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two tests of a sampled suite, and one of another
    monkeypatch.setattr(profile, "NAME", "fast")
    monkeypatch.setattr(profile, "IS_FAST", True)
    config: Any = SimpleNamespace(option=SimpleNamespace(keyword=""), args=["tests"])
    sampled: list[Any] = [Item(f"tests/contract/test_a.py::test_{x}[{n}]") for x in "ab" for n in range(5)]
    whole: list[Any] = [Item(f"tests/unit/test_a.py::test_a[{n}]") for n in range(5)]

    ran: set[str] = set()
    for _ in days(5):
        out = {each.nodeid for each in conftest.left_out(config, [*sampled, *whole])}
        # then of each of the two one set of parameters runs, and all of the other
        assert len(out) == 8
        assert not out & {each.nodeid for each in whole}
        ran |= {each.nodeid for each in sampled} - out

    assert ran == {each.nodeid for each in sampled}
