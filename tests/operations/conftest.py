"""The operators' commands on the pipeline: real handlers, with moto for AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from order_capture_ops import __main__ as cli
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop
from tests.support.tables import session
from tests.support.template import load_template, refers_to

Run = Callable[..., int]


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    with Pipeline.running() as pipeline:
        yield pipeline


@pytest.fixture
def shop(pipeline: Pipeline) -> Shop:
    return open_shop(pipeline)


def open_shop(pipeline: Pipeline) -> Shop:
    """A shop with two customers and two products."""
    shop = Shop(pipeline)
    shop.open({"alice": 1000, "bob": 10}, {"pen": 50, "ink": 30})
    return shop


@pytest.fixture
def stack(pipeline: Pipeline) -> Stack:
    """The pipeline as a deployed stack, with the template's outputs."""
    client = session().create_client
    sqs, topics = client("sqs"), client("sns").list_topics()["Topics"]
    resources = load_template()["Resources"]
    outputs = {}
    for name, output in load_template()["Outputs"].items():
        logical_id = refers_to(output["Value"]) or ""
        match resources.get(logical_id, {}).get("Type"):
            case "AWS::DynamoDB::Table":
                outputs[name] = logical_id
            case "AWS::SQS::Queue":
                outputs[name] = sqs.get_queue_url(QueueName=logical_id)["QueueUrl"]
            case "AWS::SNS::Topic":
                (arn,) = (each["TopicArn"] for each in topics if each["TopicArn"].endswith(f":{logical_id}"))
                outputs[name] = arn
    return Stack("shop", outputs, {cli.DEADLINE_PARAMETER: "900"}, client)


@pytest.fixture
def tables(stack: Stack) -> Tables:
    return Tables.of(stack)


@pytest.fixture
def run(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the stack; returns its exit code."""
    monkeypatch.setattr("order_capture_ops.stack.find", lambda _: stack)
    return lambda *arguments: cli.main(list(arguments))
