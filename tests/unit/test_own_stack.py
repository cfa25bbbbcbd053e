"""A function knows its stack's outputs, and gets new ones within a minute."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from order_capture.adapters.operations import stack


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """CloudFormation with one stack, and a clock; the test may change both."""
    found = SimpleNamespace(queue="first", asked=0, now=1_000_000.0)

    def describe_stacks(**_: str) -> dict[str, Any]:
        found.asked += 1
        outputs = [{"OutputKey": "QueueUrl", "OutputValue": found.queue}]
        return {"Stacks": [{"StackName": "shop", "Outputs": outputs, "Parameters": []}]}

    monkeypatch.setenv("STACK_ID", "arn:shop")
    monkeypatch.setattr(stack, "client", lambda _: SimpleNamespace(describe_stacks=describe_stacks))
    monkeypatch.setattr(stack, "_kept", None)
    monkeypatch.setattr(stack, "time", SimpleNamespace(time=lambda: found.now))
    return found


def test_it_is_asked_for_once_in_a_minute(aws: SimpleNamespace) -> None:
    names = [stack.own_stack().name for _ in range(3)]

    assert (names, aws.asked) == (["shop"] * 3, 1)


@pytest.mark.parametrize("passed", [60, 86_400, -5])
def test_what_a_deployment_has_changed_since_is_seen(aws: SimpleNamespace, passed: float) -> None:
    """Also by a process restored from a snapshot, and by one whose clock was set back."""
    stack.own_stack()
    aws.queue, aws.now = "second", aws.now + passed

    assert stack.own_stack().output("QueueUrl") == "second"
