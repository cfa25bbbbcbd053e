"""All callers use the functions' alias, and each function passes the smoke test of a release."""

from __future__ import annotations

import json

import pytest

from order_capture.entrypoints.invocations import SMOKE_TEST
from order_capture.entrypoints.releases import fault_in
from tests.deployed.shop import StackClient
from tests.support.template import functions, load_template

FUNCTIONS = sorted(functions(load_template()).keys() - {"SmokeTestFunction"})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_version_behind_the_alias_passes_its_smoke_test(shop: StackClient, name: str) -> None:
    lambdas = shop.aws.client("lambda", endpoint_url=shop.endpoint)
    response = lambdas.invoke(
        FunctionName=shop.outputs[f"{name}Name"], Qualifier="live", Payload=json.dumps(SMOKE_TEST).encode()
    )

    assert response["ExecutedVersion"].isdigit(), "it runs the code that was last deployed, released or not"
    assert fault_in(response.get("FunctionError"), json.load(response["Payload"])) == ""
