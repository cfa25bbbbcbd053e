"""The template keeps every rule, and every rule notices when it is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.template import Template, load_template, on_aws
from tests.template import rules
from tests.template.rules import RULES, Rule

Break = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_template_keeps_the_rule_that(rule: Rule) -> None:
    assert list(rule(on_aws(load_template()))) == []


def properties(name: str, change: Break) -> Callable[[Template], Any]:
    """Breaks a template at one resource's properties."""
    return lambda template: change(template["Resources"][name]["Properties"])


def without(name: str, *keys: str) -> Callable[[Template], Any]:
    """Breaks a template by taking properties from a resource."""
    return properties(name, lambda p: [p.pop(key) for key in keys])


def setting(name: str, **values: Any) -> Callable[[Template], Any]:
    """Breaks a template by giving a resource other properties."""
    return properties(name, lambda p: p.update(values))


def without_resource(name: str) -> Callable[[Template], Any]:
    return lambda template: template["Resources"].pop(name)


def statement(name: str, index: int, **values: Any) -> Callable[[Template], Any]:
    """Breaks a template at one statement of a resource's policy, or of its first inline policy."""

    def change(p: dict[str, Any]) -> None:
        document = p["PolicyDocument"] if "PolicyDocument" in p else p["Policies"][0]["PolicyDocument"]
        document["Statement"][index].update(values)

    return properties(name, change)


def event(function: str, **values: Any) -> Callable[[Template], Any]:
    return properties(function, lambda p: p["Events"]["Queue"]["Properties"].update(values))


def stream(**values: Any) -> Callable[[Template], Any]:
    return properties("ChangePublisherFunction", lambda p: p["Events"]["Stream"]["Properties"].update(values))


EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}

BREAKS: list[tuple[Rule, Callable[[Template], Any], str]] = [
    (
        rules.a_queue_that_feeds_a_function_has_a_dead_letter_queue,
        without("ShipOrderQueue", "RedrivePolicy"),
        "ShipOrderQueue has no dead-letter queue",
    ),
    (
        rules.a_queue_that_feeds_a_function_has_a_dead_letter_queue,
        without_resource("ShipOrderDlq"),
        "ShipOrderQueue has no dead-letter queue",
    ),
    (
        rules.a_queue_that_feeds_a_function_has_a_dead_letter_queue,
        properties("ShipOrderQueue", lambda p: p["RedrivePolicy"].update(maxReceiveCount=4)),
        "ShipOrderQueue gives up before five tries",
    ),
    (
        rules.a_queue_that_feeds_a_function_has_a_dead_letter_queue,
        setting("ShipOrderDlq", MessageRetentionPeriod=60),
        "ShipOrderDlq forgets sooner than ShipOrderQueue",
    ),
    (
        rules.a_dead_letter_queue_takes_from_the_queues_of_its_function_only,
        without("OrderUpdateDlq", "RedriveAllowPolicy"),
        "OrderUpdateDlq takes dead letters of others than OrderUpdateQueue",
    ),
    (
        rules.a_dead_letter_queue_takes_from_the_queues_of_its_function_only,
        setting("OrderUpdateQueue", QueueName={"Fn::Sub": "${AWS::StackName}-renamed"}),
        "OrderUpdateDlq takes dead letters of others than OrderUpdateQueue",
    ),
    (
        rules.a_dead_letter_queue_takes_from_the_queues_of_its_function_only,
        setting("WebhookSlowQueue", QueueName={"Fn::Sub": "${AWS::StackName}-renamed"}),
        "WebhookSenderDlq takes dead letters of others than WebhookSenderQueue and WebhookSlowQueue",
    ),
    (
        rules.the_lanes_of_webhooks_take_no_senders_from_each_other,
        event("WebhookSenderFunction", Queue={"Fn::GetAtt": ["WebhookSlowQueue", "Arn"]}),
        "the lanes of webhooks have not a queue each",
    ),
    (
        rules.the_lanes_of_webhooks_take_no_senders_from_each_other,
        event("WebhookSenderFunction", ScalingConfig={}),
        "WebhookSenderQueue may take up every copy that Lambda has",
    ),
    (
        rules.a_message_stays_hidden_for_six_timeouts_of_its_function,
        setting("StockCheckerQueue", VisibilityTimeout=59),
        "StockCheckerQueue shows a message again before six timeouts of StockCheckerFunction",
    ),
    (
        rules.a_message_stays_hidden_for_six_timeouts_of_its_function,
        setting("StockCheckerFunction", Timeout=11),
        "StockCheckerQueue shows a message again before six timeouts of StockCheckerFunction",
    ),
    (
        rules.a_bad_message_fails_alone,
        event("OrderUpdateFunction", FunctionResponseTypes=[]),
        "OrderUpdateFunction does not report the failures of a batch one by one",
    ),
    (
        rules.a_batch_is_ten_messages_and_never_waited_for,
        event("OrderUpdateFunction", BatchSize=1),
        "OrderUpdateFunction has another batch than ten at once",
    ),
    (
        rules.a_batch_is_ten_messages_and_never_waited_for,
        event("OrderUpdateFunction", MaximumBatchingWindowInSeconds=1),
        "OrderUpdateFunction has another batch than ten at once",
    ),
    (
        rules.a_batch_is_ten_messages_and_never_waited_for,
        event("WebhookSenderFunction", BatchSize=10),
        "WebhookSenderFunction makes one receiver wait for another",
    ),
    (
        rules.a_webhook_reaches_the_functions_own_machine_on_the_local_engine_only,
        properties(
            "WebhookSenderFunction",
            lambda p: p["Environment"]["Variables"].update(LOOPBACK_WEBHOOKS="true"),
        ),
        "WebhookSenderFunction lets a webhook into its own machine",
    ),
    (
        rules.a_queue_is_encrypted_and_keeps_messages_as_long_as_it_can,
        without("BalanceCheckerDlq", "SqsManagedSseEnabled"),
        "BalanceCheckerDlq is not encrypted",
    ),
    (
        rules.a_queue_is_encrypted_and_keeps_messages_as_long_as_it_can,
        without("BalanceCheckerQueue", "MessageRetentionPeriod"),
        "BalanceCheckerQueue does not keep messages for fourteen days",
    ),
    (
        rules.a_subscription_delivers_raw_filtered_and_loses_nothing,
        without("StockCheckerSubscription", "RawMessageDelivery"),
        "StockCheckerSubscription wraps the message",
    ),
    (
        rules.a_subscription_delivers_raw_filtered_and_loses_nothing,
        without("StockCheckerSubscription", "FilterPolicy"),
        "StockCheckerSubscription takes messages of every type",
    ),
    (
        rules.a_subscription_delivers_raw_filtered_and_loses_nothing,
        without("StockCheckerSubscription", "RedrivePolicy"),
        "StockCheckerSubscription drops what it cannot deliver",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        without("OrderTable", "StreamSpecification"),
        "OrderTable has no stream of new and old images",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        stream(StartingPosition="LATEST"),
        "ChangePublisherFunction misses what was there before it",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        stream(BisectBatchOnFunctionError=False),
        "ChangePublisherFunction gives up a whole batch for one bad record",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        stream(MaximumRetryAttempts=3),
        "ChangePublisherFunction does not try for as long as the stream leaves time to put it right",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        stream(MaximumRecordAgeInSeconds=604800),
        "ChangePublisherFunction does not try for as long as the stream leaves time to put it right",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        stream(DestinationConfig={}),
        "ChangePublisherFunction drops what it gives up",
    ),
    (
        rules.a_stream_is_read_from_its_beginning_and_loses_nothing,
        properties(
            "LedgerPublisherFunction",
            lambda p: p["Environment"]["Variables"].update(
                DEAD_LETTER_QUEUE_URL={"Ref": "ChangePublisherDlq"}
            ),
        ),
        "LedgerPublisherFunction has nowhere to put what it can't read",
    ),
    (
        rules.old_records_of_a_stream_raise_an_alarm,
        without_resource("ChangePublisherAgeAlarm"),
        "nobody hears of the old records before ChangePublisherFunction",
    ),
    (
        rules.the_age_of_a_delayed_message_alone_raises_no_alarm,
        setting("OrderWatchAgeAlarm", Threshold={"Ref": "OldestMessageAlarmSeconds"}),
        "OrderWatchAgeAlarm rings for messages that are not due",
    ),
    (
        rules.dead_letters_and_old_messages_raise_an_alarm,
        without_resource("ChangePublisherDlqAlarm"),
        "nobody hears of ChangePublisherDlq's ApproximateNumberOfMessagesVisible",
    ),
    (
        rules.dead_letters_and_old_messages_raise_an_alarm,
        without_resource("ShipOrderDlqAlarm"),
        "nobody hears of ShipOrderDlq's ApproximateNumberOfMessagesVisible",
    ),
    (
        rules.dead_letters_and_old_messages_raise_an_alarm,
        setting("ShipOrderAgeAlarm", AlarmActions=[]),
        "nobody hears of ShipOrderQueue's ApproximateAgeOfOldestMessage",
    ),
    (
        rules.server_errors_of_the_api_raise_an_alarm,
        without_resource("ApiServerErrorAlarm"),
        "nobody hears of the API's 5xx answers",
    ),
    (
        rules.queues_and_topics_refuse_plain_text,
        without_resource("ShipOrderDlqPolicy"),
        "ShipOrderDlq may be used without TLS",
    ),
    (
        rules.queues_and_topics_refuse_plain_text,
        statement("OrderTopicPolicy", 0, Condition={}),
        "OrderTopic may be used without TLS",
    ),
    (
        rules.queues_and_topics_refuse_plain_text,
        statement("StockCheckerQueuePolicy", 0, Effect="Allow"),
        "StockCheckerQueue may be used without TLS",
    ),
    (
        rules.queues_and_topics_refuse_plain_text,
        lambda template: template["Parameters"]["Platform"].update(Default="local"),
        "TLS is not demanded unless somebody asks for it",
    ),
    (
        rules.queues_and_topics_refuse_plain_text,
        lambda template: template["Resources"]["ShipOrderQueuePolicy"].update(Condition="HasAlarmEmail"),
        "ShipOrderQueue may be used without TLS",
    ),
    (
        rules.a_queue_lets_in_nobody_but_the_topic_it_is_for,
        statement("StockCheckerQueuePolicy", 1, Condition={}),
        "StockCheckerQueue lets in others than its topic",
    ),
    (
        rules.a_queue_lets_in_nobody_but_the_topic_it_is_for,
        properties("ShipOrderQueuePolicy", lambda p: p["PolicyDocument"]["Statement"].append(EVERYBODY)),
        "ShipOrderQueue lets in others than its topic",
    ),
    (
        rules.a_queue_lets_in_nobody_but_the_topic_it_is_for,
        properties("StockCheckerQueuePolicy", lambda p: p["PolicyDocument"]["Statement"].pop()),
        "StockCheckerQueue keeps its topic out",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        without("ShipOrderFunction", "Role"),
        "ShipOrderFunction has no role of its own: SAM would make one that allows too much",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        setting("StockApiFunction", Role={"Fn::GetAtt": ["AccountApiRole", "Arn"]}),
        "StockApiFunction has the role of AccountApiFunction",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        setting("OrderApiRole", ManagedPolicyArns=["arn:aws:iam::aws:policy/AmazonSNSFullAccess"]),
        "OrderApiRole has a policy that is not in this file",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        properties(
            "OrderApiRole",
            lambda p: p["AssumeRolePolicyDocument"]["Statement"][0].update(Principal={"AWS": "*"}),
        ),
        "OrderApiRole may be assumed by others than Lambda",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        statement("AccountApiRole", 1, Action="dynamodb:*"),
        "AccountApiRole allows dynamodb:* on AccountTable, which AccountApiFunction does not call",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        statement("OrderApiRole", 3, Resource="*"),
        "OrderApiRole allows sns:Publish on *, which OrderApiFunction does not call",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        statement("ShipOrderRole", 1, Resource={"Fn::GetAtt": ["OrderTable", "Arn"]}),
        "ShipOrderRole does not allow dynamodb:UpdateItem on StockTable, which ShipOrderFunction calls",
    ),
    (
        rules.each_function_has_a_role_with_what_it_calls_and_no_more,
        statement("ChangePublisherRole", 1, Resource={"Fn::GetAtt": ["OrderTable", "Arn"]}),
        "ChangePublisherRole does not allow dynamodb:GetRecords on OrderTable.StreamArn, which "
        "ChangePublisherFunction calls",
    ),
    (
        rules.no_access_log_has_more_than_is_promised,
        setting("Api", AccessLogSetting={"Format": "$context.path"}),
        "Api.Properties.AccessLogSetting.Format writes path down",
    ),
    (
        rules.no_access_log_has_more_than_is_promised,
        setting("SocketStage", AccessLogSettings={"Format": "$context.authorizer.username"}),
        "SocketStage.Properties.AccessLogSettings.Format writes authorizer.username down",
    ),
    (
        rules.the_socket_api_is_throttled_and_logged,
        setting("SocketStage", DefaultRouteSettings={"ThrottlingRateLimit": 1}),
        "one client can use up what all functions of the account may run",
    ),
    (
        rules.the_socket_api_is_throttled_and_logged,
        without("SocketStage", "AccessLogSettings"),
        "nobody knows who opened a connection",
    ),
    (
        rules.a_connection_is_opened_with_a_token_only,
        without("SocketConnectRoute", "AuthorizationType"),
        "a connection is opened by anybody",
    ),
    (
        rules.a_connection_is_opened_with_a_token_only,
        setting("SocketConnectRoute", AuthorizerId={"Ref": "SocketIntegration"}),
        "a connection is opened by anybody",
    ),
    (
        rules.a_connection_is_opened_with_a_token_only,
        setting("SocketAuthorizer", AuthorizerUri={"Fn::Sub": "${SocketApiFunction.Arn}"}),
        "SocketAuthorizer asks another function",
    ),
    (
        rules.a_role_may_send_traces_where_functions_are_traced_and_no_more_by_condition,
        properties("ReportsApiRole", lambda p: p["Policies"][0]["PolicyDocument"]["Statement"].pop()),
        "ReportsApiRole does not send traces, or allows more under a condition",
    ),
    (
        rules.each_function_has_a_log_group_with_a_retention,
        setting("ShipOrderFunction", LoggingConfig={}),
        "ShipOrderFunction writes to a log group that nobody ever empties",
    ),
    (
        rules.each_function_has_a_log_group_with_a_retention,
        setting("ShipOrderFunction", LoggingConfig={"LogGroup": {"Ref": "OrderApiLogGroup"}}),
        "ShipOrderFunction writes to the log group of OrderApiFunction",
    ),
    (
        rules.each_function_has_a_log_group_with_a_retention,
        without("ApiAccessLogGroup", "RetentionInDays"),
        "ApiAccessLogGroup does not keep its lines as long as the parameter says",
    ),
    (
        rules.lambda_writes_no_line_for_each_invocation,
        setting("ShipOrderFunction", LoggingConfig={"SystemLogLevel": "INFO"}),
        "ShipOrderFunction pays for a start and a report line of each invocation",
    ),
    (
        rules.a_table_is_encrypted_restorable_and_survives_its_stack,
        without("OrderTable", "SSESpecification"),
        "OrderTable is not encrypted with the account's key",
    ),
    (
        rules.a_table_is_encrypted_restorable_and_survives_its_stack,
        without("OrderTable", "PointInTimeRecoverySpecification"),
        "OrderTable cannot be restored to a point in time",
    ),
    (
        rules.a_table_is_encrypted_restorable_and_survives_its_stack,
        setting("OrderTable", DeletionProtectionEnabled=False),
        "OrderTable cannot be protected from deletion",
    ),
    (
        rules.a_table_is_encrypted_restorable_and_survives_its_stack,
        setting("OrderTable", BillingMode="PROVISIONED"),
        "OrderTable costs money when nobody orders",
    ),
    (
        rules.a_table_is_encrypted_restorable_and_survives_its_stack,
        lambda template: template["Resources"]["StockTable"].pop("DeletionPolicy"),
        "StockTable goes with its stack, or stays behind a deployment that failed",
    ),
    (
        rules.a_table_is_encrypted_restorable_and_survives_its_stack,
        lambda template: template["Resources"]["StockTable"].update(DeletionPolicy="Retain"),
        "StockTable goes with its stack, or stays behind a deployment that failed",
    ),
    (
        rules.order_messages_are_encrypted_in_their_topic,
        without("OrderTopic", "KmsMasterKeyId"),
        "OrderTopic is not encrypted",
    ),
    (
        rules.a_call_to_aws_fails_before_its_function_does,
        setting("ShipOrderFunction", Timeout=7),
        "ShipOrderFunction ends before one call to AWS has failed",
    ),
    (
        rules.a_stream_is_read_as_fast_as_it_can_be_written,
        stream(ParallelizationFactor=1),
        "ChangePublisherFunction falls behind a shard of OrderTable that takes all the writes it can",
    ),
    (
        rules.a_loop_is_allowed_where_there_is_one_and_nowhere_else,
        without("OrderWatchdogFunction", "RecursiveLoop"),
        "OrderWatchdogFunction is ended by Lambda when a message has come back to it 16 times",
    ),
    (
        rules.a_loop_is_allowed_where_there_is_one_and_nowhere_else,
        setting("OrderUpdateFunction", RecursiveLoop="Terminate"),  # by way of a topic and two queues
        "OrderUpdateFunction is ended by Lambda when a message has come back to it 16 times",
    ),
    (
        rules.a_loop_is_allowed_where_there_is_one_and_nowhere_else,
        # somebody has shipping tell the watchdog's queue, say, which sends to shipping
        statement("ShipOrderRole", 1, Action="sqs:SendMessage", Resource={"Ref": "OrderWatchQueue"}),
        "ShipOrderFunction is ended by Lambda when a message has come back to it 16 times",
    ),
    (
        rules.a_loop_is_allowed_where_there_is_one_and_nowhere_else,
        setting("ReportProjectorFunction", RecursiveLoop="Allow"),
        "ReportProjectorFunction may loop, and no message of its own comes back to it",
    ),
    (
        rules.what_lambda_drops_as_a_loop_raises_an_alarm,
        without_resource("StockCheckerLoopAlarm"),
        "nobody is notified of messages dropped before StockCheckerFunction",
    ),
    (
        rules.what_lambda_drops_as_a_loop_raises_an_alarm,
        setting("WebhookSenderLoopAlarm", AlarmActions=[]),
        "nobody is notified of messages dropped before WebhookSenderFunction",
    ),
    (
        rules.the_api_is_throttled_and_logged,
        without("Api", "MethodSettings"),
        "one caller can use up what all functions of the account may run",
    ),
    (
        rules.the_api_is_throttled_and_logged,
        without("Api", "AccessLogSetting"),
        "nobody knows who called the API",
    ),
    (
        rules.a_change_of_a_parameter_in_the_contract_reaches_the_stage,
        without("Api", "AlwaysDeploy"),
        "what AllowedOrigin is set to may never be deployed",
    ),
    (
        rules.one_client_takes_no_more_than_its_share_if_clients_are_limited,
        properties("ApiWebAcl", lambda p: p["Rules"].pop()),
        "ApiWebAcl does not limit both an address and a token",
    ),
    (
        rules.one_client_takes_no_more_than_its_share_if_clients_are_limited,
        properties("ApiWebAcl", lambda p: p["Rules"][0].update(Statement={"GeoMatchStatement": {}})),
        "ApiWebAcl blocks for another reason than too many requests, and the contract says 429",
    ),
    (
        rules.one_client_takes_no_more_than_its_share_if_clients_are_limited,
        properties(
            "ApiWebAcl",
            lambda p: p["Rules"][0].update(Action={"Block": {"CustomResponse": {"ResponseCode": 429}}}),
        ),
        "ApiWebAcl answers in another form than the contract's",
    ),
    (
        rules.one_client_takes_no_more_than_its_share_if_clients_are_limited,
        properties(
            "ApiWebAcl",
            lambda p: p["Rules"][1]["Statement"]["RateBasedStatement"].update(EvaluationWindowSec=300),
        ),
        "ApiWebAcl counts for another time than clients are asked to wait",
    ),
    (
        rules.one_client_takes_no_more_than_its_share_if_clients_are_limited,
        properties("ApiWebAcl", lambda p: p["VisibilityConfig"].update(SampledRequestsEnabled=True)),
        "ApiWebAcl shows tokens in its samples of requests",
    ),
    (
        rules.one_client_takes_no_more_than_its_share_if_clients_are_limited,
        without_resource("ApiWebAclAssociation"),
        "ApiWebAcl is before no stage",
    ),
    (
        rules.nobody_can_become_another_customer,
        setting("UserPool", AdminCreateUserConfig={"AllowAdminCreateUserOnly": False}),
        "UserPool lets anybody sign up under a name of their choice",
    ),
    (
        rules.nobody_can_become_another_customer,
        setting("UserPool", UsernameConfiguration={"CaseSensitive": False}),
        "UserPool takes alice for Alice, and the tables do not",
    ),
    (
        rules.nobody_can_become_another_customer,
        setting("UserPool", UsernameAttributes=["email"]),
        "UserPool has UsernameAttributes: a user name is then another thing than the customer's id",
    ),
    (
        rules.users_are_kept_and_protected_as_the_tables_are,
        lambda template: template["Resources"]["UserPool"].pop("UpdateReplacePolicy"),
        "UserPool goes with the stack, or stays behind a deployment that failed",
    ),
    (
        rules.users_are_kept_and_protected_as_the_tables_are,
        setting("UserPool", DeletionProtection="INACTIVE"),
        "UserPool is not protected where the tables are",
    ),
    (
        rules.a_token_is_got_in_the_one_way_that_suits_its_client,
        setting("CustomerClient", AllowedOAuthFlows=["code", "implicit"]),
        "CustomerClient has a secret that it can't keep, or none where it needs one, or too many ways",
    ),
    (
        rules.a_token_is_got_in_the_one_way_that_suits_its_client,
        setting("CustomerClient", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]),
        "CustomerClient lets users sign in elsewhere than on the pool's page",
    ),
    (
        rules.a_token_is_got_in_the_one_way_that_suits_its_client,
        setting("CustomerClient", PreventUserExistenceErrors="LEGACY"),
        "CustomerClient tells which users there are",
    ),
    (
        rules.a_token_is_got_in_the_one_way_that_suits_its_client,
        setting("CustomerClient", AllowedOAuthScopes=["orders/read", "accounts/write"]),
        "CustomerClient gives customers other scopes than those of orders",
    ),
    (
        rules.a_token_is_got_in_the_one_way_that_suits_its_client,
        setting("ServiceClient", AccessTokenValidity=600),
        "ServiceClient gives tokens that are good for more than an hour, and none can be called back",
    ),
    (
        rules.nothing_has_a_name_that_a_second_stack_would_want_too,
        setting("OrderTable", TableName="orders"),
        "OrderTable has the fixed name orders",
    ),
    (
        rules.nothing_is_bound_to_an_account_or_a_region,
        statement("OrderApiRole", 3, Resource="arn:aws:sns:eu-west-1:123456789012:orders"),
        "Resources.OrderApiRole.Properties.Policies.PolicyDocument.Statement.Resource is bound to one place: "
        "arn:aws:sns:eu-west-1:123456789012:orders",
    ),
    (
        rules.every_parameter_and_output_is_explained_and_used,
        lambda template: template["Outputs"]["ApiUrl"].pop("Description"),
        "ApiUrl is not explained",
    ),
    (
        rules.every_parameter_and_output_is_explained_and_used,
        lambda template: template["Parameters"].update(
            Colour={"Type": "String", "Description": "Of the API."}
        ),
        "Colour changes nothing",
    ),
    (
        rules.an_operator_is_told_of_every_table_queue_topic_and_function,
        lambda template: template["Outputs"].pop("ShipOrderDlqUrl"),
        "no output tells of ShipOrderDlq",
    ),
]


@pytest.mark.parametrize(
    ("rule", "break_it", "complaint"), BREAKS, ids=[complaint for _, _, complaint in BREAKS]
)
def test_a_broken_template_is_noticed(
    rule: Rule, break_it: Callable[[Template], Any], complaint: str
) -> None:
    # GIVEN a template that keeps the rule, broken in one place
    template = on_aws(load_template())
    break_it(template)
    # WHEN the rule is checked THEN it says so
    assert complaint in list(rule(template))


def test_every_rule_is_seen_to_bite() -> None:
    assert {rule.__name__ for rule in RULES} == {rule.__name__ for rule, _, _ in BREAKS}
