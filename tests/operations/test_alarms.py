"""Each alarm of the template is raised by its metric, and not by values below its threshold.

Metrics of our functions or queues are produced here by the real handlers on moto. Those of AWS alone
(Lambda's, DynamoDB's, API Gateway's latency) are set as AWS documents them: such a case is marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from local.alarms import ALARM, OK, Alarms, CloudWatch, judge
from order_capture.adapters import metrics
from order_capture.application.channels import CHANNELS, ChannelKind
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of
from tests.support.tables import REGION, session
from tests.support.template import Template, load_template, of_type

STACK = "stack"  # as the pipeline calls it
MINUTE = 60.0
SERVICE = {"service": STACK}
API = {"ApiName": STACK, "Stage": "v1"}
POST_ORDER = API | {"Method": "POST", "Resource": "/order"}

TEMPLATE = load_template()
RAISED = {
    name
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    for name in of_type(TEMPLATE, kind)
}


def physical(value: Any) -> str:
    """The value of an alarm's reference in these tests, which use the template's names."""
    match value:
        case {"Ref": "AWS::StackName"}:
            return STACK
        case {"Ref": str(name)} if name in TEMPLATE["Parameters"]:
            return str(TEMPLATE["Parameters"][name]["Default"])
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), "QueueName"]}:
            return name
        case {"Fn::GetAtt": [str(name), "Version"]}:  # of a function: OrderApiFunction.Version
            return f"{name.removesuffix('.Version')}: new"
        case {"Fn::Sub": [str(text), dict(values)]}:
            for name, inner in values.items():
                text = text.replace(f"${{{name}}}", physical(inner))
            return text
        case {"Fn::Sub": str(text)}:
            for name in TEMPLATE["Parameters"]:
                text = text.replace(f"${{{name}}}", physical({"Ref": name}))
            return text
    raise ValueError(f"{value} is nothing that alarms refer to")


@dataclass
class World:
    """The pipeline with a CloudWatch."""

    shop: Shop | None
    """None if only AWS measures: then only the time passes."""
    printed: Callable[[], str]
    cloudwatch: CloudWatch = field(default_factory=CloudWatch)
    seen: set[str] = field(default_factory=set)
    """Queues that have had a message: SQS has metrics only for these."""

    passed: float = 0.0
    template: Template = field(default_factory=lambda: TEMPLATE)

    @property
    def open_shop(self) -> Shop:
        assert self.shop, "this case is marked as AWS's alone"
        return self.shop

    @property
    def pipeline(self) -> Pipeline:
        return self.open_shop.pipeline

    @property
    def now(self) -> float:
        return self.passed if self.shop is None else timestamp(self.shop.pipeline)

    def measure(self) -> None:
        """Record the logged metrics, and those of the queues."""
        lines = [json.loads(line) for line in self.printed().splitlines() if '"_aws"' in line]
        self.cloudwatch.read_log(self.now, lines)
        for name, queue in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues.items():
            messages = [each for each in queue._messages if each.id not in queue.deleted_messages]
            self.seen |= {name} if messages else set()
            if name not in self.seen:
                continue
            waiting = sum(each.visible for each in messages)
            sent = [float(each.sent_timestamp or 0) / 1000 for each in messages]
            oldest = self.now - min(sent, default=self.now)
            of_queue = {"QueueName": name}
            put = self.cloudwatch.put
            put("AWS/SQS", "ApproximateNumberOfMessagesVisible", of_queue, self.now, waiting)
            put("AWS/SQS", "ApproximateAgeOfOldestMessage", of_queue, self.now, oldest)

    def minutes(self, number: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Let minutes pass, with an action in each."""
        for _ in range(number):
            meanwhile()
            if self.shop is None:
                self.passed += MINUTE
            else:
                self.measure()
                self.pipeline.wait(MINUTE)

    def aws(
        self,
        name: str,
        each_minute: Iterable[float | None],
        dimensions: dict[str, str],
        space: str = "Lambda",
    ) -> None:
        """Values for the last minutes of a metric that only AWS produces; None for a minute without data."""
        values = [*each_minute]
        for number, value in enumerate(reversed(values), start=1):
            if value is not None:
                self.cloudwatch.put(f"AWS/{space}", name, dimensions, self.now - number * MINUTE, value)

    def alarms(self, *, fills_empty: bool) -> Alarms:
        return Alarms(self.template, physical, self.cloudwatch, fills_empty)

    def states(self, name: str) -> set[str]:
        """The current state of an alarm, including FILL of missing data."""
        return {self.alarms(fills_empty=fills).state(name, self.now) for fills in (True, False)}


def timestamp(pipeline: Pipeline) -> float:
    return datetime.fromisoformat(pipeline.now()).timestamp()


Happens = Callable[[World], None]


@dataclass(frozen=True)
class Case:
    """What raises an alarm, and what is below its threshold."""

    alarms: tuple[str, ...]
    raises: Happens
    does_not: Happens
    by_aws: bool = False
    """Whether only AWS produces the metric: then it is set, not produced."""


def send(queue: str, body: str) -> None:
    sqs = session().create_client("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], MessageBody=body)


def empty(queue: str) -> None:
    sqs = session().create_client("sqs")
    sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"])


# --------------------------------------------------------------------------------------------- dead letters
def tried(function: str, times: Callable[[int], int]) -> Happens:
    """A function receives an unreadable message; `times` computes how often from the allowed receives."""

    def happens(world: World) -> None:
        world.pipeline.put(function, "{")
        for _ in range(times(world.pipeline.max_receive_count(function))):
            world.pipeline.deliver(function)
        world.minutes(1)

    return happens


def of_queue(name: str, function: str) -> Case:
    # moto dead-letters a message at the receive after the last allowed one
    return Case(
        (f"{name}DlqAlarm",), tried(function, lambda most: most + 1), tried(function, lambda most: most)
    )


def stored(table: str, item: dict[str, Any]) -> Happens:
    """An item is written by hand."""

    def happens(world: World) -> None:
        session().create_client("dynamodb").put_item(TableName=table, Item=item)
        world.pipeline.publish_changes()
        world.minutes(1)

    return happens


def sold(world: World) -> None:
    world.open_shop.order(order_of("alice", 10, pen=1))
    world.pipeline.run()
    world.minutes(1)


def undelivered(queue: str) -> Happens:
    """SNS can't deliver a message and dead-letters it; set here, since moto always delivers."""

    def happens(world: World) -> None:
        send(queue, "{}")
        world.minutes(1)

    return happens


BAD_ORDER = {"orderId": {"S": "bad"}, "status": {"S": "DANCING"}}
BAD_BALANCE = {"customerId": {"S": "bad"}, "entry": {"S": "BALANCE"}, "balance": {"S": "many"}}


def more_dead_letters(world: World) -> None:
    """An old dead letter, then a new one."""
    send("OrderUpdateDlq", "{}")
    world.minutes(10)
    send("ShipOrderDlq", "{}")
    world.minutes(1)


def old_dead_letters(world: World) -> None:
    send("OrderUpdateDlq", "{}")
    world.minutes(10)


# ------------------------------------------------------------------------------------------------------ age
def waits(queue: str, minutes: int) -> Happens:
    """A message that is not received for this time, and then is."""

    def happens(world: World) -> None:
        send(queue, "{}")
        world.minutes(minutes)

    return happens


def waited(queue: str, minutes: int) -> Happens:
    def happens(world: World) -> None:
        waits(queue, minutes)(world)
        empty(queue)
        world.minutes(1)

    return happens


QUEUES = ("BalanceChecker", "StockChecker", "OrderUpdate", "ShipOrder", "WebhookDispatcher", "SocketPusher")
DELAYED = ("OrderWatch", "WebhookSender", "WebhookSlow")


# ---------------------------------------------------------------------------------------- orders' own metrics
def ordering(*consumers: str) -> Callable[[World], Callable[[], None]]:
    """An order each minute, while only these functions run."""

    def of(world: World) -> Callable[[], None]:
        def order() -> None:
            world.open_shop.order(order_of("alice", 1, pen=1))
            for name in consumers:
                world.pipeline.deliver(name)
            world.pipeline.publish_changes()

        return order

    return of


CHECKERS = ("balance_checker", "stock_checker")
NONE_DECIDED = ordering()
NONE_SHIPPED = ordering(*CHECKERS, "order_update")
ALL_SHIPPED = ordering(*CHECKERS, "order_update", "ship_order")


def minutes_of(ordered: Callable[[World], Callable[[], None]], number: int) -> Happens:
    return lambda world: world.minutes(number, ordered(world))


def a_pause(number: int) -> Happens:
    """An interruption too short for a page."""

    def happens(world: World) -> None:
        world.minutes(number, NONE_DECIDED(world))
        world.pipeline.run()
        world.minutes(5, ALL_SHIPPED(world))

    return happens


def decided_after(seconds: float) -> Happens:
    def happens(world: World) -> None:
        def order() -> None:
            world.open_shop.order(order_of("alice", 1, pen=1))
            world.pipeline.wait(seconds)
            world.pipeline.run()

        world.minutes(4, order)

    return happens


def checked_after(seconds: float) -> Happens:
    """An undecided order, checked by the watchdog."""

    def happens(world: World) -> None:
        world.open_shop.order(order_of("alice", 1, pen=1))
        world.pipeline.publish_changes()
        world.pipeline.wait(seconds)
        world.pipeline.deliver("order_watchdog")
        world.minutes(6)

    return happens


# ------------------------------------------------------------------------------------------------------ API
def answered(*, failing: int, of: int, minutes: int) -> Happens:
    """Requests in each minute, some of which fail. API Gateway counts a 5xx as 1, and others as 0."""

    def happens(world: World) -> None:
        def ask() -> None:
            for number in range(of):
                path = "/account/alice"
                if number < failing:
                    with world.pipeline.refusing("dynamodb.GetItem"):
                        status = world.pipeline.ask("GET", path).status
                else:
                    status = world.pipeline.ask("GET", path).status
                world.cloudwatch.put("AWS/ApiGateway", "5XXError", API, world.now, float(status >= 500))

        world.minutes(minutes, ask)

    return happens


# ---------------------------------------------------------------------------------- measured by AWS alone
def measured(name: str, *values: float | None, space: str = "Lambda", **dimensions: str) -> Happens:
    return lambda world: world.aws(name, values, dimensions, space)


def both(*happen: Happens) -> Happens:
    def happens(world: World) -> None:
        for each in happen:
            each(world)

    return happens


def by_aws(alarm: str, raises: Happens, does_not: Happens) -> Case:
    return Case((alarm,), raises, does_not, by_aws=True)


def of_version(function: str, version: str) -> dict[str, str]:
    name = f"{function}Function"
    return {"FunctionName": name, "Resource": f"{name}:live", "ExecutedVersion": f"{name}: {version}"}


def conflicts(number: float, writes: int) -> Happens:
    """Three minutes of conflicts, and of transactions that succeed, each of which is a sample."""

    def happens(world: World) -> None:
        of_writes = {"TableName": "StockTable", "Operation": "TransactWriteItems"}
        world.aws("TransactionConflict", [number] * 3, {"TableName": "StockTable"}, "DynamoDB")
        for _ in range(writes):
            world.aws("SuccessfulRequestLatency", [9.0] * 3, of_writes, "DynamoDB")

    return happens


def claimed(share: float) -> Happens:
    def happens(world: World) -> None:
        world.cloudwatch.quotas["ConcurrentExecutions"] = 1000
        world.aws("ClaimedAccountConcurrency", [1000 * share] * 3, {})
        world.aws("ConcurrentExecutions", [1000 * share] * 3, {})

    return happens


def written(share: float) -> Happens:
    """Write units per five minutes, and the limit per second."""

    def happens(world: World) -> None:
        for number in (1, 2):
            time = world.now - number * 5 * MINUTE
            put = world.cloudwatch.put
            put("AWS/DynamoDB", "AccountMaxTableLevelWrites", {}, time, 40_000)
            units = 40_000 * 300 * share
            put("AWS/DynamoDB", "ConsumedWriteCapacityUnits", {"TableName": "OrderTable"}, time, units)

    return happens


STREAMS = ("ChangePublisher", "LedgerPublisher", "HistoryProjector")
LOOPS = ("BalanceChecker", "StockChecker", "OrderUpdate", "OrderWatchdog", "WebhookSender")
ERRORS = [name.removesuffix("ErrorAlarm") for name in sorted(RAISED) if name.endswith("ErrorAlarm")]
ERRORS.remove("ApiServer")

CASES = [
    # Symptoms
    Case(("NoDecisionAlarm", "OrdersStuckAlarm"), minutes_of(NONE_DECIDED, 3), a_pause(2)),
    Case(("NoShipmentAlarm", "OrdersStuckAlarm"), minutes_of(NONE_SHIPPED, 3), minutes_of(ALL_SHIPPED, 5)),
    Case(("SlowDecisionAlarm", "OrdersStuckAlarm"), decided_after(31), decided_after(20)),
    Case(("OldOrderAlarm", "OrdersStuckAlarm"), checked_after(181), checked_after(61)),
    Case(
        ("ApiServerErrorAlarm", "ApiFailingAlarm"),
        answered(failing=1, of=2, minutes=3),
        answered(failing=1, of=100, minutes=5),
    ),
    Case(
        ("ApiLatencyAlarm", "ApiFailingAlarm"),
        measured("Latency", *[3000.0] * 3, space="ApiGateway", **POST_ORDER),
        measured("Latency", *[2999.0] * 5, space="ApiGateway", **POST_ORDER),
        by_aws=True,
    ),
    # Saturation
    by_aws(
        "ApiSaturationAlarm",
        measured("Count", *[4800.0] * 3, space="ApiGateway", **API),  # of the 6000 of a minute
        measured("Count", *[4799.0] * 5, space="ApiGateway", **API),
    ),
    by_aws("AccountConcurrencyAlarm", claimed(0.8), claimed(0.79)),
    by_aws(
        "ConsumerSaturationAlarm",
        measured("ConcurrentExecutions", *[10.0] * 10, FunctionName="StockCheckerFunction"),
        measured("ConcurrentExecutions", *[10.0] * 9, 5.0, FunctionName="StockCheckerFunction"),
    ),
    by_aws(
        "FunctionThrottleAlarm",
        both(
            measured("Throttles", *[6.0] * 3, FunctionName="OrderApiFunction"),
            measured("Throttles", *[5.0] * 3, FunctionName="BalanceCheckerFunction"),
        ),
        measured("Throttles", *[10.0] * 5, FunctionName="OrderApiFunction"),
    ),
    by_aws(
        "TableThrottleAlarm",
        both(
            measured("WriteThrottleEvents", *[60.0] * 3, space="DynamoDB", TableName="StockTable"),
            measured("ReadThrottleEvents", *[41.0] * 3, space="DynamoDB", TableName="OrderTable"),
        ),
        measured("WriteThrottleEvents", *[100.0] * 5, space="DynamoDB", TableName="StockTable"),
    ),
    by_aws("TableSaturationAlarm", written(0.8), written(0.79)),
    by_aws("ConflictAlarm", conflicts(201, 200), conflicts(200, 200)),
    # Dead letters
    *[
        of_queue(channel.resource, channel.function)
        for channel in CHANNELS
        if channel.kind is ChannelKind.QUEUE and channel.own_dead_letters
    ],
    *[
        Case((f"{channel.resource}DlqAlarm",), undelivered(f"{channel.resource}Dlq"), sold)
        for channel in CHANNELS
        if channel.kind is ChannelKind.TOPIC
    ],
    Case(("ChangePublisherDlqAlarm",), stored("OrderTable", BAD_ORDER), sold),
    Case(("LedgerPublisherDlqAlarm",), stored("AccountTable", BAD_BALANCE), sold),
    Case(("HistoryProjectorDlqAlarm",), stored("AccountTable", BAD_BALANCE), sold),
    Case(("OrderDlqAlarm",), more_dead_letters, old_dead_letters),
    # Age
    *[Case((f"{name}AgeAlarm",), waits(f"{name}Queue", 6), waited(f"{name}Queue", 3)) for name in QUEUES],
    Case(("ReportAgeAlarm",), waits("ReportQueue", 6), waited("ReportQueue", 3)),
    *[Case((f"{name}AgeAlarm",), waits(f"{name}Queue", 24), waited(f"{name}Queue", 16)) for name in DELAYED],
    *[
        by_aws(
            f"{name}AgeAlarm",
            measured("IteratorAge", *[120_000.0] * 3, FunctionName=f"{name}Function"),
            measured("IteratorAge", 119_999.0, *[120_000.0] * 2, FunctionName=f"{name}Function"),
        )
        for name in STREAMS
    ],
    # Lambda
    *[
        by_aws(
            f"{name}LoopAlarm",
            measured("RecursiveInvocationsDropped", 1.0, FunctionName=f"{name}Function"),
            measured("RecursiveInvocationsDropped", 0.0, FunctionName=f"{name}Function"),
        )
        for name in LOOPS
    ],
    *[
        by_aws(
            f"{name}ErrorAlarm",
            measured("Errors", 1.0, **of_version(name, "new")),
            both(
                measured("Errors", 0.0, **of_version(name, "new")),
                measured("Errors", 1.0, **of_version(name, "old")),  # which is not a fault of the release
            ),
        )
        for name in ERRORS
    ],
    by_aws(
        "OrdersStuckAlarm",
        measured("IteratorAge", *[120_000.0] * 3, FunctionName="ChangePublisherFunction"),
        measured("IteratorAge", *[120_000.0] * 3, FunctionName="LedgerPublisherFunction"),
    ),
]


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    if request.node.callspec.params["case"].by_aws:
        return World(None, str, passed=3600.0)
    pipeline = request.getfixturevalue("pipeline")
    capsys = request.getfixturevalue("capsys")
    metrics._made.cache_clear()
    shop = Shop(pipeline)
    shop.open({"alice": 1000}, {"pen": 1000})
    pipeline.run()
    capsys.readouterr()
    # Begin with a period, so that minutes and periods coincide.
    pipeline.wait(5 * MINUTE - timestamp(pipeline) % (5 * MINUTE))
    return World(shop, lambda: capsys.readouterr().out)


def ids_of(case: Case) -> str:
    return "+".join(case.alarms)


@pytest.mark.parametrize("case", CASES, ids=ids_of)
def test_it_is_raised(world: World, case: Case) -> None:
    # given: nothing is wrong
    assert {state for name in case.alarms for state in world.states(name)} == {OK}
    # when
    case.raises(world)
    # then
    assert {name: world.states(name) for name in case.alarms} == {name: {ALARM} for name in case.alarms}


@pytest.mark.parametrize("case", CASES, ids=ids_of)
def test_by_less_it_is_not(world: World, case: Case) -> None:
    case.does_not(world)

    assert {name: world.states(name) for name in case.alarms} == {name: {OK} for name in case.alarms}


def with_another_metric(alarm: dict[str, Any]) -> None:
    metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    for metric in metrics or [alarm]:
        metric["MetricName"] = "Mistyped"


def with_a_higher_threshold(alarm: dict[str, Any]) -> None:
    alarm["Threshold"] = float(alarm["Threshold"]) * 1.2 + 0.01


def with_no_threshold(alarm: dict[str, Any]) -> None:
    alarm["Threshold"] = -1


@pytest.mark.parametrize("broken", [with_another_metric, with_a_higher_threshold, with_no_threshold])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.by_aws and case.alarms != ("OrdersStuckAlarm",)], ids=ids_of
)
def test_a_broken_alarm_is_noticed(case: Case, broken: Callable[[dict[str, Any]], None]) -> None:
    """Without this, the cases would prove nothing."""
    # given
    template = deepcopy(TEMPLATE)
    broken(template["Resources"][case.alarms[0]]["Properties"])
    raised, quiet = (World(None, str, passed=3600.0, template=template) for _ in range(2))
    # when
    case.raises(raised)
    case.does_not(quiet)
    # then
    assert (raised.states(case.alarms[0]), quiet.states(case.alarms[0])) != ({ALARM}, {OK})


def test_every_alarm_has_been_raised() -> None:
    assert {name for case in CASES for name in case.alarms} == RAISED


def test_every_metric_that_only_aws_makes_is_said_to_be() -> None:
    """A case with our own metrics or queues must produce them, not set them."""
    of_ours = {
        name
        for name, alarm in of_type(TEMPLATE, "AWS::CloudWatch::Alarm").items()
        if "OrderCapture" in json.dumps(alarm)
    }
    assert not {name for case in CASES if case.by_aws for name in case.alarms} & of_ours


def test_who_is_paged_and_who_is_told() -> None:
    """Symptoms page, everything else waits for the morning; alarms that stop a release notify nobody."""
    actions = {name: TEMPLATE["Resources"][name]["Properties"].get("AlarmActions", []) for name in RAISED}
    assert {name for name in RAISED if actions[name] == [{"Ref": "PageTopic"}]} == {
        *of_type(TEMPLATE, "AWS::CloudWatch::CompositeAlarm")
    }
    assert {name for name in RAISED if not actions[name]} == {
        "OrderDlqAlarm",
        *(f"{name}ErrorAlarm" for name in ERRORS),
    }
    others = [each for each in actions.values() if each and each != [{"Ref": "PageTopic"}]]
    assert others
    assert all(each == [{"Ref": "AlarmTopic"}] for each in others)


MEASURED_BY_AWS = [case for case in CASES if case.by_aws]


@pytest.mark.parametrize("case", MEASURED_BY_AWS, ids=ids_of)
def test_when_it_is_over_it_is_ok_again(world: World, case: Case) -> None:
    """Also without data, where the alarm would keep its state, as DynamoDB's do."""
    case.raises(world)
    world.minutes(30)

    after = {world.alarms(fills_empty=True).state(name, world.now, before=ALARM) for name in case.alarms}

    # but without any writes there is no data to compare with the limit
    assert after == ({ALARM} if case.alarms == ("TableSaturationAlarm",) else {OK})


class TestEvaluation:
    """The tables of "Configuring how CloudWatch alarms treat missing data"."""

    THREE_OF_THREE = (
        ("0-X-X", OK, OK, OK),
        ("0----", OK, OK, OK),
        ("-----", None, ALARM, OK),
        ("0XX-X", ALARM, ALARM, ALARM),
        ("--X--", None, ALARM, OK),
    )
    TWO_OF_THREE = (
        ("0-X-X", ALARM, ALARM, ALARM),
        ("00X0X", ALARM, ALARM, ALARM),
        ("0-X--", OK, ALARM, OK),
        ("----0", OK, ALARM, OK),
        ("---X-", None, ALARM, OK),
    )

    @pytest.mark.parametrize("before", [OK, ALARM])
    @pytest.mark.parametrize(
        ("to_alarm", "row"),
        [*((3, row) for row in THREE_OF_THREE), *((2, row) for row in TWO_OF_THREE)],
        ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
    )
    def test_it_is_that_of_cloudwatch(
        self, to_alarm: int, row: tuple[str, str | None, str, str], before: str
    ) -> None:
        points, ignore, breaching, not_breaching = row
        values = [{"0": 0.0, "X": 1.0, "-": None}[each] for each in points]

        def state(missing: str) -> str:
            return judge(values, lambda value, of: value > of, 0.5, 3, to_alarm, missing, before)

        assert state("ignore") == (ignore or before)
        assert state("breaching") == breaching
        assert state("notBreaching") == not_breaching

    def test_what_it_does_not_know_it_does_not_judge(self) -> None:
        with pytest.raises(ValueError, match="'missing'"):
            judge([None], lambda value, of: value > of, 0, 1, 1, "missing")
