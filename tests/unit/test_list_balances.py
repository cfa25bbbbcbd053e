"""Customers and products are listed by id, page by page, each of them once."""

from __future__ import annotations

from decimal import Decimal
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_capture.adapters.dynamodb.ledger_repository import BALANCE_ENTRY, DynamoLedgerRepository
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.list_balances import CHUNK, MAX_READ, BalanceQuery, ListBalances
from order_capture.application.retry import Retry
from order_capture.domain.errors import BalanceMovingError
from order_capture.domain.ledger import STOCK, Balance, BalanceChange
from order_capture.domain.stripes import split
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import EARLIER, NOW, shown
from tests.support.fakes import RecordedBackoff
from tests.support.tables import create_tables


class Shelf(DynamoLedgerRepository):
    """Products, and the reads of them."""

    def __init__(self, *entities: str) -> None:
        self.dynamodb = DynamoDB()
        super().__init__(
            self.dynamodb, create_tables(self.dynamodb)["StockTable"], "productId", Retry(RecordedBackoff())
        )
        self.limits: list[int] = []
        self.meanwhile: list[tuple[str, str]] = []
        """Transfers between two heads after the next reads."""
        for entity in entities:
            self.set(entity)

    def set(self, entity: str, balance: int = 20) -> None:
        self._request(BalanceRequest(entity, f"{entity}-{balance}", "", False, Decimal(balance)))

    def delete(self, entity: str) -> None:
        self._request(BalanceRequest(entity, f"{entity}-x", "", False, delete=True))

    def split(self, entity: str, stripes: int = 3) -> None:
        root = self.head(entity)
        assert root is not None
        self.write(split(STOCK, entity, root, stripes), [], NOW)

    def move(self, giver: str, taker: str) -> None:
        one = Decimal(1)
        self.write(
            [BalanceChange.transferred(giver, -one, "m"), BalanceChange.transferred(taker, one, "m")], [], NOW
        )

    def list_entities(self, prefix: str, after: str | None, limit: int) -> Any:
        self.limits.append(limit)
        return super().list_entities(prefix, after, limit)

    def _get_many(self, keys: Any) -> list[dict[str, Any]]:
        found = super()._get_many(keys)
        if self.meanwhile and any("#" in partition for partition, _ in keys):
            self.move(*self.meanwhile.pop(0))
        return found

    def pages(self, *limits: int, prefix: str = "") -> list[dict[str, Balance]]:
        """Every page, to the last one, with any page sizes."""
        pages, after = [], None
        for limit in cycle(limits):
            page = ListBalances(self).list_page(BalanceQuery(prefix, after, limit))
            assert len(page.balances) <= limit
            pages.append(dict(page.balances))
            if (after := page.next) is None:
                return pages
        raise AssertionError("it never ends")

    def _request(self, request: BalanceRequest) -> None:
        AdjustBalance(STOCK, self, lambda: NOW, Retry(RecordedBackoff())).adjust(request)


def ids(pages: list[dict[str, Balance]]) -> list[list[str]]:
    return [list(page) for page in pages]


def test_they_come_by_id_and_every_page_but_the_last_is_full() -> None:
    assert ids(Shelf("d", "b", "e", "a", "c").pages(2)) == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize(
    ("entities", "pages"), [("", [[]]), ("a", [["a"]]), ("abcd", [["a", "b"], ["c", "d"]])]
)
def test_behind_the_last_one_there_is_no_page(entities: str, pages: list[list[str]]) -> None:
    assert ids(Shelf(*entities).pages(2)) == pages


def test_a_page_of_the_largest_size_is_one_that_can_be_read_at_once() -> None:
    assert [len(page) for page in Shelf(*[f"{n:03}" for n in range(201)]).pages(100)] == [100, 100, 1]


def test_each_is_shown_as_it_stands() -> None:
    shelf = Shelf("pen")
    shelf.write([BalanceChange.hold("pen", Decimal(3))], [], NOW)

    assert shelf.pages(20) == [{"pen": shelf.head("pen")}]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [("pen", ["pen", "pen-2", "pencil"]), ("pen-", ["pen-2"]), ("Pen", ["Pen"]), ("z", []), ("p" * 64, [])],
)
def test_a_prefix_is_what_an_id_begins_with_as_it_is_written(prefix: str, found: list[str]) -> None:
    shelf = Shelf("Pen", "ink", "pen", "pen-2", "pencil", "Zebra")

    assert [each for page in shelf.pages(2, prefix=prefix) for each in page] == found


def test_deleted_ones_are_left_out_and_one_that_is_back_is_not() -> None:
    shelf = Shelf("a", "b", "c")
    shelf.delete("a")
    shelf.delete("b")
    shelf.set("b", 7)

    assert ids(shelf.pages(20)) == [["b", "c"]]


def test_a_request_reads_only_so_many_and_the_next_one_goes_on() -> None:
    shelf = Shelf(*[f"{number:03}" for number in range(MAX_READ + 50)])
    for number in range(MAX_READ + 49):
        shelf.delete(f"{number:03}")

    assert ids(shelf.pages(100)) == [[], [f"{MAX_READ + 49:03}"]]
    assert shelf.limits == [CHUNK + 1] * 6


def test_a_page_that_turns_out_short_is_filled_in_few_calls() -> None:
    shelf = Shelf(*[f"{number:02}" for number in range(90)])
    for number in range(80):
        shelf.delete(f"{number:02}")

    assert ids(shelf.pages(1))[:2] == [["80"], ["81"]]
    assert shelf.limits[:2] == [2, CHUNK + 1]


def test_a_head_of_an_earlier_release_is_there_once_it_was_adjusted() -> None:
    shelf = Shelf()
    shelf.write([BalanceChange("old", balance=Decimal(5), expected=0)], [], EARLIER)
    assert ids(shelf.pages(20)) == [[]]

    shelf._request(BalanceRequest("old", "adjust-1", "", False, adjust=Decimal(1)))

    assert ids(shelf.pages(20)) == [["old"]]


def test_an_order_writes_nothing_to_the_index() -> None:
    shelf = Shelf("pen")
    listed = shelf.dynamodb.items("StockTable")["pen", BALANCE_ENTRY]["listed"]

    shelf.write([BalanceChange.hold("pen", Decimal(1))], [], NOW)
    shelf.write([BalanceChange.release("pen", Decimal(1))], [], NOW)

    of_all = [item.get("listed") for item in shelf.dynamodb.items("StockTable").values()]
    assert [each for each in of_all if each] == [listed]


class TestOneWithStripes:
    def test_is_the_sum_of_them_and_is_there_once(self) -> None:
        shelf = Shelf("ink", "pen", "zip")
        shelf.split("pen")
        shelf.write([BalanceChange.hold("pen#2", Decimal(3))], [], NOW)

        (page,) = shelf.pages(20)

        assert list(page) == ["ink", "pen", "zip"]
        assert shown(page["pen"]) == Balance(
            Decimal(17), Decimal(3), version=page["pen"].version, update_time=NOW
        )

    def test_is_read_again_while_something_moves_between_them(self) -> None:
        shelf = Shelf("ink", "pen")
        shelf.split("pen")
        shelf.meanwhile = [("pen", "pen#1"), ("pen#1", "pen#3")]

        (page,) = shelf.pages(20)

        assert {entity: balance.balance for entity, balance in page.items()} == {"ink": 20, "pen": 20}

    def test_that_always_moves_is_no_wrong_figure(self) -> None:
        shelf = Shelf("pen")
        shelf.split("pen")
        shelf.meanwhile = [("pen", "pen#1"), ("pen#1", "pen")] * 20

        with pytest.raises(BalanceMovingError):
            shelf.pages(20)

    def test_stays_listed_when_it_is_set_and_when_it_is_deleted_is_not(self) -> None:
        shelf = Shelf("pen")
        shelf.split("pen")
        shelf.set("pen", 8)
        assert [{name: each.balance for name, each in page.items()} for page in shelf.pages(9)] == [
            {"pen": 8}
        ]

        shelf.delete("pen")
        assert ids(shelf.pages(9)) == [[]]


def test_one_that_can_not_be_read_hides_no_others() -> None:
    shelf = Shelf("a", "b")
    broken = {"productId": {"S": "aa"}, "entry": {"S": BALANCE_ENTRY}, "listed": {"S": "BALANCE"}}
    shelf.dynamodb.put_item(TableName="StockTable", Item={**broken, "balance": {"S": "much"}})

    assert ids(shelf.pages(20)) == [["a", "b"]]


@settings(deadline=None, derandomize=True, database=None)
@given(
    entities=st.dictionaries(
        st.text("aB.-", min_size=1, max_size=3), st.sampled_from(["there", "deleted", "split"]), max_size=9
    ),
    limits=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    prefix=st.sampled_from(["", "a", "B", "aB"]),
)
def test_whatever_there_is_and_whatever_the_pages_are_each_is_there_once(
    entities: dict[str, str], limits: list[int], prefix: str
) -> None:
    shelf = Shelf(*entities)
    for entity, fate in entities.items():
        if fate == "deleted":
            shelf.delete(entity)
        elif fate == "split":
            shelf.split(entity)

    found = [each for page in shelf.pages(*limits, prefix=prefix) for each in page]

    there = [entity for entity, fate in entities.items() if fate != "deleted" and entity.startswith(prefix)]
    assert found == sorted(there)
