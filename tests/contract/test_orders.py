"""What `application.ports.Orders` promises."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.application.ports import IdempotencyRecord, VersionConflictError
from order_capture.domain.errors import RequestInProgressError
from order_capture.domain.order import CheckType, DeclineCode, Order
from tests.support.factories import declined, details_of, held, placed
from tests.support.stores import Stores

LATER = "2026-11-20T10:00:01.000Z"


def orders(number: int, first: int = 1) -> list[Order]:
    return [placed(details_of(f"order-{i}")) for i in range(first, first + number)]


def test_a_new_order_is_written_and_read_back_as_it_was(stores: Stores) -> None:
    order = placed(details_of(items=(("pen", 2), ("ink", 1), ("pen", 3)), total="0.10"))

    assert stores.orders.add([order]) == {}

    assert stores.orders.get("order-1") == order


def test_an_order_is_read_back_exactly_at_every_stage_of_its_life(stores: Stores) -> None:
    order = placed()
    stores.orders.add([order])

    for check, decision in (
        (CheckType.BALANCE, held("999999999.99")),
        (CheckType.STOCK, declined(DeclineCode.UNKNOWN_PRODUCT, "5", None, "pen")),
    ):
        before, order = order, order.record_check(check, decision, now=LATER)
        stores.orders.save(order, expected_version=before.version)
        assert stores.orders.get("order-1") == order


def test_the_callback_url_of_an_order_stays_with_it(stores: Stores) -> None:
    order = replace(placed(), callback_url="https://a.example/")
    stores.orders.add([order])
    decided = order.record_check(CheckType.BALANCE, held(), now=LATER)
    stores.orders.save(decided, expected_version=1)

    assert decided.callback_url == order.callback_url
    assert stores.orders.get("order-1") == decided


@pytest.mark.parametrize("total", ["0.00", "0.10", "25.50", "999999999.99"])
def test_an_amount_keeps_its_two_decimals(stores: Stores, total: str) -> None:
    stores.orders.add([placed(details_of(total=total))])

    stored = stores.orders.get("order-1")

    assert stored is not None
    assert str(stored.details.total_amount) == total


def test_an_order_that_is_there_stays_as_it_stands_and_is_returned(stores: Stores) -> None:
    stores.orders.add([placed()])
    stands = placed().record_check(CheckType.BALANCE, declined(), now=LATER)
    stores.orders.save(stands, expected_version=1)

    assert stores.orders.add([placed(fingerprint="print-2")]) == {"order-1": stands}

    assert stores.orders.get("order-1") == stands


def test_of_several_those_that_are_there_are_returned_and_the_others_written(stores: Stores) -> None:
    stores.orders.add(orders(2))
    stands = placed(details_of("order-2")).record_check(CheckType.STOCK, declined(), now=LATER)
    stores.orders.save(stands, expected_version=1)

    existing = stores.orders.add(orders(4))

    assert existing == {"order-1": placed(details_of("order-1")), "order-2": stands}
    assert stores.orders.get("order-3") == placed(details_of("order-3"))
    assert stores.orders.get("order-2") == stands
    assert stores.orders.add(orders(4)).keys() == {f"order-{i}" for i in (1, 2, 3, 4)}


def test_a_hundred_are_written_at_once_and_again_not_at_all(stores: Stores) -> None:
    assert stores.orders.add(orders(100)) == {}

    assert stores.orders.get("order-100") == placed(details_of("order-100"))
    assert len(stores.orders.add(orders(100))) == 100


def test_a_hundred_of_the_largest_are_written_at_once(stores: Stores) -> None:
    lines = tuple((f"{i:064}", 100_000) for i in range(50))

    assert stores.orders.add([placed(details_of(f"{i:036}", "c" * 64, lines)) for i in range(100)]) == {}


def test_a_hundred_of_which_some_are_there_are_one_hundred_in_the_end(stores: Stores) -> None:
    stores.orders.add(orders(3, first=50))

    existing = stores.orders.add(orders(100))

    assert existing.keys() == {"order-50", "order-51", "order-52"}
    assert stores.orders.get_many([f"order-{i}" for i in range(1, 101)]).keys() == {
        f"order-{i}" for i in range(1, 101)
    }


def test_none_to_write_are_none_that_are_there(stores: Stores) -> None:
    assert stores.orders.add([]) == {}


def test_the_request_that_came_first_under_an_id_stays(stores: Stores) -> None:
    first = IdempotencyRecord("request-1", "print-1", LATER)

    assert stores.orders.claim_key(first) is None

    assert stores.orders.claim_key(first) == first
    assert stores.orders.claim_key(IdempotencyRecord("request-1", "print-2")) == first
    assert stores.orders.claim_key(first) == first


def test_an_order_that_is_saved_with_a_key_is_its_first_answer_whatever_becomes_of_it(stores: Stores) -> None:
    key, order = RequestKey("request-1", "print-9"), placed()
    stores.orders.add([order])
    assert stores.orders.first_answer("request-1") is None
    cancelled = order.cancel(now=LATER)

    stores.orders.save(cancelled, expected_version=order.version, key=key)

    later = cancelled.record_check(CheckType.BALANCE, held(), now=LATER)
    stores.orders.save(later, expected_version=cancelled.version)
    assert stores.orders.get("order-1") == later
    assert stores.orders.first_answer("request-1") == FirstAnswer("print-9", cancelled)
    assert stores.orders.get("request-1") is None


def test_a_key_that_has_its_first_answer_saves_nothing_more(stores: Stores) -> None:
    key, order = RequestKey("request-1", "print-9"), placed()
    stores.orders.add([order])
    cancelled = order.cancel(now=LATER)
    stores.orders.save(cancelled, expected_version=order.version, key=key)

    with pytest.raises(RequestInProgressError):
        stores.orders.save(replace(cancelled, version=9), expected_version=cancelled.version, key=key)

    assert stores.orders.get("order-1") == cancelled


def test_an_order_that_somebody_else_changed_leaves_a_key_unused(stores: Stores) -> None:
    order = placed()
    stores.orders.add([order])

    with pytest.raises(VersionConflictError):
        stores.orders.save(
            order.cancel(now=LATER), expected_version=7, key=RequestKey("request-1", "print-9")
        )

    assert stores.orders.first_answer("request-1") is None
    assert stores.orders.get("order-1") == order


def test_a_record_of_another_kind_is_no_first_answer(stores: Stores) -> None:
    stores.orders.add([placed()])
    stores.orders.claim_key(IdempotencyRecord("request-1", "print-1"))

    assert stores.orders.first_answer("order-1") is None
    assert stores.orders.first_answer("request-1") is None


def test_a_request_runs_until_it_is_finished(stores: Stores) -> None:
    stores.orders.claim_key(IdempotencyRecord("request-1", "print-1", LATER))

    stores.orders.complete_key("request-1")

    assert stores.orders.claim_key(IdempotencyRecord("request-1", "print-2")) == IdempotencyRecord(
        "request-1", "print-1"
    )


def test_an_order_runs_until_its_request_is_finished_whatever_else_becomes_of_it(stores: Stores) -> None:
    running = replace(placed(), in_progress_until=LATER)
    stores.orders.add([running])
    decided = running.record_check(CheckType.BALANCE, declined(), now=LATER)

    stores.orders.save(decided, expected_version=1)
    assert stores.orders.get("order-1") == decided

    stores.orders.complete_key("order-1")
    assert stores.orders.get("order-1") == replace(decided, in_progress_until="")


def test_a_running_order_can_be_any_of_several(stores: Stores) -> None:
    running = replace(placed(), in_progress_until=LATER)
    stores.orders.add([running, placed(details_of("order-2"))])

    assert stores.orders.get_many(["order-1"]) == {"order-1": running}


class TestPlaces:
    def test_are_those_of_one_customer_newest_first(self, stores: Stores) -> None:
        for number in (2, 1, 3):
            stores.orders.add([placed_at(number)])
        stores.orders.add([placed_at(2, customer_id="bob", order_id="order-of-bob")])
        stores.orders.claim_key(IdempotencyRecord("request-1", "print-1"))

        assert places(stores) == ["order-3", "order-2", "order-1"]
        assert places(stores, customer_id="bob") == ["order-of-bob"]
        assert places(stores, customer_id="nobody") == []

    def test_are_those_of_a_time_its_ends_included(self, stores: Stores) -> None:
        for number in range(1, 6):
            stores.orders.add([placed_at(number)])

        assert places(stores, since=at(2), until=at(4)) == ["order-4", "order-3", "order-2"]
        assert places(stores, since=at(6)) == []
        assert places(stores, since=at(4), until=at(2)) == []

    def test_go_on_where_the_last_page_ended_with_no_order_twice_or_left_out(self, stores: Stores) -> None:
        placed_together = [placed_at(1, order_id=f"order-{number}") for number in range(5)]
        stores.orders.add(placed_together)
        after, seen = None, list[str]()

        while page := stores.orders.list_keys("alice", at(0), at(9), after, 2):
            assert len(page) <= 2
            seen += [place.order_id for place in page]
            after = page[-1]

        assert sorted(seen) == [f"order-{number}" for number in range(5)]

    def test_are_the_same_when_their_orders_have_moved_on(self, stores: Stores) -> None:
        stores.orders.add([placed_at(1)])
        stores.orders.save(
            placed_at(1).record_check(CheckType.BALANCE, declined(), now=at(5)), expected_version=1
        )

        assert places(stores) == ["order-1"]


def at(second: int) -> str:
    return f"2026-11-20T10:00:0{second}.000Z"


def placed_at(second: int, customer_id: str = "alice", order_id: str | None = None) -> Order:
    details = details_of(order_id or f"order-{second}", customer_id)
    return Order.place(details, now=at(second), correlation_id="corr-1", fingerprint="print-1")


def places(stores: Stores, customer_id: str = "alice", since: str = "2026", until: str = "2027") -> list[str]:
    return [place.order_id for place in stores.orders.list_keys(customer_id, since, until, None, 10)]


@pytest.mark.parametrize("others", [0, 2])
def test_an_order_can_not_have_the_id_of_a_request(stores: Stores, others: int) -> None:
    stores.orders.claim_key(IdempotencyRecord("order-1", "print-1"))

    assert stores.orders.add(orders(1 + others)) == {"order-1": None}

    assert stores.orders.get("order-1") is None


def test_a_request_can_not_have_the_id_of_an_order(stores: Stores) -> None:
    stores.orders.add([placed(fingerprint="print-1")])

    assert stores.orders.claim_key(IdempotencyRecord("order-1", "print-2")) == IdempotencyRecord(
        "order-1", "print-1"
    )

    assert stores.orders.get("order-1") == placed()


def test_a_request_is_no_order(stores: Stores) -> None:
    stores.orders.claim_key(IdempotencyRecord("request-1", "print-1"))
    stores.orders.add([placed()])

    assert stores.orders.get("request-1") is None
    assert stores.orders.get_many(["request-1", "order-1"]) == {"order-1": placed()}


def test_an_order_that_was_never_written_is_not_there(stores: Stores) -> None:
    stores.orders.add([placed()])

    assert stores.orders.get("order-2") is None


def test_several_are_read_at_once_as_far_as_they_exist(stores: Stores) -> None:
    stores.orders.add(orders(3))

    found = stores.orders.get_many(["order-1", "order-3", "order-9"])

    assert found == {f"order-{i}": placed(details_of(f"order-{i}")) for i in (1, 3)}
    assert stores.orders.get_many([]) == {}
    assert stores.orders.get_many({"order-9": None}.keys()) == {}


def test_a_change_is_saved_over_the_version_it_was_made_from(stores: Stores) -> None:
    stores.orders.add([placed()])
    changed = placed().record_check(CheckType.BALANCE, held(), now=LATER)

    stores.orders.save(changed, expected_version=1)

    assert stores.orders.get("order-1") == changed


@pytest.mark.parametrize("expected_version", [0, 2])
def test_a_change_over_another_version_is_refused_and_changes_nothing(
    stores: Stores, expected_version: int
) -> None:
    stores.orders.add([placed()])

    with pytest.raises(VersionConflictError):
        stores.orders.save(
            placed().record_check(CheckType.BALANCE, held(), now=LATER), expected_version=expected_version
        )

    assert stores.orders.get("order-1") == placed()


def test_of_two_changes_over_one_version_the_second_is_refused(stores: Stores) -> None:
    stores.orders.add([placed()])
    first = placed().record_check(CheckType.BALANCE, held(), now=LATER)
    stores.orders.save(first, expected_version=1)

    with pytest.raises(VersionConflictError):
        stores.orders.save(placed().record_check(CheckType.STOCK, held(), now=LATER), expected_version=1)

    assert stores.orders.get("order-1") == first


def test_a_change_of_an_order_that_is_not_there_is_refused_and_makes_none(stores: Stores) -> None:
    with pytest.raises(VersionConflictError):
        stores.orders.save(replace(placed(), version=2), expected_version=1)

    assert stores.orders.get("order-1") is None


def test_a_figure_of_many_digits_is_kept_exactly(stores: Stores) -> None:
    figure = "12345678901234567890.123456789012345678"
    stores.orders.add([placed()])
    order = placed().record_check(CheckType.STOCK, declined(requested=figure, available="0.1"), now=LATER)

    stores.orders.save(order, expected_version=1)

    stored = stores.orders.get("order-1")
    assert stored is not None
    assert stored.checks[CheckType.STOCK].requested == Decimal(figure)


def test_orders_that_are_marked_as_open_are_listed_oldest_first_until_they_end(stores: Stores) -> None:
    # given
    late = [
        replace(order, create_time=f"2026-11-20T10:00:0{3 - n}.000Z") for n, order in enumerate(orders(3))
    ]
    for order in late:
        stores.orders.add([order])
    for order in late[:2]:
        stores.orders.mark_open(order.order_id)
        stores.orders.mark_open(order.order_id)
    # when
    page = stores.orders.list_open(None, 1)
    rest = stores.orders.list_open(page[0], 10)
    stores.orders.save(late[1].expire(now=LATER), expected_version=1)
    stores.orders.mark_open("order-2")
    stores.orders.mark_open("nobodys")
    # then
    assert [each.order_id for each in (*page, *rest)] == ["order-2", "order-1"]
    assert [each.order_id for each in stores.orders.list_open(None, 10)] == ["order-1"]
    assert stores.orders.get("nobodys") is None


def test_a_decision_leaves_an_order_among_the_open_ones(stores: Stores) -> None:
    order = placed()
    stores.orders.add([order])
    stores.orders.mark_open("order-1")

    decided = order.record_check(CheckType.BALANCE, held(), now=LATER)
    stores.orders.save(decided, expected_version=1)

    assert [each.order_id for each in stores.orders.list_open(None, 10)] == ["order-1"]
    assert stores.orders.get("order-1") == decided
