"""A priced product is sold only at its price; one without a price at the order's amount."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from order_capture.application.ledger.adjust_balance import AdjustBalance, Adjusted, BalanceRequest
from order_capture.application.ledger.check_orders import CheckOrders
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.messages import CheckOrder, OrderChecked, StockState
from order_capture.application.retry import Retry
from order_capture.domain.errors import NotFoundError
from order_capture.domain.history import commit_of
from order_capture.domain.ledger import (
    ACCOUNTS,
    STOCK,
    UNPRICED,
    Adjustment,
    Balance,
    BalanceChange,
    aggregate,
    decide_holds,
    replay,
)
from order_capture.domain.order import CheckResult, DeclineCode, OrderDetails, OrderLine, Outcome
from order_capture.domain.order_log import log_lines
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import EARLIER, NOW, check, details_of, placed, shown, ticking_clock, wrong_price
from tests.support.fakes import MemoryPublisher, RecordedBackoff
from tests.support.stores import entries_of, memory_stores
from tests.unit.test_requests import ORDER, PEN, batch_of, order_of, stock_of, wrong_fields

HELD, DECLINED = Outcome


def pens(order_id: str, unit_price: str | None, qty: int = 1) -> OrderDetails:
    return details_of(order_id, items=(("pen", qty),), unit_price=unit_price)


def pen_at(unit_price: Any, qty: int = 1) -> dict[str, Any]:
    return {"productId": "pen", "qty": qty, "unitPrice": unit_price}


def an_order(*items: Mapping[str, Any], total: float) -> dict[str, Any]:
    return {**ORDER, "items": list(items), "totalAmount": total}


class TestWhatAnOrderMaySay:
    def test_unit_prices_that_add_up_to_the_total(self) -> None:
        order = order_of(an_order(pen_at(0.1, 3), {"productId": "ink", "qty": 2, "unitPrice": 5}, total=10.3))

        assert [(line.product_id, str(line.unit_price)) for line in order.details.items] == [
            ("pen", "0.10"),
            ("ink", "5.00"),
        ]

    def test_none_at_all(self) -> None:
        assert order_of(ORDER).details.items == (OrderLine("pen", 1),)

    @pytest.mark.parametrize("total", [0, 0.02, 0.04, 30.01])
    def test_a_total_that_is_another_than_their_sum_is_refused_with_both_figures(self, total: float) -> None:
        wrong = wrong_fields(order_of, an_order(pen_at(0.01, 3), total=total))

        assert wrong == {"totalAmount": f"must be the sum of qty x unitPrice, which is 0.03, not {total:.2f}"}

    def test_a_sum_that_no_total_can_have_is_refused_as_any_other(self) -> None:
        wrong = wrong_fields(order_of, an_order(*[pen_at(999_999_999.99, 100_000)] * 50, total=0))

        assert wrong == {
            "totalAmount": "must be the sum of qty x unitPrice, which is 4999999999950000.00, not 0.00"
        }

    def test_a_price_for_some_of_the_items_only_is_refused_for_each_that_has_none(self) -> None:
        wrong = wrong_fields(order_of, an_order(PEN, pen_at(1), PEN, total=3))

        needed = "is required, because another item has one"
        assert wrong == {"items[0].unitPrice": needed, "items[2].unitPrice": needed}

    def test_two_prices_for_one_product_are_refused(self) -> None:
        wrong = wrong_fields(order_of, an_order(pen_at(2.5), pen_at(0), total=2.5))

        assert wrong == {"items[1].unitPrice": "must be 2.5, the unitPrice of items[0] with the same product"}

    @pytest.mark.parametrize(
        ("price", "message"),
        [
            (None, "must be a number"),
            ("1", "must be a number"),
            (True, "must be a number"),
            (-0.01, "must be at least 0"),
            (1_000_000_000, "must be at most 999999999.99"),
            (0.001, "must have at most 2 decimal places"),
        ],
    )
    def test_what_is_no_price_is_refused(self, price: object, message: str) -> None:
        assert wrong_fields(order_of, an_order(pen_at(price), total=0)) == {"items[0].unitPrice": message}

    def test_in_a_batch_each_order_has_its_own_errors(self) -> None:
        good, bad = an_order(pen_at(2), total=2), an_order(pen_at(2), total=1)

        first, second = batch_of({"orders": [good, bad]}).entries

        assert not isinstance(first, Exception)
        assert isinstance(second, RequestInvalidError)
        message = "must be the sum of qty x unitPrice, which is 2.00, not 1.00"
        assert second.errors == [FieldError("orders[1].totalAmount", message)]


class TestWhatAChangeOfStockMaySay:
    def test_a_price_alone_which_moves_nothing(self) -> None:
        change = stock_of({"productId": "pen", "price": 499})

        assert (change.balance, change.adjust, str(change.price)) == (None, Decimal(0), "499.00")

    @pytest.mark.parametrize("units", [{"balance": 4}, {"adjust": -4}])
    def test_a_price_with_units(self, units: dict[str, int]) -> None:
        change = stock_of({"productId": "pen", "price": 0, **units})

        assert {"balance": change.balance, "adjust": change.adjust} == {
            "balance": None,
            "adjust": None,
            **units,
        }
        assert change.price == 0

    def test_null_which_takes_the_price_away(self) -> None:
        assert stock_of({"productId": "pen", "price": None}).price == UNPRICED
        assert stock_of({"productId": "pen", "adjust": 1}).price is None

    @pytest.mark.parametrize(
        ("body", "field", "message"),
        [
            ({"price": -0.01}, "price", "must be at least 0"),
            ({"price": "1"}, "price", "must be a number"),
            ({"price": 1.001}, "price", "must have at most 2 decimal places"),
            ({"price": 1_000_000_000}, "price", "must be at most 999999999.99"),
            ({"price": 1, "balance": None}, "balance", "exactly one of balance and adjust is required"),
            (
                {"price": 1, "balance": 1, "adjust": 1},
                "balance",
                "exactly one of balance and adjust is required",
            ),
            ({}, "balance", "one of balance, adjust and price is required"),
        ],
    )
    def test_nothing_else(self, body: dict[str, Any], field: str, message: str) -> None:
        assert wrong_fields(stock_of, {"productId": "pen", **body}) == {field: message}


class Shop:
    """The stock and its checker over AWS in memory."""

    def __init__(self, price: str | None = None, units: int = 50) -> None:
        self.dynamodb = DynamoDB()
        self.ledger = memory_stores(self.dynamodb).stock
        self.answers, self.clock = MemoryPublisher(), ticking_clock()
        self._changes = 0
        self.change(balance=Decimal(units), price=None if price is None else Decimal(price))
        self.dynamodb.writes = 0

    def change(self, **values: Any) -> Adjusted:
        self._changes += 1
        change = BalanceRequest("pen", str(self._changes), "print", **{"idempotent": False, **values})
        return self.request(change)

    def request(self, change: BalanceRequest) -> Adjusted:
        return AdjustBalance(STOCK, self.ledger, self.clock, Retry(RecordedBackoff())).adjust(change)

    def check(self, *orders: OrderDetails) -> dict[str, CheckResult]:
        messages: list[CheckOrder] = [check(details) for details in orders]
        assert (
            CheckOrders(
                STOCK,
                self.ledger,
                frozenset,
                self.answers,
                self.clock,
                lambda: 0.0,
                Retry(RecordedBackoff()),
                HotHeads(),
                stripes=0,
            ).process(messages)
            == set()
        )
        return {m.order_id: m.decision for m in self.answers.taken() if isinstance(m, OrderChecked)}

    @property
    def head(self) -> Balance:
        head = self.ledger.head("pen")
        assert head is not None
        assert replay(entries_of(self.dynamodb, self.ledger, "pen")) == head.balance
        return head

    @property
    def figures(self) -> tuple[int, int]:
        """Balance and held."""
        return int(self.head.balance), int(self.head.held)


class TestHolding:
    def test_at_the_product_s_price_is_one_write_as_ever(self) -> None:
        shop = Shop(price="499.00")

        decisions = shop.check(pens("order-1", "499.00", 2), pens("order-2", "499", 3))

        assert {each.outcome for each in decisions.values()} == {HELD}
        assert shop.figures == (45, 5)
        assert shop.dynamodb.writes == 1

    @pytest.mark.parametrize("unit_price", ["0.00", "498.99", "499.01"])
    def test_at_any_other_price_is_declined_with_both_prices(self, unit_price: str) -> None:
        shop = Shop(price="499.00")

        decisions = shop.check(pens("order-1", unit_price, 50))

        assert decisions == {"order-1": wrong_price("499.00", unit_price, requested="50")}
        assert shop.figures == (50, 0)

    def test_without_a_price_is_declined_as_well(self) -> None:
        assert Shop(price="0.00").check(pens("order-1", None)) == {"order-1": wrong_price("0.00", None)}

    @pytest.mark.parametrize("unit_price", [None, "0.00", "7.00"])
    def test_of_a_product_without_a_price_is_as_it_always_was(self, unit_price: str | None) -> None:
        shop = Shop()

        assert shop.check(pens("order-1", unit_price))["order-1"].outcome is HELD
        assert shop.dynamodb.writes == 1

    def test_a_duplicate_gets_the_same_answer_though_the_price_has_changed_since(self) -> None:
        shop = Shop(price="499.00")
        first = shop.check(pens("order-1", "5.00"))

        shop.change(adjust=Decimal(0), price=Decimal("5.00"))

        assert shop.check(pens("order-1", "5.00")) == first
        assert shop.check(pens("order-2", "5.00"))["order-2"].outcome is HELD

    def test_a_price_that_changes_while_an_order_is_decided_is_the_one_that_counts(self) -> None:
        shop = Shop(price="5.00")
        shop.dynamodb.interrupt(lambda: shop.change(adjust=Decimal(0), price=Decimal("499.00")))

        assert shop.check(pens("order-1", "5.00")) == {"order-1": wrong_price("499.00", "5.00")}

    def test_one_order_at_a_wrong_price_neither_fails_nor_is_written_with_those_at_the_right_one(
        self,
    ) -> None:
        shop = Shop(price="5.00")
        refused: list[Any] = []
        write = shop.ledger.write

        def watched(movements: Any, entries: Any, now: str) -> None:
            try:
                write(movements, entries, now)
            except Exception:
                refused.append({entry.order_id for entry in entries})
                raise

        shop.ledger.write = watched  # type: ignore[method-assign, assignment]
        orders = [pens("good-1", "5.00"), pens("bad", "0.00"), pens("good-2", "5.00"), pens("none", None)]

        decisions = shop.check(*orders)

        assert {order_id: each.outcome for order_id, each in decisions.items()} == {
            "good-1": HELD,
            "good-2": HELD,
            "bad": DECLINED,
            "none": DECLINED,
        }
        assert refused == [{"bad"}, {"none"}]

    def test_of_several_products_is_all_or_nothing_and_names_the_one_whose_price_is_wrong(self) -> None:
        shop = Shop(price="5.00")
        ink = BalanceRequest(
            "ink", "ink", "print", idempotent=False, balance=Decimal(1), price=Decimal("2.00")
        )
        shop.request(ink)
        both = (("pen", 1), ("ink", 1))

        decisions = shop.check(details_of("order-1", items=both, unit_price="5.00"))

        assert decisions == {"order-1": wrong_price("2.00", "5.00", "ink")}
        assert shop.head.held == 0


def a_pen(price: str | None, balance: int = 0) -> dict[str, Balance | None]:
    return {"pen": Balance(Decimal(balance), price=None if price is None else Decimal(price))}


class TestDeciding:
    def test_where_price_and_units_are_both_wrong_the_price_is_named(self) -> None:
        decision = decide_holds(STOCK, [pens("order-1", "1.00", 9)], a_pen("2.00"))["order-1"]

        assert decision.code == DeclineCode.PRICE_MISMATCH

    def test_of_several_products_too(self) -> None:
        seen: dict[str, Balance | None] = {"cap": Balance(Decimal(0)), **a_pen("2.00", 9)}
        details = details_of("order-1", items=(("cap", 1), ("pen", 1)), unit_price="1.00")

        assert decide_holds(STOCK, [details], seen)["order-1"] == wrong_price("2.00", "1.00", requested="1")

    def test_prices_are_compared_by_value(self) -> None:
        decision = decide_holds(STOCK, [pens("order-1", "2")], a_pen("2.00", 9))["order-1"]

        assert decision.outcome is HELD

    def test_a_product_that_is_deleted_is_unknown_whatever_it_cost(self) -> None:
        seen: dict[str, Balance | None] = {"pen": Balance(Decimal(0), deleted=True)}

        decision = decide_holds(STOCK, [pens("order-1", "1.00")], seen)["order-1"]

        assert decision.code == DeclineCode.UNKNOWN_PRODUCT

    def test_two_prices_for_one_product_are_that_of_none(self) -> None:
        lines = (OrderLine("pen", 1, Decimal(2)), OrderLine("pen", 1, Decimal(0)))
        details = OrderDetails("order-1", "alice", lines, Decimal(2))

        assert STOCK.unit_prices(details) == {}
        assert decide_holds(STOCK, [details], a_pen("2.00", 9))["order-1"].code == DeclineCode.PRICE_MISMATCH

    def test_money_has_no_price(self) -> None:
        assert ACCOUNTS.unit_prices(pens("order-1", "1.00")) == {}

    def test_holds_at_different_prices_pass_together_only_where_there_is_none(self) -> None:
        (same,) = aggregate(BalanceChange.hold("pen", Decimal(1), Decimal(price)) for price in ("2", "2.00"))
        (different,) = aggregate(BalanceChange.hold("pen", Decimal(1), Decimal(price)) for price in (2, 3))

        assert (same.unit_price, different.unit_price) == (Decimal(2), None)

    @pytest.mark.parametrize(("unit_price", "ordered"), [("0.00", "at 0.00"), (None, "without a price")])
    def test_the_order_s_log_says_it_in_words(self, unit_price: str | None, ordered: str) -> None:
        (mismatch,) = Shop(price="499.00").check(pens("order-1", unit_price)).values()
        order = placed(pens("order-1", unit_price)).record_check(STOCK.check, mismatch, now=NOW)

        assert log_lines(order)[1:] == [
            f"{NOW} stock DECLINED PRICE_MISMATCH pen, price 499.00, ordered {ordered}",
            f"{NOW} rejected: PRICE_MISMATCH",
        ]


class TestChangingAPrice:
    def test_alone_moves_nothing_and_is_an_adjustment_by_nothing(self) -> None:
        shop = Shop()

        head = shop.change(adjust=Decimal(0), price=Decimal("2.50")).head

        assert shop.figures == (50, 0)
        assert (head.price, head.version) == (Decimal("2.50"), 2)
        assert shown(shop.head) == shown(head)
        last = shop.ledger.adjustment("pen", "2")
        assert isinstance(last, Adjustment)
        assert (last.amount, last.after) == (Decimal(0), shown(head))

    def test_units_that_change_leave_it_as_it_is(self) -> None:
        shop = Shop(price="2.50")

        shop.change(adjust=Decimal(3))

        assert shop.head.price == Decimal("2.50")

    def test_what_is_held_and_settled_leaves_it_as_it_is(self) -> None:
        shop = Shop(price="2.50")

        shop.check(pens("order-1", "2.50"))
        shop.ledger.write([BalanceChange.settle("pen", Decimal(1))], [], NOW)

        assert shop.head.price == Decimal("2.50")

    def test_it_is_taken_away(self) -> None:
        shop = Shop(price="2.50")

        shop.change(adjust=Decimal(0), price=UNPRICED)

        assert shop.head.price is None
        assert shop.check(pens("order-1", None))["order-1"].outcome is HELD

    def test_the_same_key_changes_it_once_and_gets_the_same_answer(self) -> None:
        shop = Shop()
        change = BalanceRequest(
            "pen", "key", "print", idempotent=True, adjust=Decimal(0), price=Decimal("2.50")
        )
        first = shop.request(change)
        shop.change(adjust=Decimal(0), price=Decimal(9))

        again = shop.request(change)

        assert (shown(again.head), again.replayed) == (shown(first.head), True)
        assert shop.head.price == 9

    def test_of_what_is_unknown_is_refused(self) -> None:
        shop = Shop()
        change = BalanceRequest("ink", "1", "print", idempotent=False, adjust=Decimal(0), price=Decimal(1))

        with pytest.raises(NotFoundError):
            shop.request(change)

    def test_a_product_that_is_deleted_and_set_again_has_none(self) -> None:
        shop = Shop(price="2.50")

        tombstone = shop.change(delete=True).head
        assert tombstone.price is None
        assert "price" not in StockState.of("pen", tombstone).values()
        head = shop.change(balance=Decimal(1)).head

        assert (head.price, shop.head.price) == (None, None)

    def test_the_price_of_before_is_known_of_each_write(self) -> None:
        old = Balance(Decimal(5), version=1, update_time=EARLIER, price=Decimal(2))
        new = Balance(Decimal(5), version=2, update_time=NOW, price=Decimal(3))

        commit = commit_of("pen", old, new, {"ADJUST#1": Decimal(0)})

        assert commit.before == old
        assert [(str(change.type), change.amount) for change in commit.changes] == [("ADJUST", Decimal(0))]
