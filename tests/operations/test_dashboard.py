"""`make dashboard`: draws the deployed CloudWatch dashboard, with and without CloudWatch."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters import metrics
from order_capture_ops.dashboard import page
from order_capture_ops.dashboard.draw import draw
from order_capture_ops.dashboard.page import AlarmState
from order_capture_ops.dashboard.panels import DashboardError, Panel, parse
from order_capture_ops.dashboard.sources import Line, PanelData, Span
from order_capture_ops.errors import UsageError
from order_capture_ops.stack import Stack
from tests.operations.conftest import Run
from tests.operations.test_logs import FakeLogs
from tests.support.dashboards import body
from tests.support.shop import Shop, order_of
from tests.support.template import functions, load_template

NAME = "stack"  # as the pipeline calls it
BODY = body({"AWS::StackName": NAME, "StageName": "v1", "ApiRateLimit": "100", "MaximumConcurrency": "10"})
FUNCTIONS = [
    name.removesuffix("Function") for name in functions(load_template()) if name != "SmokeTestFunction"
]

Deployed = Callable[..., Stack]
Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def measured() -> None:
    metrics._made.cache_clear()


@pytest.fixture
def deployed(stack: Stack) -> Deployed:
    """The stack with its dashboard, and these lines, ten seconds old, in the log of change_publisher."""

    def deployed(lines: list[str] | None = None, shown: str = BODY) -> Stack:
        stack.client("cloudwatch").put_dashboard(DashboardName="board", DashboardBody=shown)
        now = int(time.time() * 1000)
        logs = FakeLogs({"/ChangePublisher": [(now - 10_000, line) for line in lines or []]})
        outputs = dict(stack.outputs) | {"DashboardName": "board"}
        outputs |= {f"{name}FunctionName": f"{name}Function" for name in FUNCTIONS}
        outputs |= {f"{name}LogGroupName": f"/{name}" for name in FUNCTIONS}
        return replace(
            stack,
            name=NAME,
            outputs=outputs,
            client=lambda name: logs if name == "logs" else stack.client(name),
        )

    return deployed


def lines_of(drawn: list[PanelData], title: str) -> dict[str, Any]:
    """The lines of a panel: each line's sum or maximum, without empty ones."""
    (data,) = (each for each in drawn if each.panel.title == title)
    return {
        line.label: (sum if line.adds_up else max)(line.points.values())
        for line in data.lines
        if any(line.points.values())
    }


class TestOnTheLocalEngine:
    def test_it_shows_what_became_of_orders(
        self, deployed: Deployed, shop: Shop, capsys: Printed, tmp_path: Path
    ) -> None:
        # given: two orders that ship, and two that are refused
        capsys.readouterr()
        for body_ in (
            order_of("alice", 10, pen=1),
            order_of("alice", 10, pen=1),
            order_of("bob", 500, pen=1),
            order_of("alice", 10, pen=999),
        ):
            shop.order(body_)
            shop.pipeline.run()
        logged = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        # when
        drawn = draw(deployed(logged), None, tmp_path / "board.html")
        # then
        assert lines_of(drawn, "Orders") == {"placed": 4, "confirmed": 2, "shipped": 2, "rejected": 2}
        assert lines_of(drawn, "Orders rejected, by reason") == {
            "INSUFFICIENT_BALANCE": 1,
            "INSUFFICIENT_STOCK": 1,
        }
        times = lines_of(drawn, "Seconds to decision and shipment")
        assert 0 < times["decided, p50"] <= times["decided, p99"]
        assert times["shipped, p99"] > 0  # of other orders than those: none was refused
        written = (tmp_path / "board.html").read_text(encoding="utf-8")
        assert "INSUFFICIENT_STOCK" in written
        assert "the local engine" in written

    def test_it_shows_calls_of_functions_from_lambdas_own_lines(
        self, deployed: Deployed, tmp_path: Path
    ) -> None:
        lines = [f"REPORT RequestId: {number}\tDuration: {number}.5 ms\tBilled" for number in (1, 2)]
        drawn = draw(deployed([*lines, "REPORT of nothing"]), None, tmp_path / "board.html")

        assert lines_of(drawn, "Cost: function calls") == {"change_publisher": 2}
        assert lines_of(drawn, "Cost: function milliseconds") == {"change_publisher": 4.0}

    def test_it_shows_what_waits_now_and_dead_letters(
        self, deployed: Deployed, stack: Stack, shop: Shop, tmp_path: Path
    ) -> None:
        shop.order(order_of("alice", 10, pen=1))
        stack.client("sqs").send_message(QueueUrl=stack.outputs["ReportDlqUrl"], MessageBody="{")

        drawn = draw(deployed(), None, tmp_path / "board.html")

        assert lines_of(drawn, "Waiting messages") == {"balance_checker": 1, "stock_checker": 1}
        assert lines_of(drawn, "Dead letters") == {"report": 1}
        assert "messages, now" in (tmp_path / "board.html").read_text(encoding="utf-8")

    def test_it_shows_no_zero_for_what_nobody_measures(self, deployed: Deployed, tmp_path: Path) -> None:
        drawn = draw(deployed(), None, tmp_path / "board.html")

        absent = {data.panel.title for data in drawn if data.absent and not data.lines}
        assert {"API: requests", "Cost: write units", "Functions: throttled calls"} <= absent
        listed = (tmp_path / "board.html").read_text(encoding="utf-8").partition("Measured on AWS only")[2]
        assert all(title in listed for title in absent)

    def test_what_is_older_is_not_shown(self, deployed: Deployed, tmp_path: Path) -> None:
        stack = deployed(["REPORT RequestId: 1\tDuration: 1 ms"])
        since = datetime.now(UTC) - timedelta(seconds=5)

        assert lines_of(draw(stack, since, tmp_path / "board.html"), "Cost: function calls") == {}


class OneAnswer:
    """CloudWatch on AWS, which returns the same data for every panel."""

    meta = SimpleNamespace(region_name="eu-west-1")

    def __init__(self, status: str = "Complete") -> None:
        self.status = status
        self.requested: list[dict[str, Any]] = []

    def get_dashboard(self, **_: str) -> dict[str, str]:
        return {"DashboardBody": BODY}

    def get_paginator(self, operation: str) -> OneAnswer:
        self.operation = operation
        return self

    def paginate(self, **query: Any) -> list[dict[str, Any]]:
        if self.operation == "describe_alarms":
            assert set(query["AlarmTypes"]) == {"MetricAlarm", "CompositeAlarm"}
            one = {"AlarmName": f"{NAME}-OldOrderAlarm-1A2B", "StateValue": "ALARM"}
            return [{"MetricAlarms": [one], "CompositeAlarms": []}]
        self.requested.append(query)
        start = query["StartTime"]
        first = query["MetricDataQueries"][0]
        result = {"Id": first["Id"], "Label": first.get("Label", "all"), "StatusCode": self.status}
        # in two pages; the second continues the first's line
        return [
            {"MetricDataResults": [{**result, "Timestamps": [start + timedelta(minutes=at)], "Values": [at]}]}
            for at in (1, 2)
        ]


class TestOnAws:
    def on_aws(self, cloudwatch: OneAnswer) -> Stack:
        return Stack(NAME, {"DashboardName": "board"}, {}, lambda _: cloudwatch, on_aws=True)

    def test_cloudwatch_calculates_all_of_it(self, tmp_path: Path) -> None:
        cloudwatch = OneAnswer()
        drawn = draw(self.on_aws(cloudwatch), None, tmp_path / "board.html")

        assert lines_of(drawn, "Orders") == {"placed": 3}
        assert len(cloudwatch.requested) == len(drawn) == len(parse(BODY).panels)
        queries = [each for query in cloudwatch.requested for each in query["MetricDataQueries"]]
        assert any("SERVICE_QUOTA(executions)" in each.get("Expression", "") for each in queries)
        assert all(re.fullmatch("[a-z][A-Za-z0-9_]*", each["Id"]) for each in queries)
        for query in cloudwatch.requested:
            assert len({each["Id"] for each in query["MetricDataQueries"]}) == len(query["MetricDataQueries"])

    def test_a_long_time_is_read_in_longer_periods_searches_included(self, tmp_path: Path) -> None:
        cloudwatch = OneAnswer()
        draw(self.on_aws(cloudwatch), datetime.now(UTC) - timedelta(days=3), tmp_path / "board.html")

        queries = [each for query in cloudwatch.requested for each in query["MetricDataQueries"]]
        periods = {each["MetricStat"]["Period"] for each in queries if "MetricStat" in each}
        searches = [each["Expression"] for each in queries if "SEARCH" in each.get("Expression", "")]
        assert periods == {3600}
        assert searches
        assert all(", 3600)" in each for each in searches)

    def test_it_shows_the_region_and_the_alarms_that_are_raised_first(self, tmp_path: Path) -> None:
        draw(self.on_aws(OneAnswer()), None, tmp_path / "board.html")

        written = (tmp_path / "board.html").read_text(encoding="utf-8")
        assert "AWS, eu-west-1" in written
        assert written.index("OldOrderAlarm: ALARM") < written.index("ApiServerErrorAlarm: gone")

    def test_what_cloudwatch_can_not_calculate_is_an_error_with_the_panels_name(self, tmp_path: Path) -> None:
        with pytest.raises(DashboardError, match="can't show 'Orders'"):
            draw(self.on_aws(OneAnswer("InternalError")), None, tmp_path / "board.html")
        assert not (tmp_path / "board.html").exists()


class TestCommand:
    @pytest.fixture
    def command(self, deployed: Deployed, monkeypatch: pytest.MonkeyPatch, run: Run) -> Run:
        stack = deployed(["REPORT RequestId: 1\tDuration: 1 ms"])
        monkeypatch.setattr("order_capture_ops.stack.find", lambda _: stack)
        return run

    def test_it_says_what_is_in_the_file_and_where_it_is(
        self, command: Run, capsys: Printed, tmp_path: Path
    ) -> None:
        file = tmp_path / "new" / "board.html"

        assert command("dashboard", "--output", str(file), "--since", "10m") == 0

        assert capsys.readouterr().out.splitlines() == [
            f"✓ {len(parse(BODY).panels)} panels, with data: 2",
            "Measured on AWS only: 14",
            f"Open {file}",
        ]
        assert [path.name for path in file.parent.iterdir()] == ["board.html"]

    def test_it_prints_json(self, command: Run, capsys: Printed, tmp_path: Path) -> None:
        assert command("dashboard", "--json", "--output", str(tmp_path / "board.html")) == 0

        shown = json.loads(capsys.readouterr().out)
        assert shown["filled"] == ["Cost: function calls", "Cost: function milliseconds"]
        assert "API: requests" in shown["onlyOnAws"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--since", "2999-01-01"), "SINCE (--since): 2999-01-01T00:00Z is not in the last 90 days"),
            (("--since", "91d"), "is not in the last 90 days"),
            (("--output", "."), "OUTPUT (--output): . is a directory"),
        ],
    )
    def test_what_it_can_not_do_it_says(
        self, command: Run, capsys: Printed, arguments: tuple[str, ...], message: str
    ) -> None:
        assert command("dashboard", *arguments) == 2
        assert message in capsys.readouterr().err

    def test_a_stack_without_its_dashboard_is_an_error_that_says_what_to_do(
        self, stack: Stack, tmp_path: Path
    ) -> None:
        gone = replace(stack, outputs={**stack.outputs, "DashboardName": "gone"})
        with pytest.raises(DashboardError, match="The dashboard gone does not exist: deploy the stack again"):
            draw(gone, None, tmp_path / "board.html")

    def test_another_error_of_aws_is_passed_on(self, stack: Stack, tmp_path: Path) -> None:
        class Denied:
            def get_dashboard(self, **_: str) -> None:
                raise botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "GetDashboard")

        denied = replace(stack, outputs={"DashboardName": "board"}, client=lambda _: Denied())
        with pytest.raises(botocore.exceptions.ClientError):
            draw(denied, None, tmp_path / "board.html")

    @pytest.mark.parametrize(
        "wrong",
        [
            "nonsense",
            "{}",
            '{"widgets": [{"type": "metric", "properties": {}}]}',
            BODY.replace(
                '"OrderCapture", "OrdersPlaced", "service", "stack"', '"OrderCapture", ".", "service"'
            ),
        ],
    )
    def test_a_dashboard_of_another_form_is_an_error(self, wrong: str) -> None:
        with pytest.raises(DashboardError, match="can't be read"):
            parse(wrong)


class TestPage:
    START = datetime(2026, 11, 29, 10, tzinfo=UTC)
    SPAN = Span.between(START, START + timedelta(hours=1), 60)

    def written(self, *lines: Line, stacked: bool = False, absent: tuple[str, ...] = ()) -> str:
        panel = Panel("<x-title>", "orders", "Sum", stacked, [], [])
        alarms = [AlarmState("<x-alarm>", "OK")]
        return page.render("<x-stack>", "<x-where>", self.SPAN, alarms, [PanelData(panel, lines, absent)])

    def test_it_runs_nothing_loads_nothing_and_takes_no_text_for_markup(self) -> None:
        written = self.written(Line("<x-label>", {self.SPAN.start: 1.0}, adds_up=True))

        assert "<script" not in written
        assert not re.search(r"(src|href)=|url\(|@import", written.replace("xmlns:xlink", ""))
        for text in ("title", "label", "alarm", "stack", "where"):
            assert f"&lt;x-{text}&gt;" in written
        assert "<x-" not in written

    def test_a_chart_is_a_picture_with_a_line_for_each(self) -> None:
        points = {period: float(number) for number, period in enumerate(self.SPAN.periods)}
        written = self.written(Line("one", points), Line("two", points))

        (drawing,) = re.findall(r"<svg.*?</svg>", written, re.DOTALL)
        tree = ET.fromstring(drawing)
        assert len(tree.findall(".//{*}path[@class='line reactive nofill']")) == 2
        assert "orders, at most" in written
        assert written.count("<b>59</b>") == 2

    def test_what_is_all_zero_is_a_sentence_and_no_chart(self) -> None:
        zero = dict.fromkeys(self.SPAN.periods, 0.0)
        assert '<p class="soft">Nothing: one.</p>' in self.written(Line("one", zero))
        both = self.written(Line("one", zero), Line("two", {self.SPAN.start: 1.0}))
        assert "None of: one." in both
        assert "<svg" not in self.written(Line("one", zero))

    def test_the_largest_panel_has_its_figures_in_columns(self) -> None:
        lines = [Line(f"function {number}", {self.SPAN.start: 1.0}) for number in range(20)]
        assert 'class="figures many"' in self.written(*lines)
        assert 'class="figures many"' not in self.written(*lines[:8])

    def test_a_file_that_can_not_be_written_leaves_nothing_behind(self, tmp_path: Path) -> None:
        (tmp_path / "board.html").mkdir()
        with pytest.raises(OSError, match="board"):
            page.write("page", tmp_path / "board.html")
        assert [path.name for path in tmp_path.iterdir()] == ["board.html"]


class TestSpan:
    END = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("seconds", "shortest", "period"),
        [(60, 1, 1), (60, 60, 60), (600, 1, 5), (3600, 1, 30), (3600, 60, 60), (86400, 60, 900)],
    )
    def test_its_periods_are_as_short_as_can_be_told_apart(
        self, seconds: int, shortest: int, period: int
    ) -> None:
        span = Span.between(self.END - timedelta(seconds=seconds), self.END, shortest)
        assert span.period == period
        assert len(span.periods) <= 122

    def test_it_is_of_whole_periods_that_cover_the_time(self) -> None:
        span = Span.between(self.END - timedelta(hours=1), self.END, 60)
        assert span.start % 60 == span.end % 60 == 0
        assert span.start <= self.END.timestamp() - 3600
        assert span.end >= self.END.timestamp()
        assert span.periods[-1] + span.period == span.end


def test_a_future_time_is_refused(deployed: Deployed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not in the last 90 days"):
        draw(deployed(), datetime.now(UTC) + timedelta(hours=1), tmp_path / "board.html")
