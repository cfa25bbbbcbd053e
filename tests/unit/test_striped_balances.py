"""A customer or product with stripes is read and changed as a whole: balance, history, state."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from order_capture.adapters.dynamodb.history_repository import record_from_images
from order_capture.application.ledger.adjust_balance import Adjusted, BalanceRequest
from order_capture.application.ledger.check_orders import CONFLICTS_TO_SPLIT
from order_capture.application.ledger.get_balance import MAX_READS, RETRY_DELAYS, GetBalance
from order_capture.application.ledger.list_balance_history import Entry, ListBalanceHistory
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.application.ledger.publish_balance_states import PublishBalanceStates
from order_capture.application.messages import BalanceState
from order_capture.application.retry import MAX_ATTEMPTS
from order_capture.domain.errors import (
    BalanceOutOfRangeError,
    IdempotencyConflictError,
    NotFoundError,
    OpenHoldsError,
    TransientError,
)
from order_capture.domain.ledger import STOCK, UNPRICED, Balance, BalanceChange, Hold
from order_capture.domain.order import Outcome
from order_capture.domain.stripes import total
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, check, release, shown
from tests.support.stores import memory_stores
from tests.unit.test_striped_orders import Rush, pens, throttled

HELD, DECLINED = Outcome


def change(
    rush: Rush,
    *,
    balance: int | None = None,
    adjust: int | None = None,
    key: str | None = None,
    fingerprint: str = "print-1",
    unique: str = "change-1",
    delete: bool = False,
    price: str | None = None,
) -> Adjusted:
    return rush.adjust(
        BalanceRequest(
            "pen",
            key or unique,
            fingerprint,
            idempotent=key is not None,
            balance=None if balance is None else Decimal(balance),
            adjust=None if adjust is None else Decimal(adjust),
            delete=delete,
            price=None if price is None else Decimal(price),
        )
    )


def hold(rush: Rush, head: str, amount: int = 1) -> None:
    """Let another process hold something on a head."""
    rush.ledger.write([BalanceChange.hold(head, Decimal(amount))], [], NOW)


def balances(rush: Rush) -> dict[str, int]:
    return {name: int(head.balance) for name, head in rush.ledger.heads("pen").items()}


class TestAddingAndTaking:
    def test_is_done_at_the_root_whatever_happens_to_the_stripes_meanwhile(self) -> None:
        rush = Rush(2, 3, 4)
        rush.dynamodb.interrupt(lambda: hold(rush, "pen#1"))

        change(rush, adjust=5)

        assert balances(rush) == {"pen": 7, "pen#1": 2, "pen#2": 4}
        assert rush.backoff.after == []

    def test_is_tried_again_if_the_root_has_changed(self) -> None:
        rush = Rush(2, 3, 4)
        rush.dynamodb.interrupt(lambda: hold(rush, "pen"))

        assert change(rush, adjust=5).head.held == 1

        assert balances(rush) == {"pen": 6, "pen#1": 3, "pen#2": 4}
        assert rush.backoff.after == [1]

    def test_of_what_the_root_has_leaves_the_stripes_as_they_are(self) -> None:
        rush = Rush(2, 3, 4)

        change(rush, adjust=-2)

        assert rush.figures() == {"pen": (0, 0), "pen#1": (3, 0), "pen#2": (4, 0)}

    @pytest.mark.parametrize(("amount", "left"), [(-3, 6), (-9, 0)])
    def test_of_more_than_the_root_has_gathers_all_there(self, amount: int, left: int) -> None:
        rush = Rush(2, 3, 4)

        assert change(rush, adjust=amount).head.balance == left

        assert rush.figures() == {"pen": (left, 0), "pen#1": (0, 0), "pen#2": (0, 0)}

    def test_of_more_than_there_is_names_what_there_is_of_all(self) -> None:
        rush = Rush(2, 3, 4)

        with pytest.raises(BalanceOutOfRangeError, match="The balance is 9:"):
            change(rush, adjust=-10)

        assert balances(rush) == {"pen": 2, "pen#1": 3, "pen#2": 4}

    def test_is_bounded_by_what_there_is_of_all(self) -> None:
        rush = Rush(0, 1, 1)

        with pytest.raises(BalanceOutOfRangeError, match="at most"):
            change(rush, adjust=int(STOCK.max_balance) - 1)


class TestSetting:
    def test_gathers_everything_at_the_root_in_one_write(self) -> None:
        rush = Rush(2, 3, 4)
        hold(rush, "pen#2", 2)
        writes = rush.dynamodb.writes

        adjusted = change(rush, balance=20)

        assert rush.dynamodb.writes == writes + 1
        assert (adjusted.head.balance, adjusted.head.held) == (Decimal(20), Decimal(2))
        heads = rush.ledger.heads("pen")
        assert [(int(head.balance), int(head.held)) for head in heads.values()] == [(20, 0), (0, 0), (0, 2)]

    @pytest.mark.parametrize("head", ["pen", "pen#1", "pen#2"])
    def test_is_refused_and_tried_again_if_a_head_has_changed_meanwhile(self, head: str) -> None:
        rush = Rush(2, 3, 4)
        rush.dynamodb.interrupt(lambda: hold(rush, head))

        adjusted = change(rush, balance=20)

        assert (adjusted.head.balance, adjusted.head.held) == (Decimal(20), Decimal(1))
        assert sum(balances(rush).values()) == 20
        assert rush.backoff.after == [1]

    def test_that_never_gets_through_changes_nothing(self) -> None:
        rush = Rush(2, 3, 4)
        rush.dynamodb.conflict(MAX_ATTEMPTS)

        with pytest.raises(TransientError):
            change(rush, balance=20)

        assert balances(rush) == {"pen": 2, "pen#1": 3, "pen#2": 4}

    def test_a_price_sets_that_of_every_head(self) -> None:
        rush = Rush(2, 3, 4)

        change(rush, adjust=0, price="2.50")
        assert {head.price for head in rush.ledger.heads("pen").values()} == {Decimal("2.50")}
        change(rush, adjust=0, price=str(UNPRICED), unique="change-2")

        assert {head.price for head in rush.ledger.heads("pen").values()} == {None}

    def test_a_price_is_that_of_every_order_from_then_on(self) -> None:
        rush = Rush(2, 3, 4)
        change(rush, adjust=0, price="2.50")
        rush.at_stripe(1)

        rush.handle(check(pens("order-1", 1, "2.50")), check(pens("order-2", 1, "2.49")))

        assert rush.outcomes() == {"order-1": HELD, "order-2": DECLINED}


class TestDeleting:
    @pytest.mark.parametrize("head", ["pen", "pen#1"])
    def test_is_refused_while_something_is_held_on_any_head(self, head: str) -> None:
        rush = Rush(2, 3, 4)
        hold(rush, head, 2)

        with pytest.raises(OpenHoldsError, match="Open orders hold 2 of it"):
            change(rush, delete=True)

    def test_is_refused_if_something_is_held_on_a_stripe_at_that_moment(self) -> None:
        rush = Rush(2, 3, 4)
        rush.dynamodb.interrupt(lambda: hold(rush, "pen#1"))

        with pytest.raises(OpenHoldsError):
            change(rush, delete=True)

        assert not any(head.deleted for head in rush.ledger.heads("pen").values())

    def test_deletes_every_head(self) -> None:
        rush = Rush(2, 3, 4, price="2.50")

        change(rush, delete=True)

        heads = rush.ledger.heads("pen").values()
        assert {(head.balance, head.deleted, head.price) for head in heads} == {(Decimal(0), True, None)}
        assert set(rush.figures().values()) == {(0, 0)}

    def test_and_setting_again_has_orders_held_at_the_root_and_on_the_stripes(self) -> None:
        rush = Rush(2, 3, 4)
        change(rush, delete=True)

        change(rush, balance=9, unique="again")
        rush.handle(check(pens("order-1", 1)))
        rush.at_stripe(1)
        rush.handle(check(pens("order-2", 1)))

        assert rush.outcomes() == {"order-1": HELD, "order-2": HELD}
        assert rush.amounts("order-2") == {"pen#1": 1}
        assert sum(balances(rush).values()) == 7


def test_the_version_grows_with_every_change_and_the_answer_has_it() -> None:
    rush = Rush(2, 3, 4)
    requests: list[dict[str, Any]] = [
        {"adjust": 5},
        {"adjust": -9},
        {"balance": 30},
        {"delete": True},
        {"balance": 7},
        {"adjust": 0, "price": "1.00"},
    ]
    versions = [_whole(rush).version]

    for number, request in enumerate(requests):
        adjusted = change(rush, **request, unique=f"change-{number}")

        assert adjusted.head.version == _whole(rush).version
        versions.append(adjusted.head.version)

    assert versions == sorted({*versions})


def _whole(rush: Rush) -> Balance:
    whole = total("pen", rush.ledger.heads("pen"))
    assert whole is not None
    return whole


@pytest.mark.parametrize("request_of", [{"adjust": 5}, {"adjust": -5}, {"balance": 5}, {"delete": True}])
def test_the_same_key_changes_it_once_and_gets_the_same_answer(request_of: dict[str, Any]) -> None:
    rush = Rush(2, 3, 4)
    first = change(rush, **request_of, key="key-1")
    change(rush, balance=1, unique="since")

    again = change(rush, **request_of, key="key-1")

    assert (shown(again.head), again.replayed) == (shown(first.head), True)
    assert _whole(rush).balance == 1
    with pytest.raises(IdempotencyConflictError):
        change(rush, **request_of, key="key-1", fingerprint="print-2")


def test_the_same_key_twice_at_once_changes_it_once() -> None:
    rush = Rush(2, 3, 4)
    rush.dynamodb.interrupt(lambda: change(rush, adjust=-5, key="key-1"))

    assert change(rush, adjust=-5, key="key-1").replayed

    assert _whole(rush).balance == 4


def at(second: int) -> str:
    return f"2026-11-20T10:00:{second:02}.000Z"


class Day:
    """Nine pens from 10:00:01 on, which were split, transferred, released and deleted, with their history."""

    def __init__(self) -> None:
        rush = self.rush = Rush()
        rush.time = at(1)
        change(rush, balance=9, unique="opening")
        rush.time = at(2)
        rush.dynamodb.conflict(CONFLICTS_TO_SPLIT)
        rush.handle(check(pens("split", 2)))  # 3, 1, 3 are left
        rush.time = at(3)
        rush.handle(check(pens("refilled", 5)))
        rush.time = at(4)
        rush.handle(check(pens("declined", 3)))
        rush.time = at(5)
        rush.handle(release(pens("split", 2)), release(pens("refilled", 5)))
        rush.time = at(6)
        change(rush, delete=True, unique="deletion")
        rush.time = at(7)
        change(rush, balance=4, unique="again")
        stores = memory_stores(DynamoDB())
        self.history = stores.stock_history
        records = [
            record
            for change_ in rush.dynamodb.stream(rush.ledger._table)
            if (record := record_from_images("productId", change_["dynamodb"]))
        ]
        self.history.put(records)

    def figures(self, time: str | None) -> tuple[int, int]:
        head = GetBalance(self.rush.ledger, self.history, lambda _: None).get("pen", time)
        return int(head.balance), int(head.held)

    def pages(self, limit: int) -> list[list[str]]:
        pages: list[list[str]] = []
        after: HistoryCursor | None = None
        while not pages or after:
            page = ListBalanceHistory(self.rush.ledger, self.history).list_page("pen", after, limit)
            pages.append([_shown_as(entry) for entry in page.entries])
            after = page.next
        return pages


def _shown_as(entry: Entry) -> str:
    if isinstance(entry.record, Hold):
        return f"no {entry.record.order_id}"
    assert entry.change is not None
    return f"{entry.change.type} {entry.change.id} {entry.change.amount}"


class TestTheBalance:
    @pytest.mark.parametrize(
        ("second", "figures"), [(1, (9, 0)), (2, (7, 2)), (3, (2, 7)), (4, (2, 7)), (5, (9, 0)), (7, (4, 0))]
    )
    def test_at_any_time_is_the_sum_of_the_heads_that_there_were(
        self, second: int, figures: tuple[int, int]
    ) -> None:
        assert Day().figures(at(second)) == figures

    @pytest.mark.parametrize("second", [0, 6])
    def test_before_it_was_set_and_while_it_was_deleted_is_unknown(self, second: int) -> None:
        with pytest.raises(NotFoundError):
            Day().figures(at(second))

    def test_now_is_the_sum_of_all_heads(self) -> None:
        rush = Rush(2, 3, 4)
        hold(rush, "pen#2", 3)

        head = GetBalance(rush.ledger, Day().history, lambda _: None).get("pen", None)

        assert (head.balance, head.held) == (Decimal(6), Decimal(3))

    def test_is_read_again_while_something_is_transferred(self) -> None:
        rush = Rush(2, 3, 4)
        _transfer_before_reads(rush, 3)

        head = GetBalance(rush.ledger, Day().history, lambda _: None).get("pen", None)

        assert head.balance == 9

    def test_is_none_rather_than_a_wrong_one(self) -> None:
        rush = Rush(2, 3, 400)
        _transfer_before_reads(rush, 2 * MAX_READS)

        with pytest.raises(TransientError):
            GetBalance(rush.ledger, Day().history, lambda _: None).get("pen", None)


def _transfer_before_reads(rush: Rush, times: int) -> None:
    """Transfer a unit before each of the next reads of all heads."""
    left = iter(range(times))

    def transfer() -> None:
        if (number := next(left, None)) is not None:
            there_and_back = (1, -1)[number % 2]
            rush.ledger.write(
                [
                    BalanceChange.transferred("pen#2", Decimal(-there_and_back), str(number)),
                    BalanceChange.transferred("pen#1", Decimal(there_and_back), str(number)),
                ],
                [],
                NOW,
            )

    rush.watched.before_reading = transfer


class TestTheHistory:
    ENTRIES = (
        "ADJUST again 4",
        "ADJUST deletion -9",
        "RELEASE split 2",
        "RELEASE refilled 5",
        "no declined",
        "HOLD refilled 5",
        "HOLD split 2",
        "ADJUST opening 9",
    )

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
    def test_is_that_of_all_heads_newest_first_without_transfers(self, limit: int) -> None:
        pages = Day().pages(limit)

        entries = [entry for page in pages for entry in page]
        assert sorted(entries) == sorted(self.ENTRIES)
        assert [each for each in entries if "RELEASE" not in each] == [
            each for each in self.ENTRIES if "RELEASE" not in each
        ]
        assert all(len(page) <= limit for page in pages)


def test_a_client_waits_no_longer_for_a_late_history_of_many_stripes() -> None:
    rush = Rush(2, 3, 4)
    waited: list[float] = []

    with pytest.raises(TransientError):
        GetBalance(rush.ledger, memory_stores(DynamoDB()).stock_history, waited.append).get("pen", at(-1))

    assert waited == [0.0, *RETRY_DELAYS]


class Outbox:
    """Implements `application.ports.StatePublisher`."""

    def __init__(self) -> None:
        self.published: list[BalanceState] = []

    def send_all(self, states: Sequence[BalanceState]) -> None:
        self.published += states


class TestTheState:
    def publish(self, rush: Rush, *heads: str) -> list[BalanceState]:
        """The states that are published after these heads were written."""
        outbox = Outbox()
        stored = rush.ledger.heads("pen")
        PublishBalanceStates(rush.ledger, outbox).publish(
            [BalanceState(STOCK, head, stored[head]) for head in heads]
        )
        return outbox.published

    @pytest.mark.parametrize("heads", [["pen"], ["pen#1"], ["pen", "pen#2", "pen#1", "pen#2"]])
    def test_is_one_with_the_sum_whichever_heads_were_written(self, heads: list[str]) -> None:
        rush = Rush(2, 3, 4)
        hold(rush, "pen#2", 3)

        (state,) = self.publish(rush, *heads)

        assert (state.entity, state.head.balance, state.head.held) == ("pen", Decimal(6), Decimal(3))

    def test_has_a_version_that_grows_with_every_write_of_any_head(self) -> None:
        rush = Rush(2, 3, 4)
        versions = []

        for head in ("pen#1", "pen", "pen#2", "pen#1"):
            hold(rush, head)
            (state,) = self.publish(rush, head)
            versions.append(state.head.version)

        assert versions == sorted({*versions})

    def test_has_a_higher_version_after_the_split_than_before(self) -> None:
        rush = Rush(9)
        before = _whole(rush).version
        rush.dynamodb.conflict(CONFLICTS_TO_SPLIT)
        rush.handle(check(pens("order-1", 1)))

        (state,) = self.publish(rush, "pen#1")

        assert state.head.version > before

    def test_is_not_published_if_it_can_not_be_read_and_the_others_are(self) -> None:
        rush = Rush(2, 3, 400)
        rush.stock("ink", 5)
        _transfer_before_reads(rush, 2 * MAX_READS)
        ink = rush.ledger.head("ink")
        assert ink is not None
        outbox, pen = Outbox(), rush.ledger.head("pen")
        assert pen is not None

        states = [BalanceState(STOCK, "pen", pen), BalanceState(STOCK, "ink", ink)]
        PublishBalanceStates(rush.ledger, outbox).publish(states)

        assert [state.entity for state in outbox.published] == ["ink"]

    def test_is_not_lost_if_reads_are_throttled(self) -> None:
        rush = Rush(2, 3, 4)
        pen = rush.ledger.head("pen")
        assert pen is not None
        rush.watched.before_reading = throttled

        with pytest.raises(TransientError):
            PublishBalanceStates(rush.ledger, Outbox()).publish([BalanceState(STOCK, "pen", pen)])
