"""What `application.ports.Ledger` promises."""

from __future__ import annotations

from decimal import Decimal

import pytest

from order_capture.application.ports import LedgerRepository, WriteRefusedError
from order_capture.domain.ledger import (
    STOCK,
    UNPRICED,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    Hold,
    Release,
)
from order_capture.domain.order import DeclineCode
from order_capture.domain.stripes import split
from tests.support.factories import NOW, declined, held, wrong_price
from tests.support.stores import Stores

LATER = "2026-11-20T10:00:01.000Z"


@pytest.fixture(params=["accounts", "stock"])
def ledger(request: pytest.FixtureRequest, stores: Stores) -> LedgerRepository:
    return stores.accounts if request.param == "accounts" else stores.stock


def opened(entity: str, balance: str) -> BalanceChange:
    """The change that creates a head."""
    return BalanceChange(entity, balance=Decimal(balance), expected=0)


def hold(entity: str = "one", amount: str = "2", order_id: str = "order-1") -> Hold:
    return Hold(entity, order_id, {entity: Decimal(amount)}, held(amount, entity), NOW)


def hold_of(*heads: str, amount: str = "2") -> Hold:
    """An order that is held on several heads: one entry."""
    return Hold(heads[0], "order-1", dict.fromkeys(heads, Decimal(amount)), held(amount, heads[0]), NOW)


def decision(ledger: LedgerRepository, order_id: str) -> Hold | None:
    return ledger.holds([order_id]).get(order_id)


def refusal(
    ledger: LedgerRepository, movements: list[BalanceChange], entries: list[Entry]
) -> WriteRefusedError:
    with pytest.raises(WriteRefusedError) as refused:
        ledger.write(movements, entries, LATER)
    return refused.value


def figures(ledger: LedgerRepository, entity: str = "one") -> tuple[Decimal, Decimal, Decimal]:
    head = ledger.head(entity)
    assert head is not None
    return head.balance, head.held, head.settled


def buried(entity: str = "one", balance: str = "5", version: int = 1) -> BalanceChange:
    """The change that turns a head into a tombstone."""
    return BalanceChange(entity, balance=-Decimal(balance), expected=version, deleted=True)


def decimals(balance: str, held: str, settled: str) -> tuple[Decimal, Decimal, Decimal]:
    return Decimal(balance), Decimal(held), Decimal(settled)


def test_a_head_is_unknown_until_it_is_opened(ledger: LedgerRepository) -> None:
    assert ledger.head("one") is None

    ledger.write([opened("one", "5")], [], NOW)

    assert ledger.head("one") == Balance(Decimal(5), version=1, update_time=NOW, balance_version=1)
    assert ledger.head("another") is None


def test_a_head_is_opened_once(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)

    refused = refusal(ledger, [opened("one", "9")], [hold()])

    assert refused.heads == {"one": Balance(Decimal(5), version=1, update_time=NOW, balance_version=1)}
    assert figures(ledger) == decimals("5", "0", "0")
    assert decision(ledger, "order-1") is None


def test_movements_move_the_figures_and_count_the_version(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "10")], [], NOW)

    ledger.write([BalanceChange.hold("one", Decimal(6))], [], NOW)
    assert figures(ledger) == decimals("4", "6", "0")
    ledger.write([BalanceChange.release("one", Decimal(2))], [], NOW)
    assert figures(ledger) == decimals("6", "4", "0")
    ledger.write([BalanceChange.settle("one", Decimal(4))], [], LATER)

    assert ledger.head("one") == Balance(
        *decimals("6", "0", "4"), version=4, update_time=LATER, balance_version=3
    )


def test_all_that_is_there_can_be_held_and_nothing_can_be_held_too(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)

    ledger.write([BalanceChange.hold("one", Decimal(0))], [hold(amount="0", order_id="order-0")], NOW)
    ledger.write([BalanceChange.hold("one", Decimal(5))], [hold(amount="5")], NOW)

    assert figures(ledger) == decimals("0", "5", "0")


@pytest.mark.parametrize(
    "too_much",
    [
        BalanceChange.hold("one", Decimal("3.01")),
        BalanceChange.release("one", Decimal("2.01")),
        BalanceChange.settle("one", Decimal("2.01")),
        BalanceChange("one", balance=Decimal("-3.01")),
        BalanceChange("one", settled=Decimal("-0.01")),
    ],
)
def test_no_figure_falls_below_nothing_and_the_refusal_has_how_it_stands(
    ledger: LedgerRepository, too_much: BalanceChange
) -> None:
    ledger.write([opened("one", "5")], [], NOW)
    ledger.write([BalanceChange.hold("one", Decimal(2))], [], NOW)
    stands = ledger.head("one")

    refused = refusal(ledger, [too_much], [hold()])

    assert (refused.heads, refused.entries, refused.conflict) == ({"one": stands}, {}, False)
    assert ledger.head("one") == stands
    assert decision(ledger, "order-1") is None


def test_a_movement_of_an_unknown_head_is_refused(ledger: LedgerRepository) -> None:
    refused = refusal(ledger, [BalanceChange.hold("one", Decimal(0))], [hold()])

    assert (refused.heads, refused.entries) == ({"one": None}, {})
    assert ledger.head("one") is None
    assert decision(ledger, "order-1") is None


def test_a_movement_may_expect_a_version(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)

    ledger.write([BalanceChange("one", balance=Decimal(1), expected=1)], [], NOW)
    refused = refusal(ledger, [BalanceChange("one", balance=Decimal(1), expected=1)], [])

    assert refused.heads == {"one": Balance(Decimal(6), version=2, update_time=NOW, balance_version=2)}
    assert figures(ledger) == decimals("6", "0", "0")


def test_a_head_that_is_gone_or_not_there_has_no_version_to_expect(ledger: LedgerRepository) -> None:
    assert refusal(ledger, [BalanceChange("one", balance=Decimal(1), expected=1)], []).heads == {"one": None}


def test_a_tombstone_keeps_its_version_and_is_held_by_nobody(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)

    ledger.write([buried()], [], LATER)
    stands = Balance(Decimal(0), version=2, update_time=LATER, deleted=True, balance_version=2)
    assert ledger.head("one") == stands

    refused = refusal(ledger, [BalanceChange.hold("one", Decimal(0))], [hold(amount="0")])
    assert refused.heads == {"one": stands}
    assert ledger.head("one") == stands
    assert decision(ledger, "order-1") is None


def test_what_was_deleted_is_not_opened_as_if_it_had_never_been(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)
    ledger.write([buried()], [], NOW)

    refused = refusal(ledger, [opened("one", "9")], [])

    assert refused.heads == {
        "one": Balance(Decimal(0), version=2, update_time=NOW, deleted=True, balance_version=2)
    }


def test_what_was_deleted_is_set_again_and_then_held_as_ever(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)
    ledger.write([buried()], [], NOW)

    ledger.write([BalanceChange("one", balance=Decimal(9), expected=2, deleted=False)], [], LATER)
    assert ledger.head("one") == Balance(Decimal(9), version=3, update_time=LATER, balance_version=3)
    ledger.write([BalanceChange.hold("one", Decimal(4))], [hold(amount="4")], LATER)

    assert figures(ledger) == decimals("5", "4", "0")


def priced(price: str, version: int = 1, units: str = "0") -> BalanceChange:
    """The change of a price."""
    return BalanceChange("one", balance=Decimal(units), expected=version, price=Decimal(price))


def at(unit_price: str | None) -> BalanceChange:
    """The change that holds one unit for an order at this price."""
    return BalanceChange.hold("one", Decimal(1), None if unit_price is None else Decimal(unit_price))


@pytest.mark.parametrize("unit_price", [None, "0", "2.50"])
def test_a_head_without_a_price_is_held_at_any(ledger: LedgerRepository, unit_price: str | None) -> None:
    ledger.write([opened("one", "5")], [], NOW)

    ledger.write([at(unit_price)], [], NOW)

    assert figures(ledger) == decimals("4", "1", "0")


@pytest.mark.parametrize("opening", [True, False])
@pytest.mark.parametrize("unit_price", [None, "0", "2.49", "2.51", "25"])
def test_a_head_with_a_price_is_held_at_that_only_and_the_refusal_has_it(
    ledger: LedgerRepository, unit_price: str | None, opening: bool
) -> None:
    if opening:
        ledger.write([BalanceChange("one", balance=Decimal(5), expected=0, price=Decimal("2.50"))], [], NOW)
    else:
        ledger.write([opened("one", "5")], [], NOW)
        ledger.write([priced("2.50")], [], NOW)

    refused = refusal(ledger, [at(unit_price)], [hold(amount="1")])

    assert refused.heads == {"one": ledger.head("one")}
    head = ledger.head("one")
    assert head is not None
    assert (head.price, head.balance) == (Decimal("2.50"), Decimal(5))
    ledger.write([at("2.5")], [hold(amount="1")], NOW)
    assert figures(ledger) == decimals("4", "1", "0")


def test_a_price_stays_until_it_is_changed_or_taken_away(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)
    ledger.write([priced("0", version=1)], [], NOW)
    ledger.write([at("0")], [], NOW)
    ledger.write([BalanceChange.release("one", Decimal(1))], [], NOW)

    ledger.write([priced("7.00", version=4, units="2")], [], NOW)
    assert refusal(ledger, [at("0")], []).heads.keys() == {"one"}
    ledger.write([priced(str(UNPRICED), version=5)], [], LATER)

    assert ledger.head("one") == Balance(Decimal(7), version=6, update_time=LATER, balance_version=4)
    ledger.write([at(None)], [], LATER)
    ledger.write([at("3")], [], LATER)
    assert figures(ledger) == decimals("5", "2", "0")


def test_what_is_held_is_released_and_settled_at_any_price(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [], NOW)
    ledger.write([BalanceChange.hold("one", Decimal(3))], [], NOW)
    ledger.write([priced("9.99", version=2)], [], NOW)

    ledger.write([BalanceChange.release("one", Decimal(1))], [], NOW)
    ledger.write([BalanceChange.settle("one", Decimal(2))], [], NOW)

    assert figures(ledger) == decimals("3", "0", "2")


def test_a_decline_for_the_price_keeps_both_prices(ledger: LedgerRepository) -> None:
    entries = [
        Hold("one", f"order-{price}", {}, wrong_price("499.00", price, "one"), NOW)
        for price in ("0.10", None)
    ]

    ledger.write([], entries, NOW)

    found = [decision(ledger, entry.order_id) for entry in entries]
    assert found == entries
    assert "price 499.00" in str(found[0] and found[0].decision)


def test_an_adjustment_keeps_the_price_that_it_led_to(ledger: LedgerRepository) -> None:
    after = Balance(Decimal(5), version=2, update_time=NOW, price=Decimal("2.50"))
    adjustment = Adjustment("one", "1", Decimal(0), "print", after, NOW)

    ledger.write([], [adjustment], NOW)

    assert ledger.adjustment("one", "1") == adjustment


def test_nothing_may_be_released_to_a_tombstone_or_settled_of_it(ledger: LedgerRepository) -> None:
    """For an order that costs nothing: its empty hold does not prevent the account's deletion."""
    ledger.write([opened("one", "5")], [], NOW)
    ledger.write([buried()], [], NOW)

    ledger.write([BalanceChange.release("one", Decimal(0))], [], LATER)
    ledger.write([BalanceChange.settle("one", Decimal(0))], [], LATER)

    assert ledger.head("one") == Balance(
        Decimal(0), version=4, update_time=LATER, deleted=True, balance_version=2
    )


def test_a_tombstone_stands_in_the_way_of_its_own_orders_only(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5"), opened("two", "5")], [], NOW)
    ledger.write([buried()], [], NOW)

    movements = [BalanceChange.hold(entity, Decimal(0)) for entity in ("one", "two")]
    refused = refusal(ledger, movements, [hold_of("one", "two", amount="0")])

    assert refused.heads.keys() == {"one"}


def test_several_heads_move_together_or_not_at_all(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5"), opened("two", "1"), opened("three", "5")], [], NOW)
    stands = ledger.head("two")

    movements = [BalanceChange.hold(entity, Decimal(2)) for entity in ("one", "two", "three", "four")]
    refused = refusal(ledger, movements, [hold_of("one", "two", "three", "four")])

    assert refused.heads == {"two": stands, "four": None}
    assert figures(ledger, "one") == figures(ledger, "three") == decimals("5", "0", "0")
    assert decision(ledger, "order-1") is None


def test_fifty_heads_move_together_with_one_entry(ledger: LedgerRepository) -> None:
    names = [f"product-{i}" for i in range(50)]
    ledger.write([opened(name, "3") for name in names], [], NOW)

    ledger.write([BalanceChange.hold(name, Decimal(3)) for name in names], [hold_of(*names, amount="3")], NOW)

    assert all(figures(ledger, name) == decimals("0", "3", "0") for name in names)
    assert decision(ledger, "order-1") == hold_of(*names, amount="3")


ENTRIES: list[Entry] = [
    hold(),
    Hold("one", "order-1", {}, declined(requested="7.50", available="3.10"), NOW),
    Hold("one", "order-1", {}, declined(DeclineCode.UNKNOWN_CUSTOMER, "7", None, "one"), NOW),
    Hold("one", "order-1", {"one#3": Decimal("2.00")}, held("5", None), NOW),
    Release("order-1", {"one": Decimal("25.50")}, NOW),
    Adjustment(
        "one", "id-1", Decimal("-2.5"), "print-1", Balance(*decimals("7.5", "1", "0.25"), 3, NOW), NOW
    ),
    Adjustment("one", "id-1", Decimal(-5), "print-1", Balance(*decimals("0", "0", "2"), 3, NOW, True), NOW),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_written_once_and_the_refusal_of_another_returns_it(
    ledger: LedgerRepository, entry: Entry
) -> None:
    ledger.write([], [entry], NOW)

    refused = refusal(ledger, [], [entry])

    (existing,) = refused.entries.values()
    assert existing == entry
    assert (refused.heads, refused.conflict) == ({}, False)


def test_an_existing_entry_keeps_the_head_from_moving(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "5")], [hold()], NOW)

    refused = refusal(
        ledger, [BalanceChange.hold("one", Decimal(2))], [hold(amount="1"), hold(order_id="order-2")]
    )

    assert (refused.entries, refused.heads) == ({"order-1": hold()}, {})
    assert figures(ledger) == decimals("5", "0", "0")
    assert decision(ledger, "order-1") == hold()
    assert decision(ledger, "order-2") is None


def test_a_refusal_has_entries_and_heads_at_once(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "1")], [hold(order_id="order-1"), hold(order_id="order-3")], NOW)

    refused = refusal(
        ledger,
        [BalanceChange.hold("one", Decimal(6)), BalanceChange.hold("two", Decimal(1))],
        [*(hold(order_id=f"order-{i}") for i in (1, 2, 3)), hold("two", order_id="order-4")],
    )

    assert refused.entries == {f"order-{i}": hold(order_id=f"order-{i}") for i in (1, 3)}
    assert refused.heads == {
        "one": Balance(Decimal(1), version=1, update_time=NOW, balance_version=1),
        "two": None,
    }


def test_a_hold_and_a_release_of_one_order_are_two_entries(ledger: LedgerRepository) -> None:
    ledger.write([], [hold()], NOW)

    ledger.write([], [Release("order-1", {"one": Decimal(2)}, NOW)], NOW)

    assert decision(ledger, "order-1") == hold()


def test_the_decision_about_an_order_is_found_where_it_was_put(ledger: LedgerRepository) -> None:
    assert decision(ledger, "order-1") is None

    ledger.write([], [hold()], NOW)

    assert decision(ledger, "order-1") == hold()
    assert decision(ledger, "order-2") is None


def test_an_adjustment_is_found_and_so_is_its_receipt(ledger: LedgerRepository) -> None:
    after = Balance(Decimal("7.50"), version=1, update_time=NOW)
    made = Adjustment("one", "id-1", Decimal("7.50"), "print-1", after, NOW)
    assert ledger.adjustment("one", "id-1") is None

    ledger.write([opened("one", "7.50")], [made, made.receipt()], NOW)

    assert ledger.adjustment("one", "id-1") == made
    assert ledger.adjustment("REQUEST#id-1", "id-1") == made.receipt()
    assert ledger.adjustment("one", "id-2") is None


def test_ids_may_hold_what_the_contract_allows(ledger: LedgerRepository) -> None:
    entity, order_id = "a.b_c:d@e+f~g-H", "order:1@x"

    ledger.write([opened(entity, "5")], [hold(entity, order_id=order_id)], NOW)

    assert decision(ledger, order_id) == hold(entity, order_id=order_id)


def test_sums_are_exact(ledger: LedgerRepository) -> None:
    ledger.write([opened("one", "0")], [], NOW)

    for _ in range(10):
        ledger.write([BalanceChange("one", balance=Decimal("0.1"))], [], NOW)

    assert figures(ledger) == decimals("1.0", "0", "0")


@pytest.mark.parametrize("figure", ["999999999999.99", "1234567890123456789.012345678", "1E+3"])
def test_figures_of_many_digits_are_exact(ledger: LedgerRepository, figure: str) -> None:
    ledger.write([opened("one", figure)], [hold(amount=figure)], NOW)
    entry = decision(ledger, "order-1")

    ledger.write([BalanceChange.hold("one", Decimal(figure))], [], NOW)

    assert figures(ledger) == decimals("0", figure, "0")
    assert entry is not None
    assert entry.amounts["one"] == entry.decision.requested == Decimal(figure)


class TestAList:
    """What `list_entities` and `heads_of` promise."""

    def test_is_of_the_customers_or_products_that_were_adjusted_by_id(self, ledger: LedgerRepository) -> None:
        for entity in ("b", "a", "c"):
            ledger.write([opened(entity, "5")], [adjusted(entity)], NOW)
        # Other items: a head without adjustments, stripes, an order's entry.
        ledger.write([opened("of-an-earlier-release", "5")], [hold("a")], NOW)
        root = ledger.head("a")
        assert root is not None
        ledger.write(split(STOCK, "a", root, 2), [], NOW)

        assert ledger.list_entities("", None, 10) == ["a", "b", "c"]

    def test_goes_on_where_the_last_page_ended(self, ledger: LedgerRepository) -> None:
        for number in range(5):
            ledger.write([opened(f"id-{number}", "5")], [adjusted(f"id-{number}")], NOW)
        after, pages = None, list[list[str]]()

        while page := list(ledger.list_entities("id", after, 2)):
            pages.append(page)
            after = page[-1]

        assert pages == [["id-0", "id-1"], ["id-2", "id-3"], ["id-4"]]

    @pytest.mark.parametrize(
        ("prefix", "found"), [("a", ["a", "a.b", "ab"]), ("A", ["A"]), ("ab", ["ab"]), ("b", [])]
    )
    def test_may_be_of_those_that_begin_so(
        self, ledger: LedgerRepository, prefix: str, found: list[str]
    ) -> None:
        for entity in ("ab", "a", "A", "a.b", "c"):
            ledger.write([opened(entity, "5")], [adjusted(entity)], NOW)

        assert ledger.list_entities(prefix, None, 10) == found

    def test_gets_a_head_of_an_earlier_release_when_it_is_adjusted_and_has_it_once(
        self, ledger: LedgerRepository
    ) -> None:
        ledger.write([opened("one", "5")], [], NOW)
        assert ledger.list_entities("", None, 10) == []

        for number in (1, 2):
            change = BalanceChange("one", balance=Decimal(1), expected=number)
            ledger.write([change], [adjusted("one", f"id-{number}")], NOW)
            assert ledger.list_entities("", None, 10) == ["one"]

    def test_has_what_orders_have_written_and_what_was_deleted(self, ledger: LedgerRepository) -> None:
        ledger.write([opened("one", "5")], [adjusted("one")], NOW)
        ledger.write([BalanceChange.hold("one", Decimal(2))], [hold()], NOW)
        ledger.write([BalanceChange.release("one", Decimal(2))], [], NOW)
        ledger.write([buried(version=3)], [], NOW)

        assert ledger.list_entities("", None, 10) == ["one"]
        assert ledger.heads_of({"one": 0})["one"]["one"].deleted

    def test_has_heads_that_are_read_together(self, ledger: LedgerRepository) -> None:
        entities = [f"id-{number:03}" for number in range(101)]  # more than one call reads
        for entity in entities:
            ledger.write([opened(entity, "6")], [adjusted(entity)], NOW)
        root = ledger.head("id-007")
        assert root is not None
        ledger.write(split(STOCK, "id-007", root, 2), [], NOW)

        heads = ledger.heads_of(dict.fromkeys([*entities, "unknown"], 0))

        assert heads.keys() == {*entities}
        assert heads["id-001"]["id-001"] == ledger.head("id-001")
        assert ledger.heads_of({"id-007": 2, "id-001": 0}) == {
            "id-007": ledger.heads("id-007"),
            "id-001": ledger.heads("id-001"),
        }
        assert ledger.heads_of({}) == {}


def adjusted(entity: str, adjustment_id: str = "id-0") -> Adjustment:
    return Adjustment(entity, adjustment_id, Decimal(5), "print-1", Balance(Decimal(5)), NOW)
