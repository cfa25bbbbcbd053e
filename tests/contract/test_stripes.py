"""The ledger's stripes: splits, transfers in and out, each atomic."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from order_capture.application.ports import WriteRefusedError
from order_capture.domain.ledger import STOCK, Balance, BalanceChange, Entry, Hold, aggregate
from order_capture.domain.stripes import Heads, gather, head_names, refill, split
from tests.support.factories import NOW, held
from tests.support.stores import Stores

LATER = "2026-11-20T10:00:01.000Z"
MOST_STRIPES = 48  # what the template allows


def opened(stores: Stores, balance: int = 9, price: str | None = None) -> Balance:
    """Nine pens at their root."""
    cost = None if price is None else Decimal(price)
    stores.stock.write([BalanceChange("pen", balance=Decimal(balance), expected=0, price=cost)], [], NOW)
    root = stores.stock.head("pen")
    assert root is not None
    return root


def divided(stores: Stores, stripes: int = 2, balance: int = 9, price: str | None = None) -> Heads:
    """Nine pens, of which each of three heads has three."""
    stores.stock.write(split(STOCK, "pen", opened(stores, balance, price), stripes), [], NOW)
    return stores.stock.heads("pen")


def hold(amount: int, head: str, order_id: str = "order-1") -> Hold:
    return Hold("pen", order_id, {head: Decimal(amount)}, held(str(amount), "pen"), NOW)


def figures(stores: Stores) -> dict[str, tuple[int, int]]:
    """Balance and held."""
    return {name: (int(head.balance), int(head.held)) for name, head in stores.stock.heads("pen").items()}


def refusal(
    stores: Stores, changes: Sequence[BalanceChange], entries: Sequence[Entry] = ()
) -> WriteRefusedError:
    with pytest.raises(WriteRefusedError) as refused:
        stores.stock.write(changes, entries, LATER)
    return refused.value


def test_a_split_makes_the_stripes_with_their_share_their_price_and_their_counts(stores: Stores) -> None:
    heads = divided(stores, price="2.50")

    price = Decimal("2.50")
    assert heads == {
        "pen": Balance(
            Decimal(3), version=2, update_time=NOW, price=price, stripes=2, balance_version=2, transfers=1
        ),
        **{
            name: Balance(Decimal(3), version=1, update_time=NOW, price=price, balance_version=1, transfers=1)
            for name in ("pen#1", "pen#2")
        },
    }


def test_a_root_is_split_once(stores: Stores) -> None:
    root = opened(stores)
    stores.stock.write(split(STOCK, "pen", root, 2), [], NOW)
    heads = stores.stock.heads("pen")

    refused = refusal(stores, split(STOCK, "pen", root, 2))

    assert refused.heads == heads
    assert stores.stock.heads("pen") == heads


def test_what_is_shared_must_be_there_and_the_price_be_as_it_was(stores: Stores) -> None:
    root = opened(stores)
    stores.stock.write([BalanceChange.hold("pen", Decimal(4))], [], NOW)

    assert refusal(stores, split(STOCK, "pen", root, 2)).heads.keys() == {"pen"}
    stores.stock.write([BalanceChange.release("pen", Decimal(4))], [], NOW)
    stores.stock.write([BalanceChange("pen", price=Decimal(5))], [], NOW)
    assert refusal(stores, split(STOCK, "pen", root, 2)).heads.keys() == {"pen"}

    assert stores.stock.heads("pen").keys() == {"pen"}


@pytest.mark.parametrize("stripes", [1, MOST_STRIPES])
def test_as_many_stripes_as_the_template_allows_are_made_read_and_gathered(
    stores: Stores, stripes: int
) -> None:
    heads = divided(stores, stripes, balance=stripes + 1)

    assert list(heads.keys() - {*head_names("pen", stripes)}) == []
    assert {head.balance for head in heads.values()} == {Decimal(1)}
    assert stores.stock.heads("pen", stripes) == heads
    stores.stock.write(gather("pen", heads, Decimal(0), "1", deleted=None, price=None), [], LATER)

    assert stores.stock.heads("pen")["pen"].balance == stripes + 1


def test_a_head_that_is_short_is_refilled_with_the_hold_that_needs_it(stores: Stores) -> None:
    heads = divided(stores)
    changes = aggregate(
        [BalanceChange.hold("pen#1", Decimal(5)), *refill(STOCK, "pen#1", Decimal(2), heads, "order-1")]
    )

    stores.stock.write(changes, [hold(5, "pen#1")], LATER)

    assert figures(stores) == {"pen": (3, 0), "pen#1": (0, 5), "pen#2": (1, 0)}
    after = stores.stock.heads("pen")
    assert [after[name].transfers for name in ("pen", "pen#1", "pen#2")] == [1, 2, 2]
    assert [after[name].balance_version for name in ("pen", "pen#1", "pen#2")] == [2, 2, 2]


def test_a_refill_of_what_is_no_longer_there_is_refused_with_the_hold_and_shows_that_head(
    stores: Stores,
) -> None:
    heads = divided(stores)
    stores.stock.write([BalanceChange.hold("pen#2", Decimal(3))], [], NOW)
    changes = aggregate(
        [BalanceChange.hold("pen#1", Decimal(5)), *refill(STOCK, "pen#1", Decimal(2), heads, "order-1")]
    )

    refused = refusal(stores, changes, [hold(5, "pen#1")])

    assert refused.heads == {"pen#2": stores.stock.heads("pen")["pen#2"]}
    assert figures(stores) == {"pen": (3, 0), "pen#1": (3, 0), "pen#2": (0, 3)}
    assert stores.stock.holds(["order-1"]) == {}


def test_gathering_expects_every_head_as_it_was_read_and_shows_those_that_are_not(stores: Stores) -> None:
    heads = divided(stores)
    stores.stock.write([BalanceChange.hold("pen#2", Decimal(1))], [], NOW)
    changes = gather("pen", heads, Decimal(5), "1", deleted=None, price=Decimal(7))

    refused = refusal(stores, changes)

    after = stores.stock.heads("pen")
    assert refused.heads == {"pen#2": after["pen#2"]}
    assert {head.price for head in after.values()} == {None}
    changes = gather("pen", after, Decimal(5), "1", deleted=None, price=Decimal(7))
    stores.stock.write(changes, [], LATER)
    assert figures(stores) == {"pen": (13, 0), "pen#1": (0, 0), "pen#2": (0, 1)}
    assert {head.price for head in stores.stock.heads("pen").values()} == {Decimal(7)}


def test_a_stripe_of_what_was_deleted_is_held_by_nobody(stores: Stores) -> None:
    heads = divided(stores)
    stores.stock.write(gather("pen", heads, Decimal(-9), "1", deleted=True, price=None), [], LATER)

    refused = refusal(stores, [BalanceChange.hold("pen#1", Decimal(0))], [hold(0, "pen#1")])

    assert refused.heads == {"pen#1": stores.stock.heads("pen")["pen#1"]}
    assert stores.stock.heads("pen")["pen#1"].deleted


def test_holds_of_many_orders_are_found_by_their_ids_wherever_they_are_held(stores: Stores) -> None:
    divided(stores)
    entries = [hold(1, head, f"order-{head}") for head in ("pen", "pen#1", "pen#2")]
    stores.stock.write([], entries, NOW)

    found = stores.stock.holds([*(entry.order_id for entry in entries), "another"])

    assert found == {entry.order_id: entry for entry in entries}
