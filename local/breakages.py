"""What the game day breaks, what is then seen of it, and the steps of the runbook that cure it."""

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
_EMPTY_SECONDS = 120  # a queue of a few messages, some of which come again after five
_PROJECTION_SECONDS = 60  # that the history may be behind; mostly it is two


@dataclass
class Site:
    """The stack that is broken, and a client that orders there."""

    stack: Stack
    traffic: Traffic
    noted: dict[str, Any] = field(default_factory=dict)
    """What an operator writes down before they change it."""

    def client(self, service: str) -> Any:
        """A client of an AWS service, with every right."""
        return self.stack.client(service)

    def order(self, number: int) -> None:
        """Place orders that nothing speaks against."""
        for count in range(number):
            self.traffic.order(CUSTOMERS[count % len(CUSTOMERS)], PRODUCTS[count % len(PRODUCTS)], 1, 1)


Act = Callable[[Site], None]


@dataclass(frozen=True)
class Step:
    """A step of a cure."""

    instruction: str
    """As the runbook has it: a `make` command, or words of it."""
    act: Act | None = None
    """What an operator does on these words; None for a command, which is run."""
    shows: str = ""
    """A regular expression of what the command prints."""
    finds_problems: bool = False
    """Whether it fails here, since it lists what is wrong."""


@dataclass(frozen=True)
class Breakage:
    """Something that goes wrong."""

    name: str
    what: str
    inject: Act
    runbook: str
    """The alarm that is raised, or the title of the runbook's section where no alarm can see it."""
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
    # A message that has failed for the last time is still on its way to the dead letters, and not redriven.
    queue = {"QueueUrl": site.stack.output("ShipOrderQueueUrl")}
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + _EMPTY_SECONDS
    while time.monotonic() < deadline:
        found = site.client("sqs").get_queue_attributes(**queue, AttributeNames=counts)["Attributes"]
        if not any(int(found[count]) for count in counts):
            return
        time.sleep(1)
    raise CommandError("ship_order may use its tables again, and its queue does not get empty.")


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
    """Delete what the history has of both writes: the same record, since neither was a commit."""
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
    raise CommandError("The history has no record of what was written to the balance by hand.")


def _status(alarm: str, beside_it: str) -> Step:
    """The command that everybody begins with: it shows the alarm, and the cause."""
    return Step("make status", shows=rf"(?s)(?=.*Alarm {alarm}\b)(?=.*{beside_it})", finds_problems=True)


BREAKAGES = (
    Breakage(
        "poison-message",
        "a message that nobody can read, on an order's way",
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
        "ship_order may not use its tables any more",
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
        "somebody has disabled stock_checker's queue",
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
        "somebody has written an item to the order table that nobody can read",
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
        "somebody has added to a customer's balance by hand",
        _change_balance(_STOLEN),
        "The books do not add up",
        [Step("make audit", shows=rf"account {CUSTOMERS[0]}: balance", finds_problems=True)],
        [
            Step("aws dynamodb update-item", _change_balance(-_STOLEN)),
            Step("aws dynamodb delete-item", _forget_record),
        ],
    ),
)
