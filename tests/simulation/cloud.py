"""The application's tables, queues and topic in the fakes, and which function each of them feeds.

It repeats the relevant parts of template.yaml, which takes too long to parse in every process of a
simulation; a test keeps it consistent with the template.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.aws.dynamodb import DynamoDB
from tests.support.aws.sns import SNS
from tests.support.aws.sqs import SQS, queue_arn, queue_url

TABLES = {
    "OrderTable": ("orderId",),
    "AccountTable": ("customerId", "entry"),
    "StockTable": ("productId", "entry"),
    "WebhookTable": ("customerId", "entry"),
    "ConnectionTable": ("followed", "connectionId"),
}
TOPIC = "OrderTopic"
TOPIC_DEAD_LETTERS = "OrderTopicDlq"
STREAM_DEAD_LETTERS = "ChangePublisherDlq"
EVENT_TOPIC = "OrderEventTopic"
LISTENER = "Listener"
"""An external queue behind the event topic, never emptied: it has everything that was published."""
FED = {
    "balance_checker": "BalanceCheckerQueue",
    "stock_checker": "StockCheckerQueue",
    "order_update": "OrderUpdateQueue",
    "ship_order": "ShipOrderQueue",
    "order_watchdog": "OrderWatchQueue",
}
"""Which queue feeds which function."""
SUBSCRIBED = ("BalanceCheckerQueue", "StockCheckerQueue")
FILTER = {"type": ["order.check", "order.release"]}
VISIBILITY = {queue: 61 if queue == "ShipOrderQueue" else 60 for queue in FED.values()}
MAX_RECEIVES = 3
BATCH_SIZES = {name: 100 if name == "ship_order" else 10 for name in FED}
STREAM_FILTER = {"dynamodb": {"NewImage": {"status": {"S": [{"exists": True}]}}}}
WATCH_DELAY = 60
DEADLINE = 900


def is_streamed(record: Mapping[str, Any]) -> bool:
    """Whether STREAM_FILTER passes a record to the stream's function."""
    return "status" in record["dynamodb"]["NewImage"]


def dead_letters_of(queue: str) -> str:
    """The name of a queue's dead-letter queue."""
    return f"{queue.removesuffix('Queue')}Dlq"


_QUEUES = {
    queue: {
        "VisibilityTimeout": str(VISIBILITY[queue]),
        "RedrivePolicy": json.dumps(
            {"deadLetterTargetArn": queue_arn(dead_letters_of(queue)), "maxReceiveCount": MAX_RECEIVES}
        ),
    }
    for queue in FED.values()
}
_SUBSCRIPTION = {
    "RawMessageDelivery": "true",
    "FilterPolicy": json.dumps(FILTER),
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": queue_arn(TOPIC_DEAD_LETTERS)}),
}


@dataclass(frozen=True)
class Cloud:
    """A new, empty account."""

    dynamodb: DynamoDB
    sqs: SQS
    sns: SNS


def new_cloud(now: Callable[[], float], new_id: Callable[[], str]) -> Cloud:
    """Everything that the template creates and the functions use."""
    dynamodb = DynamoDB(now)
    for table, key_names in TABLES.items():
        dynamodb.create_table(TableName=table, KeySchema=[{"AttributeName": name} for name in key_names])
    sqs = SQS(now, new_id)
    sqs.create_queue(QueueName=TOPIC_DEAD_LETTERS)
    sqs.create_queue(QueueName=STREAM_DEAD_LETTERS)
    for queue, attributes in _QUEUES.items():
        sqs.create_queue(QueueName=dead_letters_of(queue))
        sqs.create_queue(QueueName=queue, Attributes=attributes)
    sns = SNS(sqs)
    topic = sns.create_topic(Name=TOPIC)["TopicArn"]
    for queue in SUBSCRIBED:
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn(queue), Attributes=_SUBSCRIPTION)
    sqs.create_queue(QueueName=LISTENER)
    sns.subscribe(
        TopicArn=sns.create_topic(Name=EVENT_TOPIC)["TopicArn"],
        Protocol="sqs",
        Endpoint=queue_arn(LISTENER),
        Attributes={"RawMessageDelivery": "true"},
    )
    return Cloud(dynamodb, sqs, sns)


def settings(watch_delay: int = WATCH_DELAY, deadline: int = DEADLINE, stripes: int = 0) -> dict[str, str]:
    """The environment variables of all functions together; both times are in seconds."""
    return {
        "ORDER_TABLE": "OrderTable",
        "ACCOUNT_TABLE": "AccountTable",
        "STOCK_TABLE": "StockTable",
        "WEBHOOK_TABLE": "WebhookTable",
        "CONNECTION_TABLE": "ConnectionTable",
        "ORDER_TOPIC_ARN": f"arn:aws:sns:us-east-1:123456789012:{TOPIC}",
        "ORDER_EVENT_TOPIC_ARN": f"arn:aws:sns:us-east-1:123456789012:{EVENT_TOPIC}",
        "ORDER_UPDATE_QUEUE_URL": queue_url("OrderUpdateQueue"),
        "SHIP_ORDER_QUEUE_URL": queue_url("ShipOrderQueue"),
        "ORDER_WATCH_QUEUE_URL": queue_url("OrderWatchQueue"),
        "DEAD_LETTER_QUEUE_URL": queue_url(STREAM_DEAD_LETTERS),
        "LEDGER_STRIPES": str(stripes),
        "WATCH_DELAY_SECONDS": str(watch_delay),
        "ORDER_DEADLINE_SECONDS": str(deadline),
    }
