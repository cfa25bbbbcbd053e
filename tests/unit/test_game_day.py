"""The game day: its substitute for CloudWatch, and that the runbook names each step of each fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.breakages import BREAKAGES, Breakage, Step
from local.game_day import Watch, main
from local.runbook import find_section
from order_capture_ops.stack import Stack
from tests.support.template import load_template

STACK = "stack"
RUNBOOK = """\
# Runbook

Start here:

    make status     # what is wrong

## Dead letters

`FirstDlqAlarm`, `SecondDlqAlarm`

Fix the
cause. `make redrive QUEUE=first` moves them.

## Old messages

Unlike `FirstDlqAlarm`, `OldAlarm` heals.
"""


class TestRunbook:
    def test_an_alarm_leads_to_the_section_that_begins_with_it(self) -> None:
        section = find_section("FirstDlqAlarm", RUNBOOK)
        assert section
        assert section.title == "Dead letters"

    def test_else_to_one_that_names_it(self) -> None:
        section = find_section("OldAlarm", RUNBOOK)
        assert section
        assert section.title == "Old messages"

    def test_a_title_leads_to_its_section(self) -> None:
        section = find_section("Old messages", RUNBOOK)
        assert section
        assert section.title == "Old messages"

    def test_an_alarm_that_it_does_not_name_leads_nowhere(self) -> None:
        assert find_section("ThirdDlqAlarm", RUNBOOK) is None

    @pytest.mark.parametrize(
        ("instruction", "is_named"),
        [
            ("make redrive QUEUE=another", True),
            ("make status", True),
            ("Fix the cause", True),
            ("make redrive", False),
            ("make redrive QUEUE=first DRY_RUN=1", False),
            ("make watch", False),
            ("Do nothing", False),
        ],
    )
    def test_a_section_names_what_is_in_it_and_where_everybody_starts(
        self, instruction: str, *, is_named: bool
    ) -> None:
        section = find_section("SecondDlqAlarm", RUNBOOK)
        assert section
        assert section.names(instruction) is is_named


def of_each(step: Breakage) -> str:
    return step.name


@pytest.mark.parametrize("breakage", BREAKAGES, ids=of_each)
class TestBreakages:
    def test_the_runbook_names_each_step(self, breakage: Breakage) -> None:
        section = find_section(breakage.runbook)
        assert section
        steps: list[Step] = [*breakage.symptoms, *breakage.cure]
        assert [each.instruction for each in steps if not section.names(each.instruction)] == []

    def test_its_alarm_is_one_of_the_template_on_the_engine(self, breakage: Breakage) -> None:
        if breakage.alarm:
            alarm = load_template()["Resources"][breakage.alarm]
            assert "Condition" not in alarm
            assert alarm["Properties"]["Namespace"] == "AWS/SQS"

    def test_it_has_symptoms_and_a_cure(self, breakage: Breakage) -> None:
        assert breakage.symptoms
        assert breakage.cure


# ------------------------------------------------------------------------------------------ alarms on queues
def alarm(metric: str, threshold: float, periods: int) -> dict[str, Any]:
    return {
        "Namespace": "AWS/SQS",
        "MetricName": metric,
        "Dimensions": [{"Name": "QueueName", "Value": "pens"}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": periods,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "Threshold": threshold,
        "TreatMissingData": "notBreaching",
    }


@dataclass
class Aws:
    """SQS with one queue, and CloudWatch with two alarms on it."""

    waiting: int = 0
    states: list[tuple[str, str]] = field(default_factory=list)
    before: str = "INSUFFICIENT_DATA"

    def get_paginator(self, _: str) -> Aws:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        alarms = {
            "CountAlarm": alarm("ApproximateNumberOfMessagesVisible", 1, 1),
            "AgeAlarm": alarm("ApproximateAgeOfOldestMessage", 120, 3),
            "ErrorAlarm": {"Namespace": "AWS/Lambda", "MetricName": "Errors"},
        }
        yield {
            "MetricAlarms": [
                each | {"AlarmName": f"{STACK}-{name}-X1", "StateValue": self.before}
                for name, each in alarms.items()
            ]
        }

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        counts = {
            "ApproximateNumberOfMessages": str(self.waiting),
            "ApproximateNumberOfMessagesNotVisible": "0",
        }
        return {"Attributes": counts}

    def set_alarm_state(self, **state: str) -> None:
        self.states.append((state["AlarmName"], state["StateValue"]))


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def watch(aws: Aws) -> Watch:
    return Watch(Stack(STACK, {"PenQueueUrl": "http://127.0.0.1/1/pens"}, {}, lambda _: aws))


def measure(watch: Watch, start: int, end: int) -> None:
    for now in range(start, end, 5):
        watch.measure(now)


class TestWatch:
    def test_an_empty_queue_raises_nothing(self, watch: Watch, aws: Aws) -> None:
        measure(watch, 600, 1200)
        assert (watch.raised, aws.states) == (set(), [])

    def test_a_message_raises_its_alarm_when_the_minute_is_over(self, watch: Watch, aws: Aws) -> None:
        measure(watch, 600, 660)
        aws.waiting = 1
        measure(watch, 660, 720)
        assert watch.raised == set()
        measure(watch, 720, 725)
        assert watch.raised == {"CountAlarm"}
        assert aws.states == [("stack-CountAlarm-X1", "ALARM")]

    def test_its_alarm_is_over_when_a_minute_was_without_it(self, watch: Watch, aws: Aws) -> None:
        aws.waiting = 1
        measure(watch, 600, 680)
        aws.waiting = 0
        measure(watch, 680, 785)
        assert watch.raised == set()
        assert [state for _, state in aws.states] == ["ALARM", "OK"]

    def test_an_alarm_that_was_left_raised_is_over_by_the_first_look(self) -> None:
        aws = Aws(before="ALARM")
        watch = Watch(Stack(STACK, {"PenQueueUrl": "http://127.0.0.1/1/pens"}, {}, lambda _: aws))
        watch.measure(600)
        assert watch.raised == set()
        assert {state for _, state in aws.states} == {"OK"}

    def test_an_old_message_raises_the_alarm_on_ages_after_three_minutes(
        self, watch: Watch, aws: Aws
    ) -> None:
        measure(watch, 600, 660)
        aws.waiting = 1
        measure(watch, 660, 895)  # at 775 it is two minutes old
        assert watch.raised == {"CountAlarm"}
        measure(watch, 895, 905)
        assert watch.raised == {"CountAlarm", "AgeAlarm"}

    def test_where_the_queue_was_empty_in_between_no_message_is_old(self, watch: Watch, aws: Aws) -> None:
        for start in range(600, 1500, 100):
            aws.waiting = 1
            measure(watch, start, start + 95)
            aws.waiting = 0
            measure(watch, start + 95, start + 100)
        assert "AgeAlarm" not in watch.raised


class TestCommand:
    def test_its_list_breaks_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--list"]) == 0
        output = capsys.readouterr().out
        assert all(each.name in output for each in BREAKAGES)

    def test_one_that_it_does_not_know_is_answered_with_those_it_does(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["--only", "everything"])
        assert "poison-message" in capsys.readouterr().err
