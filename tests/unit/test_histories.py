"""Clients' requests for past data, and the responses."""

from __future__ import annotations

from decimal import Decimal

import pytest

from order_capture.adapters.serializers import decimal_json
from order_capture.application.ledger.list_balance_history import Entry, HistoryPage
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.domain.history import ChangeType, Commit, LedgerEntry
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance
from order_capture.entrypoints.http import histories
from order_capture.entrypoints.http.api import Request
from order_capture.entrypoints.http.problems import RequestInvalidError
from tests.support.factories import EARLIER, NOW, SERVICE, a_commit, a_decline


def request(**query: str) -> Request:
    return Request(b"", {}, {name: [value] for name, value in query.items()}, {}, "request-1", SERVICE)


def refused(ask: object, **query: str) -> list[str]:
    with pytest.raises(RequestInvalidError) as error:
        ask(request(**query))  # type: ignore[operator]
    return [each.field for each in error.value.errors]


class TestTheTime:
    def test_without_one_it_is_now(self) -> None:
        assert histories.requested_time(request(), NOW) is None

    @pytest.mark.parametrize(
        ("at", "read"),
        [
            (NOW, NOW),
            ("2026-11-20T11:00:00+02:00", EARLIER),
            ("2026-11-20T09:00:00.0009Z", EARLIER),  # what was written in that millisecond is in it
        ],
    )
    def test_it_is_read_as_the_ledgers_write_times(self, at: str, read: str) -> None:
        assert histories.requested_time(request(at=at), NOW) == read

    @pytest.mark.parametrize(
        "at", ["2026-11-20T10:00:00.001Z", "2026-11-20T10:00:00", "yesterday", "", "2026-11-31T10:00:00Z"]
    )
    def test_one_that_is_none_or_still_to_come_is_refused_by_name(self, at: str) -> None:
        assert refused(lambda each: histories.requested_time(each, NOW), at=at) == ["at"]

    def test_there_is_no_other_parameter(self) -> None:
        assert refused(lambda each: histories.requested_time(each, NOW), when=NOW) == ["when"]


class TestThePage:
    @pytest.mark.parametrize("key", ["HOLD#9bd61222-4d3c-5ee8-982e-149f3123790b", "#000000000007"])
    def test_a_link_leads_behind_the_last_entry_and_keeps_the_limit(self, key: str) -> None:
        place = HistoryCursor(NOW, key, 11)
        link = histories.history_headers(request(limit="7"), HistoryPage([], place))["Link"]
        query = dict(pair.split("=") for pair in link.removeprefix("<history?").split(">")[0].split("&"))

        assert histories.requested_page(request(**query)) == (place, 7)

    @pytest.mark.parametrize(
        "cursor", ["nonsense", "", "MjAyNi0xMS0yMFQxMDowMDowMC4wMDBaIHg", "2026-11-20T10:00:00.000Z HOLD#1/0"]
    )
    def test_a_cursor_that_no_answer_gave_is_refused_by_name(self, cursor: str) -> None:
        assert refused(histories.requested_page, cursor=cursor) == ["cursor"]

    def test_behind_the_last_page_there_is_no_link(self) -> None:
        assert histories.history_headers(request(), HistoryPage([], None)) == {}


class TestAnEntry:
    def view(self, entry: Entry, kind: object = STOCK) -> str:
        page = HistoryPage([entry], None)
        ((shown),) = histories.history_view(kind, "id", "pen", page)["entries"]  # type: ignore[arg-type]
        return decimal_json.dumps(shown)

    def test_it_shows_what_it_moved_and_what_that_led_to(self) -> None:
        line = a_commit("pen")

        assert self.view(Entry(line, line.changes[0], HistoryCursor(NOW, "", 0))) == (
            '{"time":"2026-11-20T10:00:00.000Z","type":"HOLD","amount":1,"orderId":"order-1",'
            '"after":{"balance":19,"held":1,"settled":0}}'
        )

    def test_money_has_its_two_places_and_an_adjustment_no_order(self) -> None:
        change = LedgerEntry(ChangeType.ADJUST, Decimal(-5), "an-id-of-ours")
        line = Commit("alice", (change,), Balance(Decimal(15), update_time=NOW), previous_time=EARLIER)

        assert self.view(Entry(line, change, HistoryCursor(NOW, "", 0)), ACCOUNTS) == (
            '{"time":"2026-11-20T10:00:00.000Z","type":"ADJUST","amount":-5.00,'
            '"after":{"balance":15.00,"held":0.00,"settled":0.00}}'
        )

    def test_what_was_declined_says_why(self) -> None:
        assert self.view(Entry(a_decline("pen"), None, HistoryCursor(NOW, "", 0))) == (
            '{"time":"2026-11-20T10:00:00.000Z","type":"HOLD","orderId":"order-2","amount":0,'
            '"declined":{"code":"INSUFFICIENT_BALANCE","id":"pen","asked":10,"available":3}}'
        )
