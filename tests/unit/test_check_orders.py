"""Orders are checked against a ledger: held, declined, released; and retried after conflicts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from decimal import Decimal

import pytest

from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.check_orders import CheckOrders
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.messages import CheckOrder, OrderChecked, ReleaseOrder
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.errors import TransientError
from order_capture.domain.ledger import (
    ACCOUNTS,
    STOCK,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    LedgerSpec,
    replay,
)
from order_capture.domain.order import CheckResult, CheckType, DeclineCode, OrderDetails, Outcome
from order_capture.domain.times import after
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, check, details_of, held, release, ticking_clock
from tests.support.fakes import MemoryPublisher, RecordedBackoff
from tests.support.stores import entries_of, memory_stores

HELD, DECLINED = Outcome
DAY = 24 * 3600


class Checker:
    """A checker over the in-memory AWS: of the stock, or of the accounts."""

    def __init__(self, kind: LedgerSpec = STOCK, **balances: int) -> None:
        self.kind = kind
        self.dynamodb = DynamoDB()
        stores = memory_stores(self.dynamodb)
        self.ledger = stores.stock if kind is STOCK else stores.accounts
        self.results = MemoryPublisher()
        self.decided_by_other: Callable[[Collection[str]], Container[str]] = frozenset  # all of them
        self.backoff = RecordedBackoff()
        for entity, balance in balances.items():
            self.adjust(entity, balance)
        self.dynamodb.writes = 0

    def adjust(self, entity: str, by: int) -> None:
        head = self.ledger.head(entity)
        movement = BalanceChange(entity, balance=Decimal(by), expected=head.version if head else 0)
        after = Balance(Decimal(by), update_time=NOW)
        entry = Adjustment(entity, f"{len(self.entries(entity))}", Decimal(by), "", after, NOW)
        self.ledger.write([movement], [entry], NOW)

    def entries(self, entity: str) -> list[Entry]:
        return entries_of(self.dynamodb, self.ledger, entity)

    def handle(self, *messages: CheckOrder | ReleaseOrder) -> set[str]:
        return CheckOrders(
            self.kind,
            self.ledger,
            self.decided_by_other,
            self.results,
            ticking_clock(),
            lambda: 0.0,
            Retry(self.backoff),
            HotHeads(),
            stripes=0,
        ).process(messages)

    def decisions(self) -> dict[str, CheckResult]:
        """The results published since the last call, by order."""
        return {m.order_id: m.decision for m in self.results.taken() if isinstance(m, OrderChecked)}

    def outcomes(self) -> dict[str, Outcome]:
        return {order_id: decision.outcome for order_id, decision in self.decisions().items()}

    def figures(self, entity: str = "pen") -> tuple[int, int, int]:
        """Balance, held, settled."""
        head = self.ledger.head(entity)
        assert head is not None
        assert replay(self.entries(entity)) == head.balance
        return int(head.balance), int(head.held), int(head.settled)


def pens(order_id: str, qty: int) -> OrderDetails:
    return details_of(order_id, items=(("pen", qty),))


class TestHolding:
    def test_what_is_there_is_held_and_answered(self) -> None:
        checker = Checker(pen=5)

        assert checker.handle(check(pens("order-1", 2))) == set()

        assert checker.results.sent == [
            OrderChecked.of("order-1", CheckType.STOCK, CheckResult(HELD, Decimal(2), "pen"), "corr-1")
        ]
        assert checker.figures() == (3, 2, 0)

    def test_the_same_code_holds_money(self) -> None:
        checker = Checker(ACCOUNTS, alice=100)

        checker.handle(check(details_of(total="25.50")))

        assert checker.decisions() == {"order-1": held("25.50")}
        head = checker.ledger.head("alice")
        assert head is not None
        assert (head.balance, head.held) == (Decimal("74.50"), Decimal("25.50"))

    def test_too_little_is_declined_with_the_figures_and_moves_nothing(self) -> None:
        checker = Checker(pen=5)

        checker.handle(check(pens("order-1", 6)))

        assert checker.decisions() == {
            "order-1": CheckResult(DECLINED, Decimal(6), "pen", DeclineCode.INSUFFICIENT_STOCK, Decimal(5))
        }
        assert checker.figures() == (5, 0, 0)

    @pytest.mark.parametrize(
        ("kind", "entity", "code"),
        [(ACCOUNTS, "alice", DeclineCode.UNKNOWN_CUSTOMER), (STOCK, "pen", DeclineCode.UNKNOWN_PRODUCT)],
    )
    def test_who_or_what_is_unknown_is_declined(
        self, kind: LedgerSpec, entity: str, code: DeclineCode
    ) -> None:
        checker = Checker(kind)

        checker.handle(check())

        decision = checker.decisions()["order-1"]
        assert (decision.code, decision.entity, decision.available) == (code, entity, None)

    def test_what_is_deleted_while_a_batch_is_decided_is_unknown_to_all_of_it(self) -> None:
        checker = Checker(pen=5)
        deletion = BalanceRequest("pen", "deletion", "", idempotent=False, delete=True)
        checker.dynamodb.interrupt(
            lambda: AdjustBalance(STOCK, checker.ledger, ticking_clock(), Retry(checker.backoff)).adjust(
                deletion
            )
        )

        checker.handle(check(pens("order-1", 2)), check(pens("order-2", 9)))

        codes = [(decision.code, decision.available) for decision in checker.decisions().values()]
        assert codes == [(DeclineCode.UNKNOWN_PRODUCT, None)] * 2
        assert checker.figures() == (0, 0, 0)

    def test_an_order_of_several_products_gets_all_or_nothing(self) -> None:
        checker = Checker(pen=5, ink=1)
        both = details_of(items=(("pen", 2), ("ink", 2)))

        checker.handle(check(both))

        decision = checker.decisions()["order-1"]
        assert (decision.code, decision.entity) == (DeclineCode.INSUFFICIENT_STOCK, "ink")
        assert (checker.figures("pen"), checker.figures("ink")) == ((5, 0, 0), (1, 0, 0))

    def test_two_lines_of_one_product_are_held_as_one(self) -> None:
        checker = Checker(pen=5)

        checker.handle(check(details_of("order-1", items=(("pen", 3), ("pen", 3)))))
        checker.handle(check(details_of("order-2", items=(("pen", 3), ("pen", 2)))))

        assert checker.outcomes() == {"order-1": DECLINED, "order-2": HELD}
        assert checker.figures() == (0, 5, 0)

    def test_a_batch_for_one_product_is_one_write(self) -> None:
        checker = Checker(pen=100)

        checker.handle(*(check(pens(f"order-{i}", 1)) for i in range(10)))

        assert set(checker.outcomes().values()) == {HELD}
        assert checker.figures() == (90, 10, 0)
        assert checker.dynamodb.writes == 1

    def test_when_some_products_of_a_batch_do_not_suffice_the_next_write_decides_all_of_it(self) -> None:
        checker = Checker(STOCK, **{f"product-{i}": 1 for i in range(10)})
        orders = [details_of(f"order-{i}", items=((f"product-{i}", 1 + (i < 3)),)) for i in range(10)]

        assert checker.handle(*map(check, orders)) == set()

        assert checker.outcomes() == {f"order-{i}": DECLINED if i < 3 else HELD for i in range(10)}
        assert checker.dynamodb.writes == 1
        assert [checker.figures(f"product-{i}")[:2] for i in (2, 3)] == [(1, 0), (0, 1)]

    def test_where_the_sum_does_not_fit_the_earliest_that_fit_are_held(self) -> None:
        checker = Checker(pen=5)

        checker.handle(*(check(pens(f"order-{i}", qty)) for i, qty in enumerate((3, 4, 2, 1))))

        decisions = checker.decisions()
        assert [d.outcome for d in decisions.values()] == [HELD, DECLINED, HELD, DECLINED]
        assert (decisions["order-1"].requested, decisions["order-1"].available) == (Decimal(4), Decimal(2))
        assert checker.figures() == (0, 5, 0)


class TestADuplicate:
    def test_of_a_held_order_gets_the_same_answer_and_holds_nothing_more(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 2)))
        first = checker.decisions()

        checker.handle(check(pens("order-1", 2)))

        assert checker.decisions() == first
        assert checker.figures() == (3, 2, 0)

    def test_of_a_declined_order_gets_the_same_answer_even_if_the_balance_has_risen_since(self) -> None:
        checker = Checker(pen=1)
        checker.handle(check(pens("order-1", 2)))
        first = checker.decisions()
        checker.adjust("pen", 100)

        checker.handle(check(pens("order-1", 2)))

        assert checker.decisions() == first
        assert checker.figures() == (101, 0, 0)

    def test_of_an_order_for_an_unknown_product_gets_the_same_answer_once_it_is_known(self) -> None:
        checker = Checker()
        checker.handle(check(pens("order-1", 2)))
        first = checker.decisions()
        checker.adjust("pen", 100)

        checker.handle(check(pens("order-1", 2)))

        assert checker.decisions() == first

    def test_within_one_batch_is_one_order(self) -> None:
        checker = Checker(pen=5)

        checker.handle(check(pens("order-1", 2)), check(pens("order-1", 2)))

        assert len(checker.results.sent) == 1
        assert checker.figures() == (3, 2, 0)

    def test_among_new_orders_takes_nothing_from_them(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 3)))

        checker.handle(check(pens("order-1", 3)), check(pens("order-2", 2)), check(pens("order-3", 1)))

        assert checker.outcomes() == {"order-1": HELD, "order-2": HELD, "order-3": DECLINED}
        assert checker.figures() == (0, 5, 0)

    def test_of_an_order_of_several_products_is_found_whatever_their_order(self) -> None:
        checker = Checker(pen=5, ink=5)
        checker.handle(check(details_of(items=(("pen", 1), ("ink", 2)))))

        checker.handle(check(details_of(items=(("ink", 2), ("pen", 1)))))

        assert checker.outcomes() == {"order-1": HELD}
        assert (checker.figures("pen"), checker.figures("ink")) == ((4, 1, 0), (3, 2, 0))


class TestReleasing:
    def test_gives_back_what_was_held(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 2)))

        assert checker.handle(release(pens("order-1", 2))) == set()

        assert checker.figures() == (5, 0, 0)

    def test_gives_it_back_once(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 2)), check(pens("order-2", 2)))

        for _ in range(3):
            assert checker.handle(release(pens("order-1", 2))) == set()

        assert checker.figures() == (3, 2, 0)

    def test_gives_back_every_product(self) -> None:
        checker = Checker(pen=5, ink=5)
        both = details_of(items=(("pen", 1), ("ink", 2), ("pen", 1)))
        checker.handle(check(both))

        checker.handle(release(both))

        assert (checker.figures("pen"), checker.figures("ink")) == ((5, 0, 0), (5, 0, 0))

    def test_of_a_declined_order_gives_back_nothing_of_what_others_hold(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 4)), check(pens("order-2", 2)))

        assert checker.handle(release(pens("order-2", 2))) == set()

        assert checker.figures() == (1, 4, 0)

    def test_that_comes_before_its_hold_makes_the_late_hold_decline(self) -> None:
        checker = Checker(pen=5)

        assert checker.handle(release(pens("order-1", 2))) == set()
        checker.handle(check(pens("order-1", 2)))

        decision = checker.decisions()["order-1"]
        assert (decision.outcome, decision.code) == (DECLINED, DeclineCode.ORDER_CLOSED)
        assert checker.figures() == (5, 0, 0)

    def test_that_comes_before_its_hold_does_so_for_every_product(self) -> None:
        checker = Checker(pen=5, ink=5)

        checker.handle(release(details_of(items=(("pen", 1), ("ink", 2)))))
        checker.handle(check(details_of(items=(("pen", 1), ("ink", 2)))))

        assert checker.outcomes() == {"order-1": DECLINED}
        assert (checker.figures("pen"), checker.figures("ink")) == ((5, 0, 0), (5, 0, 0))

    def test_in_one_batch_with_its_check_leaves_nothing_held(self) -> None:
        checker = Checker(pen=5)

        assert checker.handle(release(pens("order-1", 2)), check(pens("order-1", 2))) == set()

        assert checker.figures() == (5, 0, 0)

    def test_is_not_answered(self) -> None:
        checker = Checker(pen=5)

        checker.handle(release())

        assert checker.results.sent == []

    def test_that_meets_the_hold_just_being_written_gives_it_back(self) -> None:
        checker = Checker(pen=5)
        details = pens("order-1", 2)
        checker.dynamodb.interrupt(lambda: checker.handle(check(details)))

        assert checker.handle(release(details)) == set()

        assert checker.figures() == (5, 0, 0)

    def test_of_what_the_books_do_not_hold_is_returned_to_the_queue(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 2)))
        checker.ledger.write([BalanceChange.settle("pen", Decimal(1))], [], NOW)

        assert checker.handle(release(pens("order-1", 2))) == {"order-1"}


class TestMeetingOthers:
    @pytest.mark.parametrize("details", [pens("order-1", 2), details_of(items=(("pen", 2), ("ink", 1)))])
    def test_a_hold_is_tried_again_after_a_pause(self, details: OrderDetails) -> None:
        checker = Checker(pen=5, ink=5)
        checker.dynamodb.conflict(MAX_ATTEMPTS - 1)

        assert checker.handle(check(details)) == set()

        assert checker.outcomes() == {"order-1": HELD}
        assert checker.backoff.after == list(range(1, MAX_ATTEMPTS))

    def test_a_hold_that_never_gets_through_is_returned_to_the_queue_and_not_answered(self) -> None:
        checker = Checker(pen=5)
        checker.dynamodb.conflict(MAX_ATTEMPTS)

        assert checker.handle(check(pens("order-1", 2))) == {"order-1"}

        assert checker.results.sent == []
        assert checker.figures() == (5, 0, 0)

    def test_a_release_is_tried_again_and_given_back_if_it_never_gets_through(self) -> None:
        checker = Checker(pen=5)
        checker.handle(check(pens("order-1", 2)))

        checker.dynamodb.conflict(MAX_ATTEMPTS)
        assert checker.handle(release(pens("order-1", 2))) == {"order-1"}
        checker.dynamodb.conflict(MAX_ATTEMPTS - 1)
        assert checker.handle(release(pens("order-1", 2))) == set()

        assert checker.figures() == (5, 0, 0)
        assert checker.backoff.after == [*range(1, MAX_ATTEMPTS), *range(1, MAX_ATTEMPTS)]

    def test_whoever_takes_the_last_units_first_has_them(self) -> None:
        checker = Checker(pen=5)
        checker.dynamodb.interrupt(lambda: checker.handle(check(pens("quicker", 4))))

        checker.handle(check(pens("order-1", 2)))

        assert checker.outcomes() == {"quicker": HELD, "order-1": DECLINED}
        assert checker.figures() == (1, 4, 0)

    def test_the_same_order_checked_twice_at_once_is_held_once(self) -> None:
        checker = Checker(pen=5)
        checker.dynamodb.interrupt(lambda: checker.handle(check(pens("order-1", 2))))

        checker.handle(check(pens("order-1", 2)))

        assert [type(message) for message in checker.results.sent] == [OrderChecked] * 2
        assert checker.outcomes() == {"order-1": HELD}
        assert checker.figures() == (3, 2, 0)


class TestNeighbours:
    def test_one_bad_order_never_fails_the_others(self) -> None:
        checker = Checker(pen=5, ink=5)
        checker.dynamodb.interrupt(RuntimeError("the write of both breaks"))
        checker.dynamodb.interrupt(RuntimeError("the first write of one breaks"))
        ink = details_of("order-2", items=(("ink", 1),))

        assert checker.handle(check(pens("order-1", 2)), check(ink)) == {"order-1"}

        assert checker.outcomes() == {"order-2": HELD}

    def test_an_order_of_several_products_that_fails_does_not_fail_those_of_one(self) -> None:
        checker = Checker(pen=5, ink=5)
        both = details_of("order-1", items=(("pen", 1), ("ink", 1)))
        checker.dynamodb.interrupt(RuntimeError("the first write breaks"))

        assert checker.handle(check(both), check(pens("order-2", 1))) == {"order-1"}

        assert checker.outcomes() == {"order-2": HELD}

    def test_a_release_that_fails_is_returned_to_the_queue_alone(self) -> None:
        checker = Checker(pen=5)
        checker.dynamodb.interrupt(RuntimeError("the first write breaks"))

        assert checker.handle(release(pens("order-1", 1)), release(pens("order-2", 1))) == {"order-1"}

    def test_an_order_whose_answer_can_not_be_sent_is_returned_to_the_queue_and_answered_the_same_later(
        self,
    ) -> None:
        checker = Checker(pen=5)
        checker.results.failing = {"order-1"}

        assert checker.handle(check(pens("order-1", 2)), check(pens("order-2", 1))) == {"order-1"}
        checker.results.failing = set()
        checker.handle(check(pens("order-1", 2)))

        assert checker.outcomes() == {"order-1": HELD, "order-2": HELD}
        assert checker.figures() == (2, 3, 0)


class TestColdOnes:
    def test_several_customers_or_products_are_held_in_one_write(self) -> None:
        checker = Checker(pen=5, ink=5)
        before = checker.dynamodb.writes

        checker.handle(check(pens("order-1", 2)), check(details_of("order-2", items=(("ink", 1),))))

        assert checker.outcomes() == {"order-1": HELD, "order-2": HELD}
        assert checker.dynamodb.writes == before + 1

    def test_where_one_of_them_does_not_fit_each_is_held_or_declined_by_itself(self) -> None:
        checker = Checker(pen=5, ink=0)

        checker.handle(check(pens("order-1", 2)), check(details_of("order-2", items=(("ink", 1),))))

        assert checker.outcomes() == {"order-1": HELD, "order-2": DECLINED}

    def test_where_one_of_them_was_decided_before_it_gets_the_same_answer_and_the_others_are_held(
        self,
    ) -> None:
        checker = Checker(pen=5, ink=5)
        checker.handle(check(pens("order-1", 2)))

        checker.handle(check(pens("order-1", 2)), check(details_of("order-2", items=(("ink", 1),))))

        assert checker.outcomes() == {"order-1": HELD, "order-2": HELD}
        assert checker.figures() == (3, 2, 0)


class TestWhoSendsTheResult:
    """Of two checks that hold an order, the last one reports: see `CheckOrders._due`."""

    def test_what_the_other_has_not_decided_yet_is_held_and_not_sent(self) -> None:
        checker = Checker(pen=5)
        checker.decided_by_other = lambda _ids: {"order-2"}

        assert checker.handle(check(pens("order-1", 2)), check(pens("order-2", 1))) == set()

        assert checker.outcomes() == {"order-2": HELD}
        assert checker.figures() == (2, 3, 0)

    def test_a_decline_is_sent_at_once_and_the_other_is_not_asked_for_it(self) -> None:
        checker = Checker(pen=1)
        seen: list[str] = []

        def asked(ids: Collection[str]) -> Container[str]:
            seen.extend(ids)
            return ()

        checker.decided_by_other = asked

        checker.handle(check(pens("order-1", 2)))

        assert (checker.outcomes(), seen) == ({"order-1": DECLINED}, [])

    def test_the_other_is_asked_after_the_hold_is_written(self) -> None:
        """Otherwise two concurrent checks might both miss the other's, and the order would stay undecided."""
        checker = Checker(pen=5)
        seen: list[object] = []

        def asked(ids: Collection[str]) -> Container[str]:
            seen.append(checker.figures())
            return ids

        checker.decided_by_other = asked

        checker.handle(check(pens("order-1", 2)))

        assert seen == [(3, 2, 0)]

    def test_if_the_other_can_not_be_asked_the_result_is_sent(self) -> None:
        checker = Checker(pen=5)

        def away(_ids: Collection[str]) -> Container[str]:
            raise TransientError("throttled")

        checker.decided_by_other = away

        assert checker.handle(check(pens("order-1", 2))) == set()

        assert checker.outcomes() == {"order-1": HELD}

    def test_one_that_comes_again_asks_again(self) -> None:
        checker = Checker(pen=5)
        checker.decided_by_other = lambda _ids: ()
        checker.handle(check(pens("order-1", 2)))
        assert checker.outcomes() == {}

        checker.decided_by_other = frozenset
        checker.handle(check(pens("order-1", 2)))

        assert checker.outcomes() == {"order-1": HELD}
        assert checker.figures() == (3, 2, 0)

    @pytest.mark.parametrize("meanwhile", [False, True])
    def test_one_of_the_two_sends_even_if_both_decide_at_once(self, meanwhile: bool) -> None:
        # given two checks of one order, the second one after the first or between its write and its read
        credit, units = Checker(ACCOUNTS, alice=100), Checker(pen=5)
        order = details_of("order-1", items=(("pen", 1),))

        def decided_by_stock(ids: Collection[str]) -> Container[str]:
            if meanwhile:
                units.handle(check(order))
            return units.ledger.holds(ids)

        credit.decided_by_other = decided_by_stock
        units.decided_by_other = credit.ledger.holds
        # when
        credit.handle(check(order))
        if not meanwhile:
            units.handle(check(order))
        # then
        assert units.outcomes() == {"order-1": HELD}
        assert credit.outcomes() == ({"order-1": HELD} if meanwhile else {})


class TestAnOldCheck:
    """The entries of its order may be deleted, and nothing else would prevent a second hold."""

    def test_is_given_up_and_a_newer_one_is_made(self) -> None:
        checker = Checker(pen=10)
        old, new = (
            check(details_of(order_id)).model_copy(update={"sent_time": after(NOW, -days * DAY)})
            for order_id, days in (("order-1", 45.1), ("order-2", 44.9))
        )

        assert checker.handle(old, new) == set()

        assert checker.outcomes() == {"order-2": HELD}
        assert checker.figures() == (9, 1, 0)

    def test_is_given_up_beside_a_newer_copy_of_it(self) -> None:
        checker = Checker(pen=10)
        old = check(details_of("order-1")).model_copy(update={"sent_time": after(NOW, -46 * DAY)})

        assert checker.handle(check(details_of("order-1")), old) == set()

        assert checker.outcomes() == {"order-1": HELD}
