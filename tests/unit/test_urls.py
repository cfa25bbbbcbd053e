"""URLs that customers choose: the contract and the functions allow the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator
from pydantic import TypeAdapter, ValidationError

from order_capture.entrypoints.http.urls import URL_PATTERN, Url

SCHEMA: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "swagger.yaml").read_text(encoding="utf-8")
)["components"]["schemas"]["Address"]
HOST = "https://shop.example.com"


def faults(url: object) -> list[str]:
    """The functions' errors for a URL, by kind."""
    try:
        TypeAdapter(Url).validate_python(url)
    except ValidationError as error:
        return [each["type"] for each in error.errors()]
    return []


@pytest.fixture(autouse=True)
def on_the_local_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPBACK_WEBHOOKS", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")


@pytest.mark.parametrize(
    "url",
    [
        HOST,
        f"{HOST}/",
        f"{HOST}?of=alice",
        f"{HOST}:1/",
        f"{HOST}:65535/",
        f"{HOST}/a-b.c_d~e!$&'()*+,;=:@/f?g=/?",
        f"{HOST}/%7B%7D/%C5%BC%C3%B3%C5%82w?q=%20",
        "https://xn--w-uga1v8h.example.com/",
        "http://127.0.0.1/",
        "http://127.0.0.1:4567/",
    ],
)
def test_a_uri_with_a_named_host_is_taken(url: str) -> None:
    assert faults(url) == []
    assert OAS30Validator(SCHEMA).is_valid(url)


@pytest.mark.parametrize("path", [f"/a{character}b" for character in '{}|\\^<>"`[]'] + ["/%", "/%4", "/%zz"])
def test_what_has_to_be_percent_encoded_is_refused(path: str) -> None:
    for url in (HOST + path, f"{HOST}/?q={path}", f"http://127.0.0.1{path}"):
        assert faults(url) == ["uri"]
        assert not OAS30Validator(SCHEMA).is_valid(url)


@pytest.mark.parametrize(
    "url",
    [
        f"{HOST}/a b",
        f"{HOST}/a\tb",
        f"{HOST}/a\r\nx: y",
        f"{HOST}/\x00",
        f"{HOST}/\x7f",
        f"{HOST}/żółw",
        "https://żółw.example.com/",
        "https://shop.example.com。/",
        "https://shop.example.com./",
        f"{HOST}/#here",
        f"{HOST}:0/",
        f"{HOST}:65536/",
        f"{HOST}:/",
        f"{HOST}:08/",
        "https:///x",
        "https://:443/",
        "https://alice@shop.example.com/",
        "https://alice:secret@shop.example.com/",
        "https://shop%2eexample.com/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:127.0.0.1]/",
        "https://localhost/",
        "http://localhost:8000/",
        "http://127.0.0.2/",
        "http://[::1]:8000/",
        "HTTPS://shop.example.com/",
        "//shop.example.com/",
        "/x",
        "",
    ],
)
def test_what_names_no_host_plainly_is_refused(url: str) -> None:
    assert faults(url) == ["url"]
    assert not OAS30Validator(SCHEMA).is_valid(url)


def test_the_local_engine_is_no_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults("http://127.0.0.1:4566/_ministack/reset") == ["own_port"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:80")
    assert faults("http://127.0.0.1/") == ["own_port"]
    monkeypatch.setenv("LOOPBACK_WEBHOOKS", "")
    assert faults("http://127.0.0.1:4567/") == ["https"]


@given(st.from_regex(URL_PATTERN, fullmatch=True) | st.text(max_size=12).map(lambda text: f"{HOST}/{text}"))
def test_the_contract_and_the_functions_refuse_the_same(url: str) -> None:
    assume(not url.endswith("\n"))  # before which `$` matches in Python, if not in the contract's dialect
    local_engine_only = faults(url) == ["own_port"]
    assert local_engine_only or (faults(url) == []) == OAS30Validator(SCHEMA).is_valid(url)
