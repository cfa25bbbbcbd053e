"""All tools expand the loops of template.yaml (Fn::ForEach) to the same result."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.template import ROOT, expand, load_template, parse
from tests.template.translation import SAM_PYTHON

BY_SAM = """
import json, sys
from samcli.lib.cfn_language_extensions import process_template
json.dump(process_template(json.load(sys.stdin)), sys.stdout)
"""


def as_written() -> dict[str, Any]:
    return parse((ROOT / "template.yaml").read_text(encoding="utf-8"))


def test_sam_makes_the_same_resources_and_outputs_of_them() -> None:
    # GIVEN the template as sam expands it, for build, validate and local
    ran = subprocess.run(
        [SAM_PYTHON, "-c", BY_SAM],
        input=json.dumps(as_written()), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    by_sam = json.loads(ran.stdout)
    # THEN it has what is in the template that the tests read, of the same type and under the same condition
    expanded = load_template()
    for key in ("Type", "Condition", "DeletionPolicy"):
        assert {name: part.get(key) for name, part in by_sam["Resources"].items()} == {
            name: part.get(key) for name, part in expanded["Resources"].items()
        }
    assert by_sam["Outputs"].keys() == expanded["Outputs"].keys()


def test_a_loop_that_makes_what_is_already_there_is_refused() -> None:
    template = as_written()
    template["Resources"]["ShipOrderQueue"] = {"Type": "AWS::SQS::Queue"}
    with pytest.raises(ValueError, match="Duplicate ShipOrderQueue"):
        expand(template)


def first_keys(value: Any) -> Iterator[str]:
    """The first key of every mapping in a part of the template."""
    if isinstance(value, dict):
        yield from list(value)[:1]
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from first_keys(inner)


def test_nothing_begins_with_condition() -> None:
    """CloudFormation mistakes it for the function of that name: "Condition layout is incorrect".

    github.com/aws-cloudformation/cfn-language-discussion/issues/147
    """
    assert "Condition" not in [*first_keys(as_written()["Resources"]), *first_keys(as_written()["Outputs"])]


def test_a_mapping_that_begins_with_condition_is_noticed() -> None:
    template = as_written()
    made = template["Resources"]["Fn::ForEach::Topics"][2]
    made["${Topic}Policy"] = {"Condition": "OnAws", **made["${Topic}Policy"]}
    assert "Condition" in first_keys(template["Resources"])
