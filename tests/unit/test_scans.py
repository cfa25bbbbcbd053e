"""A scan that could not run reports it, and a waiver covers only what it names."""

from __future__ import annotations

import json

import pytest

from tests.scan import dependencies, template
from tests.scan.dependencies import Audit, of_npm_audit, of_pip_audit, report

VULNERABLE = {
    "name": "pyjwt",
    "version": "2.3.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.4.0"], "description": "…"}],
}
NPM = {
    "vulnerabilities": {
        "newman": {"range": "*", "via": ["postman-request"]},
        "postman-request": {
            "range": "<2",
            "via": [{"url": "https://advisories.example.com/GHSA-1", "title": "It forges requests"}],
        },
    },
    "metadata": {"dependencies": {"total": 120}},
}


def test_a_vulnerability_is_listed_with_what_fixes_it() -> None:
    audit = of_pip_audit(json.dumps({"dependencies": [VULNERABLE]}), "")

    assert audit == Audit([("pyjwt 2.3.0", "PYSEC-1", "fixed in 2.4.0")], [], 1)


def test_an_accepted_advisory_is_known_by_any_of_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        dependencies, "ACCEPTED", {"CVE-1": "nobody verifies tokens with it", "GHSA-1": "only tests"}
    )

    assert of_pip_audit(json.dumps({"dependencies": [VULNERABLE]}), "").found == []
    assert of_npm_audit(json.dumps(NPM), "").found == []


def test_an_advisory_of_npm_is_listed_once() -> None:
    audit = of_npm_audit(json.dumps(NPM), "")

    assert audit == Audit([("postman-request <2", "GHSA-1", "It forges requests")], [], 120)


def test_a_package_that_nobody_knows_anything_about_was_not_checked() -> None:
    skipped = {"name": "pyjwt", "skip_reason": "Dependency not found on PyPI and could not be audited"}

    assert of_pip_audit(json.dumps({"dependencies": [skipped]}), "").unknown == ["pyjwt"]


@pytest.mark.parametrize("output", ["", "no JSON", "{}", "[]", '{"message": "405 Method Not Allowed"}'])
def test_no_report_means_that_nothing_was_checked(output: str) -> None:
    error = "npm warn\nnpm error audit endpoint returned an error\nnpm error A complete log of this run: x\n"
    for read in (of_pip_audit, of_npm_audit):
        assert read(output, error) == Audit(unknown=["npm error audit endpoint returned an error"])


@pytest.mark.parametrize(
    ("audit", "code", "printed"),
    [
        (Audit(packages=3), 0, "3 packages, and no known vulnerability."),
        (Audit(found=[("pyjwt 2.3.0", "PYSEC-1", "fixed in 2.4.0")], packages=3), 1, "PYSEC-1"),
        (Audit(unknown=["a", "b", "c"], packages=3), 2, "Not checked list.txt: a and 2 others"),
        (
            Audit(found=[("pyjwt 2.3.0", "PYSEC-1", "")], unknown=["a"], packages=3),
            1,
            "Not checked list.txt: a",
        ),
    ],
)
def test_only_what_was_checked_and_found_well_is_well(
    capsys: pytest.CaptureFixture[str], audit: Audit, code: int, printed: str
) -> None:
    assert report(iter([("list.txt", audit)])) == code
    assert printed in capsys.readouterr().out


ALARMS = ("CKV_AWS_26", "encrypted", "AWS::SNS::Topic.AlarmTopic")
ORDERS = ("CKV_AWS_26", "encrypted", "AWS::SNS::Topic.OrderTopic")
OPEN_BUCKET = ("CKV_AWS_53", "no public bucket", "AWS::S3::Bucket.Files")


def test_a_waiver_covers_the_resources_that_it_names() -> None:
    open_ones, _ = template.judge([ALARMS, ORDERS, OPEN_BUCKET])

    assert open_ones == [ORDERS, OPEN_BUCKET]


def test_a_waiver_that_waives_nothing_is_reported() -> None:
    _, unused = template.judge([ALARMS, ORDERS])

    assert "CKV_AWS_26" not in unused
    assert set(unused) == template.WAIVED.keys() - {"CKV_AWS_26"}
