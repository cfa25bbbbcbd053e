"""Valid and invalid requests from swagger.yaml, single and chained: each response follows the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local import stack
from local.engine import fresh
from tests.conftest import Say
from tests.deployed.shop import StackClient
from tests.fuzz.run import FuzzSummary, contract, run
from tests.support.profile import AMOUNTS, DAY, FULL, IS_FAST
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("`make fuzz STACK=name` does this")
CASES = AMOUNTS.fuzz_cases
SEED = DAY.toordinal() if IS_FAST else 20261120  # arbitrary: `make fuzz` takes a new one each time

Contract = dict[str, Any]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackClient]:
    # its own engine: a thousand foreign orders would disturb other tests
    with fresh(auth=True) as engine:
        yield StackClient(stack.deploy(engine, tmp_path_factory.mktemp("fuzz") / "deploy.log"))


@pytest.fixture(scope="module")
def summary(shop: StackClient) -> FuzzSummary:
    if IS_FAST:  # without the examples and edges of the schemas, which are the same every day
        return run(shop.outputs["apiUrl"], shop.bearer, cases=CASES, seed=SEED, enumerated=False)
    return run(
        shop.outputs["apiUrl"], shop.bearer, cases=CASES, seed=SEED, until=lambda seen: not lacking(seen)
    )


def lacking(seen: FuzzSummary) -> list[str]:
    """The operations that have not yet both succeeded and refused something."""
    operations = [
        f"{method.upper()} {path}"
        for path, methods in contract()["paths"].items()
        for method in methods.keys() & {"get", "post", "delete"}
    ]
    statuses = {label: {status for of, status in seen.statuses if of == label} for label in operations}
    # Whether an order can still be cancelled is a race that its own decision mostly wins; and what is
    # replayed must have been dispatched before, to a webhook of one who has ordered since.
    done = {"cancel": {409}, "replay": {404}}
    return [
        label
        for label, answered in statuses.items()
        if not answered & done.get(label.rpartition("/")[2], {200, 201, 202, 204})
        or not answered & {400, 404}
    ]


def errors_logged(shop: StackClient) -> list[str]:
    """Why functions answered 5xx: the engine and its logs are gone when the test is over."""
    apis = ("OrderApi", "OrderReader", "AccountApi", "StockApi", "WebhookApi", "ReportsApi", "OperationsApi")
    return [line for api in apis for line in shop.log_lines(api, '"ERROR"')]


@pytest.mark.proof
@pytest.mark.timeout(900)  # a minute on an idle machine; the fixture's time counts as this test's
def test_every_answer_is_one_of_the_contract(summary: FuzzSummary, shop: StackClient, say: Say) -> None:
    say(f"Fuzz: {summary.cases:,} requests (of {FULL.fuzz_cases:,}), seed {SEED}")
    assert not summary.failures, "\n\n".join(
        [*(f"{kind}\n{case}" for kind, case in summary.failures.items()), *errors_logged(shop)]
    )
    assert summary.cases >= CASES


@pytest.mark.proof
def test_no_response_is_a_server_error(summary: FuzzSummary) -> None:
    assert {seen: number for seen, number in summary.statuses.items() if not 200 <= seen[1] < 500} == {}


@pytest.mark.full
def test_every_operation_was_made_to_succeed_and_to_fail(summary: FuzzSummary) -> None:
    assert lacking(summary) == []


def of_one(method: str, path: str) -> Contract:
    """The contract with a single operation left."""
    whole = contract()
    operation = whole["paths"][path][method]
    for response in operation["responses"].values():
        response.pop("links", None)  # to operations that are gone
    whole["paths"] = {path: {method: operation}}
    return whole


def an_answer_is_missing(broken: Contract) -> None:
    del broken["paths"]["/order"]["post"]["responses"]["400"]


def an_answer_has_another_media_type(broken: Contract) -> None:
    content = broken["components"]["responses"]["BadRequest"]["content"]
    content["application/json"] = content.pop("application/problem+json")


def an_answers_field_has_another_type(broken: Contract) -> None:
    broken["components"]["schemas"]["Order"]["properties"]["createTime"] = {"type": "integer"}


def an_answers_header_is_not_there(broken: Contract) -> None:
    broken["paths"]["/order"]["post"]["responses"]["202"]["headers"]["ETag"] = {
        "required": True,
        "schema": {"type": "string"},
    }


def less_may_be_sent_than_is_taken(broken: Contract) -> None:
    broken["components"]["schemas"]["CustomerId"]["maxLength"] = 20


def more_may_be_sent_than_is_taken(broken: Contract) -> None:
    broken["components"]["schemas"]["OrderLine"]["properties"]["qty"]["maximum"] = 10**12


@pytest.mark.parametrize(
    ("make_wrong", "expected"),
    [
        (an_answer_is_missing, "Undocumented status code"),
        (an_answer_has_another_media_type, "Undocumented Content-Type"),
        (an_answers_field_has_another_type, "Response violates schema"),
        (an_answers_header_is_not_there, "Missing required response headers"),
        (less_may_be_sent_than_is_taken, "Schema-violating request accepted"),
        (more_may_be_sent_than_is_taken, "Schema-valid request rejected"),
    ],
)
def test_a_wrong_contract_is_noticed(
    shop: StackClient, make_wrong: Callable[[Contract], None], expected: str
) -> None:
    # given
    broken = of_one("post", "/order")
    make_wrong(broken)
    # when
    seen = run(shop.outputs["apiUrl"], shop.bearer, cases=150, seed=SEED, of=broken)
    # then
    assert f"POST /order: {expected}" in seen.failures
    assert all(kind.startswith("POST /order: ") for kind in seen.failures), (
        "found by a check, not by an error"
    )
