"""The rules for template.yaml on AWS, and what each reports for a template that breaks it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from order_capture.adapters.aws_clients import WORST_CALL_SECONDS
from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.application.channels import CHANNELS, ChannelKind, resource_name
from order_capture.domain.webhooks import Lane
from tests.support.template import Template, functions, of_type, refers_to, statements
from tests.template.rulebook import (
    Rulebook,
    changing,
    changing_policy,
    setting,
    with_attributes,
    with_event,
    with_statement,
    with_variables,
    without,
    without_resource,
)

RULES = Rulebook()
rule, broken_by = RULES.rule, RULES.broken_by

# The calls of each function's code, besides writing its own log: its role may allow only these. They are by
# resource, so that a grant on one table does not count for another.
READ_AND_WRITE = {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
READ_STREAM = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"}
CONSUME = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
CONSUME_AND_RETURN = CONSUME | {"sqs:ChangeMessageVisibility"}
LEDGER = READ_AND_WRITE | {"dynamodb:BatchGetItem"}
SUBSCRIBE = {"dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:UpdateItem"}
DEPLOYMENTS = (
    "arn:${AWS::Partition}:codedeploy:${AWS::Region}:${AWS::AccountId}:deploymentgroup:"
    "${ServerlessDeploymentApplication}/*"
)
NEEDED: dict[str, dict[str, set[str]]] = {
    "OrderApiFunction": {
        "OrderTable": READ_AND_WRITE | {"dynamodb:BatchGetItem"},
        "${OrderTable.Arn}/index/CustomerIndex": {"dynamodb:Query"},
        "OrderTopic": {"sns:Publish"},
        "ReportTable": {"dynamodb:GetItem"},
        "${ReportTable.Arn}/index/ListIndex": {"dynamodb:Query"},
    },
    "OrderReaderFunction": {"OrderTable": {"dynamodb:GetItem"}},
    "AccountApiFunction": {
        "AccountTable": LEDGER,
        "${AccountTable.Arn}/index/ListIndex": {"dynamodb:Query"},
        "HistoryTable": {"dynamodb:Query"},
    },
    "StockApiFunction": {
        "StockTable": LEDGER,
        "${StockTable.Arn}/index/ListIndex": {"dynamodb:Query"},
        "HistoryTable": {"dynamodb:Query"},
    },
    "BalanceCheckerFunction": {
        "AccountTable": LEDGER,
        "StockTable": {"dynamodb:BatchGetItem"},
        "OrderUpdateQueue": {"sqs:SendMessage"},
        "BalanceCheckerQueue": CONSUME_AND_RETURN,
    },
    "StockCheckerFunction": {
        "StockTable": LEDGER,
        "AccountTable": {"dynamodb:BatchGetItem"},
        "OrderUpdateQueue": {"sqs:SendMessage"},
        "StockCheckerQueue": CONSUME_AND_RETURN,
    },
    "OrderUpdateFunction": {
        "OrderTable": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"},
        "AccountTable": {"dynamodb:BatchGetItem"},
        "StockTable": {"dynamodb:BatchGetItem"},
        "OrderTopic": {"sns:Publish"},
        "ShipOrderQueue": {"sqs:SendMessage"},
        "OrderUpdateQueue": CONSUME_AND_RETURN,
    },
    "ShipOrderFunction": {
        "OrderTable": {"dynamodb:UpdateItem"},
        "AccountTable": {"dynamodb:BatchGetItem", "dynamodb:UpdateItem"},
        "StockTable": {"dynamodb:BatchGetItem", "dynamodb:UpdateItem"},
        "ShipOrderQueue": CONSUME_AND_RETURN,
    },
    "HistoryProjectorFunction": {
        "AccountTable.StreamArn": READ_STREAM,
        "StockTable.StreamArn": READ_STREAM,
        "*": {"dynamodb:ListStreams"},  # it is of no resource
        "HistoryTable": {"dynamodb:BatchWriteItem"},
        "HistoryProjectorDlq": {"sqs:SendMessage"},
    },
    "ChangePublisherFunction": {
        "OrderTable.StreamArn": READ_STREAM,
        "*": {"dynamodb:ListStreams"},  # it is of no resource
        "WebhookTable": {"dynamodb:GetItem"},
        "ConnectionTable": {"dynamodb:GetItem"},
        "OrderEventTopic": {"sns:Publish"},
        "OrderWatchQueue": {"sqs:SendMessage"},
        "ChangePublisherDlq": {"sqs:SendMessage"},
    },
    "LedgerPublisherFunction": {
        "AccountTable.StreamArn": READ_STREAM,
        "StockTable.StreamArn": READ_STREAM,
        "*": {"dynamodb:ListStreams"},  # it is of no resource
        "AccountTable": {"dynamodb:BatchGetItem", "dynamodb:GetItem"},
        "StockTable": {"dynamodb:BatchGetItem", "dynamodb:GetItem"},
        "AccountTopic": {"sns:Publish"},
        "StockTopic": {"sns:Publish"},
        "LedgerPublisherDlq": {"sqs:SendMessage"},
    },
    "OrderWatchdogFunction": {
        "OrderTable": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"},
        "OrderTopic": {"sns:Publish"},
        "ShipOrderQueue": {"sqs:SendMessage"},
        "OrderWatchQueue": CONSUME | {"sqs:SendMessage"},
    },
    "WebhookApiFunction": {
        "WebhookTable": READ_AND_WRITE | {"dynamodb:DeleteItem", "dynamodb:Query"},
        "WebhookSenderQueue": {"sqs:SendMessage"},
    },
    "WebhookDispatcherFunction": {
        "WebhookTable": READ_AND_WRITE | {"dynamodb:Query"},
        "WebhookSenderQueue": {"sqs:SendMessage"},
        "WebhookSlowQueue": {"sqs:SendMessage"},
        "WebhookDispatcherQueue": CONSUME,
    },
    "WebhookSenderFunction": {
        "WebhookTable": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "WebhookSenderQueue": CONSUME | {"sqs:SendMessage"},
        "WebhookSlowQueue": CONSUME | {"sqs:SendMessage"},
        "WebhookSenderDlq": {"sqs:SendMessage"},
    },
    "SocketAuthorizerFunction": {},
    "SocketApiFunction": {
        "OrderTable": {"dynamodb:GetItem"},
        "ConnectionTable": SUBSCRIBE,
    },
    "SocketPusherFunction": {
        "ConnectionTable": SUBSCRIBE,
        "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${SocketApi}/${StageName}"
        "/POST/@connections/*": {"execute-api:ManageConnections"},
        "SocketPusherQueue": CONSUME,
    },
    "ReportProjectorFunction": {
        "ReportTable": READ_AND_WRITE | {"dynamodb:Query"},
        "ReportQueue": CONSUME,
    },
    "ReportsApiFunction": {"ReportTable": {"dynamodb:GetItem", "dynamodb:Query"}},
    "OperationsApiFunction": {
        "AWS::StackId": {"cloudformation:DescribeStacks"},
        "*": {"cloudwatch:GetMetricData"},  # it is of no resource
        "OrderTable": {"dynamodb:BatchGetItem"},
        "${OrderTable.Arn}/index/OpenIndex": {"dynamodb:Query"},
        "AccountTable": {"dynamodb:BatchGetItem"},
        "StockTable": {"dynamodb:BatchGetItem"},
        **{
            f"{channel.resource}Queue": {"sqs:GetQueueAttributes"}
            | ({"sqs:SendMessage"} if channel.own_dead_letters else set())
            for channel in CHANNELS
            if channel.kind is ChannelKind.QUEUE
        },
        **{
            f"{channel.resource}Dlq": CONSUME_AND_RETURN
            - (set() if channel.redrivable else {"sqs:DeleteMessage"})
            for channel in CHANNELS
            if channel.own_dead_letters
        },
        **{
            f"{resource_name(channel.function)}LogGroup": {"logs:FilterLogEvents"}
            for channel in CHANNELS
            if channel.redrivable and channel.function
        },
    },
    "ConsoleFunction": {},
}
NEEDED["SmokeTestFunction"] = {
    **{f"${{{name}.Arn}}:*": {"lambda:InvokeFunction"} for name in NEEDED},
    DEPLOYMENTS: {"codedeploy:GetDeployment", "codedeploy:PutLifecycleEventHookExecutionStatus"},
}
# Queues whose messages are delayed on purpose.
DELAYED = {"OrderWatchQueue", "WebhookSenderQueue", "WebhookSlowQueue"}
# Each message waits for an external server, and must not wait for another message's.
ONE_BY_ONE = {"WebhookSenderFunction"}
# Neither orders nor clients wait for these functions.
NOBODY_WAITS = {"ReportProjectorFunction", "ShipOrderFunction"}
FOURTEEN_DAYS = 14 * 24 * 60 * 60
SECONDS_TO_ANSWER = 1
# The sequential calls to AWS for a full batch of a stream's records: ten messages, or 25 items, in each. The
# subscribers of the events are read in two.
CALLS_OF_A_BATCH = {
    "ChangePublisherFunction": 22,
    "LedgerPublisherFunction": 10,
    "HistoryProjectorFunction": 4,
}
CALL_SECONDS = 0.015
SHARD_WRITES = 1_000  # a second: what DynamoDB writes to one partition
STREAM_KEEPS = 24 * 60 * 60  # seconds, DynamoDB's own
TRACING = {  # X-Ray knows no resources to narrow these actions to
    "Fn::If": [
        "IsTraced",
        {"Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": "*"},
        {"Ref": "AWS::NoValue"},
    ]
}
# Kept when the stack is deleted, but not when its first deployment fails.
KEPT = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
NO_PLAIN_TEXT = {"Bool": {"aws:SecureTransport": "false"}}


PAGE = {
    "Fn::If": [
        "HasDomainNames",
        {"Fn::Sub": "https://${ApiDomainName}/console"},
        {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/${StageName}/console"},
    ]
}
EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}


# --------------------------------------------------------------------------------------------- finding things
def as_list(value: Any) -> list[Any]:
    """A value as a list: IAM allows a single value in place of a list of one."""
    return value if isinstance(value, list) else [value]


def queue_events(template: Template) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each function with a queue: its name, the queue's, the event's properties."""
    for name, function in functions(template).items():
        for event in function.get("Events", {}).values():
            if event["Type"] == "SQS":
                yield name, refers_to(event["Properties"]["Queue"]) or "?", event["Properties"]


def stream_events(template: Template) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each function with a table's stream: its name, the table's, the event's properties."""
    for name, function in functions(template).items():
        for event in function.get("Events", {}).values():
            if event["Type"] == "DynamoDB":
                yield name, refers_to(event["Properties"]["Stream"]) or "?", event["Properties"]


def dead_letter_queue(queue: dict[str, Any]) -> str | None:
    """The name of a queue's dead-letter queue."""
    return refers_to(queue.get("RedrivePolicy", {}).get("deadLetterTargetArn"))


def resource_policies(template: Template, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement in the policies of queues ("SQS::Queue") or topics ("SNS::Topic"), with its subject."""
    attached = "Queues" if kind == "SQS::Queue" else "Topics"
    for name, policy in of_type(template, f"AWS::{kind}Policy").items():
        if template["Resources"][name].get("Condition", "OnAws") != "OnAws":
            continue
        for target in policy[attached]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield refers_to(target) or "?", statement


def alarmed(template: Template, metric: str) -> set[str | None]:
    """The queues or functions with an alarm on this metric that notifies the alarm topic."""
    return {
        refers_to(dimension["Value"])
        for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == metric and {"Ref": "AlarmTopic"} in alarm.get("AlarmActions", [])
        for dimension in alarm["Dimensions"]
    }


def walk(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a part of the template, with its path."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from walk(inner, f"{path}.{key}" if path else str(key))
        case list():
            for inner in value:
                yield from walk(inner, path)
        case str():
            yield path, value


# ----------------------------------------------------------------------------------------------------- queues
@rule
@broken_by(without("ShipOrderQueue", "RedrivePolicy"), "ShipOrderQueue has no dead-letter queue")
@broken_by(without_resource("ShipOrderDlq"), "ShipOrderQueue has no dead-letter queue")
@broken_by(
    changing("ShipOrderQueue", lambda p: p["RedrivePolicy"].update(maxReceiveCount=4)),
    "ShipOrderQueue gives up before five tries",
)
@broken_by(
    setting("ShipOrderDlq", MessageRetentionPeriod=60), "ShipOrderDlq forgets sooner than ShipOrderQueue"
)
def a_queue_that_feeds_a_function_has_a_dead_letter_queue(template: Template) -> Iterator[str]:
    queues = of_type(template, "AWS::SQS::Queue")
    for _, name, _ in queue_events(template):
        dlq = dead_letter_queue(queues[name])
        if dlq not in queues:
            yield f"{name} has no dead-letter queue"
        elif queues[name]["RedrivePolicy"]["maxReceiveCount"] < 5:
            yield f"{name} gives up before five tries"
        elif queues[dlq].get("MessageRetentionPeriod", 0) < queues[name].get("MessageRetentionPeriod", 0):
            yield f"{dlq} forgets sooner than {name}"


@rule
@broken_by(
    without("OrderUpdateDlq", "RedriveAllowPolicy"),
    "OrderUpdateDlq takes dead letters of others than OrderUpdateQueue",
)
@broken_by(
    setting("OrderUpdateQueue", QueueName={"Fn::Sub": "${AWS::StackName}-renamed"}),
    "OrderUpdateDlq takes dead letters of others than OrderUpdateQueue",
)
@broken_by(
    setting("WebhookSlowQueue", QueueName={"Fn::Sub": "${AWS::StackName}-renamed"}),
    "WebhookSenderDlq takes dead letters of others than WebhookSenderQueue and WebhookSlowQueue",
)
def a_dead_letter_queue_takes_from_the_queues_of_its_function_only(template: Template) -> Iterator[str]:
    queues = of_type(template, "AWS::SQS::Queue")
    sources: dict[str, list[tuple[str, str]]] = {}
    for function, name, _ in queue_events(template):
        sources.setdefault(dead_letter_queue(queues[name]) or "?", []).append((function, name))
    for dlq, fed in sources.items():
        names = " and ".join(name for _, name in fed)
        allowed = queues.get(dlq, {}).get("RedriveAllowPolicy", {})
        own_arns = [
            {
                "Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:"
                + str(queues[name].get("QueueName", {}).get("Fn::Sub"))
            }
            for _, name in fed
        ]
        if allowed != {"redrivePermission": "byQueue", "sourceQueueArns": own_arns}:
            yield f"{dlq} takes dead letters of others than {names}"
        if len({function for function, _ in fed}) > 1:
            yield f"{dlq} has dead letters of several functions: {names}"


@rule
@broken_by(
    with_event("WebhookSenderFunction", Queue={"Fn::GetAtt": ["WebhookSlowQueue", "Arn"]}),
    "the lanes of webhooks have not a queue each",
)
@broken_by(
    with_event("WebhookSenderFunction", ScalingConfig={}),
    "WebhookSenderQueue may take up every copy that Lambda has",
)
def the_lanes_of_webhooks_take_no_senders_from_each_other(template: Template) -> Iterator[str]:
    lanes = [event for function, _, event in queue_events(template) if function in ONE_BY_ONE]
    if len({refers_to(event["Queue"]) for event in lanes}) != len(Lane):
        yield "the lanes of webhooks have not a queue each"
    for event in lanes:
        if not event.get("ScalingConfig", {}).get("MaximumConcurrency"):
            yield f"{refers_to(event['Queue'])} may take up every copy that Lambda has"


@rule
@broken_by(
    setting("StockCheckerQueue", VisibilityTimeout=59),
    "StockCheckerQueue shows a message again before six timeouts of StockCheckerFunction",
)
@broken_by(
    setting("StockCheckerFunction", Timeout=11),
    "StockCheckerQueue shows a message again before six timeouts of StockCheckerFunction",
)
@broken_by(
    with_event("ReportProjectorFunction", MaximumBatchingWindowInSeconds=11),
    "ReportQueue shows a message again before six timeouts of ReportProjectorFunction",
)
def a_message_stays_hidden_for_six_timeouts_of_its_function(template: Template) -> Iterator[str]:
    queues = of_type(template, "AWS::SQS::Queue")
    for function, name, event in queue_events(template):
        # It is hidden from its receive on, also while it waits for the window to end.
        hidden = 6 * functions(template)[function]["Timeout"] + event.get("MaximumBatchingWindowInSeconds", 0)
        if queues[name].get("VisibilityTimeout", 30) < hidden:
            yield f"{name} shows a message again before six timeouts of {function}"


@rule
@broken_by(
    with_event("OrderUpdateFunction", FunctionResponseTypes=[]),
    "OrderUpdateFunction does not report the failures of a batch one by one",
)
def a_bad_message_fails_alone(template: Template) -> Iterator[str]:
    for function, _, event in queue_events(template):
        if event.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{function} does not report the failures of a batch one by one"


@rule
@broken_by(
    with_event("OrderUpdateFunction", BatchSize=1), "OrderUpdateFunction has another batch than ten at once"
)
@broken_by(
    with_event("OrderUpdateFunction", MaximumBatchingWindowInSeconds=1),
    "OrderUpdateFunction has another batch than ten at once",
)
@broken_by(
    with_event("WebhookSenderFunction", BatchSize=10),
    "WebhookSenderFunction makes one receiver wait for another",
)
@broken_by(
    with_event("ReportProjectorFunction", MaximumBatchingWindowInSeconds=0),
    "ReportProjectorFunction pays for each event what all of a window cost together",
)
def a_batch_is_ten_messages_and_never_waited_for(template: Template) -> Iterator[str]:
    for function, _, event in queue_events(template):
        if function in ONE_BY_ONE:
            if event.get("BatchSize") != 1:
                yield f"{function} makes one receiver wait for another"
        elif function in NOBODY_WAITS:
            # More than ten at once need a window (Lambda API reference, CreateEventSourceMapping: BatchSize).
            if event.get("BatchSize", 10) <= 10 or not event.get("MaximumBatchingWindowInSeconds", 0):
                yield f"{function} pays for each event what all of a window cost together"
        elif event.get("BatchSize") != 10 or event.get("MaximumBatchingWindowInSeconds", 0):
            yield f"{function} has another batch than ten at once"


@rule
@broken_by(without("BalanceCheckerDlq", "SqsManagedSseEnabled"), "BalanceCheckerDlq is not encrypted")
@broken_by(
    without("BalanceCheckerQueue", "MessageRetentionPeriod"),
    "BalanceCheckerQueue does not keep messages for fourteen days",
)
def a_queue_is_encrypted_and_keeps_messages_as_long_as_it_can(template: Template) -> Iterator[str]:
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{name} is not encrypted"
        if queue.get("MessageRetentionPeriod") != FOURTEEN_DAYS:
            yield f"{name} does not keep messages for fourteen days"


@rule
@broken_by(
    without("StockCheckerSubscription", "RawMessageDelivery"), "StockCheckerSubscription wraps the message"
)
@broken_by(
    without("StockCheckerSubscription", "FilterPolicy"),
    "StockCheckerSubscription takes messages of every type",
)
@broken_by(
    without("StockCheckerSubscription", "RedrivePolicy"),
    "StockCheckerSubscription drops what it cannot deliver",
)
def a_subscription_delivers_raw_filtered_and_loses_nothing(template: Template) -> Iterator[str]:
    queues = of_type(template, "AWS::SQS::Queue")
    for name, subscription in of_type(template, "AWS::SNS::Subscription").items():
        if subscription["Protocol"] != "sqs":
            continue
        if subscription.get("RawMessageDelivery") is not True:
            yield f"{name} wraps the message"
        if not subscription.get("FilterPolicy", {}).get("type"):
            yield f"{name} takes messages of every type"
        if dead_letter_queue(subscription) not in queues:
            yield f"{name} drops what it cannot deliver"


# ---------------------------------------------------------------------------------------------------- streams
@rule
@broken_by(without("OrderTable", "StreamSpecification"), "OrderTable has no stream of new and old images")
@broken_by(
    with_event("ChangePublisherFunction", "Stream", StartingPosition="LATEST"),
    "ChangePublisherFunction misses what was there before it",
)
@broken_by(
    with_event("ChangePublisherFunction", "Stream", BisectBatchOnFunctionError=False),
    "ChangePublisherFunction gives up a whole batch for one bad record",
)
@broken_by(
    with_event("ChangePublisherFunction", "Stream", MaximumRetryAttempts=3),
    "ChangePublisherFunction does not try for as long as the stream leaves time to put it right",
)
@broken_by(
    with_event("ChangePublisherFunction", "Stream", MaximumRecordAgeInSeconds=604800),
    "ChangePublisherFunction does not try for as long as the stream leaves time to put it right",
)
@broken_by(
    with_event("ChangePublisherFunction", "Stream", DestinationConfig={}),
    "ChangePublisherFunction drops what it gives up",
)
@broken_by(
    with_variables("LedgerPublisherFunction", DEAD_LETTER_QUEUE_URL={"Ref": "ChangePublisherDlq"}),
    "LedgerPublisherFunction has nowhere to put what it can't read",
)
def a_stream_is_read_from_its_beginning_and_loses_nothing(template: Template) -> Iterator[str]:
    tables, queues = of_type(template, "AWS::DynamoDB::Table"), of_type(template, "AWS::SQS::Queue")
    for function, table, event in stream_events(template):
        if tables[table].get("StreamSpecification") != {"StreamViewType": "NEW_AND_OLD_IMAGES"}:
            yield f"{table} has no stream of new and old images"
        if event.get("StartingPosition") != "TRIM_HORIZON":
            yield f"{function} misses what was there before it"
        if event.get("BisectBatchOnFunctionError") is not True:
            yield f"{function} gives up a whole batch for one bad record"
        if (
            "MaximumRetryAttempts" in event
            or not 0 < event.get("MaximumRecordAgeInSeconds", 0) < STREAM_KEEPS
        ):
            yield f"{function} does not try for as long as the stream leaves time to put it right"
        dead_letters = refers_to(event.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        if dead_letters not in queues:
            yield f"{function} drops what it gives up"
        variables = functions(template)[function]["Environment"]["Variables"]
        if variables.get("DEAD_LETTER_QUEUE_URL") != {"Ref": dead_letters}:
            yield f"{function} has nowhere to put what it can't read"


@rule
@broken_by(
    with_event("ChangePublisherFunction", "Stream", ParallelizationFactor=1),
    "ChangePublisherFunction falls behind a shard of OrderTable that takes all the writes it can",
)
def a_stream_is_read_as_fast_as_it_can_be_written(template: Template) -> Iterator[str]:
    for function, table, event in stream_events(template):
        seconds = CALLS_OF_A_BATCH[function] * CALL_SECONDS
        records = event["BatchSize"] * event.get("ParallelizationFactor", 1) / seconds
        if records < SHARD_WRITES:
            yield f"{function} falls behind a shard of {table} that takes all the writes it can"


@rule
@broken_by(
    without_resource("ChangePublisherAgeAlarm"), "no alarm for old records before ChangePublisherFunction"
)
def old_records_of_a_stream_raise_an_alarm(template: Template) -> Iterator[str]:
    for function, _, _ in stream_events(template):
        if function not in alarmed(template, "IteratorAge"):
            yield f"no alarm for old records before {function}"


# --------------------------------------------------------------------------------------------------- timeouts
@rule
@broken_by(
    setting("ShipOrderFunction", Timeout=7), "ShipOrderFunction ends before one call to AWS has failed"
)
def a_call_to_aws_fails_before_its_function_does(template: Template) -> Iterator[str]:
    """So the function itself reports the failed messages, and processes the rest of its batch."""
    for name, function in functions(template).items():
        if function["Timeout"] < WORST_CALL_SECONDS + SECONDS_TO_ANSWER:
            yield f"{name} ends before one call to AWS has failed"


# ------------------------------------------------------------------------------------------------------ loops
def messages_lead_to(template: Template) -> dict[str, set[str]]:
    """The targets of each queue, topic and function: the paths on which a message may return.

    Lambda counts how often a message, or one that it caused, has reached the same function
    through SQS, SNS and Lambda ("Use Lambda recursive loop detection to prevent infinite loops"). It does not
    follow changes through a table's stream.
    """
    leads: dict[str, set[str]] = {}
    for function, queue, _ in queue_events(template):
        leads.setdefault(queue, set()).add(function)
    for subscription in of_type(template, "AWS::SNS::Subscription").values():
        leads.setdefault(refers_to(subscription["TopicArn"]) or "?", set()).add(
            refers_to(subscription["Endpoint"]) or "?"
        )
    roles = of_type(template, "AWS::IAM::Role")
    for function, properties in functions(template).items():
        for statement in statements(roles.get(refers_to(properties.get("Role")) or "?", {})):
            if {"sqs:SendMessage", "sns:Publish", "lambda:InvokeFunction"} & {*as_list(statement["Action"])}:
                for resource in as_list(statement["Resource"]):
                    leads.setdefault(function, set()).add(refers_to(resource) or str(resource))
    return leads


def in_a_loop(template: Template) -> set[str]:
    """The functions that a message may reach again through the messages that it causes."""
    leads = messages_lead_to(template)
    looping = set()
    for function in functions(template):
        reached: set[str] = set()
        waiting = [*leads.get(function, ())]
        while waiting:
            place = waiting.pop()
            if place not in reached:
                reached.add(place)
                waiting += leads.get(place, ())
        if function in reached:
            looping.add(function)
    return looping


@rule
@broken_by(
    without("OrderWatchdogFunction", "RecursiveLoop"),
    "OrderWatchdogFunction is ended by Lambda when a message has come back to it 16 times",
)
@broken_by(
    setting("OrderUpdateFunction", RecursiveLoop="Terminate"),
    "OrderUpdateFunction is ended by Lambda when a message has come back to it 16 times",
)
@broken_by(
    with_statement("ShipOrderRole", 1, Action="sqs:SendMessage", Resource={"Ref": "OrderWatchQueue"}),
    "ShipOrderFunction is ended by Lambda when a message has come back to it 16 times",
)
@broken_by(
    setting("ReportProjectorFunction", RecursiveLoop="Allow"),
    "ReportProjectorFunction may loop, and no message of its own comes back to it",
)
def a_loop_is_allowed_where_there_is_one_and_nowhere_else(template: Template) -> Iterator[str]:
    looping = in_a_loop(template)
    for name, function in functions(template).items():
        allowed = function.get("RecursiveLoop", "Terminate") == "Allow"
        if name in looping and not allowed:
            yield f"{name} is ended by Lambda when a message has come back to it 16 times"
        if allowed and name not in looping:
            yield f"{name} may loop, and no message of its own comes back to it"


@rule
@broken_by(
    without_resource("StockCheckerLoopAlarm"), "no alarm for messages dropped before StockCheckerFunction"
)
@broken_by(
    setting("WebhookSenderLoopAlarm", AlarmActions=[]),
    "no alarm for messages dropped before WebhookSenderFunction",
)
def what_lambda_drops_as_a_loop_raises_an_alarm(template: Template) -> Iterator[str]:
    for name in sorted(in_a_loop(template) - alarmed(template, "RecursiveInvocationsDropped")):
        yield f"no alarm for messages dropped before {name}"


# ----------------------------------------------------------------------------------------------------- alarms
@rule
@broken_by(
    setting("OrderWatchAgeAlarm", Threshold={"Ref": "OldestMessageAlarmSeconds"}),
    "OrderWatchAgeAlarm rings for messages that are not due",
)
def the_age_of_a_delayed_message_alone_raises_no_alarm(template: Template) -> Iterator[str]:
    """Messages of some queues are delayed by up to 15 minutes on purpose."""
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        for dimension in alarm.get("Dimensions", []):
            delayed = refers_to(dimension["Value"]) in DELAYED
            if delayed and not (
                isinstance(alarm["Threshold"], int) and alarm["Threshold"] > MAX_DELAY_SECONDS
            ):
                yield f"{name} rings for messages that are not due"


@rule
@broken_by(
    without_resource("ChangePublisherDlqAlarm"),
    "no alarm for ChangePublisherDlq's ApproximateNumberOfMessagesVisible",
)
@broken_by(
    without_resource("ShipOrderDlqAlarm"), "no alarm for ShipOrderDlq's ApproximateNumberOfMessagesVisible"
)
@broken_by(
    setting("ShipOrderAgeAlarm", AlarmActions=[]),
    "no alarm for ShipOrderQueue's ApproximateAgeOfOldestMessage",
)
def dead_letters_and_old_messages_raise_an_alarm(template: Template) -> Iterator[str]:
    fed = {name for _, name, _ in queue_events(template)}
    for name in of_type(template, "AWS::SQS::Queue"):
        metric = "ApproximateAgeOfOldestMessage" if name in fed else "ApproximateNumberOfMessagesVisible"
        if name not in alarmed(template, metric):
            yield f"no alarm for {name}'s {metric}"


@rule
@broken_by(without_resource("ApiServerErrorAlarm"), "no alarm for the API's 5xx answers")
def server_errors_of_the_api_raise_an_alarm(template: Template) -> Iterator[str]:
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    if not any(
        a.get("MetricName") == "5XXError" and {"Ref": "AlarmTopic"} in a["AlarmActions"] for a in alarms
    ):
        yield "no alarm for the API's 5xx answers"


# ---------------------------------------------------------------------------------------------- authorization
@rule
@broken_by(without_resource("ShipOrderDlqPolicy"), "ShipOrderDlq may be used without TLS")
@broken_by(with_statement("OrderTopicPolicy", 0, Condition={}), "OrderTopic may be used without TLS")
@broken_by(
    with_statement("StockCheckerQueuePolicy", 0, Effect="Allow"), "StockCheckerQueue may be used without TLS"
)
@broken_by(
    lambda template: template["Parameters"]["Platform"].update(Default="local"),
    "TLS is not demanded unless somebody asks for it",
)
@broken_by(
    with_attributes("ShipOrderQueuePolicy", Condition="HasAlarmEmail"),
    "ShipOrderQueue may be used without TLS",
)
def queues_and_topics_refuse_plain_text(template: Template) -> Iterator[str]:
    for kind, actions in (("SQS::Queue", "sqs:*"), ("SNS::Topic", "sns:Publish")):
        refusing = {
            target
            for target, statement in resource_policies(template, kind)
            if (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", actions)
            and statement["Condition"] == NO_PLAIN_TEXT
            and refers_to(statement["Resource"]) == target
        }
        for name in of_type(template, f"AWS::{kind}"):
            if name not in refusing:
                yield f"{name} may be used without TLS"
    if template["Parameters"]["Platform"]["Default"] != "aws":
        yield "TLS is not demanded unless somebody asks for it"


@rule
@broken_by(
    with_statement("StockCheckerQueuePolicy", 1, Condition={}),
    "StockCheckerQueue lets in others than its topic",
)
@broken_by(
    changing_policy("ShipOrderQueuePolicy", lambda every: every.append(EVERYBODY)),
    "ShipOrderQueue lets in others than its topic",
)
@broken_by(
    changing_policy("StockCheckerQueuePolicy", lambda every: every.pop()),
    "StockCheckerQueue keeps its topic out",
)
def a_queue_lets_in_nobody_but_the_topic_it_is_for(template: Template) -> Iterator[str]:
    topics = {}
    for subscription in of_type(template, "AWS::SNS::Subscription").values():
        for queue in (refers_to(subscription["Endpoint"]), dead_letter_queue(subscription)):
            topics[queue] = subscription["TopicArn"]
    let_in = set()
    for queue, statement in resource_policies(template, "SQS::Queue"):
        if statement["Effect"] == "Allow":
            expected = {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": {"Fn::GetAtt": [queue, "Arn"]},
                "Condition": {"ArnEquals": {"aws:SourceArn": topics.get(queue)}},
            }
            let_in.add(queue)
            if {key: value for key, value in statement.items() if key != "Sid"} != expected:
                yield f"{queue} lets in others than its topic"
    for queue in of_type(template, "AWS::SQS::Queue").keys() & topics.keys() - let_in:
        yield f"{queue} keeps its topic out"


@rule
@broken_by(
    without("ShipOrderFunction", "Role"),
    "ShipOrderFunction has no role of its own: SAM would make one that allows too much",
)
@broken_by(
    setting("StockApiFunction", Role={"Fn::GetAtt": ["AccountApiRole", "Arn"]}),
    "StockApiFunction has the role of AccountApiFunction",
)
@broken_by(
    setting("OrderApiRole", ManagedPolicyArns=["arn:aws:iam::aws:policy/AmazonSNSFullAccess"]),
    "OrderApiRole has a policy that is not in this file",
)
@broken_by(
    changing(
        "OrderApiRole",
        lambda p: p["AssumeRolePolicyDocument"]["Statement"][0].update(Principal={"AWS": "*"}),
    ),
    "OrderApiRole may be assumed by others than Lambda",
)
@broken_by(
    with_statement("AccountApiRole", 1, Action="dynamodb:*"),
    "AccountApiRole allows dynamodb:* on AccountTable, which AccountApiFunction does not call",
)
@broken_by(
    with_statement("OrderApiRole", 3, Resource="*"),
    "OrderApiRole allows sns:Publish on *, which OrderApiFunction does not call",
)
@broken_by(
    with_statement("ShipOrderRole", 2, Resource={"Fn::GetAtt": ["OrderTable", "Arn"]}),
    "ShipOrderRole does not allow dynamodb:UpdateItem on StockTable, which ShipOrderFunction calls",
)
@broken_by(
    with_statement("ChangePublisherRole", 1, Resource={"Fn::GetAtt": ["OrderTable", "Arn"]}),
    "ChangePublisherRole does not allow dynamodb:GetRecords on OrderTable.StreamArn, which "
    "ChangePublisherFunction calls",
)
def each_function_has_a_role_with_what_it_calls_and_no_more(template: Template) -> Iterator[str]:
    roles = of_type(template, "AWS::IAM::Role")
    taken: dict[str, str] = {}
    for function, properties in functions(template).items():
        name = refers_to(properties.get("Role"))
        if name not in roles:
            yield f"{function} has no role of its own: SAM would make one that allows too much"
            continue
        if name in taken:
            yield f"{function} has the role of {taken[name]}"
        taken[name] = function
        role = roles[name]
        if role.get("ManagedPolicyArns"):
            yield f"{name} has a policy that is not in this file"
        trust = [(s["Principal"], s["Action"]) for s in role["AssumeRolePolicyDocument"]["Statement"]]
        if trust != [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]:
            yield f"{name} may be assumed by others than Lambda"
        allowed: dict[str, set[str]] = {}
        for statement in statements(role):
            for resource in as_list(statement["Resource"]):
                target = refers_to(resource) or str(resource)
                if isinstance(resource, dict):
                    target = resource.get("Fn::Sub", target)
                if resource == {"Fn::GetAtt": [target, "StreamArn"]}:
                    target += ".StreamArn"
                allowed.setdefault(target, set()).update(as_list(statement["Action"]))
        log_group = refers_to(properties["LoggingConfig"].get("LogGroup")) or "?"
        needed = {**NEEDED[function], log_group: {"logs:CreateLogStream", "logs:PutLogEvents"}}
        for resource in sorted(needed.keys() | allowed.keys()):
            for action in sorted(allowed.get(resource, set()) - needed.get(resource, set())):
                yield f"{name} allows {action} on {resource}, which {function} does not call"
            for action in sorted(needed.get(resource, set()) - allowed.get(resource, set())):
                yield f"{name} does not allow {action} on {resource}, which {function} calls"


@rule
@broken_by(
    with_statement("OperationsApiRole", 1, Resource=["*"] * 80),
    "OperationsApiRole may be longer than IAM takes",
)
def a_role_is_short_enough_for_iam(template: Template) -> Iterator[str]:
    """All inline policies of a role have 10,240 characters together, without whitespace.

    See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    longest_arn = 150  # of a log group or a table, whose names begin with the stack's
    for name, role in of_type(template, "AWS::IAM::Role").items():
        length = sum(
            len(json.dumps({**statement, "Resource": ""}, separators=(",", ":")))
            + len(as_list(statement["Resource"])) * longest_arn
            for statement in statements(role)
        )
        if length > 10_240:
            yield f"{name} may be longer than IAM takes"


@rule
@broken_by(
    changing_policy("ReportsApiRole", lambda every: every.pop()),
    "ReportsApiRole does not send traces, or allows more under a condition",
)
def a_role_may_send_traces_where_functions_are_traced_and_no_more_by_condition(
    template: Template,
) -> Iterator[str]:
    roles = of_type(template, "AWS::IAM::Role")
    for function in functions(template).values():
        name = refers_to(function.get("Role")) or "?"
        policies = roles.get(name, {}).get("Policies", [])
        conditional = [s for p in policies for s in p["PolicyDocument"]["Statement"] if "Fn::If" in s]
        if name in roles and conditional != [TRACING]:
            yield f"{name} does not send traces, or allows more under a condition"


# -------------------------------------------------------------------------------------- what is kept and seen
@rule
@broken_by(
    setting("ShipOrderFunction", LoggingConfig={}),
    "ShipOrderFunction writes to a log group that nobody ever empties",
)
@broken_by(
    setting("ShipOrderFunction", LoggingConfig={"LogGroup": {"Ref": "OrderApiLogGroup"}}),
    "ShipOrderFunction writes to the log group of OrderApiFunction",
)
@broken_by(
    without("ApiAccessLogGroup", "RetentionInDays"),
    "ApiAccessLogGroup does not keep its lines as long as the parameter says",
)
def each_function_has_a_log_group_with_a_retention(template: Template) -> Iterator[str]:
    groups = of_type(template, "AWS::Logs::LogGroup")
    taken: dict[str, str] = {}
    for function, properties in functions(template).items():
        name = refers_to(properties["LoggingConfig"].get("LogGroup"))
        if name not in groups:
            yield f"{function} writes to a log group that nobody ever empties"
        elif name in taken:
            yield f"{function} writes to the log group of {taken[name]}"
        else:
            taken[name] = function
    for name, group in groups.items():
        if group.get("RetentionInDays") != {"Ref": "LogRetentionDays"}:
            yield f"{name} does not keep its lines as long as the parameter says"


@rule
@broken_by(
    setting("ShipOrderFunction", LoggingConfig={"SystemLogLevel": "INFO"}),
    "ShipOrderFunction pays for a start and a report line of each invocation",
)
def lambda_writes_no_line_for_each_invocation(template: Template) -> Iterator[str]:
    for function, properties in functions(template).items():
        if properties["LoggingConfig"].get("SystemLogLevel") != "WARN":
            yield f"{function} pays for a start and a report line of each invocation"


@rule
@broken_by(without("OrderTable", "SSESpecification"), "OrderTable is not encrypted with the account's key")
@broken_by(
    without("OrderTable", "PointInTimeRecoverySpecification"),
    "OrderTable cannot be restored to a point in time",
)
@broken_by(
    setting("OrderTable", DeletionProtectionEnabled=False), "OrderTable cannot be protected from deletion"
)
@broken_by(setting("OrderTable", BillingMode="PROVISIONED"), "OrderTable costs money when nobody orders")
@broken_by(
    with_attributes("StockTable", DeletionPolicy=None),
    "StockTable goes with its stack, or stays behind a deployment that failed",
)
@broken_by(
    with_attributes("StockTable", DeletionPolicy="Retain"),
    "StockTable goes with its stack, or stays behind a deployment that failed",
)
def a_table_is_encrypted_restorable_and_survives_its_stack(template: Template) -> Iterator[str]:
    for name, table in of_type(template, "AWS::DynamoDB::Table").items():
        if table.get("SSESpecification") != {"SSEEnabled": True}:
            yield f"{name} is not encrypted with the account's key"
        if table.get("BillingMode") != "PAY_PER_REQUEST":
            yield f"{name} costs money when nobody orders"
        if "TimeToLiveSpecification" in table:
            continue  # items that expire are not part of the books
        if table.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            yield f"{name} cannot be restored to a point in time"
        if table.get("DeletionProtectionEnabled") != {"Ref": "DeletionProtection"}:
            yield f"{name} cannot be protected from deletion"
        if not KEPT.items() <= template["Resources"][name].items():
            yield f"{name} goes with its stack, or stays behind a deployment that failed"


@rule
@broken_by(without("OrderTopic", "KmsMasterKeyId"), "OrderTopic is not encrypted")
def order_messages_are_encrypted_in_their_topic(template: Template) -> Iterator[str]:
    for subscription in of_type(template, "AWS::SNS::Subscription").values():
        name = refers_to(subscription["TopicArn"]) or "?"
        if (
            subscription["Protocol"] == "sqs"
            and "KmsMasterKeyId" not in of_type(template, "AWS::SNS::Topic")[name]
        ):
            yield f"{name} is not encrypted"


@rule
@broken_by(
    without("Api", "MethodSettings"), "one caller can use up what all functions of the account may run"
)
@broken_by(without("Api", "AccessLogSetting"), "nobody knows who called the API")
def the_api_is_throttled_and_logged(template: Template) -> Iterator[str]:
    (api,) = of_type(template, "AWS::Serverless::Api").values()
    limits = {
        key for setting in api.get("MethodSettings", []) for key in setting if setting["ResourcePath"] == "/*"
    }
    if not {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= limits:
        yield "one caller can use up what all functions of the account may run"
    if "AccessLogSetting" not in api:
        yield "nobody knows who called the API"


@rule
@broken_by(without("Api", "AlwaysDeploy"), "what AllowedOrigin is set to may never be deployed")
def a_change_of_a_parameter_in_the_contract_reaches_the_stage(template: Template) -> Iterator[str]:
    """SAM creates a new deployment when the contract's text changes, but that has only a parameter's name."""
    (api,) = of_type(template, "AWS::Serverless::Api").values()
    if api.get("AlwaysDeploy") is not True:
        yield "what AllowedOrigin is set to may never be deployed"


# The rules of AWS's managed groups that are used, as AWS WAF's developer guide lists them ("Baseline rule
# groups", "IP reputation rule groups"), and each group's capacity units. WAF ignores an override of a rule
# that it does not know.
MANAGED_RULES = {
    "AWSManagedRulesCommonRuleSet": (
        700,
        """NoUserAgent_HEADER UserAgent_BadBots_HEADER SizeRestrictions_QUERYSTRING
        SizeRestrictions_Cookie_HEADER SizeRestrictions_BODY SizeRestrictions_URIPATH
        EC2MetaDataSSRF_BODY EC2MetaDataSSRF_COOKIE
        EC2MetaDataSSRF_URIPATH EC2MetaDataSSRF_QUERYARGUMENTS GenericLFI_QUERYARGUMENTS GenericLFI_URIPATH
        GenericLFI_BODY RestrictedExtensions_URIPATH RestrictedExtensions_QUERYARGUMENTS
        GenericRFI_QUERYARGUMENTS
        GenericRFI_BODY GenericRFI_URIPATH CrossSiteScripting_COOKIE CrossSiteScripting_QUERYARGUMENTS
        CrossSiteScripting_BODY CrossSiteScripting_URIPATH""",
    ),
    "AWSManagedRulesKnownBadInputsRuleSet": (
        200,
        """JavaDeserializationRCE_HEADER JavaDeserializationRCE_BODY JavaDeserializationRCE_URIPATH
        JavaDeserializationRCE_QUERYSTRING Host_localhost_HEADER PROPFIND_METHOD ExploitablePaths_URIPATH
        Log4JRCE_HEADER Log4JRCE_QUERYSTRING Log4JRCE_BODY Log4JRCE_URIPATH ReactJSRCE_BODY""",
    ),
    # Its third rule, against addresses that take part in floods, only counts by default.
    "AWSManagedRulesAmazonIpReputationList": (25, "AWSManagedIPReputationList AWSManagedReconnaissanceList"),
}
RATE_UNITS, HEADER_UNITS, TRANSFORMATION_UNITS = 2, 30, 10  # "Rate-based rule statement" in the same guide
MAX_UNITS = 1_500  # in the price of a web ACL; 5,000 at most
# What the contract allows but a rule would take for an attack: long bodies (a batch), any text in them, long
# cursors, clients without a User-Agent, ids that look like files or addresses.
COUNTED_ONLY = {
    *("NoUserAgent_HEADER", "SizeRestrictions_BODY", "SizeRestrictions_QUERYSTRING"),
    *("EC2MetaDataSSRF_BODY", "GenericLFI_BODY", "GenericRFI_BODY", "CrossSiteScripting_BODY"),
    *("EC2MetaDataSSRF_URIPATH", "EC2MetaDataSSRF_QUERYARGUMENTS"),
    *("RestrictedExtensions_URIPATH", "RestrictedExtensions_QUERYARGUMENTS"),
}


def rate_rules(acl: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The rate-based rules of a web ACL, and what each counts by."""
    for each in acl["Rules"]:
        if "RateBasedStatement" in each["Statement"]:
            yield each, each["Statement"]["RateBasedStatement"]


def managed_rules(acl: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """The groups of AWS's rules in a web ACL: the rule, the group's name, the actions for its rules."""
    for each in acl["Rules"]:
        if group := each["Statement"].get("ManagedRuleGroupStatement"):
            overrides = group.get("RuleActionOverrides", [])
            yield each, group["Name"], {one["Name"]: one["ActionToUse"] for one in overrides}


@rule
@broken_by(
    changing("ApiWebAcl", lambda p: p["Rules"].pop(1)), "ApiWebAcl does not limit both an address and a token"
)
@broken_by(
    changing("UserPoolWebAcl", lambda p: p["Rules"].pop(0)), "UserPoolWebAcl does not limit an address"
)
@broken_by(
    changing(
        "ApiWebAcl",
        lambda p: p["Rules"][0].update(Action={"Block": {"CustomResponse": {"ResponseCode": 429}}}),
    ),
    "ApiWebAcl answers in another form than the contract's",
)
@broken_by(
    changing(
        "ApiWebAcl",
        lambda p: p["Rules"][1]["Statement"]["RateBasedStatement"].update(EvaluationWindowSec=300),
    ),
    "ApiWebAcl counts for another time than clients are asked to wait",
)
@broken_by(
    changing("ApiWebAcl", lambda p: p["VisibilityConfig"].update(SampledRequestsEnabled=True)),
    "ApiWebAcl shows tokens in its samples of requests",
)
@broken_by(without_resource("ApiWebAclAssociation"), "ApiWebAcl is before nothing")
@broken_by(without_resource("UserPoolWebAclAssociation"), "UserPoolWebAcl is before nothing")
def one_client_takes_no_more_than_its_share_if_there_is_a_firewall(template: Template) -> Iterator[str]:
    """By address and by token; a blocked request gets the contract's response (WAF_FILTERED)."""
    expected = {
        "ApiWebAcl": ({("IP",), ("CUSTOM_KEYS", "authorization")}, "both an address and a token"),
        "UserPoolWebAcl": ({("IP",)}, "an address"),  # Cognito passes WAF no other identification
    }
    for name, acl in of_type(template, "AWS::WAFv2::WebACL").items():
        counted = set()
        for each, statement in rate_rules(acl):
            if each["Action"] != {"Block": {}}:
                yield f"{name} answers in another form than the contract's"
            if statement["EvaluationWindowSec"] != 60:
                yield f"{name} counts for another time than clients are asked to wait"
            keys = [key["Header"]["Name"] for key in statement.get("CustomKeys", [])]
            counted.add((statement["AggregateKeyType"], *keys))
        if counted != expected[name][0]:
            yield f"{name} does not limit {expected[name][1]}"
        visible = [acl["VisibilityConfig"], *(each["VisibilityConfig"] for each in acl["Rules"])]
        if any(each["SampledRequestsEnabled"] for each in visible):
            yield f"{name} shows tokens in its samples of requests"
        attached = of_type(template, "AWS::WAFv2::WebACLAssociation").values()
        if not any(refers_to(each["WebACLArn"]) == name for each in attached):
            yield f"{name} is before nothing"


def overriding(index: int, rule_name: str, action: dict[str, Any]) -> Any:
    """Changes the action of the API's web ACL where one of AWS's rules matches."""

    def change(p: dict[str, Any]) -> None:
        overrides = p["Rules"][index]["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]
        overrides[:] = [each for each in overrides if each["Name"] != rule_name]
        overrides.append({"Name": rule_name, "ActionToUse": action})

    return changing("ApiWebAcl", change)


@rule
@broken_by(
    overriding(4, "SizeRestrictions_BODY", {"Block": {}}),
    "ApiWebAcl blocks what the contract allows: SizeRestrictions_BODY",
)
@broken_by(
    overriding(4, "SizeRestrictions_Body", {"Count": {}}),
    "ApiWebAcl names a rule that AWSManagedRulesCommonRuleSet does not have: SizeRestrictions_Body",
)
@broken_by(
    overriding(3, "Log4JRCE_BODY", {"Block": {}}),
    "ApiWebAcl answers 429 to an attack: Log4JRCE_BODY",
)
@broken_by(
    overriding(3, "Log4JRCE_BODY", {"Count": {}}),
    "ApiWebAcl lets an attack pass: Log4JRCE_BODY",
)
@broken_by(
    changing("ApiWebAcl", lambda p: p["Rules"][2].update(OverrideAction={"Count": {}})),
    "ApiWebAcl only counts what AWSManagedRulesAmazonIpReputationList finds",
)
@broken_by(
    changing("UserPoolWebAcl", lambda p: p["Rules"].pop(1)),
    "UserPoolWebAcl lacks AWSManagedRulesAmazonIpReputationList",
)
@broken_by(
    changing("ApiWebAcl", lambda p: p["CustomResponseBodies"]["refused"].update(Content='{"status": 429}')),
    "ApiWebAcl does not say that it refused a request",
)
@broken_by(
    changing("ApiWebAcl", lambda p: p["Rules"].extend([p["Rules"][4]] * 2)),
    "ApiWebAcl takes more capacity units than its price has",
)
def attacks_are_blocked_and_what_the_contract_allows_is_not(template: Template) -> Iterator[str]:
    """Each of AWS's rules that blocks the API's requests responds with 403, not the 429 of WAF_FILTERED."""
    wanted = {
        "ApiWebAcl": MANAGED_RULES.keys(),
        "UserPoolWebAcl": MANAGED_RULES.keys() - {"AWSManagedRulesCommonRuleSet"},
    }
    for name, acl in of_type(template, "AWS::WAFv2::WebACL").items():
        units = sum(
            RATE_UNITS
            + sum(
                HEADER_UNITS + TRANSFORMATION_UNITS * len(key["Header"]["TextTransformations"])
                for key in statement.get("CustomKeys", [])
            )
            for _, statement in rate_rules(acl)
        )
        groups = set()
        for each, group, actions in managed_rules(acl):
            groups.add(group)
            capacity, listed = MANAGED_RULES[group]
            units += capacity
            if each["OverrideAction"] != {"None": {}}:
                yield f"{name} only counts what {group} finds"
            for unknown in sorted(actions.keys() - set(listed.split())):
                yield f"{name} names a rule that {group} does not have: {unknown}"
            if name == "ApiWebAcl":
                yield from _wrong_actions(name, listed.split(), actions)
        for missing in sorted(wanted[name] - groups):
            yield f"{name} lacks {missing}"
        if units > MAX_UNITS:
            yield f"{name} takes more capacity units than its price has"
        for body in acl.get("CustomResponseBodies", {}).values():
            problem = json.loads(body["Content"])
            if (problem["status"], problem.get("title")) != (403, "Request refused"):
                yield f"{name} does not say that it refused a request"


def _wrong_actions(name: str, listed: list[str], actions: dict[str, Any]) -> Iterator[str]:
    refused = {"Block": {"CustomResponse": {"ResponseCode": 403, "CustomResponseBodyKey": "refused"}}}
    for each in listed:
        action = actions.get(each, {"Block": {}})
        if each in COUNTED_ONLY and "Block" in action:
            yield f"{name} blocks what the contract allows: {each}"
        if each not in COUNTED_ONLY and "Count" in action:
            yield f"{name} lets an attack pass: {each}"
        if each not in COUNTED_ONLY and "Block" in action and action != refused:
            yield f"{name} answers 429 to an attack: {each}"


@rule
@broken_by(
    setting("ShipOrderFunction", ReservedConcurrentExecutions=11),
    "ShipOrderFunction may run 11 times at once, and its queues ask for 12",
)
@broken_by(
    setting("OrderApiFunction", ReservedConcurrentExecutions=None),
    "nothing is reserved for OrderApiFunction",
)
@broken_by(
    setting("OrderReaderFunction", ReservedConcurrentExecutions=None),
    "nothing keeps OrderReaderFunction from taking what others need",
)
def concurrency_is_reserved_where_it_is_asked_for(template: Template) -> Iterator[str]:
    """A queue's function that may run less often than its mappings ask for is throttled ("Configuring maximum
    concurrency for Amazon SQS event sources" in Lambda's developer guide)."""
    for name, function in functions(template).items():
        reserved = function.get("ReservedConcurrentExecutions")
        if isinstance(reserved, int):
            asked = [
                event["Properties"]["ScalingConfig"]["MaximumConcurrency"]
                for event in function.get("Events", {}).values()
                if event["Type"] == "SQS"
            ]
            if asked and reserved < sum(each for each in asked if isinstance(each, int)):
                yield f"{name} may run {reserved} times at once, and its queues ask for {sum(asked)}"
    if not functions(template)["OrderApiFunction"].get("ReservedConcurrentExecutions"):
        yield "nothing is reserved for OrderApiFunction"
    if not functions(template)["OrderReaderFunction"].get("ReservedConcurrentExecutions"):
        yield "nothing keeps OrderReaderFunction from taking what others need"


@rule
@broken_by(
    with_variables("WebhookSenderFunction", LOOPBACK_WEBHOOKS="true"),
    "WebhookSenderFunction lets a webhook into its own machine",
)
def a_webhook_reaches_the_functions_own_machine_on_the_local_engine_only(template: Template) -> Iterator[str]:
    """As it is on AWS, where Lambda's runtime API listens there."""
    for name, function in functions(template).items():
        if "LOOPBACK_WEBHOOKS" in function["Environment"]["Variables"]:
            yield f"{name} lets a webhook into its own machine"


@rule
@broken_by(
    setting("Api", AccessLogSetting={"Format": "$context.path"}),
    "Api.Properties.AccessLogSetting.Format writes path down",
)
@broken_by(
    setting("SocketStage", AccessLogSettings={"Format": "$context.authorizer.username"}),
    "SocketStage.Properties.AccessLogSettings.Format writes authorizer.username down",
)
def no_access_log_has_more_than_is_promised(template: Template) -> Iterator[str]:
    """Paths and queries name customers and products; headers and bodies may contain anything."""
    allowed = {
        *("requestId", "requestTime", "identity.sourceIp", "authorizer.claims.sub", "authorizer.principalId"),
        *("httpMethod", "resourcePath", "routeKey", "eventType", "connectionId", "status", "responseLength"),
        *("responseLatency", "integration.latency", "integrationLatency", "xrayTraceId"),
        # For errors that leave a function, the text is ours and names no customer.
        *("error.responseType", "integration.error", "integrationErrorMessage", "authorizer.error"),
    }
    for path, text in walk(template["Resources"]):
        if "AccessLogSetting" in path and path.endswith(".Format"):
            for name in set(re.findall(r"\$context\.([\w.]+)", text)) - allowed:
                yield f"{path} writes {name} down"


@rule
@broken_by(
    setting("SocketStage", DefaultRouteSettings={"ThrottlingRateLimit": 1}),
    "one client can use up what all functions of the account may run",
)
@broken_by(without("SocketStage", "AccessLogSettings"), "nobody knows who opened a connection")
def the_socket_api_is_throttled_and_logged(template: Template) -> Iterator[str]:
    (stage,) = of_type(template, "AWS::ApiGatewayV2::Stage").values()
    if not {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= stage.get("DefaultRouteSettings", {}).keys():
        yield "one client can use up what all functions of the account may run"
    if "AccessLogSettings" not in stage:
        yield "nobody knows who opened a connection"


@rule
@broken_by(without("SocketConnectRoute", "AuthorizationType"), "a connection is opened by anybody")
@broken_by(
    setting("SocketConnectRoute", AuthorizerId={"Ref": "SocketIntegration"}),
    "a connection is opened by anybody",
)
@broken_by(
    setting("SocketAuthorizer", AuthorizerUri={"Fn::Sub": "${SocketApiFunction.Arn}"}),
    "SocketAuthorizer asks another function",
)
def a_connection_is_opened_with_a_token_only(template: Template) -> Iterator[str]:
    routes = {route["RouteKey"]: route for route in of_type(template, "AWS::ApiGatewayV2::Route").values()}
    authorizers = of_type(template, "AWS::ApiGatewayV2::Authorizer")
    connect = routes["$connect"]
    if (
        connect.get("AuthorizationType") != "CUSTOM"
        or refers_to(connect.get("AuthorizerId")) not in authorizers
    ):
        yield "a connection is opened by anybody"
    for name, authorizer in authorizers.items():
        if "SocketAuthorizerFunction" not in str(authorizer["AuthorizerUri"]):
            yield f"{name} asks another function"


# --------------------------------------------------------------------------------------------------- callers
@rule
@broken_by(
    setting("UserPool", AdminCreateUserConfig={"AllowAdminCreateUserOnly": False}),
    "UserPool lets anybody sign up under a name of their choice",
)
@broken_by(
    setting("UserPool", UsernameConfiguration={"CaseSensitive": False}),
    "UserPool takes alice for Alice, and the tables do not",
)
@broken_by(
    setting("UserPool", UsernameAttributes=["email"]),
    "UserPool has UsernameAttributes: a user name is then another thing than the customer's id",
)
def nobody_can_become_another_customer(template: Template) -> Iterator[str]:
    """A token reaches the orders of its username."""
    for name, pool in of_type(template, "AWS::Cognito::UserPool").items():
        if pool.get("AdminCreateUserConfig", {}).get("AllowAdminCreateUserOnly") is not True:
            yield f"{name} lets anybody sign up under a name of their choice"
        if pool.get("UsernameConfiguration", {}).get("CaseSensitive") is not True:
            yield f"{name} takes alice for Alice, and the tables do not"
        for key in ("AliasAttributes", "UsernameAttributes"):
            if key in pool:
                yield f"{name} has {key}: a user name is then another thing than the customer's id"


@rule
@broken_by(
    with_attributes("UserPool", UpdateReplacePolicy=None),
    "UserPool goes with the stack, or stays behind a deployment that failed",
)
@broken_by(
    setting("UserPool", DeletionProtection="INACTIVE"), "UserPool is not protected where the tables are"
)
def users_are_kept_and_protected_as_the_tables_are(template: Template) -> Iterator[str]:
    for name, pool in of_type(template, "AWS::Cognito::UserPool").items():
        if not KEPT.items() <= template["Resources"][name].items():
            yield f"{name} goes with the stack, or stays behind a deployment that failed"
        if pool.get("DeletionProtection") != {"Fn::If": ["IsProtected", "ACTIVE", "INACTIVE"]}:
            yield f"{name} is not protected where the tables are"


@rule
@broken_by(
    setting("CustomerClient", AllowedOAuthFlows=["code", "implicit"]),
    "CustomerClient has a secret that it can't keep, or none where it needs one, or too many ways",
)
@broken_by(
    setting("CustomerClient", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]),
    "CustomerClient lets users sign in elsewhere than on the pool's page",
)
@broken_by(
    setting("CustomerClient", PreventUserExistenceErrors="LEGACY"),
    "CustomerClient shows which users there are",
)
@broken_by(
    setting("CustomerClient", AllowedOAuthScopes=["orders/read", "accounts/write"]),
    "CustomerClient gives customers other scopes than those of orders",
)
@broken_by(
    setting("ConsoleClient", CallbackURLs=["https://elsewhere.example.com/"]),
    "ConsoleClient sends codes elsewhere than to the console",
)
@broken_by(
    setting("ServiceClient", AccessTokenValidity=600),
    "ServiceClient gives tokens that are good for more than an hour, and none can be called back",
)
def a_token_is_got_in_the_one_way_that_suits_its_client(template: Template) -> Iterator[str]:
    for name, client in of_type(template, "AWS::Cognito::UserPoolClient").items():
        flow = client.get("AllowedOAuthFlows")
        if (flow, client.get("GenerateSecret")) not in ((["client_credentials"], True), (["code"], False)):
            yield f"{name} has a secret that it can't keep, or none where it needs one, or too many ways"
        if client.get("ExplicitAuthFlows") != ["ALLOW_REFRESH_TOKEN_AUTH"]:
            yield f"{name} lets users sign in elsewhere than on the pool's page"
        if client.get("PreventUserExistenceErrors") != "ENABLED":
            yield f"{name} shows which users there are"
        granted = set(client["AllowedOAuthScopes"])
        if name == "ConsoleClient":  # whose scopes are no rights: the functions refuse customers
            if client["CallbackURLs"] != [PAGE] or client["LogoutURLs"] != [PAGE]:
                yield f"{name} sends codes elsewhere than to the console"
        elif flow == ["code"] and granted != {"orders/read", "orders/write"}:
            yield f"{name} gives customers other scopes than those of orders"
        if client["TokenValidityUnits"].get("AccessToken") != "minutes" or client["AccessTokenValidity"] > 60:
            yield f"{name} gives tokens that are good for more than an hour, and none can be called back"


# --------------------------------------------------------------------------------------------------- the file
@rule
@broken_by(setting("OrderTable", TableName="orders"), "OrderTable has the fixed name orders")
def nothing_has_a_name_that_a_second_stack_would_want_too(template: Template) -> Iterator[str]:
    names = re.compile(
        r"(^|\.)(Queue|Topic|Table|Function|Role|Policy|LogGroup|Layer|UsagePlan|Alarm)Name$|\.Name$"
    )
    for resource, definition in template["Resources"].items():
        if definition["Type"] == "AWS::Cognito::UserPoolResourceServer":
            continue  # each pool has its own
        if definition["Type"] == "AWS::Lambda::Permission":
            continue  # the name is that of another resource
        if definition["Type"] == "AWS::Route53::RecordSet":
            continue  # a domain name belongs to the one stack whose parameter sets it
        for key, value in definition.get("Properties", {}).items():
            if names.search(f".{key}") and key != "PolicyName" and "AWS::StackName" not in str(value):
                yield f"{resource} has the fixed name {value}"


@rule
@broken_by(
    with_statement("OrderApiRole", 3, Resource="arn:aws:sns:eu-west-1:123456789012:orders"),
    "Resources.OrderApiRole.Properties.Policies.PolicyDocument.Statement.Resource is bound to one place: "
    "arn:aws:sns:eu-west-1:123456789012:orders",
)
def nothing_is_bound_to_an_account_or_a_region(template: Template) -> Iterator[str]:
    bound = re.compile(r"\barn:(?!\$\{AWS::Partition\})|\b\d{12}\b|\b[a-z]{2}-[a-z]+-\d\b")
    for part in ("Parameters", "Resources", "Outputs"):
        for path, text in walk(template[part], part):
            if bound.search(text):
                yield f"{path} is bound to one place: {text}"


@rule
@broken_by(lambda template: template["Outputs"]["ApiUrl"].pop("Description"), "ApiUrl is not explained")
@broken_by(
    lambda template: template["Parameters"].update(Colour={"Type": "String", "Description": "Of the API."}),
    "Colour changes nothing",
)
def every_parameter_and_output_is_explained_and_used(template: Template) -> Iterator[str]:
    for part in ("Parameters", "Outputs"):
        for name, definition in template[part].items():
            if not definition.get("Description", "").strip():
                yield f"{name} is not explained"
    texts = [text for part in ("Conditions", "Globals", "Resources") for _, text in walk(template[part])]
    for name in template["Parameters"].keys() - template["Outputs"].keys():  # an output is for a command
        if not any(text == name or f"${{{name}}}" in text for text in texts):
            yield f"{name} changes nothing"


@rule
@broken_by(lambda template: template["Outputs"].pop("ShipOrderDlqUrl"), "no output for ShipOrderDlq")
def every_table_queue_topic_and_function_has_an_output(template: Template) -> Iterator[str]:
    outputs = {refers_to(output["Value"]) for output in template["Outputs"].values()}
    kinds = (
        "DynamoDB::Table",
        "SQS::Queue",
        "SNS::Topic",
        "Serverless::Function",
        "Logs::LogGroup",
        "Cognito::UserPool",
        "Cognito::UserPoolClient",
    )
    for kind in kinds:
        for name in of_type(template, f"AWS::{kind}"):
            if name not in outputs:
                yield f"no output for {name}"
