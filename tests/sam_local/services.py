"""The services that the functions use, and their addresses for containers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import simplejson

from local import stack
from local.engine import Engine
from tests.support.tables import create_tables


@dataclass(frozen=True)
class Services:
    """The services that the functions use."""

    endpoint: str  # as containers reach it
    credentials: dict[str, str] = field(repr=False)
    tables: dict[str, str]
    topics: dict[str, str]
    queues: dict[str, str]
    dynamodb: Any = field(repr=False)
    sqs: Any = field(repr=False)

    def variables(self) -> dict[str, str]:
        """The functions' environment variables: `sam local` knows the resources by their logical ids only."""
        return {
            "ORDER_TABLE": self.tables["OrderTable"],
            "ACCOUNT_TABLE": self.tables["AccountTable"],
            "STOCK_TABLE": self.tables["StockTable"],
            "WEBHOOK_TABLE": self.tables["WebhookTable"],
            "CONNECTION_TABLE": self.tables["ConnectionTable"],
            "ORDER_TOPIC_ARN": self.topics["Checks"],
            "ORDER_EVENT_TOPIC_ARN": self.topics["Events"],
            "ACCOUNT_TOPIC_ARN": self.topics["States"],
            "ORDER_UPDATE_QUEUE_URL": self.queues["OrderUpdate"],
            "SHIP_ORDER_QUEUE_URL": self.queues["ShipOrder"],
            "ORDER_WATCH_QUEUE_URL": self.queues["OrderWatch"],
            "WATCH_DELAY_SECONDS": "0",  # a test looks into the queue at once
        }

    def item(self, table: str, **key: str) -> dict[str, Any]:
        """An item of a table, in DynamoDB's notation."""
        typed = {name: {"S": value} for name, value in key.items()}
        found: dict[str, Any] = self.dynamodb.get_item(TableName=self.tables[table], Key=typed)["Item"]
        return found

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Take the messages of a queue."""
        answer = self.sqs.receive_message(QueueUrl=self.queues[queue], MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=self.queues[queue], ReceiptHandle=message["ReceiptHandle"])
        return [read(message["Body"]) for message in messages]


def create_services(engine: Engine, endpoint: str) -> Services:
    """Create what the functions need; "Checks", "Events" and "States" are subscribed to the topics."""
    session = stack.session(engine)
    dynamodb = session.client("dynamodb", endpoint_url=engine.url)
    sns = session.client("sns", endpoint_url=engine.url)
    sqs = session.client("sqs", endpoint_url=engine.url)
    recorded = ("Checks", "Events", "States")
    names = (*recorded, "OrderUpdate", "ShipOrder", "OrderWatch")
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in names}
    topics = {}
    for name in recorded:
        topics[name] = sns.create_topic(Name=name)["TopicArn"]
        queue = sqs.get_queue_attributes(QueueUrl=queues[name], AttributeNames=["QueueArn"])["Attributes"]
        sns.subscribe(
            TopicArn=topics[name],
            Protocol="sqs",
            Endpoint=queue["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
    credentials = {
        "AWS_ACCESS_KEY_ID": engine.access_key_id,
        "AWS_SECRET_ACCESS_KEY": engine.secret_access_key,
    }
    return Services(endpoint, credentials, create_tables(dynamodb), topics, queues, dynamodb, sqs)


def read(text: str) -> dict[str, Any]:
    """JSON with exact numbers."""
    value: dict[str, Any] = simplejson.loads(text, use_decimal=True)
    return value
