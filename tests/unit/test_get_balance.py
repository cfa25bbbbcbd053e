"""The history page by page, and balances at any time, also while the history lags."""

from __future__ import annotations

from decimal import Decimal

import pytest

from order_capture.adapters.dynamodb.ledger_repository import CLOSED
from order_capture.adapters.dynamodb.types import to_item
from order_capture.application.ledger.get_balance import GetBalance
from order_capture.application.ledger.list_balance_history import Entry, ListBalanceHistory
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.domain.errors import NotFoundError, TransientError
from order_capture.domain.history import Commit
from order_capture.domain.ledger import Balance, BalanceChange, Hold
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import EARLIER, NOW, a_commit, a_decline
from tests.support.stores import memory_stores

FIRST = "2026-11-20T08:00:00.000Z"


class Shelf:
    """A ledger with a pen, of which 20 were there at 9 and one was held at 10, and its history."""

    def __init__(self, *lines: Commit | Hold) -> None:
        self.dynamodb = DynamoDB()
        stores = memory_stores(self.dynamodb)
        self.ledger, self.history = stores.stock, stores.stock_history
        self.ledger.write([BalanceChange("pen", balance=Decimal(20), expected=0)], [], EARLIER)
        self.ledger.write([BalanceChange.hold("pen", Decimal(1))], [], NOW)
        self.history.put(lines)
        self.slept: list[float] = []

    def close(self, until: str) -> None:
        item = to_item({"productId": CLOSED[0], "entry": CLOSED[1], "until": until})
        self.dynamodb.put_item(TableName="StockTable", Item=item)

    def at(self, time: str | None, entity: str = "pen") -> Balance:
        return GetBalance(self.ledger, self.history, self.sleep).get(entity, time)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def pages(self, limit: int, entity: str = "pen") -> list[list[str]]:
        """The orders on every page, to the last one."""
        pages: list[list[str]] = []
        after: HistoryCursor | None = None
        while not pages or after:
            page = ListBalanceHistory(self.ledger, self.history).list_page(entity, after, limit)
            pages.append([_order(entry) for entry in page.entries])
            after = page.next
        return pages


def _order(entry: Entry) -> str:
    if isinstance(entry.record, Hold):
        return f"no {entry.record.order_id}"
    assert entry.change is not None
    return entry.change.id or "?"


class TestOfAClosedTime:
    def test_it_is_not_known_and_nobody_waits_for_it(self) -> None:
        shelf = Shelf()
        shelf.close(until=NOW)

        with pytest.raises(NotFoundError, match=f"before {NOW} are not kept"):
            shelf.at(EARLIER)

        assert shelf.slept == [0.0]

    def test_it_is_known_while_the_history_still_has_it(self) -> None:
        shelf = Shelf(a_commit("pen"))
        shelf.close(until=NOW)

        assert shelf.at(EARLIER).balance == 20

    def test_a_later_one_is_waited_for(self) -> None:
        shelf = Shelf()
        shelf.close(until=FIRST)

        with pytest.raises(TransientError):
            shelf.at(EARLIER)


class TestHowItStood:
    @pytest.mark.parametrize("time", [None, NOW, "2026-11-20T10:00:00.001Z"])
    def test_since_the_last_write_it_is_the_head_itself_and_the_history_is_not_needed(
        self, time: str | None
    ) -> None:
        shelf = Shelf()

        assert shelf.at(time) == shelf.ledger.head("pen")

    @pytest.mark.parametrize("time", [EARLIER, "2026-11-20T09:59:59.999Z"])
    def test_before_it_the_last_write_is_undone(self, time: str) -> None:
        assert Shelf(a_commit("pen")).at(time) == Balance(Decimal(20), version=1, update_time=EARLIER)

    def test_before_the_first_write_it_was_unknown(self) -> None:
        first = Commit("pen", (), Balance(Decimal(20), version=1, update_time=EARLIER), previous_time="")

        with pytest.raises(NotFoundError):
            Shelf(first, a_commit("pen")).at(FIRST)

    def test_what_was_never_set_is_unknown_at_any_time(self) -> None:
        with pytest.raises(NotFoundError):
            Shelf().at(EARLIER, entity="ink")

    def test_a_history_that_is_behind_is_waited_for(self) -> None:
        shelf = Shelf()

        def sleep(seconds: float) -> None:
            shelf.slept.append(seconds)
            if len(shelf.slept) == 3:
                shelf.history.put([a_commit("pen")])

        head = GetBalance(shelf.ledger, shelf.history, sleep).get("pen", EARLIER)

        assert head.balance == 20
        assert len(shelf.slept) == 3

    def test_one_that_stays_behind_gives_no_answer_rather_than_a_wrong_one(self) -> None:
        shelf = Shelf()

        with pytest.raises(TransientError):
            shelf.at(EARLIER)

        assert 2 < sum(shelf.slept) < 5  # the function has ten seconds

    def test_nor_does_one_that_begins_later(self) -> None:
        with pytest.raises(TransientError):
            Shelf(a_commit("pen")).at(FIRST)


class TestWhatWasDone:
    def test_the_newest_come_first_and_a_write_for_several_orders_may_be_cut_in_two(self) -> None:
        lines: list[Commit | Hold] = [
            a_commit("pen", "a", "b", "c", version=2, time="2026-11-20T10:00:01.000Z"),
            a_decline("pen", "d", time="2026-11-20T10:00:02.000Z"),
            a_commit("pen", "e", version=3, time="2026-11-20T10:00:03.000Z"),
        ]

        assert Shelf(*lines).pages(2) == [["e", "no d"], ["a", "b"], ["c"]]

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 100])
    def test_every_entry_is_on_one_page_whatever_its_size(self, limit: int) -> None:
        lines: list[Commit | Hold] = [
            a_commit("pen", "a", "b", "c", version=2),
            a_commit("pen", version=3, time="2026-11-20T10:00:01.000Z"),
            a_decline("pen", "x"),
            Commit(
                "pen",
                (),
                Balance(Decimal(1), version=4, update_time="2026-11-20T10:00:02.000Z"),
                previous_time=NOW,
            ),
            a_commit("pen", "d", "e", version=5, time="2026-11-20T10:00:03.000Z"),
        ]

        pages = Shelf(*lines).pages(limit)

        assert [each for page in pages for each in page] == ["d", "e", "order-1", "no x", "a", "b", "c"]
        assert all(len(page) <= limit for page in pages)

    def test_behind_the_last_entry_there_is_no_page(self) -> None:
        assert Shelf(a_commit("pen", "a", "b")).pages(2) == [["a", "b"]]

    def test_a_ledger_whose_history_is_behind_is_known_all_the_same(self) -> None:
        assert Shelf().pages(2) == [[]]

    def test_orders_for_unknown_products_are_shown(self) -> None:
        assert Shelf(a_decline("ink", "a")).pages(2, entity="ink") == [["no a"]]

    def test_what_was_never_set_is_unknown(self) -> None:
        with pytest.raises(NotFoundError):
            Shelf().pages(2, entity="ink")
