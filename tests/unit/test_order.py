"""An order's life, by the rules of domain/order.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from order_capture.domain.errors import InvalidMessageError, StatusConflictError
from order_capture.domain.order import (
    MAX_ITEMS,
    TRANSITIONS,
    CheckResult,
    CheckType,
    DeclineCode,
    NextAction,
    Order,
    OrderStatus,
    Outcome,
)
from order_capture.domain.order_log import log_lines
from tests.support import factories
from tests.support.factories import NOW, declined, details_of, held, placed

LATER = "2026-11-20T10:00:01.000Z"

PENDING, CONFIRMED, REJECTED, SHIPPED, CANCELLED, EXPIRED = OrderStatus

ALLOWED = {
    (PENDING, CONFIRMED),
    (PENDING, REJECTED),
    (PENDING, CANCELLED),
    (PENDING, EXPIRED),
    (CONFIRMED, SHIPPED),
    (CONFIRMED, CANCELLED),
}


def in_status(status: OrderStatus, **checks: CheckResult) -> Order:
    return replace(
        factories.in_status(status), checks={CheckType(name.upper()): each for name, each in checks.items()}
    )


def confirmed() -> Order:
    return (
        placed()
        .record_check(CheckType.BALANCE, held(), now=NOW)
        .record_check(CheckType.STOCK, held("1", "pen"), now=NOW)
    )


def rejected() -> Order:
    return placed().record_check(CheckType.BALANCE, declined(), now=NOW)


@pytest.mark.parametrize("before", OrderStatus)
@pytest.mark.parametrize("after", OrderStatus)
def test_only_these_transitions_exist(before: OrderStatus, after: OrderStatus) -> None:
    assert (after in TRANSITIONS[before]) == ((before, after) in ALLOWED)


@pytest.mark.parametrize("status", [REJECTED, SHIPPED, CANCELLED, EXPIRED])
def test_nothing_moves_an_order_that_is_through(status: OrderStatus) -> None:
    order = in_status(status)

    for check in CheckType:
        for decision in (held(), declined()):
            assert order.record_check(check, decision, now=LATER).status is status


def test_a_new_order_is_pending_and_says_when_it_came() -> None:
    order = Order.place(details_of("order-7"), now=NOW, correlation_id="corr-7", fingerprint="print-7")

    assert (order.order_id, order.status, order.version) == ("order-7", PENDING, 1)
    assert (order.create_time, order.update_time) == (NOW, NOW)
    assert log_lines(order) == [f"{NOW} order received"]
    assert not order.checks


@pytest.mark.parametrize("check", CheckType)
def test_one_answer_alone_leaves_an_order_pending(check: CheckType) -> None:
    order = placed().record_check(check, held(), now=LATER)

    assert order.status is PENDING
    assert order.checks == {check: held()}
    assert (order.version, order.update_time) == (2, LATER)


@pytest.mark.parametrize(
    ("first", "second"), [(CheckType.BALANCE, CheckType.STOCK), (CheckType.STOCK, CheckType.BALANCE)]
)
def test_both_checks_held_confirm_it_in_either_order(first: CheckType, second: CheckType) -> None:
    order = placed().record_check(first, held(), now=NOW).record_check(second, held(), now=LATER)

    assert order.status is CONFIRMED
    assert log_lines(order)[-1] == f"{LATER} confirmed"


@pytest.mark.parametrize(
    ("check", "figures"),
    [(CheckType.BALANCE, "asked 10.00, available 3.00"), (CheckType.STOCK, "asked 10, available 3")],
)
def test_one_declined_check_rejects_it_at_once_and_says_why(check: CheckType, figures: str) -> None:
    order = placed().record_check(check, declined(), now=LATER)

    assert order.status is REJECTED
    assert log_lines(order)[-2:] == [
        f"{LATER} {check.lower()} DECLINED INSUFFICIENT_BALANCE alice, {figures}",
        f"{LATER} rejected: INSUFFICIENT_BALANCE",
    ]


@pytest.mark.parametrize(
    ("check", "requested", "line"),
    [(CheckType.BALANCE, "25.5", "balance HELD 25.50"), (CheckType.STOCK, "1E+1", "stock HELD 10")],
)
def test_the_log_has_the_decimals_that_the_table_drops(check: CheckType, requested: str, line: str) -> None:
    order = placed().record_check(check, held(requested), now=LATER)

    assert log_lines(order)[-1] == f"{LATER} {line}"


def test_a_decline_rejects_it_even_after_the_other_check_has_held() -> None:
    order = (
        placed()
        .record_check(CheckType.STOCK, held(), now=NOW)
        .record_check(CheckType.BALANCE, declined(), now=LATER)
    )

    assert order.status is REJECTED


@pytest.mark.parametrize("second", [held("99.00"), declined()])
def test_the_first_answer_of_a_check_stands(second: CheckResult) -> None:
    order = placed().record_check(CheckType.BALANCE, held(), now=NOW)

    assert order.record_check(CheckType.BALANCE, second, now=LATER) is order


def test_the_same_answer_twice_does_not_stand_for_both_checks() -> None:
    order = placed()

    for _ in range(2):
        order = order.record_check(CheckType.BALANCE, held(), now=NOW)

    assert order.status is PENDING


def test_a_late_answer_is_kept_for_the_reasons_and_moves_nothing() -> None:
    order = rejected().record_check(CheckType.STOCK, held("1", "pen"), now=LATER)

    assert order.status is REJECTED
    assert order.checks[CheckType.STOCK] == held("1", "pen")
    assert log_lines(order)[-1] == f"{LATER} stock HELD 1"
    assert order.version == rejected().version + 1


def test_an_order_is_a_value_that_no_step_changes() -> None:
    order = placed()

    order.record_check(CheckType.BALANCE, held(), now=LATER)

    assert order == placed()


def test_a_pending_order_can_be_withdrawn() -> None:
    order = placed().withdraw(now=LATER)

    assert (order.status, order.version) == (CANCELLED, 2)
    assert log_lines(order)[-1] == f"{LATER} cancelled: it could not be published"


@pytest.mark.parametrize("status", [CONFIRMED, REJECTED, SHIPPED, CANCELLED, EXPIRED])
def test_an_order_that_is_not_pending_can_not_be_withdrawn(status: OrderStatus) -> None:
    with pytest.raises(StatusConflictError, match=f"is {status} and can't be withdrawn"):
        in_status(status).withdraw(now=LATER)


@pytest.mark.parametrize("status", [PENDING, CONFIRMED])
def test_an_open_order_can_be_cancelled(status: OrderStatus) -> None:
    order = in_status(status)

    cancelled = order.cancel(now=LATER)

    assert (cancelled.status, cancelled.version) == (CANCELLED, order.version + 1)
    assert cancelled.update_time == LATER
    assert log_lines(cancelled) == [*log_lines(order), f"{LATER} cancelled"]


@pytest.mark.parametrize("status", [REJECTED, SHIPPED, CANCELLED, EXPIRED])
def test_an_order_that_is_over_can_not_be_cancelled(status: OrderStatus) -> None:
    with pytest.raises(StatusConflictError, match=f"is {status} and can no longer be cancelled"):
        in_status(status).cancel(now=LATER)


def test_a_pending_order_expires() -> None:
    order = placed().expire(now=LATER)

    assert (order.status, order.version) == (EXPIRED, 2)
    assert log_lines(order)[-1] == f"{LATER} expired: not decided in time"


@pytest.mark.parametrize("status", [CONFIRMED, REJECTED, SHIPPED, CANCELLED, EXPIRED])
def test_only_a_pending_order_expires(status: OrderStatus) -> None:
    assert not in_status(status).is_overdue(now="2036-11-20T10:00:00.000Z", deadline=timedelta(0))
    with pytest.raises(ValueError, match="can't become EXPIRED"):
        in_status(status).expire(now=LATER)


@pytest.mark.parametrize(
    ("now", "overdue"),
    [
        ("2026-11-20T10:14:59.999Z", False),
        ("2026-11-20T10:15:00.000Z", True),
        ("2026-11-20T09:50:00.000Z", False),  # by a clock that is behind the one that dated the order
    ],
)
def test_a_pending_order_is_overdue_from_its_deadline_on(now: str, overdue: bool) -> None:
    assert placed().is_overdue(now=now, deadline=timedelta(minutes=15)) is overdue


@pytest.mark.parametrize("status", [PENDING, SHIPPED])
def test_nothing_follows_from_an_order_that_waits_or_was_shipped(status: OrderStatus) -> None:
    assert in_status(status).next_action() is None
    assert in_status(status, balance=held(), stock=held()).next_action() is None


def test_a_confirmed_order_is_to_be_shipped_each_time_it_is_checked() -> None:
    order = confirmed()

    assert [order.next_action(), order.next_action()] == [NextAction.SHIP, NextAction.SHIP]


@pytest.mark.parametrize("status", [REJECTED, CANCELLED, EXPIRED])
@pytest.mark.parametrize(
    "checks",
    [
        {},
        {"balance": declined()},
        {"stock": declined()},
        {"balance": held()},
        {"balance": held(), "stock": declined()},
        {"balance": declined(), "stock": held()},
        {"balance": held(), "stock": held()},
    ],
)
def test_a_refused_order_is_released_as_long_as_something_may_be_held(
    status: OrderStatus, checks: dict[str, CheckResult]
) -> None:
    assert in_status(status, **checks).next_action() is NextAction.RELEASE


@pytest.mark.parametrize("status", [REJECTED, CANCELLED, EXPIRED])
def test_a_refused_order_that_holds_nothing_has_nothing_to_release(status: OrderStatus) -> None:
    assert in_status(status, balance=declined(), stock=declined()).next_action() is None


def test_a_repeated_request_is_answered_with_the_order_as_it_was_placed() -> None:
    assert confirmed().initial_snapshot() == placed()
    assert rejected().initial_snapshot() == placed()
    published = replace(placed(), callback_url="https://a.example/")
    assert published.cancel(now=LATER).initial_snapshot() == published


def test_a_decision_says_in_words_what_was_asked_and_what_there_was() -> None:
    assert str(held("25.50")) == "HELD 25.50"
    assert str(declined(DeclineCode.INSUFFICIENT_STOCK, "4", "3", "pen")) == (
        "DECLINED INSUFFICIENT_STOCK pen, asked 4, available 3"
    )
    assert str(declined(DeclineCode.UNKNOWN_PRODUCT, "4", None, "pen")) == "DECLINED UNKNOWN_PRODUCT pen"
    closed = CheckResult(Outcome.DECLINED, Decimal(4), code=DeclineCode.ORDER_CLOSED)
    assert str(closed) == "DECLINED ORDER_CLOSED"


@pytest.mark.parametrize(
    "impossible",
    [
        {"order_id": ""},
        {"customer_id": ""},
        {"items": (("", 1),)},
        {"items": ()},
        {"items": (("pen", 1),) * (MAX_ITEMS + 1)},
        {"items": (("pen", 0),)},
        {"items": (("pen", 1), ("ink", -1))},
        {"total": "-0.01"},
        {"total": "NaN"},
        {"total": "Infinity"},
    ],
)
def test_what_could_never_be_an_order_is_refused_whoever_sent_it(impossible: dict[str, object]) -> None:
    with pytest.raises(InvalidMessageError):
        details_of(**impossible)  # type: ignore[arg-type]


def test_an_order_may_be_free_and_may_have_the_most_lines() -> None:
    assert details_of(total="0").total_amount == 0
    assert len(details_of(items=(("pen", 1),) * MAX_ITEMS).items) == MAX_ITEMS
