"""The Postman collection, as a tester runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from local import postman
from tests.deployed.shop import StackClient
from tests.support.node import NODE, module
from tests.support.template import ROOT

COLLECTION = ROOT / "postman/order-capture.postman_collection.json"
BLANK = ROOT / "postman/local.postman_environment.json"

WRITTEN = "the environment that make run writes"
BY_HAND = "the blank one, and three settings by hand"


# Twice, against one stack: what a run leaves behind must not be in the way of the next.
@pytest.mark.parametrize("run", [WRITTEN, BY_HAND])
def test_every_request_of_the_collection_passes_its_tests(
    shop: StackClient, tmp_path: Path, run: str
) -> None:
    # given
    newman = module("newman/bin/newman.js")
    report, written = tmp_path / "report.json", tmp_path / "environment.json"
    postman.write(shop.outputs, written)
    settings = {
        WRITTEN: ("--environment", written),
        BY_HAND: (
            *("--environment", BLANK),
            *("--env-var", f"baseUrl={shop.outputs['apiUrl']}"),
            *("--env-var", f"clientId={shop.outputs['ServiceClientId']}"),
            *("--env-var", f"clientSecret={shop.outputs['serviceClientSecret']}"),
        ),
    }
    # when
    finished = subprocess.run(
        [
            *(NODE, newman, "run", COLLECTION, *settings[run]),
            *("--reporters", "cli,json", "--reporter-json-export", report),
            *("--reporter-cli-no-success-assertions", "--color", "off", "--disable-unicode"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"NO_PROXY": "127.0.0.1"},
    )
    # then
    assert finished.returncode == 0, f"{run}:\n{finished.stdout}\n{finished.stderr}"
    result = json.loads(report.read_text())["run"]
    assert result["failures"] == []
    assert result["stats"]["assertions"]["total"] > result["stats"]["requests"]["total"], (
        "it asserts something of every answer"
    )
