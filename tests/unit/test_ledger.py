"""The ledger of holds, by the rules of domain/ledger.py."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_capture.domain.errors import BalanceOutOfRangeError, OpenHoldsError
from order_capture.domain.ledger import (
    ACCOUNTS,
    STOCK,
    ZERO,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    LedgerSpec,
    Release,
    adjust,
    aggregate,
    decide_holds,
    delete,
    hold_entry,
    primary_entity,
    rejected_hold,
    replay,
)
from order_capture.domain.order import DeclineCode, OrderDetails, Outcome
from tests.support.factories import NOW, details_of, moved

HELD, DECLINED = Outcome


def units(balance: int) -> Balance:
    return Balance(Decimal(balance))


def outcomes(kind: LedgerSpec, orders: list[OrderDetails], seen: dict[str, Balance | None]) -> list[Outcome]:
    decisions = decide_holds(kind, orders, seen)
    return [decisions[details.order_id].outcome for details in orders]


class TestWhatAnOrderAsksFor:
    def test_of_the_accounts_it_is_the_total_of_its_customer(self) -> None:
        assert ACCOUNTS.required_amounts(details_of(customer_id="bob", total="25.50")) == {
            "bob": Decimal("25.50")
        }

    def test_of_the_stock_it_is_the_units_of_each_product_in_sorted_order(self) -> None:
        required_amounts = STOCK.required_amounts(details_of(items=(("pen", 2), ("ink", 3), ("cap", 1))))

        assert list(required_amounts.items()) == [
            ("cap", Decimal(1)),
            ("ink", Decimal(3)),
            ("pen", Decimal(2)),
        ]

    def test_two_lines_of_one_product_are_added_up(self) -> None:
        assert STOCK.required_amounts(details_of(items=(("pen", 3), ("ink", 1), ("pen", 4)))) == {
            "ink": 1,
            "pen": 7,
        }

    def test_the_decision_is_kept_in_one_place_however_an_order_names_its_products(self) -> None:
        orders = [details_of(items=items) for items in ((("b", 1), ("a", 1)), (("a", 1), ("b", 1)))]

        assert {primary_entity(STOCK.required_amounts(details)) for details in orders} == {"a"}


class TestWhoGetsWhat:
    def test_an_order_gets_all_that_is_left(self) -> None:
        decision = decide_holds(STOCK, [details_of(items=(("pen", 5),))], {"pen": units(5)})["order-1"]

        assert (decision.outcome, decision.requested, decision.entity, decision.code) == (
            HELD,
            Decimal(5),
            "pen",
            None,
        )

    def test_an_order_for_one_more_is_declined_with_the_figures(self) -> None:
        decision = decide_holds(STOCK, [details_of(items=(("pen", 6),))], {"pen": units(5)})["order-1"]

        assert (decision.outcome, decision.code) == (DECLINED, DeclineCode.INSUFFICIENT_STOCK)
        assert (decision.entity, decision.requested, decision.available) == ("pen", Decimal(6), Decimal(5))

    def test_a_cent_too_little_is_too_little(self) -> None:
        decision = decide_holds(ACCOUNTS, [details_of(total="10.00")], {"alice": Balance(Decimal("9.99"))})

        assert decision["order-1"].code is DeclineCode.INSUFFICIENT_BALANCE
        assert str(decision["order-1"].available) == "9.99"

    @pytest.mark.parametrize(
        ("kind", "entity", "code"),
        [(ACCOUNTS, "alice", DeclineCode.UNKNOWN_CUSTOMER), (STOCK, "pen", DeclineCode.UNKNOWN_PRODUCT)],
    )
    @pytest.mark.parametrize("head", [None, Balance(ZERO, version=2, deleted=True)], ids=["never", "deleted"])
    def test_who_or_what_is_unknown_is_named(
        self, kind: LedgerSpec, entity: str, code: DeclineCode, head: Balance | None
    ) -> None:
        decision = decide_holds(kind, [details_of()], {entity: head})["order-1"]

        assert (decision.outcome, decision.code, decision.entity) == (DECLINED, code, entity)
        assert decision.available is None

    def test_nothing_is_sold_of_what_was_deleted_even_for_nothing(self) -> None:
        free = details_of(total="0")

        assert outcomes(ACCOUNTS, [free], {"alice": Balance(ZERO, version=2, deleted=True)}) == [DECLINED]
        assert outcomes(ACCOUNTS, [free], {"alice": Balance(ZERO, version=2)}) == [HELD]

    def test_the_earliest_that_fit_are_held_and_the_others_declined(self) -> None:
        orders = [details_of(f"order-{qty}", items=(("pen", qty),)) for qty in (3, 4, 2, 1)]

        assert outcomes(STOCK, orders, {"pen": units(5)}) == [HELD, DECLINED, HELD, DECLINED]

    def test_what_is_available_to_a_later_order_is_what_the_earlier_ones_left(self) -> None:
        orders = [details_of("order-1", items=(("pen", 3),)), details_of("order-2", items=(("pen", 4),))]

        assert decide_holds(STOCK, orders, {"pen": units(5)})["order-2"].available == 2

    def test_an_order_gets_all_of_its_products_or_none(self) -> None:
        both = details_of("order-1", items=(("ink", 1), ("pen", 9)))
        ink = details_of("order-2", items=(("ink", 1),))

        assert outcomes(STOCK, [both, ink], {"ink": units(1), "pen": units(5)}) == [DECLINED, HELD]

    def test_what_has_not_been_seen_is_taken_to_be_enough(self) -> None:
        assert outcomes(STOCK, [details_of(items=(("ink", 1), ("pen", 100_000)))], {"ink": units(1)}) == [
            HELD
        ]

    def test_two_lines_of_one_product_do_not_pass_on_the_same_units(self) -> None:
        assert outcomes(STOCK, [details_of(items=(("pen", 3), ("pen", 3)))], {"pen": units(5)}) == [DECLINED]

    @given(balance=st.integers(0, 30), wanted=st.lists(st.integers(1, 9), max_size=12))
    def test_never_more_is_held_than_there_is_and_no_order_that_would_fit_is_declined(
        self, balance: int, wanted: list[int]
    ) -> None:
        orders = [details_of(f"order-{i}", items=(("pen", qty),)) for i, qty in enumerate(wanted)]
        left = balance

        for outcome, qty in zip(outcomes(STOCK, orders, {"pen": units(balance)}), wanted, strict=True):
            assert outcome is (HELD if qty <= left else DECLINED)
            left -= qty if outcome is HELD else 0

        assert left >= 0


class TestWhatIsRecorded:
    def test_a_held_order_has_one_entry_with_its_amount_on_the_head_of_each_product(self) -> None:
        details = details_of(items=(("pen", 2), ("ink", 1)))
        decision = decide_holds(STOCK, [details], {})["order-1"]

        entry = hold_entry(STOCK, details, decision, {"ink": "ink", "pen": "pen#3"}, NOW)

        assert (entry.key, entry.entity) == ("HOLD#order-1", "ink")
        assert entry.amounts == {"ink": Decimal(1), "pen#3": Decimal(2)}

    def test_a_declined_order_has_one_entry_that_took_nothing_and_names_its_first_product(self) -> None:
        details = details_of(items=(("pen", 2), ("ink", 1)))
        decision = decide_holds(STOCK, [details], {"pen": units(1)})["order-1"]

        entry = hold_entry(STOCK, details, decision, {"ink": "ink", "pen": "pen"}, NOW)

        assert (entry.entity, entry.amounts, entry.decision) == ("ink", {}, decision)

    def test_the_mark_of_an_early_release_is_a_declined_hold_in_the_same_place(self) -> None:
        details = details_of(items=(("pen", 2), ("ink", 1)))

        mark = rejected_hold(STOCK, details, NOW)

        assert (mark.entity, mark.key, mark.amounts) == ("ink", "HOLD#order-1", {})
        assert (mark.decision.outcome, mark.decision.code) == (DECLINED, DeclineCode.ORDER_CLOSED)


class TestAdjusting:
    def test_a_balance_that_is_set_replaces_the_old_one_and_leaves_what_is_held_alone(self) -> None:
        old = Balance(Decimal(5), held=Decimal(2), settled=Decimal(3), version=4, update_time="then")

        assert adjust(STOCK, old, NOW, balance=Decimal(9)) == Balance(
            Decimal(9), Decimal(2), Decimal(3), version=5, update_time=NOW
        )

    @pytest.mark.parametrize(("by", "balance"), [("2.50", "7.50"), ("-2.50", "2.50"), ("-5", "0")])
    def test_a_balance_can_be_added_to_and_taken_from_down_to_nothing(self, by: str, balance: str) -> None:
        assert adjust(ACCOUNTS, Balance(Decimal(5)), NOW, by=Decimal(by)).balance == Decimal(balance)

    def test_what_is_new_starts_at_nothing(self) -> None:
        assert adjust(ACCOUNTS, None, NOW, balance=Decimal(7)) == Balance(
            Decimal(7), version=1, update_time=NOW
        )

    def test_a_cent_below_nothing_is_refused_with_the_balance_there_is(self) -> None:
        with pytest.raises(BalanceOutOfRangeError, match=r"The balance is 5\.00"):
            adjust(ACCOUNTS, Balance(Decimal(5)), NOW, by=Decimal("-5.01"))

    def test_what_is_held_counts_since_it_may_come_back(self) -> None:
        head = Balance(Decimal(0), held=Decimal(7), version=3)
        most = ACCOUNTS.max_balance - 7

        assert adjust(ACCOUNTS, head, NOW, balance=most).balance == most
        with pytest.raises(BalanceOutOfRangeError, match=r"and open orders hold 7\.00 of it"):
            adjust(ACCOUNTS, head, NOW, balance=most + Decimal("0.01"))

    @pytest.mark.parametrize("kind", [ACCOUNTS, STOCK])
    def test_a_balance_is_full_at_its_largest_and_refused_above_it(self, kind: LedgerSpec) -> None:
        full = adjust(kind, None, NOW, balance=kind.max_balance)

        assert full.balance == kind.max_balance
        with pytest.raises(BalanceOutOfRangeError, match="at most"):
            adjust(kind, full, NOW, by=kind.quantum)

    @pytest.mark.parametrize(
        ("kind", "by", "message"),
        [
            (ACCOUNTS, "-1E+3", "The balance is 5.00: a change by -1000.00 would take it below zero."),
            (ACCOUNTS, "1e12", "A balance is at most 999999999999.99."),
            (STOCK, "-1E+3", "The balance is 5: a change by -1000 would take it below zero."),
            (STOCK, "1e9", "A balance is at most 1000000000."),
        ],
    )
    def test_a_refusal_shows_figures_as_the_ledger_has_them(
        self, kind: LedgerSpec, by: str, message: str
    ) -> None:
        with pytest.raises(BalanceOutOfRangeError) as refusal:
            adjust(kind, Balance(Decimal("0.5E+1")), NOW, by=Decimal(by))

        assert str(refusal.value) == message

    def test_an_adjustment_of_nothing_in_particular_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(ValueError, match="needs a balance or an amount"):
            adjust(ACCOUNTS, None, NOW)

    def test_a_receipt_is_the_same_adjustment_in_a_place_that_no_customer_can_have(self) -> None:
        made = Adjustment("alice", "id-1", Decimal(5), "print-1", Balance(Decimal(5)), NOW)

        assert made.receipt().entity == "REQUEST#id-1"
        assert made.receipt().key == made.key == "ADJUST#id-1"


class TestMovements:
    def test_each_kind_of_movement_keeps_the_sum_of_the_three_figures(self) -> None:
        for make in (BalanceChange.hold, BalanceChange.release, BalanceChange.settle):
            movement = make("pen", Decimal(3))
            assert movement.balance + movement.held + movement.settled == 0

    def test_movements_of_one_head_are_added_up_and_others_left_apart(self) -> None:
        movements = [
            BalanceChange.hold("pen", Decimal(1)),
            BalanceChange.hold("ink", Decimal(2)),
            BalanceChange.hold("pen", Decimal(3)),
        ]

        assert aggregate(movements) == [
            BalanceChange.hold("pen", Decimal(4)),
            BalanceChange.hold("ink", Decimal(2)),
        ]

    def test_no_movements_are_none(self) -> None:
        assert aggregate([]) == []


Step = tuple[str, int]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "add", "hold", "release", "settle", "delete"]), st.integers(-20, 20)
        ),
        max_size=40,
    )
)
def test_whatever_happens_no_figure_is_negative_the_books_add_up_and_the_entries_replay(
    steps: list[Step],
) -> None:
    books = Books()

    for number, (step, amount) in enumerate(steps):
        books.take(step, amount, number)

        head = books.head
        assert min(head.balance, head.held, head.settled) >= 0
        assert sum(books.adjusted) == head.balance + head.held + head.settled
        assert replay(books.entries) == head.balance


class Books:
    """One product with what is done to it, by the domain's own functions."""

    def __init__(self) -> None:
        self.head = Balance(ZERO)
        self.entries: list[Entry] = []
        self.adjusted: list[Decimal] = []
        self._open: list[OrderDetails] = []

    def take(self, step: str, amount: int, number: int) -> None:
        steps: dict[str, Callable[[], None]] = {
            "set": lambda: self._adjust(number, balance=Decimal(abs(amount))),
            "add": lambda: self._adjust(number, by=Decimal(amount)),
            "hold": lambda: self._hold(details_of(f"order-{number}", items=(("pen", abs(amount) + 1),))),
            "release": lambda: self._end(amount, released=True),
            "settle": lambda: self._end(amount, released=False),
            "delete": lambda: self._delete(number),
        }
        steps[step]()

    def _adjust(self, number: int, balance: Decimal | None = None, by: Decimal | None = None) -> None:
        try:
            after = adjust(STOCK, self.head, NOW, balance=balance, by=by)
        except BalanceOutOfRangeError:
            return
        self._adjusted_to(after, number)

    def _delete(self, number: int) -> None:
        try:
            after = delete(STOCK, self.head, NOW)
        except OpenHoldsError:
            return
        self._adjusted_to(after, number)

    def _adjusted_to(self, after: Balance, number: int) -> None:
        change = after.balance - self.head.balance
        self.head = after
        self.adjusted.append(change)
        self.entries.append(Adjustment("pen", str(number), change, "", after, NOW))

    def _hold(self, details: OrderDetails) -> None:
        decision = decide_holds(STOCK, [details], {"pen": self.head})[details.order_id]
        entry = hold_entry(STOCK, details, decision, {"pen": "pen"}, NOW)
        self.entries.append(entry)
        if decision.outcome is HELD:
            self._open.append(details)
            self.head = moved(self.head, BalanceChange.hold("pen", entry.amounts["pen"]), NOW)

    def _end(self, which: int, *, released: bool) -> None:
        if not self._open:
            return
        details = self._open.pop(which % len(self._open))
        (amount,) = STOCK.required_amounts(details).values()
        make = BalanceChange.release if released else BalanceChange.settle
        self.head = moved(self.head, make("pen", amount), NOW)
        if released:
            self.entries.append(Release(details.order_id, {"pen": amount}, NOW))
