"""The Postman collection, as a tester runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from local import postman
from tests.deployed.shop import StackClient
from tests.support.absent import absent
from tests.support.template import ROOT

NEWMAN = ROOT / "node_modules/newman/bin/newman.js"
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
    node = shutil.which("node")
    if node is None or not NEWMAN.exists():
        absent("newman runs the Postman collection: it needs node, and `npm ci` installs it (make test does)")
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
            *(node, NEWMAN, "run", COLLECTION, *settings[run]),
            *("--reporters", "cli,json", "--reporter-json-export", report),
            *("--reporter-cli-no-success-assertions", "--color", "off", "--disable-unicode"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(Path(node).parent), "NO_PROXY": "127.0.0.1"},
    )
    # then
    assert finished.returncode == 0, f"{run}:\n{finished.stdout}\n{finished.stderr}"
    result = json.loads(report.read_text())["run"]
    assert result["failures"] == []
    assert result["stats"]["assertions"]["total"] > result["stats"]["requests"]["total"], (
        "it asserts something of every answer"
    )
