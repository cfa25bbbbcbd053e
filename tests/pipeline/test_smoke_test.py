"""The smoke test of a release: it calls every function, changes nothing, and detects faults."""

from __future__ import annotations

import pytest

from order_capture.entrypoints.invocations import SMOKE_TEST
from order_capture.entrypoints.releases import fault_in
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of
from tests.support.template import functions, load_template

# operations_api needs its stack, which does not exist here: see tests/deployed/test_releases.py.
FUNCTIONS = sorted(
    each["CodeUri"].rpartition("/")[2]
    for name, each in functions(load_template()).items()
    if name not in ("SmokeTestFunction", "OperationsApiFunction")
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_passes_its_smoke_test(pipeline: Pipeline, name: str) -> None:
    answer = pipeline.invoke(name, {**SMOKE_TEST})

    assert fault_in(None, answer) == ""


def test_a_smoke_test_writes_and_sends_nothing(shop: Shop) -> None:
    # given: a shop with orders in all stages
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    shop.pipeline.calls.clear()
    # when
    for name in FUNCTIONS:
        shop.pipeline.invoke(name, {**SMOKE_TEST})
    # then
    changing = [
        call
        for call in shop.pipeline.calls
        if not call.split(".")[1].startswith(("Get", "Query", "BatchGet", "List", "Describe"))
    ]
    assert changing == []


def test_a_function_that_cannot_reach_its_table_fails_its_smoke_test(pipeline: Pipeline) -> None:
    with pipeline.refusing("dynamodb.GetItem"):
        answer = pipeline.invoke("account_api", {**SMOKE_TEST})

    assert fault_in(None, answer) == "status 503"
