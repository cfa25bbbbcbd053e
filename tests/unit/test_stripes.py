"""A contended customer or product with several heads: the sums, and the transfers between them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_capture.domain.ledger import ACCOUNTS, STOCK, ZERO, Balance, BalanceChange, decide_holds
from order_capture.domain.order import DeclineCode, Outcome
from order_capture.domain.stripes import (
    entity_of,
    gather,
    head_names,
    is_snapshot,
    is_stripe,
    is_undivided,
    refill,
    split,
    stripe,
    total,
)
from tests.support.factories import details_of

HELD, DECLINED = Outcome


def heads_of(*balances: str | int) -> dict[str, Balance]:
    """The heads of pens, the root first."""
    names = head_names("pen", len(balances) - 1)
    return {name: Balance(Decimal(each), version=1) for name, each in zip(names, balances, strict=True)}


def moved(changes: list[BalanceChange]) -> dict[str, Decimal]:
    return {change.head: change.balance for change in changes}


def test_the_root_is_named_as_its_entity_and_the_stripes_are_counted_from_one() -> None:
    assert head_names("pen", 2) == ["pen", "pen#1", "pen#2"]
    assert stripe("pen", 17) == "pen#17"
    assert [entity_of(name) for name in ("pen", "pen#1", "pen#17")] == ["pen"] * 3
    assert [is_stripe(name) for name in ("pen", "pen#1")] == [False, True]


class TestTheWhole:
    def test_is_the_sum_of_its_heads_with_the_marks_of_its_root(self) -> None:
        root = Balance(
            Decimal(5),
            Decimal(1),
            Decimal(2),
            3,
            "2026-11-20T10:00:00.000Z",
            price=Decimal("2.50"),
            stripes=1,
        )
        part = Balance(Decimal(7), Decimal(4), Decimal(6), 9, "2026-11-20T10:00:09.000Z")

        whole = total("pen", {"pen": root, "pen#1": part})

        assert whole is not None
        assert [whole.balance, whole.held, whole.settled, whole.version] == [12, 5, 8, 12]
        assert (whole.update_time, whole.price, whole.stripes) == (part.update_time, Decimal("2.50"), 1)

    def test_is_unknown_without_a_root(self) -> None:
        assert total("pen", {}) is None

    def test_is_what_orders_are_decided_on_first_come_first_served(self) -> None:
        whole = total("pen", heads_of(1, 2, 3))
        orders = [details_of(f"order-{qty}", items=(("pen", qty),)) for qty in (4, 3, 2)]

        decisions = decide_holds(STOCK, orders, {"pen": whole})

        assert [each.outcome for each in decisions.values()] == [HELD, DECLINED, HELD]
        declined = decisions["order-3"]
        assert (declined.code, declined.available) == (DeclineCode.INSUFFICIENT_STOCK, Decimal(2))


class TestTwoReads:
    def test_that_agree_in_all_balances_are_a_snapshot_whatever_was_settled_between(self) -> None:
        before = heads_of(1, 2)
        settled = {**before, "pen#1": replace(before["pen#1"], settled=Decimal(4), version=2)}

        assert is_snapshot(before, settled)

    def test_with_one_balance_that_was_changed_are_none_though_the_figures_are_the_same(self) -> None:
        before = heads_of(1, 2)
        there_and_back = {**before, "pen#1": replace(before["pen#1"], balance_version=2)}

        assert not is_snapshot(before, there_and_back)

    def test_with_a_head_more_are_none(self) -> None:
        assert not is_snapshot(heads_of(1), heads_of(1, 0))
        assert not is_undivided(heads_of(1), heads_of(1, 0))

    def test_between_which_orders_were_held_are_undivided(self) -> None:
        before = heads_of(1, 2)
        held = {**before, "pen": replace(before["pen"], balance=ZERO, held=Decimal(1), balance_version=9)}

        assert is_undivided(before, held)

    def test_between_which_something_was_transferred_are_not_undivided(self) -> None:
        before = heads_of(1, 2)

        assert not is_undivided(before, {**before, "pen": replace(before["pen"], transfers=1)})


class TestASplit:
    @pytest.mark.parametrize(
        ("balance", "stripes", "share"), [(100, 3, 25), (101, 3, 25), (4, 3, 1), (3, 3, 0), (0, 3, 0)]
    )
    def test_gives_each_stripe_an_equal_share_in_whole_units_and_leaves_the_rest_at_the_root(
        self, balance: int, stripes: int, share: int
    ) -> None:
        changes = split(STOCK, "pen", Balance(Decimal(balance), version=1), stripes)

        assert moved(changes) == {
            "pen": -share * stripes,
            **dict.fromkeys(head_names("pen", stripes)[1:], Decimal(share)),
        }

    def test_of_money_is_in_cents(self) -> None:
        changes = split(ACCOUNTS, "alice", Balance(Decimal("10.00")), 2)

        assert moved(changes) == {
            "alice": Decimal("-6.66"),
            "alice#1": Decimal("3.33"),
            "alice#2": Decimal("3.33"),
        }

    def test_gives_each_stripe_the_price_and_is_refused_where_that_or_the_stripes_have_changed(self) -> None:
        root, *others = split(STOCK, "pen", Balance(Decimal(9), price=Decimal("2.50")), 2)

        assert (root.stripes, root.is_hold, root.unit_price) == (2, True, Decimal("2.50"))
        assert [(each.expected, each.price) for each in others] == [(0, Decimal("2.50"))] * 2


class TestARefill:
    def test_takes_half_of_the_fullest(self) -> None:
        assert moved(refill(STOCK, "pen#1", Decimal(2), heads_of(5, 1, 10), "order-1")) == {
            "pen#2": -5,
            "pen#1": 5,
        }

    def test_takes_all_that_is_missing_where_half_is_not_enough(self) -> None:
        assert moved(refill(STOCK, "pen#1", Decimal(8), heads_of(0, 0, 10), "order-1")) == {
            "pen#2": -8,
            "pen#1": 8,
        }

    def test_takes_exactly_enough_from_several(self) -> None:
        changes = refill(STOCK, "pen#1", Decimal(9), heads_of(4, 0, 5, 1), "order-1")

        assert moved(changes) == {"pen#2": -5, "pen": -4, "pen#1": 9}

    def test_takes_all_there_is_where_that_is_less(self) -> None:
        assert moved(refill(STOCK, "pen", Decimal(9), heads_of(0, 1, 2), "order-1")) == {
            "pen#2": -2,
            "pen#1": -1,
            "pen": 3,
        }

    def test_of_what_nobody_has_is_none(self) -> None:
        assert refill(STOCK, "pen", Decimal(9), heads_of(5, 0, 0), "order-1") == []

    @given(
        balances=st.lists(st.integers(0, 50), min_size=2, max_size=6),
        missing=st.integers(1, 120),
        at=st.integers(0, 5),
    )
    def test_moves_what_it_takes_takes_no_more_than_there_is_and_leaves_nobody_short_who_need_not_be(
        self, balances: list[int], missing: int, at: int
    ) -> None:
        heads = heads_of(*balances)
        target = list(heads)[at % len(heads)]

        changes = refill(STOCK, target, Decimal(missing), heads, "order-1")

        assert sum((change.balance for change in changes), ZERO) == 0
        assert all(change.transfer == change.balance for change in changes)
        gained = moved(changes).get(target, ZERO)
        others = sum(head.balance for name, head in heads.items() if name != target)
        assert gained >= min(missing, others)
        assert all(heads[head].balance + change >= 0 for head, change in moved(changes).items())


class TestGathering:
    def test_has_all_of_it_at_the_root_and_expects_each_head_as_it_was_read(self) -> None:
        heads = heads_of(5, 1, 2)

        changes = gather("pen", heads, Decimal(-7), "change-1", deleted=None, price=None)

        assert moved(changes) == {"pen": -4, "pen#1": -1, "pen#2": -2}
        assert {change.head: change.transfer for change in changes} == {"pen": 3, "pen#1": -1, "pen#2": -2}
        assert [change.expected for change in changes] == [1, 1, 1]

    def test_marks_every_head_alike(self) -> None:
        changes = gather("pen", heads_of(5, 0), Decimal(0), "change-1", deleted=True, price=Decimal(3))

        assert [(change.deleted, change.price) for change in changes] == [(True, Decimal(3))] * 2
