"""The history of a ledger: for any writes, by clocks in sync or not, and any past time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_capture.adapters.dynamodb.history_repository import record_from_images
from order_capture.adapters.dynamodb.ledger_repository import balance_update
from order_capture.adapters.dynamodb.types import to_item
from order_capture.domain.history import ChangeType, Commit, LedgerEntry, as_of, commit_of, fold
from order_capture.domain.ledger import ACCOUNTS, Balance, BalanceChange
from tests.support.factories import moved
from tests.support.sizes import stored_size

ADJUST, HOLD, RELEASE, SETTLE, TRANSFER = ChangeType


def written(milliseconds: int) -> str:
    return f"2026-11-20T10:00:{milliseconds // 1000:02}.{milliseconds % 1000:03}Z"


def heads_of(changes: Sequence[Sequence[LedgerEntry]], times: Sequence[int]) -> list[Balance]:
    """The head after each write. Figures may fall below zero here: it is the ledger that sees to that."""
    heads: list[Balance] = []
    for of_one, at in zip(changes, times, strict=True):
        head = heads[-1] if heads else None
        sums = fold("pen", of_one)
        movement = BalanceChange("pen", sums.balance, sums.held, sums.settled, head.version if head else 0)
        heads.append(moved(head, movement, written(at)))
    return heads


def commits_of(changes: Sequence[Sequence[LedgerEntry]], heads: Sequence[Balance]) -> list[Commit]:
    before = [None, *heads[:-1]]
    return [
        commit_of("pen", old, new, {change.key: change.amount for change in of_one})
        for of_one, old, new in zip(changes, before, heads, strict=True)
    ]


@st.composite
def histories(draw: st.DrawFn, gaps: st.SearchStrategy[int]) -> tuple[list[list[LedgerEntry]], list[Balance]]:
    """Some writes, each of one or several orders, or an adjustment; the first one sets a balance."""
    amounts = st.integers(1, 9).map(Decimal)
    changes = [[LedgerEntry(ADJUST, draw(amounts), "first")]]
    for number in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(ChangeType))
        size = 1 if kind is ADJUST else draw(st.integers(1, 3))
        changes.append([LedgerEntry(kind, draw(amounts), f"{number}-{each}") for each in range(size)])
    times = list(accumulate([draw(gaps) for _ in changes], initial=5_000))[1:]
    return changes, heads_of(changes, times)


ONE_AFTER_THE_OTHER = histories(st.integers(1, 50))
OVERLAPPING = histories(st.integers(-100, 100))
ANY_TIME = st.integers(4_000, 7_000).map(written)


class TestHowItStood:
    @given(ONE_AFTER_THE_OTHER, ANY_TIME)
    def test_it_is_the_head_that_was_there_at_that_time(
        self, history: tuple[list[list[LedgerEntry]], list[Balance]], at: str
    ) -> None:
        changes, heads = history
        was = [head for head in heads if head.update_time <= at]
        commit = as_of(commits_of(changes, heads), at)

        if at >= heads[-1].update_time:
            assert commit is None  # nothing must be undone: it is the head
        else:
            assert commit is not None
            assert commit.before == (was[-1] if was else None)
            # and what all entries up to then come to
            sums = fold("pen", (change for of_one in changes[: len(was)] for change in of_one))
            head = commit.before or Balance(Decimal(0))
            assert (head.balance, head.held, head.settled) == (sums.balance, sums.held, sums.settled)

    @given(OVERLAPPING, ANY_TIME)
    def test_where_times_overlap_it_is_still_a_head_that_once_was_there(
        self, history: tuple[list[list[LedgerEntry]], list[Balance]], at: str
    ) -> None:
        changes, heads = history
        commit = as_of(commits_of(changes, heads), at)

        if at < heads[-1].update_time:
            assert commit is not None
        if commit is not None:
            assert commit.before in [None, *heads]
            assert commit.previous_time <= at < commit.time
            # no write shows before the time that it carries, though it may have come before another one
            assert all(head.update_time <= at for head in heads[: commit.after.version - 1])

    @given(OVERLAPPING, ANY_TIME, st.integers(0, 9))
    def test_a_history_that_is_behind_says_nothing_or_what_it_will_always_say(
        self, history: tuple[list[list[LedgerEntry]], list[Balance]], at: str, behind: int
    ) -> None:
        changes, heads = history
        commits = commits_of(changes, heads)

        early = as_of(commits[: len(commits) - behind], at)

        assert early in (None, as_of(commits, at))

    @given(OVERLAPPING, ANY_TIME, st.randoms())
    def test_in_what_order_lines_are_found_makes_no_difference(
        self, history: tuple[list[list[LedgerEntry]], list[Balance]], at: str, chance: object
    ) -> None:
        commits = commits_of(*history)
        shuffled = commits * 2
        chance.shuffle(shuffled)  # type: ignore[attr-defined]

        assert as_of(shuffled, at) == as_of(commits, at)

    def test_of_two_writes_with_one_time_only_the_second_ever_showed(self) -> None:
        changes = [
            [LedgerEntry(ADJUST, Decimal(5), "a")],
            [LedgerEntry(HOLD, Decimal(1), "b")],
            [LedgerEntry(HOLD, Decimal(1), "c")],
        ]
        heads = heads_of(changes, [1_000, 1_000, 2_000])

        commit = as_of(commits_of(changes, heads), written(1_000))

        assert commit is not None
        assert commit.before == heads[1]


class TestWhatWasDone:
    @given(OVERLAPPING)
    def test_all_of_it_together_comes_to_the_head(
        self, history: tuple[list[list[LedgerEntry]], list[Balance]]
    ) -> None:
        changes, heads = history
        entries = [change for commit in commits_of(changes, heads) for change in commit.changes]
        sums = fold("pen", entries)

        assert (sums.balance, sums.held, sums.settled) == (
            heads[-1].balance,
            heads[-1].held,
            heads[-1].settled,
        )

    @pytest.mark.parametrize(
        ("figures", "entries"),
        [
            ((-3, 3, 0), [LedgerEntry(HOLD, Decimal(3))]),
            ((3, -3, 0), [LedgerEntry(RELEASE, Decimal(3))]),
            ((0, -3, 3), [LedgerEntry(SETTLE, Decimal(3))]),
            ((-3, 0, 0), [LedgerEntry(ADJUST, Decimal(-3))]),
            ((0, 0, 0), []),
        ],
    )
    def test_a_write_that_names_no_entries_is_read_from_its_figures(
        self, figures: tuple[int, int, int], entries: list[LedgerEntry]
    ) -> None:
        before = Balance(Decimal(10), Decimal(10), Decimal(10), 1, written(1_000))
        balance, held, settled = (Decimal(10 + change) for change in figures)
        after = Balance(balance, held, settled, 2, written(2_000))

        assert list(commit_of("pen", before, after, {}).changes) == entries

    @pytest.mark.parametrize(
        "entries",
        [{"HOLD#other": Decimal(2)}, {"FREEZE#order-1": Decimal(3)}, {"RELEASE#order-1": Decimal(3)}],
    )
    def test_entries_that_do_not_add_up_to_it_are_not_believed(self, entries: dict[str, Decimal]) -> None:
        before, after = (
            Balance(Decimal(10), version=1, update_time=written(1)),
            Balance(Decimal(7), Decimal(3), version=2),
        )

        assert commit_of("pen", before, after, entries).changes == (LedgerEntry(HOLD, Decimal(3)),)

    def test_two_writes_that_name_no_entries_are_two_lines(self) -> None:
        heads = heads_of(
            [
                [LedgerEntry(ADJUST, Decimal(5))],
                [LedgerEntry(HOLD, Decimal(1))],
                [LedgerEntry(HOLD, Decimal(1))],
            ],
            [1, 1, 1],
        )

        commits = [commit_of("pen", old, new, {}) for old, new in pairwise(heads)]

        assert len({commit.key for commit in commits}) == 2


class TestWhatAHeadTells:
    @pytest.mark.parametrize("kind", ["HOLD", "RELEASE", "SETTLE"])
    def test_the_names_of_a_batch_of_ten_leave_it_under_the_kilobyte_that_a_write_unit_takes(
        self, kind: str
    ) -> None:
        # given the longest id there may be, and the largest figures
        names = {f"{kind}#{uuid.UUID(int=number)}": Decimal("999999999.99") for number in range(10)}
        most = ACCOUNTS.max_balance
        movement = BalanceChange("c" * 64, most, most, most, expected=0, price=most, entries=names)
        head = balance_update("AccountTable", "customerId", movement, written(0))["Put"]["Item"]

        assert stored_size(head) + len(str(10**9)) < 1024


class TestWhatTheStreamTells:
    def head(self, version: int, balance: int, held: int = 0, **entries: int) -> dict[str, object]:
        values = {"productId": "pen", "entry": "BALANCE", "balance": balance, "held": held, "settled": 0}
        names = {name.replace("_", "#"): Decimal(amount) for name, amount in entries.items()}
        more = {"version": version, "updateTime": written(version), "lastEntries": names}
        return to_item(values | more)

    def test_a_head_that_an_older_release_wrote_last_does_not_pass_for_what_it_was_made_by_before(
        self,
    ) -> None:
        # given two orders of one unit each, of which only the first one's function named it
        first = self.head(2, balance=4, held=1, HOLD_one=1)
        second = self.head(3, balance=3, held=2, HOLD_one=1)

        line = record_from_images("productId", {"OldImage": first, "NewImage": second})

        assert isinstance(line, Commit)
        assert line.changes == (LedgerEntry(HOLD, Decimal(1)),)

    def test_a_head_from_before_there_was_such_a_thing_begins_a_history_all_the_same(self) -> None:
        old = {name: value for name, value in self.head(7, balance=4).items() if name != "lastEntries"}
        new = self.head(8, balance=3, held=1, HOLD_one=1)

        line = record_from_images("productId", {"OldImage": old, "NewImage": new})

        assert isinstance(line, Commit)
        assert (line.previous_time, line.time, line.changes) == (
            written(7),
            written(8),
            (LedgerEntry(HOLD, Decimal(1), "one"),),
        )

    def test_what_was_removed_is_no_line(self) -> None:
        assert record_from_images("productId", {"OldImage": self.head(1, balance=1)}) is None

    def test_an_entry_that_moved_a_head_is_named_by_the_head(self) -> None:
        entry = to_item({"productId": "pen", "entry": "HOLD#one", "amount": 1, "outcome": "HELD"})

        assert record_from_images("productId", {"NewImage": entry}) is None
