"""`make load`: its evaluation of responses and books, and that false books are detected."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.load import __main__ as command
from benchmarks.load import html
from benchmarks.load.audit import Balance, Books, Fault, Kind, count, find_faults
from benchmarks.load.generator import chosen_mixes
from benchmarks.load.orders import ClockOffset, Intake, Order, clock_offset, decided_seconds, take_in
from benchmarks.load.report import Latency, build, percentile, print_table
from benchmarks.load.targets import Target
from benchmarks.load.traffic import MIXES, PLENTY, Answer, Assignment, Shop, read_answers, results_of
from order_capture_ops.errors import UsageError

START = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def order_body(customer: str = "alice", product: str = "pen", qty: int = 2) -> dict[str, Any]:
    return {
        "customerId": customer,
        "items": [{"productId": product, "qty": qty, "unitPrice": 2.5}],
        "totalAmount": 2.5 * qty,
    }


def answer(order_id: str = "1", **more: Any) -> Answer:
    given: dict[str, Any] = {
        "mix": "spread",
        "route": "POST /order",
        "sent_at": START,
        "seconds": 0.1,
        "status": 202,
        "key": f"key-{order_id}",
        "body": order_body(),
        "results": [{"orderId": order_id, "status": "PENDING"}],
    }
    return Answer(**given | more)


def view(order_id: str = "1", status: str = "SHIPPED", **more: Any) -> dict[str, Any]:
    return {
        "orderId": order_id,
        "status": status,
        "createTime": "2027-01-15T08:00:00.050Z",
        "updateTime": "2027-01-15T08:00:02.000Z",
        "checks": {},
        **order_body(),
        **more,
    }


def balance(initial: int | str, balance: int | str, settled: int | str, held: int | str = 0) -> Balance:
    return Balance(Decimal(initial), Decimal(balance), Decimal(held), Decimal(settled))


class TestIntake:
    def test_an_order_is_accepted_once_however_often_its_key_is_repeated(self) -> None:
        intake = take_in(
            [answer(), answer(sent_at=START + 1), answer(sent_at=START + 2, status=409, results=[])]
        )

        assert list(intake.orders) == ["1"]
        assert intake.orders["1"].sent_at == START
        assert (dict(intake.refused), intake.unknown) == ({}, [])

    def test_each_order_of_a_batch_counts(self) -> None:
        body = {"orders": [order_body(), order_body("bob")]}
        results = [
            {"problem": "urn:order-capture:problem:invalid-request"},
            {"orderId": "2", "status": "PENDING"},
        ]

        intake = take_in([answer(body=body, results=results)])

        assert [(each.order_id, each.sent["customerId"]) for each in intake.orders.values()] == [("2", "bob")]
        assert dict(intake.refused) == {400: 1}
        assert intake.unknown == []

    @pytest.mark.parametrize("status", [0, 409, 500, 503])
    def test_an_answer_that_leaves_it_open_is_to_be_asked_again(self, status: int) -> None:
        lost = answer(status=status, results=[])

        assert take_in([lost]).unknown == [lost]
        assert take_in([lost, answer(sent_at=START + 9)]).unknown == []

    def test_an_order_of_a_batch_that_could_not_be_published_is_to_be_asked_again(self) -> None:
        results = [
            {"problem": "urn:order-capture:problem:unavailable"},
            {"orderId": "2", "status": "PENDING"},
        ]

        assert len(take_in([answer(body={"orders": [order_body()] * 2}, results=results)]).unknown) == 1

    def test_a_request_that_was_refused_is_not_asked_again(self) -> None:
        intake = take_in([answer(status=429, results=[]), answer("2", status=429, results=[])])

        assert dict(intake.refused) == {429: 2}
        assert intake.unknown == []

    @pytest.mark.parametrize("text", ["", "<html>", "[]", "1", '{"orders": 1}', '{"orders": [{}]}'])
    def test_an_unreadable_answer_has_no_orders(self, text: str) -> None:
        assert results_of(text, 202) == []

    def test_a_problem_has_no_orders(self) -> None:
        assert results_of('{"orderId": "1", "status": "PENDING"}', 503) == []


class TestTimes:
    def test_the_decision_is_the_order_s_last_change(self) -> None:
        (order,) = take_in([answer()]).orders.values()

        assert decided_seconds(order, view(), ClockOffset()) == pytest.approx(2.0)
        assert decided_seconds(order, view(), ClockOffset(0.5)) == pytest.approx(1.5)

    def test_a_server_that_decides_before_it_answers_is_measured_by_its_answer(self) -> None:
        results = [{"orderId": "1", "status": "SHIPPED"}]
        (order,) = take_in([answer(results=results, status=201, seconds=0.03)]).orders.values()

        assert decided_seconds(order, view(), ClockOffset()) == pytest.approx(0.03)

    def test_an_order_that_was_asked_for_again_after_the_load_is_not_measured(self) -> None:
        asked = answer(sent_at=START + 60, after_load=True)
        (order,) = take_in([answer(status=0, results=[]), asked]).orders.values()

        assert decided_seconds(order, view(), ClockOffset()) is None

    def test_an_open_order_has_no_decision(self) -> None:
        (order,) = take_in([answer()]).orders.values()

        assert decided_seconds(order, view(status="CONFIRMED"), ClockOffset()) is None
        assert decided_seconds(order, None, ClockOffset()) is None

    def test_clocks_that_may_agree_are_taken_to_agree(self) -> None:
        orders = take_in([answer()]).orders

        assert clock_offset(orders, {"1": view()}) == ClockOffset()

    def test_a_clock_that_is_ahead_is_found_by_all_orders_together(self) -> None:
        orders = take_in([answer(), answer("2", sent_at=START + 1, seconds=0.3)]).orders
        views = {
            "1": view("1", createTime="2027-01-15T08:00:05.060Z"),
            "2": view("2", createTime="2027-01-15T08:00:06.020Z"),
        }

        found = clock_offset(orders, views)

        # By the first it is 4.96 to 5.06 s, by the second 4.72 to 5.02 s.
        assert found.seconds == pytest.approx(4.99)
        assert found.uncertainty == pytest.approx(0.03)

    def test_percentiles_are_values_that_occurred(self) -> None:
        assert [percentile(range(1, 101), each) for each in (50, 95, 99, 100)] == [50, 95, 99, 100]
        assert [percentile([7.0], each) for each in (50, 99)] == [7.0, 7.0]
        assert percentile([], 50) is None
        assert Latency.of([0.003, 0.001, 0.002]) == Latency(2.0, 3.0, 3.0)


class TestAudit:
    """Correct books, and one change that makes them wrong."""

    intake = take_in([answer("1"), answer("2")])
    views: Mapping[str, Any] = {"1": view("1"), "2": view("2", "REJECTED")}
    books = Books(
        accounts={"alice": balance(100, 95, 5)},
        products={"pen": balance(2, 0, 2)},
        listed={"1": view("1"), "2": view("2", "REJECTED")},
    )

    def kinds(
        self,
        views: Mapping[str, Any] | None = None,
        books: Books | None = None,
        intake: Intake | None = None,
        unknown: tuple[Answer, ...] = (),
    ) -> dict[Kind, int]:
        faults = find_faults(intake or self.intake, views or self.views, books or self.books, unknown)
        return dict(count(faults))

    def products(self, of: Balance) -> Books:
        return replace(self.books, products={"pen": of})

    def accounts(self, of: Balance) -> Books:
        return replace(self.books, accounts={"alice": of})

    def test_right_books_have_no_faults(self) -> None:
        assert self.kinds() == {}

    def test_shipping_more_than_there_was_is_overselling(self) -> None:
        views: dict[str, Any] = {"1": view("1"), "2": view("2")}
        books = replace(
            self.books,
            accounts={"alice": balance(100, 90, 10)},
            products={"pen": balance(2, -2, 4)},
            listed=views,
        )

        assert self.kinds(views, books) == {Kind.OVERSOLD: 2}

    def test_shipping_what_was_not_settled_is_overselling(self) -> None:
        assert self.kinds(books=self.products(balance(2, 1, 1)))[Kind.OVERSOLD] == 1

    def test_an_overdrawn_account_counts_once(self) -> None:
        assert self.kinds(books=self.accounts(balance(3, -2, 5)))[Kind.OVERSOLD] == 1

    def test_a_balance_below_zero_is_overselling_whatever_was_shipped(self) -> None:
        assert self.kinds(books=self.products(balance(2, -1, 2, held=1)))[Kind.OVERSOLD] == 1

    def test_an_order_that_does_not_exist_is_lost(self) -> None:
        assert self.kinds({"1": view("1"), "2": None}) == {Kind.LOST: 1}

    def test_an_order_that_has_not_ended_is_lost(self) -> None:
        assert self.kinds({"1": view("1"), "2": view("2", "PENDING")}) == {Kind.LOST: 1}

    def test_a_key_with_two_orders_is_doubled(self) -> None:
        intake = take_in([answer("1"), answer("2", key="key-1", sent_at=START + 1)])

        assert self.kinds(intake=intake) == {Kind.DOUBLED: 1}

    def test_an_order_that_nobody_was_answered_is_doubled(self) -> None:
        books = replace(self.books, listed={**(self.books.listed or {}), "3": view("3")})

        assert self.kinds(books=books) == {Kind.DOUBLED: 1}

    def test_settling_one_order_twice_is_doubled(self) -> None:
        books = replace(
            self.books, accounts={"alice": balance(100, 90, 10)}, products={"pen": balance(4, 0, 4)}
        )

        assert self.kinds(books=books) == {Kind.DOUBLED: 3}  # two units, one account

    def test_what_is_still_held_is_inconsistent(self) -> None:
        assert self.kinds(books=self.products(balance(4, 0, 2, held=2))) == {Kind.INCONSISTENT: 1}

    def test_money_that_vanishes_is_inconsistent(self) -> None:
        assert self.kinds(books=self.accounts(balance(100, "94.99", 5))) == {Kind.INCONSISTENT: 1}

    def test_an_order_that_is_not_what_was_sent_is_inconsistent(self) -> None:
        views = {"1": view("1"), "2": view("2", "REJECTED", customerId="bob")}

        assert self.kinds(views) == {Kind.INCONSISTENT: 1}

    def test_what_an_unanswered_request_may_have_taken_is_no_fault(self) -> None:
        books = replace(
            self.books,
            accounts={"alice": balance(100, 90, 10)},
            products={"pen": balance(4, 0, 4)},
            listed={**(self.books.listed or {}), "3": view("3")},
        )

        assert self.kinds(books=books, unknown=(answer("3", status=0, results=[]),)) == {}

    def test_without_a_list_of_orders_the_books_are_enough(self) -> None:
        assert self.kinds(books=replace(self.books, listed=None)) == {}


class TestReport:
    answers = (
        answer("1"),
        answer("2", mix="hot", sent_at=START + 1, seconds=0.2),
        answer("3", mix="hot", sent_at=START + 2, status=429, results=[]),
        answer("2", mix="hot", sent_at=START + 3, seconds=0.2),
        Answer("poll", "GET /order/{orderId}/status", START, 0.05, 200),
    )
    intake = take_in(answers)
    declined: Mapping[str, Any] = {"stock": {"outcome": "DECLINED", "code": "INSUFFICIENT_STOCK"}}
    views: Mapping[str, Any] = {"1": view("1"), "2": view("2", "REJECTED", checks=declined)}
    faults = (Fault(Kind.OVERSOLD, "product pen", "3 of 1 are in shipped orders", 2),)

    def test_the_json_has_every_figure_in_milliseconds(self) -> None:
        found = build("it", self.answers, self.intake, self.views, ClockOffset(), []).json()

        assert (found["accepted"], found["refused"], found["refused_by_status"]) == (2, 1, {"429": 1})
        assert (found["lost"], found["oversold"], found["doubled"], found["inconsistent"]) == (0, 0, 0, 0)
        assert (
            found["orders_per_second"] == 1.0
        )  # two in the two seconds from the first request to the last end
        assert (found["answer_p50"], found["answer_p99"]) == (100.0, 200.0)
        assert (found["decided_p50"], found["decided_p95"]) == (1000.0, 2000.0)
        assert (found["requests"], found["reads"], found["replays"]) == (4, 1, 1)
        assert (found["statuses"], found["reasons"]) == (
            {"SHIPPED": 1, "REJECTED": 1},
            {"INSUFFICIENT_STOCK": 1},
        )
        assert found["mixes"]["hot"]["accepted"] == 1
        assert json.loads(json.dumps(found)) == found

    def test_a_fault_counts_for_what_it_concerns_and_makes_the_run_fail(self) -> None:
        report = build("it", self.answers, self.intake, self.views, ClockOffset(), self.faults)

        assert report.json()["oversold"] == 2
        assert not report.is_right

    def test_a_run_without_an_answer_has_a_report_too(self) -> None:
        found = build("it", [], take_in([]), {}, ClockOffset(), []).json()

        assert (found["accepted"], found["orders_per_second"], found["answer_p50"]) == (0, 0.0, None)

    def test_the_table_is_whole_at_80_columns(self) -> None:
        slow = [replace(each, seconds=3600.0, mix=mix) for each in self.answers for mix in MIXES]
        report = build(
            "it", slow, take_in(slow), self.views, ClockOffset(1.0, 0.1), self.faults, asked_again=3
        )
        console = Console(width=80, record=True, file=io.StringIO())

        print_table(report, console)

        text = console.export_text()
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert "3600s 3600s 3600s" in text
        for shown in (*MIXES, "429", "INSUFFICIENT_STOCK", "2 oversold", "product pen"):
            assert shown in text

    def test_the_page_has_plots_and_loads_nothing(self, tmp_path: Path) -> None:
        report = build("<it>", self.answers, self.intake, self.views, ClockOffset(), self.faults)

        html.write(report, tmp_path / "report.html", tmp_path / "report-locust.html")

        text = (tmp_path / "report.html").read_text()
        assert text.count("<svg") == 4
        assert "&lt;it&gt;" in text
        assert "<it>" not in text
        assert "product pen" in text
        assert 'href="report-locust.html"' in text
        for loading in ("<script", "<link", "@import", "src=", "url("):
            assert loading not in text


class TestShop:
    shop = Shop.create("load-1", hot_units=7, scarce_units=3, scarce_credit=9)

    def test_a_fifth_is_scarce_and_the_rest_is_plenty(self) -> None:
        assert sorted(set(self.shop.products.values())) == [3, PLENTY]
        assert list(self.shop.products.values()).count(3) == len(self.shop.products) / 5
        assert list(self.shop.customers.values()).count(9) == len(self.shop.customers) / 5
        assert self.shop.stock["load-1-hot"] == 7

    def test_some_popular_products_are_scarce_as_well(self) -> None:
        assert len(self.shop.popular) == len(self.shop.products) / 5
        assert 3 in [self.shop.products[each] for each in self.shop.popular]

    def test_every_id_is_of_this_run(self) -> None:
        assert all(each.startswith("load-1-") for each in (*self.shop.customers, *self.shop.stock))

    def test_the_assignment_is_for_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "assignment.json"
        written = Assignment("http://127.0.0.1:1", "secret", self.shop, "records", 8, 20, None, 100)

        written.write(path)

        assert path.stat().st_mode & 0o077 == 0
        assert Assignment.read(path) == written

    def test_an_unfinished_line_of_the_records_is_read_later(self, tmp_path: Path) -> None:
        path = tmp_path / "records.jsonl"
        lines = answer("1").line() + answer("2").line()
        path.write_text(lines[:-5])

        first, offset = read_answers(path)
        path.write_text(lines)
        second, end = read_answers(path, offset)

        assert (first, second) == ([answer("1")], [answer("2")])
        assert read_answers(path, end) == ([], end)
        assert read_answers(tmp_path / "none") == ([], 0)


class TestArguments:
    @pytest.mark.parametrize(
        "url",
        ["http://example.org:80", "https://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:99999", "x",
         "", "http://user:word@127.0.0.1:80", "http://127.0.0.1:80/?a=b", "http://127.0.0.1.example.org:80"],
    )  # fmt: skip
    def test_only_a_server_on_this_machine_is_reached(self, url: str) -> None:
        with pytest.raises(UsageError, match="URL"):
            Target.at(url)

    def test_a_server_on_this_machine_needs_no_token(self) -> None:
        assert Target.at("http://127.0.0.1:8080/").url == "http://127.0.0.1:8080"
        assert Target.at("http://localhost:8080").token == ""

    def test_a_token_is_never_shown(self) -> None:
        assert "secret" not in repr(Target("it", "http://127.0.0.1:1", "secret"))

    def test_mixes_are_chosen_by_name(self) -> None:
        assert chosen_mixes([]) == tuple(MIXES)
        assert chosen_mixes(["keyed", "hot"]) == ("hot", "keyed")
        with pytest.raises(ValueError, match="spread, 80/20, hot"):
            chosen_mixes(["hots"])

    def test_a_report_is_a_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert command.main(["--url=http://127.0.0.1:1", f"--html={tmp_path}"]) == 2
        assert "HTML (--html)" in capsys.readouterr().err


def test_an_order_keeps_what_was_sent() -> None:
    (order,) = take_in([answer()]).orders.values()

    assert isinstance(order, Order)
    assert order.sent == order_body()
