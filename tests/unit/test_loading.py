"""A function loads only what it uses: each is started in a fresh interpreter, and builds its use cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.template import functions, load_template

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib, json, sys
app = importlib.import_module("app")
from order_capture.domain.ledger import ACCOUNTS, STOCK
from order_capture.domain.webhooks import Lane
for call in sys.argv[1:]:
    eval(call, {**vars(app), "ACCOUNTS": ACCOUNTS, "STOCK": STOCK, "Lane": Lane})
print(json.dumps(sorted(sys.modules)))
"""
# Builds the use cases of each function, which load their adapters at the first call.
BUILDS = {
    "account_api": [
        f"bootstrap.{each}(ACCOUNTS)"
        for each in ("adjust_balance", "get_balance", "list_balance_history", "list_balances")
    ],
    "balance_checker": ["bootstrap.check_orders(ACCOUNTS)"],
    "console": [],
    "change_publisher": ["bootstrap.publish_order_events()"],
    "history_projector": ["bootstrap.history('customerId')"],
    "ledger_publisher": ["bootstrap.publish_balance_states(ACCOUNTS)"],
    "operations_api": ["bootstrap.recheck_orders()"],  # the others ask for the stack's outputs first
    "order_api": [f"bootstrap.{each}()" for each in ("capture_orders", "list_orders", "cancel_order")],
    "order_reader": ["bootstrap.get_order()"],
    "order_update": ["bootstrap.decide_orders()"],
    "order_watchdog": ["bootstrap.watch_orders()"],
    "report_projector": ["bootstrap.project_reports()"],
    "reports_api": ["bootstrap.get_reports()"],
    "ship_order": ["bootstrap.ship_orders()"],
    "smoke_test": [],
    "socket_api": ["bootstrap.manage_subscriptions()"],
    "socket_authorizer": [],
    "socket_pusher": ["bootstrap.push_events()"],
    "stock_api": [
        f"bootstrap.{each}(STOCK)"
        for each in ("adjust_balance", "get_balance", "list_balance_history", "list_balances")
    ],
    "stock_checker": ["bootstrap.check_orders(STOCK)"],
    "webhook_api": ["bootstrap.manage_webhooks()", "bootstrap.replay_delivery()"],
    "webhook_dispatcher": ["bootstrap.dispatch_webhooks()"],
    "webhook_sender": ["bootstrap.deliver_webhooks(Lane.QUICK)"],
}


def names(text: str) -> set[str]:
    return set(text.split())


# Our own modules that each loads, besides the domain.
EVERY = names("""
    adapters.aws_clients adapters.aws_errors adapters.metrics adapters.serializers.decimal_json
    adapters.time_budget config entrypoints.invocations entrypoints.logs entrypoints.snapshots
""")
MESSAGES = names("application.messages application.models application.snapshots")
API = EVERY | names("""
    adapters.dynamodb.transactions adapters.dynamodb.types adapters.serializers.fields
    adapters.system application.callers application.idempotency application.ports
    application.retry bootstrap entrypoints.callers entrypoints.http.api entrypoints.http.handler
    entrypoints.http.pagination entrypoints.http.problems entrypoints.http.requests
""")
QUEUE = (
    EVERY
    | MESSAGES
    | names("""
    adapters.messaging.envelopes adapters.system application.batches application.idempotency
    application.ports application.retry bootstrap entrypoints.sqs
""")
)
STREAM = (
    EVERY
    | MESSAGES
    | names("""
    adapters.dynamodb.ledger_repository adapters.dynamodb.order_repository
    adapters.dynamodb.transactions adapters.dynamodb.types adapters.serializers.check_results
    adapters.serializers.fields adapters.serializers.order_details
    adapters.serializers.snapshots adapters.system application.batches application.idempotency
    application.orders.publish_order_events application.orders.update_with_retry
    application.orders.watch_orders application.ports application.retry bootstrap
    entrypoints.dynamodb_streams entrypoints.order_metrics
""")
)
LOADS = {
    "account_api": API
    | names("""
        adapters.dynamodb.history_repository adapters.dynamodb.ledger_repository
        adapters.serializers.check_results adapters.serializers.snapshots
        application.ledger.adjust_balance application.ledger.get_balance
        application.ledger.list_balance_history application.ledger.list_balances application.ledger.ports
        entrypoints.http.histories entrypoints.http.ledger_requests
        entrypoints.http.ledger_responses
    """),
    "balance_checker": QUEUE
    | names("""
        adapters.dynamodb.ledger_repository adapters.dynamodb.transactions
        adapters.dynamodb.types adapters.messaging.publishers
        adapters.serializers.check_results adapters.serializers.fields
        application.ledger.check_orders application.ledger.hot_heads
    """),
    "change_publisher": STREAM
    | names("""
        adapters.dynamodb.subscription_repository adapters.dynamodb.webhook_repository
        adapters.messaging.envelopes adapters.messaging.publishers
    """),
    "console": EVERY
    | names("""
        application.callers entrypoints.callers entrypoints.http.api entrypoints.http.handler
        entrypoints.http.pages entrypoints.http.problems
    """),
    "history_projector": STREAM
    | names("""
        adapters.dynamodb.history_repository application.ledger.ports
        entrypoints.history_streams
    """),
    "ledger_publisher": STREAM
    | names("""
        adapters.messaging.envelopes adapters.messaging.publishers
        application.ledger.get_balance application.ledger.ports
        application.ledger.publish_balance_states
    """),
    "operations_api": API
    | MESSAGES
    | names("""
        adapters.dynamodb.order_repository adapters.messaging.envelopes
        adapters.messaging.publishers adapters.serializers.check_results
        adapters.serializers.order_details application.batches application.channels
        application.operations.list_dead_letters application.operations.list_open_orders
        application.operations.ports application.operations.recheck_orders
        application.operations.redrive_dead_letters application.orders.update_with_retry
        application.orders.watch_orders entrypoints.http.operations
    """),
    "order_api": API
    | MESSAGES
    | names("""
        adapters.dynamodb.order_repository adapters.dynamodb.report_repository adapters.messaging.envelopes
        adapters.messaging.publishers adapters.serializers.check_results
        adapters.serializers.order_details application.orders.cancel_order
        application.orders.capture_orders
        application.orders.list_orders application.orders.update_with_retry application.reports.ports
        entrypoints.http.order_requests
        entrypoints.http.order_responses entrypoints.http.urls
    """),
    "order_reader": API
    | MESSAGES
    | names("""
        adapters.dynamodb.order_repository adapters.serializers.check_results
        adapters.serializers.order_details application.orders.capture_orders application.orders.get_order
        application.orders.list_orders entrypoints.http.conditional_get entrypoints.http.order_requests
        entrypoints.http.order_responses entrypoints.http.urls
    """),
    "order_update": QUEUE
    | names("""
        adapters.dynamodb.ledger_repository adapters.dynamodb.order_repository adapters.dynamodb.transactions
        adapters.dynamodb.types adapters.messaging.publishers
        adapters.serializers.check_results adapters.serializers.fields
        adapters.serializers.order_details application.orders.decide_orders
        application.orders.update_with_retry
    """),
    "order_watchdog": QUEUE
    | names("""
        adapters.dynamodb.order_repository adapters.dynamodb.transactions
        adapters.dynamodb.types adapters.messaging.publishers
        adapters.serializers.check_results adapters.serializers.fields
        adapters.serializers.order_details application.orders.update_with_retry
        application.orders.watch_orders
    """),
    "report_projector": QUEUE
    | names("""
        adapters.dynamodb.report_repository adapters.dynamodb.transactions
        adapters.dynamodb.types adapters.serializers.fields application.reports.ports
        application.reports.project_reports
    """),
    "reports_api": API
    | names("""
        adapters.dynamodb.report_repository application.reports.get_reports
        application.reports.ports entrypoints.http.reports
    """),
    "ship_order": QUEUE
    | names("""
        adapters.dynamodb.ledger_repository adapters.dynamodb.order_repository
        adapters.dynamodb.shipment_repository adapters.dynamodb.transactions
        adapters.dynamodb.types adapters.serializers.check_results
        adapters.serializers.fields adapters.serializers.order_details
        application.orders.ship_orders
    """),
    "socket_api": EVERY
    | names("""
        adapters.dynamodb.order_repository adapters.dynamodb.subscription_repository
        adapters.dynamodb.transactions adapters.dynamodb.types
        adapters.serializers.check_results adapters.serializers.fields
        adapters.serializers.order_details adapters.system application.callers
        application.idempotency application.models application.orders.get_order
        application.ports application.retry application.snapshots
        application.subscriptions.manage_subscriptions bootstrap entrypoints.callers
        entrypoints.http.problems entrypoints.http.requests entrypoints.websocket.api
        entrypoints.websocket.messages
    """),
    "smoke_test": EVERY | names("adapters.releases entrypoints.releases"),
    "socket_authorizer": EVERY
    | names("""
        application.callers entrypoints.authorizer entrypoints.callers
        entrypoints.http.problems entrypoints.websocket.api
    """),
    "socket_pusher": QUEUE
    | names("""
        adapters.dynamodb.subscription_repository adapters.websocket_client
        application.subscriptions.push_events
    """),
    "stock_api": API
    | names("""
        adapters.dynamodb.history_repository adapters.dynamodb.ledger_repository
        adapters.serializers.check_results adapters.serializers.snapshots
        application.ledger.adjust_balance application.ledger.get_balance
        application.ledger.list_balance_history application.ledger.list_balances application.ledger.ports
        entrypoints.http.histories entrypoints.http.ledger_requests
        entrypoints.http.ledger_responses
    """),
    "stock_checker": QUEUE
    | names("""
        adapters.dynamodb.ledger_repository adapters.dynamodb.transactions
        adapters.dynamodb.types adapters.messaging.publishers
        adapters.serializers.check_results adapters.serializers.fields
        application.ledger.check_orders application.ledger.hot_heads
    """),
    "webhook_api": API
    | MESSAGES
    | names("""
        adapters.dynamodb.webhook_repository adapters.messaging.envelopes
        adapters.messaging.publishers application.webhooks.manage_webhooks
        application.webhooks.ports application.webhooks.replay_delivery
        entrypoints.http.urls entrypoints.http.webhook_requests
        entrypoints.http.webhook_responses
    """),
    "webhook_dispatcher": QUEUE
    | names("""
        adapters.dynamodb.transactions adapters.dynamodb.types
        adapters.dynamodb.webhook_repository adapters.messaging.publishers
        adapters.serializers.fields application.webhooks.dispatch_webhooks
        application.webhooks.ports
    """),
    "webhook_sender": QUEUE
    | names("""
        adapters.dynamodb.transactions adapters.dynamodb.types
        adapters.dynamodb.webhook_repository adapters.messaging.publishers
        adapters.serializers.fields application.webhooks.deliver_webhooks
        application.webhooks.ports
    """),
}


def loaded_by(function: str) -> set[str]:
    settings = {
        name for each in functions(load_template()).values() for name in each["Environment"]["Variables"]
    }
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in (f"functions/{function}", "layers")),
        "AWS_DEFAULT_REGION": "us-east-1",
        **dict.fromkeys(settings, "1"),
        "CONNECTIONS_URL": "https://connections",
        "LOG_LEVEL": "INFO",
    }
    command = [sys.executable, "-c", PROGRAM, *BUILDS[function]]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout.splitlines()[-1]))


def ours(modules: set[str]) -> set[str]:
    """Of our own modules those that hold no others, without the domain's."""
    named = {name.removeprefix("order_capture.") for name in modules if name.startswith("order_capture.")}
    packages = {name.rpartition(".")[0] for name in named}
    return {name for name in named - packages if not name.startswith("domain")}


@pytest.mark.parametrize("function", BUILDS)
def test_a_function_loads_what_is_listed_for_it(function: str) -> None:
    modules = loaded_by(function)

    assert sorted(ours(modules) ^ LOADS[function]) == [], "what it loads is to be what is listed"
    assert ("pydantic" in modules) == (function not in ("console", "smoke_test", "socket_authorizer"))
    assert ("aws_lambda_powertools.event_handler" in modules) == ("entrypoints.http.api" in LOADS[function])
    assert ("aws_lambda_powertools.utilities.batch" in modules) == ("entrypoints.sqs" in LOADS[function])
    assert ("jwt" in modules) == (function == "socket_authorizer")
    # They are slow to load, and none of them is used.
    unused = ("aws_xray_sdk", "aws_lambda_powertools.utilities.parser", "requests")
    assert not modules & {*unused}


def test_every_function_is_listed() -> None:
    assert (
        BUILDS.keys() == LOADS.keys() == {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    )
