"""The wiring in template.yaml: which queue and stream feeds which function, and with which settings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.support.aws.sqs import queue_arn, queue_url
from tests.support.event_filters import Filter, filters_of
from tests.support.template import ROOT, functions, load_template, of_type, on_aws, refers_to

ENVIRONMENTS = ("dev", "prod")
"""Sections of samconfig.toml with the parameters."""


@dataclass(frozen=True)
class QueueSource:
    """An event source mapping of a queue."""

    queue: str
    batch_size: int
    window: float
    concurrency: int


@dataclass(frozen=True)
class StreamSource:
    """An event source mapping of a table's stream."""

    table: str
    filters: Sequence[Filter]
    batch_size: int
    window: float
    lanes: int
    """Concurrent batches per shard."""


@dataclass(frozen=True)
class Function:
    """A function with its settings and event sources."""

    name: str
    timeout: float
    environment: Mapping[str, str]
    queues: Sequence[QueueSource]
    streams: Sequence[StreamSource]


@dataclass(frozen=True)
class Wiring:
    """The parts of the template that messages pass through. Names are logical ids."""

    functions: Mapping[str, Function]
    tables: Mapping[str, Mapping[str, Any]]
    queues: Mapping[str, Mapping[str, Any]]
    topics: Sequence[str]
    subscriptions: Sequence[Mapping[str, Any]]


@cache
def wiring(environment: str) -> Wiring:
    """The template's wiring with the parameters of an environment."""
    template = on_aws(load_template())
    values = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
    with (ROOT / "samconfig.toml").open("rb") as file:
        overrides = tomllib.load(file)[environment]["deploy"]["parameters"]["parameter_overrides"]
    values |= dict(each.split("=", 1) for each in overrides)
    topics = list(of_type(template, "AWS::SNS::Topic"))
    queues = of_type(template, "AWS::SQS::Queue")

    def value(of: Any) -> str:
        match of:
            case {"Ref": str(name)} if name in values:
                return values[name]
            case {"Ref": str(name)} if name in queues:
                return queue_url(name)
            case {"Ref": str(name)} if name in topics:
                return f"arn:aws:sns:us-east-1:123456789012:{name}"
            case {"Ref": str(name)}:
                return name
        return str(of)

    found = {}
    for properties in functions(template).values():
        name = properties["CodeUri"].rstrip("/").rpartition("/")[2]
        events = [(event["Type"], event["Properties"]) for event in properties.get("Events", {}).values()]
        found[name] = Function(
            name=name,
            timeout=float(properties["Timeout"]),
            environment={key: value(each) for key, each in properties["Environment"]["Variables"].items()},
            queues=[
                QueueSource(
                    queue=refers_to(event["Queue"]) or "",
                    batch_size=event["BatchSize"],
                    window=float(event.get("MaximumBatchingWindowInSeconds", 0)),
                    concurrency=int(value(event["ScalingConfig"]["MaximumConcurrency"])),
                )
                for kind, event in events
                if kind == "SQS"
            ],
            streams=[
                StreamSource(
                    table=refers_to(event["Stream"]) or "",
                    filters=filters_of(event),
                    batch_size=event["BatchSize"],
                    window=float(event.get("MaximumBatchingWindowInSeconds", 0)),
                    lanes=event.get("ParallelizationFactor", 1),
                )
                for kind, event in events
                if kind == "DynamoDB"
            ],
        )
    return Wiring(
        functions=found,
        tables=of_type(template, "AWS::DynamoDB::Table"),
        queues={name: _queue(properties) for name, properties in queues.items()},
        topics=topics,
        subscriptions=[
            {
                "topic": refers_to(each["TopicArn"]),
                "queue": refers_to(each["Endpoint"]),
                "attributes": {
                    "RawMessageDelivery": json.dumps(each.get("RawMessageDelivery", False)),
                    "FilterPolicy": json.dumps(each.get("FilterPolicy", {})),
                },
            }
            for each in of_type(template, "AWS::SNS::Subscription").values()
            if each["Protocol"] == "sqs"
        ],
    )


def _queue(properties: Mapping[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {"VisibilityTimeout": str(properties.get("VisibilityTimeout", 30))}
    if redrive := properties.get("RedrivePolicy"):
        letters = queue_arn(refers_to(redrive["deadLetterTargetArn"]) or "")
        policy = {"deadLetterTargetArn": letters, "maxReceiveCount": int(redrive["maxReceiveCount"])}
        attributes["RedrivePolicy"] = json.dumps(policy)
    return attributes
