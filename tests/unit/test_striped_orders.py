"""Orders for contended products: held on stripes, declined by the sum of all heads."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from order_capture.application.ledger.adjust_balance import AdjustBalance, Adjusted, BalanceRequest
from order_capture.application.ledger.check_orders import MAX_COLLECTS, CheckOrders
from order_capture.application.ledger.hot_heads import MAX_REMEMBERED, REMEMBERED_SECONDS, HotHeads
from order_capture.application.messages import CheckOrder, OrderChecked, ReleaseOrder
from order_capture.application.retry import MAX_ATTEMPTS, Retry
from order_capture.domain.ledger import ACCOUNTS, STOCK, BalanceChange, LedgerSpec, replay
from order_capture.domain.order import CheckResult, DeclineCode, OrderDetails, Outcome
from order_capture.domain.stripes import head_names, stripe, total
from order_capture.domain.times import after
from tests.support.aws.dynamodb import DynamoDB
from tests.support.aws.errors import client_error
from tests.support.factories import NOW, check, details_of, release
from tests.support.fakes import MemoryPublisher, RecordedBackoff
from tests.support.stores import entries_of, memory_stores

HELD, DECLINED = Outcome
STRIPES = 2


class Watched:
    """In-memory DynamoDB that records its calls, and runs actions before some of them."""

    def __init__(self, dynamodb: DynamoDB) -> None:
        self._dynamodb = dynamodb
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.before_reading: Callable[[], object] = lambda: None

    def __getattr__(self, operation: str) -> Any:
        call = getattr(self._dynamodb, operation)

        def watched(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            if operation == "batch_get_item":
                self.before_reading()
            return call(**arguments)

        return watched

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.calls]


def throttled() -> None:
    raise client_error("BatchGetItem", "ProvisionedThroughputExceededException")


class Rush:
    """A checker over the in-memory AWS: of the stock, or of the accounts.

    `heads` are the balances of the root of pens and its stripes.
    """

    def __init__(
        self, *heads: int, price: str | None = None, stripes: int = STRIPES, kind: LedgerSpec = STOCK
    ) -> None:
        self.kind = kind
        self.dynamodb = DynamoDB()
        stores = memory_stores(self.dynamodb)
        self.ledger = stores.stock if kind is STOCK else stores.accounts
        self.results = MemoryPublisher()
        self.backoff = RecordedBackoff()
        self.hot_heads = HotHeads()
        self.stripes = stripes
        self.random = 0.0
        self.time = NOW
        if heads:
            self.stock("pen", *heads, price=price)
        self.watched = Watched(self.dynamodb)
        self.ledger._client = self.watched
        self.dynamodb.writes = 0

    def stock(self, product: str, *heads: int, price: str | None = None) -> None:
        """Set the balance of the root, and split it so that each stripe has what is named."""
        whole = BalanceRequest(
            product,
            f"opening-{product}",
            "",
            idempotent=False,
            balance=Decimal(sum(heads)),
            price=None if price is None else Decimal(price),
        )
        self.adjust(whole)
        parts = heads[1:]
        if parts:
            root = BalanceChange.transferred(product, -Decimal(sum(parts)), "SPLIT")
            names = head_names(product, len(parts))[1:]
            changes = [
                BalanceChange(
                    name,
                    balance=Decimal(part),
                    transfer=Decimal(part),
                    expected=0,
                    price=whole.price,
                    entries={"TRANSFER#SPLIT": Decimal(part)},
                )
                for name, part in zip(names, parts, strict=True)
            ]
            given = BalanceChange(
                product,
                balance=root.balance,
                transfer=root.transfer,
                entries=root.entries,
                stripes=len(parts),
            )
            self.ledger.write([given, *changes], [], self.time)

    def adjust(self, request: BalanceRequest) -> Adjusted:
        return AdjustBalance(self.kind, self.ledger, lambda: self.time, Retry(self.backoff)).adjust(request)

    def add(self, amount: int, product: str = "pen", unique: str = "more") -> Adjusted:
        return self.adjust(BalanceRequest(product, unique, "", idempotent=False, adjust=Decimal(amount)))

    def sell_before_reads(self, times: int) -> None:
        """Take one from the second stripe before each of the next reads of all heads."""
        left = iter(range(times))

        def sell() -> None:
            if next(left, None) is not None:
                self.ledger.write([BalanceChange("pen#2", balance=-Decimal(1))], [], NOW)

        self.watched.before_reading = sell

    def at_stripe(self, number: int, product: str = "pen") -> None:
        """Let this process use a stripe, as after a recent conflict."""
        self.hot_heads.remember(product, stripe(product, number), STRIPES, self.time)

    def handle(self, *messages: CheckOrder | ReleaseOrder) -> set[str]:
        return CheckOrders(
            self.kind,
            self.ledger,
            frozenset,  # the other check has decided all
            self.results,
            lambda: self.time,
            lambda: self.random,
            Retry(self.backoff),
            self.hot_heads,
            self.stripes,
        ).process(messages)

    def decisions(self) -> dict[str, CheckResult]:
        return {m.order_id: m.decision for m in self.results.taken() if isinstance(m, OrderChecked)}

    def outcomes(self) -> dict[str, Outcome]:
        return {order_id: decision.outcome for order_id, decision in self.decisions().items()}

    def figures(self, product: str = "pen") -> dict[str, tuple[int, int]]:
        """Balance and held of each head. Checks that the entries add up to the balance."""
        heads = self.ledger.heads(product)
        whole = total(product, heads)
        assert whole is not None
        assert replay(entries_of(self.dynamodb, self.ledger, product)) == whole.balance
        return {name: (int(head.balance), int(head.held)) for name, head in heads.items()}

    def amounts(self, order_id: str) -> dict[str, Decimal]:
        """What an order holds, by head."""
        return dict(self.ledger.holds([order_id])[order_id].amounts)


def pens(order_id: str, qty: int, unit_price: str | None = None) -> OrderDetails:
    return details_of(order_id, items=(("pen", qty),), unit_price=unit_price)


class TestAColdProduct:
    def test_is_one_transaction_without_a_read_and_has_no_stripes(self) -> None:
        rush = Rush(9)

        assert rush.handle(check(pens("order-1", 2)), check(pens("order-2", 1))) == set()

        assert rush.watched.operations == ["transact_write_items"]
        assert rush.figures() == {"pen": (6, 3)}

    def test_is_not_split_by_one_conflict(self) -> None:
        rush = Rush(9)
        rush.dynamodb.conflict(1)

        assert rush.handle(check(pens("order-1", 2))) == set()

        assert rush.figures() == {"pen": (7, 2)}

    def test_is_never_split_where_there_are_to_be_no_stripes(self) -> None:
        rush = Rush(9, stripes=0)
        rush.dynamodb.conflict(MAX_ATTEMPTS - 1)

        assert rush.handle(check(pens("order-1", 2))) == set()

        assert rush.figures() == {"pen": (7, 2)}


class TestASplit:
    def test_follows_two_conflicts_in_a_row_and_the_order_is_held_on_a_stripe(self) -> None:
        rush = Rush(9)
        rush.random = 0.99
        rush.dynamodb.conflict(2)

        assert rush.handle(check(pens("order-2", 2))) == set()

        assert rush.figures() == {"pen": (3, 0), "pen#1": (3, 0), "pen#2": (1, 2)}
        assert rush.amounts("order-2") == {"pen#2": 2}

    def test_that_another_one_has_made_meanwhile_is_used(self) -> None:
        rush, quicker = Rush(9), HotHeads()

        def split_first() -> None:
            mine, rush.hot_heads = rush.hot_heads, quicker
            rush.dynamodb.conflict(2)
            rush.handle(check(pens("quicker", 1)))
            rush.hot_heads = mine

        rush.dynamodb.conflict(2)
        rush.dynamodb.interrupt(split_first)
        assert rush.handle(check(pens("order-1", 1))) == set()

        assert rush.outcomes() == {"quicker": HELD, "order-1": HELD}
        assert rush.figures() == {"pen": (3, 0), "pen#1": (1, 2), "pen#2": (3, 0)}

    def test_is_not_made_of_what_is_too_little_to_share(self) -> None:
        rush = Rush(STRIPES)
        rush.dynamodb.conflict(MAX_ATTEMPTS - 1)

        assert rush.handle(check(pens("order-1", 1))) == set()

        assert rush.figures() == {"pen": (STRIPES - 1, 1)}

    def test_gives_the_stripes_the_price_which_is_respected_there(self) -> None:
        rush = Rush(9, price="2.50")
        rush.dynamodb.conflict(2)
        rush.handle(check(pens("order-1", 1, "2.50")))
        rush.results.taken()

        rush.handle(check(pens("right", 1, "2.50")), check(pens("wrong", 1, "2.49")))

        assert rush.outcomes() == {"right": HELD, "wrong": DECLINED}
        assert rush.amounts("right") == {"pen#1": 1}


class TestAStripe:
    def test_that_suffices_is_one_transaction_without_a_read(self) -> None:
        rush = Rush(0, 5, 5)
        rush.at_stripe(1)

        assert rush.handle(check(pens("order-1", 2))) == set()

        assert rush.watched.operations == ["transact_write_items"]
        assert rush.figures() == {"pen": (0, 0), "pen#1": (3, 2), "pen#2": (5, 0)}

    def test_that_is_short_is_refilled_in_the_transaction_of_the_hold(self) -> None:
        rush = Rush(1, 1, 8)
        rush.at_stripe(1)

        assert rush.handle(check(pens("order-1", 4))) == set()

        assert rush.outcomes() == {"order-1": HELD}
        assert rush.dynamodb.writes == 1
        assert rush.figures() == {"pen": (1, 0), "pen#1": (1, 4), "pen#2": (4, 0)}
        assert rush.amounts("order-1") == {"pen#1": 4}

    def test_the_last_units_of_all_heads_make_one_order(self) -> None:
        rush = Rush(1, 1, 1)
        rush.at_stripe(2)

        assert rush.handle(check(pens("order-1", 3))) == set()

        assert rush.figures() == {"pen": (0, 0), "pen#1": (0, 0), "pen#2": (0, 3)}

    def test_a_root_that_is_short_is_refilled_from_the_stripes(self) -> None:
        rush = Rush(1, 4, 4)

        assert rush.handle(check(pens("order-1", 3))) == set()

        assert rush.figures() == {"pen": (0, 3), "pen#1": (4, 0), "pen#2": (2, 0)}

    def test_what_an_order_holds_is_released_to_the_head_that_held_it(self) -> None:
        rush = Rush(1, 1, 8)
        rush.at_stripe(1)
        rush.handle(check(pens("order-1", 4)))
        rush.hot_heads.remember("pen", "pen#2", STRIPES, rush.time)

        for _ in range(2):
            assert rush.handle(release(pens("order-1", 4))) == set()

        assert rush.figures() == {"pen": (1, 0), "pen#1": (5, 0), "pen#2": (4, 0)}

    def test_an_order_of_two_striped_products_is_held_on_a_stripe_of_each(self) -> None:
        rush = Rush(0, 2, 2)
        rush.stock("ink", 0, 1, 4)
        rush.at_stripe(1)
        rush.at_stripe(2, "ink")
        rush.dynamodb.writes = 0

        assert rush.handle(check(details_of("order-1", items=(("pen", 3), ("ink", 5))))) == set()

        assert rush.outcomes() == {"order-1": HELD}
        assert rush.amounts("order-1") == {"pen#1": 3, "ink#2": 5}
        assert rush.dynamodb.writes == 1

    def test_one_product_that_is_short_declines_both(self) -> None:
        rush = Rush(0, 2, 2)
        rush.stock("ink", 0, 1, 4)
        rush.at_stripe(1)
        rush.at_stripe(2, "ink")

        rush.handle(check(details_of("order-1", items=(("pen", 5), ("ink", 5)))))

        decision = rush.decisions()["order-1"]
        assert (decision.outcome, decision.entity, decision.available) == (DECLINED, "pen", Decimal(4))
        assert rush.figures("ink") == {"ink": (0, 0), "ink#1": (1, 0), "ink#2": (4, 0)}

    def test_of_a_product_that_was_deleted_holds_nothing(self) -> None:
        rush = Rush(1, 1, 1)
        rush.at_stripe(1)
        rush.adjust(BalanceRequest("pen", "deletion", "", idempotent=False, delete=True))

        rush.handle(check(pens("order-1", 1)))

        decision = rush.decisions()["order-1"]
        assert (decision.code, decision.available) == (DeclineCode.UNKNOWN_PRODUCT, None)

    def test_of_a_customer_who_was_deleted_holds_not_even_nothing(self) -> None:
        rush = Rush(kind=ACCOUNTS)
        rush.stock("alice", 1, 1, 1)
        rush.adjust(BalanceRequest("alice", "deletion", "", idempotent=False, delete=True))
        rush.at_stripe(1, "alice")

        rush.handle(check(details_of("order-1", total="0")))

        assert rush.decisions()["order-1"].code == DeclineCode.UNKNOWN_CUSTOMER
        assert [head.held for head in rush.ledger.heads("alice").values()] == [0, 0, 0]


class TestADecline:
    def test_is_by_two_equal_reads_of_all_heads_and_names_their_sum(self) -> None:
        rush = Rush(2, 3, 4)
        rush.at_stripe(1)

        assert rush.handle(check(pens("order-1", 10))) == set()

        decision = rush.decisions()["order-1"]
        assert (decision.code, decision.available) == (DeclineCode.INSUFFICIENT_STOCK, Decimal(9))
        assert rush.watched.operations.count("batch_get_item") == 2

    def test_is_by_reads_that_agree_if_one_of_them_was_changed_meanwhile(self) -> None:
        rush = Rush(2, 3, 4)
        rush.at_stripe(1)
        rush.sell_before_reads(2)

        rush.handle(check(pens("order-1", 10)))

        assert rush.decisions()["order-1"].available == 7
        assert rush.watched.operations.count("batch_get_item") == 3

    def test_is_none_while_the_sum_changes_between_the_reads(self) -> None:
        rush = Rush(2, 3, 400)
        rush.at_stripe(1)
        rush.sell_before_reads(100)

        assert rush.handle(check(pens("order-1", 1000))) == {"order-1"}

        assert rush.decisions() == {}
        assert rush.ledger.holds(["order-1"]) == {}
        assert rush.watched.operations.count("batch_get_item") >= MAX_COLLECTS

    def test_waits_while_what_fits_is_held(self) -> None:
        rush = Rush(2, 3, 400)
        rush.at_stripe(1)
        rush.sell_before_reads(100)

        assert rush.handle(check(pens("fits", 4)), check(pens("order-1", 1000))) == {"order-1"}

        assert rush.outcomes() == {"fits": HELD}

    def test_comes_as_soon_as_the_sum_is_still(self) -> None:
        rush = Rush(2, 3, 400)
        rush.at_stripe(1)
        rush.sell_before_reads(100)
        rush.handle(check(pens("order-1", 1000)))

        rush.sell_before_reads(0)
        assert rush.handle(check(pens("order-1", 1000))) == set()

        assert rush.outcomes() == {"order-1": DECLINED}

    def test_is_none_of_what_was_added_at_the_last_moment(self) -> None:
        rush = Rush(0, 1, 1)
        rush.at_stripe(1)
        rush.dynamodb.interrupt(lambda: rush.add(3))

        rush.handle(check(pens("order-1", 5)))

        assert rush.outcomes() == {"order-1": HELD}


class TestWhatIsRemembered:
    def test_is_forgotten_after_a_while(self) -> None:
        heads = HotHeads()

        heads.remember("pen", "pen#2", 4, NOW)

        assert heads.find("pen", after(NOW, REMEMBERED_SECONDS - 0.001)) == ("pen#2", 4)
        assert heads.find("pen", after(NOW, REMEMBERED_SECONDS)) == ("pen", 0)
        assert heads.find("ink", NOW) == ("ink", 0)

    def test_is_never_too_much_and_makes_room_for_what_is_newer(self) -> None:
        heads = HotHeads()
        for number in range(MAX_REMEMBERED + 1):
            heads.remember(f"pen-{number}", f"pen-{number}#1", 1, NOW)

        assert heads.find(f"pen-{MAX_REMEMBERED}", NOW) == (f"pen-{MAX_REMEMBERED}", 0)
        later = after(NOW, REMEMBERED_SECONDS)
        heads.remember("ink", "ink#1", 1, later)
        assert heads.find("ink", later) == ("ink#1", 1)

    def test_a_stripe_is_used_until_it_is_forgotten_and_then_the_root(self) -> None:
        rush = Rush(4, 4, 4)
        rush.at_stripe(1)
        rush.handle(check(pens("order-1", 1)))
        rush.time = after(NOW, REMEMBERED_SECONDS)

        rush.handle(check(pens("order-2", 1)))

        assert [rush.amounts("order-1"), rush.amounts("order-2")] == [{"pen#1": 1}, {"pen": 1}]

    def test_another_stripe_is_used_after_a_conflict(self) -> None:
        rush = Rush(4, 4, 4)
        rush.at_stripe(1)
        rush.random = 0.99
        rush.dynamodb.conflict(1)

        rush.handle(check(pens("order-1", 1)))

        assert rush.amounts("order-1") == {"pen#2": 1}
        assert rush.hot_heads.find("pen", rush.time) == ("pen#2", STRIPES)


@pytest.mark.parametrize("stripes", [0, STRIPES])
def test_orders_that_never_get_through_come_back_and_hold_nothing(stripes: int) -> None:
    rush = Rush(4, 4, 4, stripes=stripes)
    rush.dynamodb.conflict(100)

    assert rush.handle(check(pens("order-1", 1)), check(pens("order-2", 1))) == {"order-1", "order-2"}

    assert rush.results.sent == []
    assert rush.figures() == {"pen": (4, 0), "pen#1": (4, 0), "pen#2": (4, 0)}


def test_an_order_for_a_stripe_that_is_gone_is_held_on_what_there_is() -> None:
    rush = Rush(2, 3, 4)
    key = {"productId": {"S": "pen#1"}, "entry": {"S": "BALANCE"}}
    rush.dynamodb.delete_item(TableName="StockTable", Key=key)
    rush.at_stripe(1)

    assert rush.handle(check(pens("order-1", 2))) == set()

    assert rush.outcomes() == {"order-1": HELD}
    assert rush.amounts("order-1") == {"pen": Decimal(2)}


def test_where_reads_are_throttled_orders_come_back_together_and_are_not_tried_one_by_one() -> None:
    rush = Rush(1, 1, 0)
    rush.watched.before_reading = throttled

    assert rush.handle(check(pens("order-1", 2)), check(pens("order-2", 1))) == {"order-1", "order-2"}

    assert rush.watched.operations.count("batch_get_item") == 1
