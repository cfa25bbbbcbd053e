"""A balance is set, adjusted or deleted, once per request, and read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from order_capture.application.ledger.adjust_balance import AdjustBalance, Adjusted, BalanceRequest
from order_capture.application.ledger.get_balance import GetBalance
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.errors import (
    BalanceOutOfRangeError,
    IdempotencyConflictError,
    NotFoundError,
    OpenHoldsError,
    TransientError,
)
from order_capture.domain.ledger import ACCOUNTS, Balance, BalanceChange, Entry, replay
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, shown, ticking_clock
from tests.support.fakes import RecordedBackoff
from tests.support.stores import entries_of, memory_stores


def change(
    *,
    balance: str | None = None,
    adjust: str | None = None,
    entity: str = "alice",
    key: str | None = None,
    fingerprint: str = "print-1",
    unique: str = "unique-1",
    delete: bool = False,
) -> BalanceRequest:
    return BalanceRequest(
        entity,
        key or unique,
        fingerprint,
        idempotent=key is not None,
        balance=None if balance is None else Decimal(balance),
        adjust=None if adjust is None else Decimal(adjust),
        delete=delete,
    )


class Bank:
    """account_api over the in-memory AWS."""

    def __init__(self, balance: str | None = None) -> None:
        self.dynamodb = DynamoDB()
        stores = memory_stores(self.dynamodb)
        self.ledger, self.history = stores.accounts, stores.account_history
        self.backoff = RecordedBackoff()
        self.clock = ticking_clock()
        if balance is not None:
            self.make(change(balance=balance, unique="opening"))

    def make(self, change: BalanceRequest) -> Adjusted:
        return AdjustBalance(ACCOUNTS, self.ledger, self.clock, Retry(self.backoff)).adjust(change)

    def balance(self, entity: str = "alice") -> Decimal:
        head = self.head(entity)
        assert replay(self.entries(entity)) == head.balance
        return head.balance

    def entries(self, entity: str) -> list[Entry]:
        return entries_of(self.dynamodb, self.ledger, entity)

    def head(self, entity: str = "alice") -> Balance:
        return GetBalance(self.ledger, self.history, lambda _: None).get(entity, None)


def test_a_balance_that_is_set_opens_an_account() -> None:
    bank = Bank()

    adjusted = bank.make(change(balance="100"))

    assert not adjusted.replayed
    assert shown(adjusted.head) == shown(bank.ledger.head("alice"))
    assert bank.balance() == 100


def test_a_balance_that_is_set_again_replaces_it() -> None:
    bank = Bank("100")

    bank.make(change(balance="30"))

    assert bank.balance() == 30


@pytest.mark.parametrize(("by", "balance"), [("2.50", "102.50"), ("-99.99", "0.01"), ("-100", "0")])
def test_a_balance_is_added_to_and_taken_from(by: str, balance: str) -> None:
    bank = Bank("100")

    bank.make(change(adjust=by))

    assert bank.balance() == Decimal(balance)


def test_a_balance_never_falls_below_nothing() -> None:
    bank = Bank("100")

    with pytest.raises(BalanceOutOfRangeError):
        bank.make(change(adjust="-100.01"))

    assert bank.balance() == 100


def test_there_is_nothing_to_add_to_before_a_balance_was_set() -> None:
    with pytest.raises(NotFoundError):
        Bank().make(change(adjust="5"))


def test_the_same_key_adjusts_once_and_gets_the_same_answer_whatever_happened_since() -> None:
    bank = Bank("100")
    first = bank.make(change(adjust="5", key="key-1"))
    bank.make(change(adjust="50"))

    again = bank.make(change(adjust="5", key="key-1"))

    assert (shown(again.head), again.replayed) == (shown(first.head), True)
    assert bank.balance() == 155


def test_the_same_key_gets_the_same_answer_though_the_change_would_not_be_possible_again() -> None:
    bank = Bank("100")
    first = bank.make(change(adjust="-60", key="key-1"))

    again = bank.make(change(adjust="-60", key="key-1"))

    assert (shown(again.head), again.replayed) == (shown(first.head), True)


@pytest.mark.parametrize("other", [{"adjust": "6"}, {"adjust": "5", "entity": "bob"}, {"balance": "5"}])
def test_the_same_key_with_another_request_is_refused_even_for_another_customer(
    other: dict[str, Any],
) -> None:
    bank = Bank("100")
    bank.make(change(balance="100", entity="bob", unique="opening-bob"))
    bank.make(change(adjust="5", key="key-1"))

    with pytest.raises(IdempotencyConflictError):
        bank.make(change(**other, key="key-1", fingerprint="print-2"))

    assert [bank.balance("alice"), bank.balance("bob")] == [105, 100]


def test_the_same_key_twice_at_once_adjusts_once() -> None:
    bank = Bank("100")
    bank.dynamodb.interrupt(lambda: bank.make(change(adjust="5", key="key-1")))

    answer = bank.make(change(adjust="5", key="key-1"))

    assert answer.replayed
    assert answer.head.balance == bank.balance() == 105


def test_a_change_made_at_the_same_moment_is_not_lost() -> None:
    bank = Bank("100")
    bank.dynamodb.interrupt(lambda: bank.make(change(adjust="50", unique="quicker")))

    answer = bank.make(change(adjust="5"))

    assert answer.head.balance == bank.balance() == 155
    assert bank.backoff.after == [1]


def test_a_hold_made_at_the_same_moment_is_not_lost() -> None:
    bank = Bank("100")
    bank.dynamodb.interrupt(lambda: bank.ledger.write([BalanceChange.hold("alice", Decimal(30))], [], NOW))

    answer = bank.make(change(adjust="5"))

    assert [answer.head.balance, answer.head.held] == [75, 30]


def test_an_account_opened_twice_at_once_is_opened_once_and_set_twice() -> None:
    bank = Bank()
    bank.dynamodb.interrupt(lambda: bank.make(change(balance="50", unique="quicker")))

    bank.make(change(balance="5"))

    assert bank.balance() == 5


def test_a_change_that_never_gets_through_may_be_sent_again() -> None:
    bank = Bank("100")
    bank.dynamodb.conflict(MAX_ATTEMPTS)

    with pytest.raises(TransientError):
        bank.make(change(adjust="5"))

    assert bank.balance() == 100
    assert bank.make(change(adjust="5")).head.balance == 105


def test_what_is_deleted_is_unknown_and_its_books_add_up() -> None:
    bank = Bank("100")

    deleted = bank.make(change(delete=True))

    assert shown(deleted.head) == shown(bank.ledger.head("alice"))
    assert shown(deleted.head) == Balance(
        Decimal(0), version=2, update_time=deleted.head.update_time, deleted=True
    )
    assert replay(bank.entries("alice")) == 0
    with pytest.raises(NotFoundError):
        bank.head()


@pytest.mark.parametrize("request_of", [{"adjust": "5"}, {"delete": True}])
def test_to_what_was_deleted_nothing_is_added_and_it_is_not_deleted_again(request_of: dict[str, Any]) -> None:
    bank = Bank("100")
    bank.make(change(delete=True))

    with pytest.raises(NotFoundError):
        bank.make(change(**request_of, unique="unique-2"))


def test_what_never_was_is_not_deleted() -> None:
    with pytest.raises(NotFoundError):
        Bank().make(change(delete=True))


def test_what_open_orders_hold_is_not_deleted_and_the_refusal_says_how_much() -> None:
    bank = Bank("100")
    bank.ledger.write([BalanceChange.hold("alice", Decimal("30.5"))], [], NOW)

    with pytest.raises(OpenHoldsError, match=r"hold 30\.50 of it"):
        bank.make(change(delete=True))

    assert shown(bank.ledger.head("alice")) == Balance(
        Decimal("69.5"), Decimal("30.5"), version=2, update_time=NOW
    )


def test_a_hold_that_is_quicker_than_the_deletion_keeps_it_from_happening() -> None:
    bank = Bank("100")
    bank.dynamodb.interrupt(lambda: bank.ledger.write([BalanceChange.hold("alice", Decimal(30))], [], NOW))

    with pytest.raises(OpenHoldsError):
        bank.make(change(delete=True))


def test_what_was_deleted_is_set_again_by_setting_it_and_its_version_and_what_is_settled_go_on() -> None:
    bank = Bank("100")
    bank.ledger.write([BalanceChange.hold("alice", Decimal(30))], [], NOW)
    bank.ledger.write([BalanceChange.settle("alice", Decimal(30))], [], NOW)
    bank.make(change(delete=True))

    again = bank.make(change(balance="7", unique="unique-2")).head

    assert shown(again) == shown(bank.head())
    assert shown(again) == Balance(Decimal(7), Decimal(0), Decimal(30), 5, again.update_time)


def test_the_same_key_deletes_once_and_gets_the_same_answer_though_it_was_set_again() -> None:
    bank = Bank("100")
    first = bank.make(change(delete=True, key="key-1"))
    bank.make(change(balance="7"))

    again = bank.make(change(delete=True, key="key-1"))

    assert (shown(again.head), again.replayed) == (shown(first.head), True)
    assert bank.balance() == 7


def test_the_key_of_a_deletion_does_nothing_else() -> None:
    bank = Bank("100")
    bank.make(change(delete=True, key="key-1"))

    with pytest.raises(IdempotencyConflictError):
        bank.make(change(balance="7", key="key-1", fingerprint="print-2"))


def test_who_was_never_set_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        Bank().head()
