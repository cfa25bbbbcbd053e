"""The game day's breakages, how each is detected, and the runbook's steps that fix it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.restore_drill import CUSTOMERS, PRODUCTS, Traffic
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import Stack

_DENIAL = "game-day"
_BAD_ITEM = {"orderId": {"S": "written-by-hand"}, "status": {"S": "DANCING"}}
_STOLEN = 50
_EMPTY_SECONDS = 120  # a queue of a few messages, some of which are retried after five
_PROJECTION_SECONDS = 60  # that the history may lag; usually it is two


@dataclass
class Site:
    """The broken stack, and a client that places orders."""

    stack: Stack
    traffic: Traffic
    noted: dict[str, Any] = field(default_factory=dict)
    """Values that an operator records before changing them."""

    def client(self, service: str) -> Any:
        """A client of an AWS service, with all permissions."""
        return self.stack.client(service)

    def order(self, number: int) -> None:
        """Place orders that will be accepted."""
        for count in range(number):
            self.traffic.order(CUSTOMERS[count % len(CUSTOMERS)], PRODUCTS[count % len(PRODUCTS)], 1, 1)


Act = Callable[[Site], None]


@dataclass(frozen=True)
class Step:
    """A step of a fix."""

    instruction: str
    """As in the runbook: a `make` command, or some of its words."""
    act: Act | None = None
    """What an operator does for these words; None for a command, which is run."""
    shows: str = ""
    """A regular expression that the command's output must match."""
    finds_problems: bool = False
    """Whether the command fails here, since it finds problems."""


@dataclass(frozen=True)
class Breakage:
    """A fault."""

    name: str
    what: str
    inject: Act
    runbook: str
    """The alarm that is raised, or the title of the runbook's section if no alarm can detect it."""
    symptoms: Sequence[Step]
    cure: Sequence[Step]

    @property
    def alarm(self) -> str | None:
        """The logical id of the alarm, if there is one."""
        return self.runbook if self.runbook.endswith("Alarm") else None


# ------------------------------------------------------------------ a poisonous message
def _send_poison(site: Site) -> None:
    site.client("sqs").send_message(QueueUrl=site.stack.output("OrderUpdateQueueUrl"), MessageBody="{")


def _purge(queue: str) -> Act:
    return lambda site: site.client("sqs").purge_queue(QueueUrl=site.stack.output(f"{queue}Url"))


# ------------------------------------------------------------------ a lost permission
def _role(site: Site) -> str:
    configuration = site.client("lambda").get_function_configuration(
        FunctionName=site.stack.output("ShipOrderFunctionName")
    )
    return str(configuration["Role"].rpartition("/")[2])


def _deny(site: Site) -> None:
    denial = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}
    site.client("iam").put_role_policy(
        RoleName=_role(site),
        PolicyName=_DENIAL,
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [denial]}),
    )
    site.order(3)


def _allow(site: Site) -> None:
    site.client("iam").delete_role_policy(RoleName=_role(site), PolicyName=_DENIAL)
    # After its last failure, a message takes a moment to reach the dead-letter queue, and is not redriven.
    queue = {"QueueUrl": site.stack.output("ShipOrderQueueUrl")}
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + _EMPTY_SECONDS
    while time.monotonic() < deadline:
        found = site.client("sqs").get_queue_attributes(**queue, AttributeNames=counts)["Attributes"]
        if not any(int(found[count]) for count in counts):
            return
        time.sleep(1)
    raise CommandError("ship_order has its permission again, but its queue does not drain.")


# ------------------------------------------------------------------ a stopped consumer
def _enable(*, enabled: bool) -> Act:
    def act(site: Site) -> None:
        mappings = site.client("lambda")
        queue = site.stack.output("StockCheckerQueueUrl").rpartition("/")[2]
        (mapping,) = (
            each
            for page in mappings.get_paginator("list_event_source_mappings").paginate()
            for each in page["EventSourceMappings"]
            if each["EventSourceArn"].endswith(f":{queue}")
        )
        mappings.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
        if not enabled:
            site.order(3)

    return act


# ------------------------------------------------------------------ a table written to by hand
def _write_by_hand(site: Site) -> None:
    site.client("dynamodb").put_item(TableName=site.stack.output("OrderTableName"), Item=_BAD_ITEM)


def _delete_by_hand(site: Site) -> None:
    key = {"orderId": _BAD_ITEM["orderId"]}
    site.client("dynamodb").delete_item(TableName=site.stack.output("OrderTableName"), Key=key)


# ------------------------------------------------------------------ tampered books
def _change_balance(amount: int) -> Act:
    def act(site: Site) -> None:
        site.client("dynamodb").update_item(
            TableName=site.stack.output("AccountTableName"),
            Key={"customerId": {"S": CUSTOMERS[0]}, "entry": {"S": "BALANCE"}},
            UpdateExpression="ADD balance :amount",
            ExpressionAttributeValues={":amount": {"N": str(amount)}},
        )

    return act


def _forget_record(site: Site) -> None:
    """Delete the history's record of both writes: one record, since neither was a commit."""
    client, table = site.client("dynamodb"), site.stack.output("HistoryTableName")
    deadline = time.monotonic() + _PROJECTION_SECONDS
    while time.monotonic() < deadline:
        for item in client.query(
            TableName=table,
            KeyConditionExpression="entity = :entity",
            ExpressionAttributeValues={":entity": {"S": f"customerId#{CUSTOMERS[0]}"}},
            ConsistentRead=True,
        )["Items"]:
            if item["changes"]["M"] == {"ADJUST": {"N": str(-_STOLEN)}}:
                client.delete_item(TableName=table, Key={name: item[name] for name in ("entity", "line")})
                return
        time.sleep(1)
    raise CommandError("The history has no record of the manual writes to the balance.")


def _status(alarm: str, beside_it: str) -> Step:
    """The first command in each case: it shows the alarm, and the cause."""
    return Step("make status", shows=rf"(?s)(?=.*Alarm {alarm}\b)(?=.*{beside_it})", finds_problems=True)


BREAKAGES = (
    Breakage(
        "poison-message",
        "an unreadable message is in a queue of the order flow",
        _send_poison,
        "OrderUpdateDlqAlarm",
        [_status("OrderUpdateDlqAlarm", "OrderUpdateDlq has 1 dead letter")],
        [
            Step("make redrive QUEUE=order_update DRY_RUN=1", shows="foreign message"),
            Step("make logs FUNCTION=order_update SINCE=1h", shows="refused a message"),
            Step("aws sqs purge-queue", _purge("OrderUpdateDlq")),
        ],
    ),
    Breakage(
        "lost-permission",
        "ship_order has lost access to its tables",
        _deny,
        "ShipOrderDlqAlarm",
        [
            _status("ShipOrderDlqAlarm", r"ShipOrderDlq has \d+ dead letter"),
            Step("make stuck", shows="shipping"),
        ],
        [
            Step("make redrive QUEUE=ship_order DRY_RUN=1", shows="order.ship"),
            Step("make logs FUNCTION=ship_order SINCE=1h", shows="AccessDenied"),
            Step("Fix the cause", _allow),
            Step("make redrive QUEUE=ship_order", shows="Moved from"),
        ],
    ),
    Breakage(
        "stopped-consumer",
        "stock_checker's event source mapping is disabled",
        _enable(enabled=False),
        "StockCheckerAgeAlarm",
        [
            _status("StockCheckerAgeAlarm", r"does not consume \S*stock-checker"),
            Step("make stuck", shows="stock check: not done yet"),
        ],
        [
            Step("aws lambda update-event-source-mapping", _enable(enabled=True)),
            Step("make watch"),
        ],
    ),
    Breakage(
        "written-by-hand",
        "an unreadable item is in the order table",
        _write_by_hand,
        "ChangePublisherDlqAlarm",
        [_status("ChangePublisherDlqAlarm", "ChangePublisherDlq has 1 dead letter")],
        [
            Step("make logs FUNCTION=change_publisher SINCE=1h", shows="a record can't be"),
            Step("When the cause is fixed", _delete_by_hand),
            Step("make watch SCAN=1"),
            Step("make republish-events SINCE=1h DRY_RUN=1"),
            Step("make republish-events SINCE=1h"),
            Step("purge the dead-letter queue", _purge("ChangePublisherDlq")),
        ],
    ),
    Breakage(
        "tampered-books",
        "a customer's balance was changed by hand",
        _change_balance(_STOLEN),
        "The books do not add up",
        [Step("make audit", shows=rf"account {CUSTOMERS[0]}: balance", finds_problems=True)],
        [
            Step("aws dynamodb update-item", _change_balance(-_STOLEN)),
            Step("aws dynamodb delete-item", _forget_record),
        ],
    ),
)
