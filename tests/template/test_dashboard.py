"""The dashboard shows everything, with existing metrics only. So do the alarms and the saved queries."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from order_capture_ops.dashboard.metric_math import Context, evaluate
from order_capture_ops.dashboard.panels import Dashboard, Metric, Panel, parse
from tests.support.dashboards import body
from tests.support.template import ROOT, load_template, of_type
from tests.template.translation import referred_to

# What AWS documents for each service ("Metrics", in its own guide), as far as it is used here, with the sets
# of dimensions that it measures by.
BY_API = [{"ApiName", "Stage"}, {"ApiName", "Stage", "Method", "Resource"}]
BY_FUNCTION = [{"FunctionName"}, {"FunctionName", "Resource", "ExecutedVersion"}]
BY_QUEUE, BY_TABLE, BY_ACCOUNT = [{"QueueName"}], [{"TableName"}], [set[str]()]
OF_AWS: dict[str, dict[str, list[set[str]]]] = {
    "AWS/ApiGateway": {
        "Count": BY_API,
        "4XXError": BY_API,
        "5XXError": BY_API,
        "Latency": BY_API,
        "IntegrationLatency": BY_API,
    },
    "AWS/SQS": {
        "ApproximateNumberOfMessagesVisible": BY_QUEUE,
        "ApproximateAgeOfOldestMessage": BY_QUEUE,
    },
    "AWS/Lambda": {
        "Invocations": BY_FUNCTION,
        "Errors": BY_FUNCTION,
        "Throttles": BY_FUNCTION,
        "Duration": BY_FUNCTION,
        "IteratorAge": BY_FUNCTION,
        "RecursiveInvocationsDropped": BY_FUNCTION,
        "ConcurrentExecutions": [*BY_FUNCTION, *BY_ACCOUNT],
        "ClaimedAccountConcurrency": BY_ACCOUNT,
    },
    "AWS/WAFV2": {
        "BlockedRequests": [{"WebACL", "Region", "Rule"}],
        "CountedRequests": [{"WebACL", "Region", "Rule"}],
    },
    "AWS/DynamoDB": {
        "TransactionConflict": BY_TABLE,
        "ReadThrottleEvents": BY_TABLE,
        "WriteThrottleEvents": BY_TABLE,
        "ConsumedReadCapacityUnits": BY_TABLE,
        "ConsumedWriteCapacityUnits": BY_TABLE,
        "SuccessfulRequestLatency": [{"TableName", "Operation"}],
        "AccountMaxTableLevelWrites": BY_ACCOUNT,
    },
}


def of_ours() -> dict[str, set[str]]:
    """Our metrics and their dimensions, as docs/reference/metrics.md lists them."""
    page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    found = {}
    for row in re.findall(r"^\|( `[A-Z]\w+`.*)\|$", page, re.MULTILINE):
        names, _unit, dimension, _says = (cell.strip() for cell in row.split("|"))
        for name in re.findall(r"`(\w+)`", names):
            found[name] = {"service", *re.findall(r"^`(\w+)`", dimension)}
    return found


def dashboard() -> Dashboard:
    return parse(
        body({"AWS::StackName": "shop", "StageName": "v1", "ApiRateLimit": "100", "MaximumConcurrency": "10"})
    )


def panel(title: str) -> Panel:
    return next(each for each in dashboard().panels if each.title == title)


def names_in(titled: str) -> set[str]:
    return {value for metric in panel(titled).metrics for _, value in metric.dimensions}


def metrics_of_alarms() -> list[Metric]:
    found = []
    for alarm in of_type(load_template(), "AWS::CloudWatch::Alarm").values():
        named = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
        for each in named or [alarm]:
            dimensions = tuple((dimension["Name"], "") for dimension in each.get("Dimensions", []))
            found.append(Metric("", each["Namespace"], each["MetricName"], dimensions, "", ""))
    return found


def unknown(metric: Metric) -> bool:
    dimensions = {name for name, _ in metric.dimensions}
    if metric.namespace == "OrderCapture":
        return of_ours().get(metric.name) != dimensions
    return dimensions not in OF_AWS.get(metric.namespace, {}).get(metric.name, [])


def test_every_metric_of_the_dashboard_and_of_the_alarms_exists() -> None:
    """A wrong name or dimension is not an error in CloudWatch: the metric just never has data."""
    shown = [metric for each in dashboard().panels for metric in each.metrics]
    assert len(shown) > 100
    assert [metric for metric in (*shown, *metrics_of_alarms()) if unknown(metric)] == []
    assert unknown(Metric("", "AWS/SQS", "ApproximateAgeOfOldestMessages", (("QueueName", ""),), "", ""))
    assert unknown(Metric("", "OrderCapture", "OrdersRejected", (("service", ""),), "", ""))


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    text = (ROOT / "dashboard.yaml").read_text(encoding="utf-8")
    assert len(of_ours()) >= 12
    assert {name for name in of_ours() if name not in text} == set()


def test_searches_are_for_the_dimensions_that_our_metrics_have() -> None:
    searches = re.findall(
        r"SEARCH\('\{OrderCapture,([\w,]+)\} service=\\\"\$\{AWS::StackName\}\\\" MetricName=\\\"(\w+)\\\"'",
        (ROOT / "dashboard.yaml").read_text(encoding="utf-8"),
    )
    assert {name for _, name in searches} == {"OrdersRejected", "WebhookAttempts"}
    assert all(set(dimensions.split(",")) == of_ours()[name] for dimensions, name in searches)


def test_no_queue_table_or_function_is_forgotten() -> None:
    template = load_template()
    queues = set(of_type(template, "AWS::SQS::Queue"))
    dead = {name for name in queues if name.endswith("Dlq")}
    tables = set(of_type(template, "AWS::DynamoDB::Table"))
    functions = set(of_type(template, "AWS::Serverless::Function")) - {"SmokeTestFunction"}

    assert names_in("Dead letters") == dead
    assert names_in("Waiting messages") == names_in("Age of the oldest message") == queues - dead
    for title in ("DynamoDB: throttled reads and writes", "Cost: write units", "Cost: read units"):
        assert names_in(title) == tables, title
    for title in ("Functions: errors", "Functions: throttled calls", "Cost: function calls"):
        assert names_in(title) == functions, title


def test_the_template_has_all_that_the_dashboard_refers_to() -> None:
    template = load_template()
    included = yaml.safe_load((ROOT / "dashboard.yaml").read_text(encoding="utf-8"))
    there = template["Resources"].keys() | template["Parameters"].keys() | {"AWS::StackName", "AWS::Region"}
    assert {*referred_to(included)} - there == set()


def test_the_firewall_s_panels_show_the_metrics_that_its_rules_have() -> None:
    """A renamed rule is not an error in CloudWatch: its line would just be empty."""
    named = {
        (acl["VisibilityConfig"]["MetricName"]["Fn::Sub"], each["VisibilityConfig"]["MetricName"])
        for acl in of_type(load_template(), "AWS::WAFv2::WebACL").values()
        for each in acl["Rules"]
    }
    shown = {
        (values["WebACL"].replace("shop", "${AWS::StackName}"), values["Rule"])
        for each in dashboard().panels
        for metric in each.metrics
        if metric.name == "BlockedRequests"
        for values in [dict(metric.dimensions)]
    }
    assert shown == named
    assert len(shown) > 5


def test_panels_do_not_overlap_and_fill_the_width() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in json.loads(body({"AWS::StackName": "shop"}))["widgets"]:
        cells = {
            (widget["x"] + column, widget["y"] + row)
            for column in range(widget["width"])
            for row in range(widget["height"])
        }
        assert not cells & taken
        taken |= cells
    assert {column for column, _ in taken} == set(range(24))  # CloudWatch's grid


@pytest.mark.parametrize("shown", dashboard().panels, ids=lambda each: each.title)
def test_what_a_panel_calculates_can_be_calculated_without_aws(shown: Panel) -> None:
    known = {metric.id: {0.0: 1.0} for metric in shown.metrics}
    context = Context([0.0], 60, known, quotas={"executions": 1000.0}, search=lambda *_: [{0.0: 2.0}])
    for expression in shown.expressions:
        value = evaluate(expression.text, context)
        assert value, expression.text


class TestSavedQueries:
    def queries(self) -> dict[str, dict[str, Any]]:
        return of_type(load_template(), "AWS::Logs::QueryDefinition")

    def test_those_of_functions_read_all_functions(self) -> None:
        groups = set(of_type(load_template(), "AWS::Logs::LogGroup")) - {
            *("ApiAccessLogGroup", "SocketAccessLogGroup", "SmokeTestLogGroup"),
        }
        read = {
            name: {each["Ref"] for each in query["LogGroupNames"]} for name, query in self.queries().items()
        }
        assert read.pop("SlowRequestsQuery") == {"ApiAccessLogGroup"}
        assert len(read) == 4
        assert all(each == groups for each in read.values())

    def test_the_slowest_requests_are_by_fields_of_the_access_log(self) -> None:
        access = of_type(load_template(), "AWS::Serverless::Api")["Api"]["AccessLogSetting"]["Format"]
        logged = set(json.loads(access))
        fields = re.findall(
            r"\b(?!fields\b|as\b)([a-z]+[A-Z]\w+|route|status|method)\b", self.text("SlowRequests")
        )
        assert fields
        assert set(fields) <= logged

    def test_refusals_are_by_the_metrics_dimension(self) -> None:
        assert of_ours()["OrdersRejected"] == {"service", "reason"}
        assert "sum(OrdersRejected.0) as orders by reason" in self.text("Refusals")

    def test_what_failed_is_found_by_what_the_code_says(self) -> None:
        code = "".join(
            path.read_text(encoding="utf-8") for path in (ROOT / "layers/order_capture").rglob("*.py")
        )
        (patterns,) = re.findall(r"message like /(.*)/", self.text("FailedMessages"))
        logged = set(re.findall(r'logger\.\w+\(\s*"([^"]*)', code))
        for pattern in patterns.split("|"):
            assert any(re.search(pattern, each) for each in logged), pattern

    def text(self, name: str) -> str:
        return str(self.queries()[f"{name}Query"]["QueryString"])
