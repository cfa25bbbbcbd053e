"""JSON whose numbers stay exact."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_capture.adapters.serializers import decimal_json


@pytest.mark.parametrize("text", ["0.1", "25.50", "0.10", "999999999.99", "0.100000000000000005551115123125"])
def test_a_fraction_is_what_was_written(text: str) -> None:
    assert decimal_json.loads(text) == Decimal(text)
    assert decimal_json.dumps(decimal_json.loads(text)) == text


@given(st.decimals(-(10**25), 10**25, places=2))
def test_money_survives_the_way_out_and_in(amount: Decimal) -> None:
    assert decimal_json.loads(decimal_json.dumps({"amount": amount})) == {"amount": amount}


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(-(10**20), 10**20),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_every_value_survives_the_way_out_and_in(value: object) -> None:
    assert decimal_json.loads(decimal_json.dumps(value)) == value


def test_a_whole_number_is_an_int_however_long_it_may_be() -> None:
    assert type(decimal_json.loads("5")) is int
    assert decimal_json.loads("9" * decimal_json.MAX_DIGITS) == int("9" * decimal_json.MAX_DIGITS)


UNREADABLE = [
    *("NaN", "Infinity", "-Infinity", "1e400", "1e-400", "-1E+31", "0e99", "1e" + "9" * 30, "1e100000000"),
    *("9" * 31, "9" * 10_000, "0." + "1" * 31, "1." + "0" * 31),
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_number_beyond_the_bounds_is_none(text: str) -> None:
    with pytest.raises(decimal_json.NotJsonError, match="no number of more than 30 digits"):
        decimal_json.loads(f'{{"qty": [{text}]}}')


@pytest.mark.parametrize("text", UNREADABLE)
def test_whoever_knows_its_field_may_refuse_a_number_beyond_the_bounds_by_its_name(text: str) -> None:
    assert decimal_json.loads_by_field(f'{{"qty": {text}}}') == {"qty": decimal_json.NotANumber(text)}


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,12})?", fullmatch=True))
def test_no_number_is_larger_than_it_looks(text: str) -> None:
    number = decimal_json.loads_by_field(text)
    if not isinstance(number, decimal_json.NotANumber):
        assert number == Decimal(text)
        assert len(f"{Decimal(number):f}") < 3 * decimal_json.MAX_DIGITS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": }', "must be JSON, and is not at line 1, column 7"),
        ('{\n"a" 1}', "must be JSON, and is not at line 2, column 5"),
        ('{"a":1,"b":{"c":1,"c":1}}', "must not have a name twice in one object"),
        ("[" * 100_000, "must not be nested so deeply"),
        (b'"\xff"', "must be JSON in UTF-8"),
    ],
)
def test_what_is_not_json_is_refused_in_words_for_the_client(text: str | bytes, message: str) -> None:
    with pytest.raises(decimal_json.NotJsonError) as refusal:
        decimal_json.loads(text)

    assert str(refusal.value) == message


def test_whatever_is_read_has_a_canonical_text_of_its_own() -> None:
    texts = [decimal_json.canonical([decimal_json.loads_by_field(text)]) for text in UNREADABLE]
    assert len(set(texts)) == len(UNREADABLE)


@pytest.mark.parametrize(
    "same",
    [
        ["1", "1.0", "1e0", "10e-1", "1.000"],
        ["0", "-0", "0.0", "-0.0", "0e5"],
        ["100", "1e2", "1E+2", "100.00"],
        ["2.5", "2.50", "25e-1", "0.25e1"],
    ],
)
def test_the_canonical_text_of_a_number_is_of_its_value(same: list[str]) -> None:
    assert len({decimal_json.canonical(decimal_json.loads(text)) for text in same}) == 1


@pytest.mark.parametrize("text", ["\ufeff{}", b"\xef\xbb\xbf{}"])
def test_a_byte_order_mark_makes_no_difference(text: str | bytes) -> None:
    assert decimal_json.loads(text) == {}


def test_text_is_written_as_it_is_and_nothing_is_padded() -> None:
    assert decimal_json.dumps({"name": "Zoë", "list": [1, 2]}) == '{"name":"Zoë","list":[1,2]}'


def test_the_canonical_text_of_a_value_does_not_depend_on_the_order_of_its_names() -> None:
    one, other = (
        decimal_json.loads('{"a":1,"b":{"c":2,"d":0.1}}'),
        decimal_json.loads('{"b":{"d":0.1,"c":2},"a":1}'),
    )

    assert decimal_json.canonical(one) == decimal_json.canonical(other)
    assert decimal_json.canonical({"a": [1, 2]}) != decimal_json.canonical({"a": [2, 1]})
