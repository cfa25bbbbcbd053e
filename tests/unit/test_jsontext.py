"""JSON whose numbers stay exact."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_capture.adapters import jsontext


@pytest.mark.parametrize(
    "text", ["0.1", "25.50", "0.10", "999999999.99", "0.1000000000000000055511151231257827"]
)
def test_a_fraction_is_what_was_written(text: str) -> None:
    assert jsontext.loads(text) == Decimal(text)
    assert jsontext.dumps(jsontext.loads(text)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2))
def test_money_survives_the_way_out_and_in(amount: Decimal) -> None:
    assert jsontext.loads(jsontext.dumps({"amount": amount})) == {"amount": amount}


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(-(10**20), 10**20),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_every_value_survives_the_way_out_and_in(value: object) -> None:
    assert jsontext.loads(jsontext.dumps(value)) == value


def test_a_whole_number_is_an_int_and_one_of_any_length_is_read() -> None:
    assert type(jsontext.loads("5")) is int
    assert jsontext.loads("9" * 10_000) == Decimal("9" * 10_000)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "1e" + "9" * 30])
def test_what_is_no_amount_is_read_for_whoever_knows_the_field_to_refuse(text: str) -> None:
    assert isinstance(jsontext.loads(text), Decimal)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": }', "must be JSON, and is not at line 1, column 7"),
        ('{\n"a" 1}', "must be JSON, and is not at line 2, column 5"),
        ('{"a":1,"b":{"c":1,"c":1}}', "must not have a name twice in one object"),
        ("[" * 100_000, "must not be nested so deeply"),
        (b'"\xff"', "must be JSON in UTF-8"),
    ],
)
def test_what_is_not_json_is_refused_in_words_for_the_client(text: str | bytes, told: str) -> None:
    with pytest.raises(jsontext.NotJsonError) as refusal:
        jsontext.loads(text)

    assert str(refusal.value) == told


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", "1e" + "9" * 30, "9" * 10_000])
def test_whatever_is_read_has_a_canonical_text(text: str) -> None:
    assert jsontext.canonical([jsontext.loads(text)])


def test_text_is_written_as_it_is_and_nothing_is_padded() -> None:
    assert jsontext.dumps({"name": "Zoë", "list": [1, 2]}) == '{"name":"Zoë","list":[1,2]}'


def test_the_canonical_text_of_a_value_does_not_depend_on_the_order_of_its_names() -> None:
    one, other = jsontext.loads('{"a":1,"b":{"c":2,"d":0.1}}'), jsontext.loads('{"b":{"d":0.1,"c":2},"a":1}')

    assert jsontext.canonical(one) == jsontext.canonical(other)
    assert jsontext.canonical({"a": [1, 2]}) != jsontext.canonical({"a": [2, 1]})
