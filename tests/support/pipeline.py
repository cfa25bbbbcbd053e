"""The application of template.yaml in one process: moto plays AWS, and this module plays Lambda.

The event sources of each function, their batch sizes, the settings and the dead-letter queues
are all read from the template, so that a mistake there shows here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.awsrequest
import moto.core.utils
from botocore.compat import HTTPHeaders
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from order_capture.adapters import aws_clients, system
from order_capture.adapters.serializers import decimal_json
from tests.support.event_filters import filters_of, matches
from tests.support.factories import SERVICE_CLAIMS, api_event
from tests.support.tables import REGION, create_tables, session
from tests.support.template import ROOT, functions, load_template, of_type, refers_to

SERVICES = ("dynamodb", "sns", "sqs")
AWS_SETTINGS = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
MAX_RECEIVED = 10  # messages of one SQS call; Lambda combines several calls into larger batches
MAX_ROUNDS = 500  # far more than any scenario takes; a pipeline that never becomes idle fails

Handler = Callable[[dict[str, Any], object], dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """The response that a client gets."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Function:
    """A function of the template, ready to be invoked."""

    name: str
    handler: Handler
    environment: dict[str, str]
    routes: list[tuple[str, str]] = field(default_factory=list)
    queues: Sequence[str] = ()
    """The queues of its event sources; the one that others send to comes first."""
    streams: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The filters of each table whose stream it reads."""
    batch_size: int = 1
    window: int = 0
    """Seconds of its batching window. Here a batch has the messages present at delivery."""
    reports_failures: bool = False


@cache
def _client(service: str) -> Any:
    """A client for the tests: its calls are neither counted nor refused."""
    return session().create_client(service)


class Pipeline:
    """The whole application, empty. Create and use it under `moto.mock_aws()` (see `running`)."""

    def __init__(self) -> None:
        self._time = _Time()
        # Without the caller's environment: its shell may have the `make env` of a running engine.
        with mock.patch.dict(os.environ, AWS_SETTINGS, clear=True):
            aws_clients.client.cache_clear()
            self._clients: dict[str, Any] = {service: aws_clients.client(service) for service in SERVICES}
        self._aws: dict[str, Any] = {service: _client(service) for service in SERVICES}
        self._template = load_template()
        self._physical: dict[str, str] = create_tables(self._aws["dynamodb"], streams=True)
        self._streamed: Counter[str] = Counter()
        self._written: dict[str, list[dict[str, Any]]] = {}
        self._listeners = 0
        self._arns: dict[str, str] = {}
        self._create_queues()
        self._create_topics()
        self._functions = {function.name: function for function in map(self._function, self._logical_ids())}
        self.calls: list[str] = []
        """Every call of ours to AWS, as "service.Operation", in order."""
        self.invocations = 0
        """How often a function was called."""
        self.delivered: list[tuple[str, str]] = []
        """Every delivered message: the function's name, and the body."""
        for client in self._clients.values():
            client.meta.events.register("before-send", self._count)

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Pipeline]:
        """A new pipeline, over a new AWS."""
        with mock_aws():
            pipeline = cls()
            yield pipeline
            pipeline.close()

    # Clients

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        claims: Mapping[str, str] = SERVICE_CLAIMS,
    ) -> Answer:
        """Send a request through the API, with a token of these claims."""
        path, _, query = path.partition("?")
        for function in self._functions.values():
            for verb, resource in function.routes:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", resource)
                if verb in ("ANY", method) and (match := re.fullmatch(pattern, path)):
                    event = api_event(
                        method,
                        resource,
                        body,
                        headers,
                        match.groupdict() or None,
                        urllib.parse.parse_qs(query),
                        claims,
                    )
                    answer = self._call(function, event)
                    body = decimal_json.loads(answer["body"]) if answer["body"] else None
                    return Answer(answer["statusCode"], answer["headers"], body)
        raise LookupError(f"the template has no route for {method} {path}")

    # Lambda

    def invoke(self, name: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function with a test's event."""
        return self._call(self._functions[name], event)

    def deliver(self, name: str, times: int = 1) -> int:
        """Deliver the next batch of each of its queues to a function, `times` times; return its size.

        Messages that the function reports as failed return to the queue at once, without a timeout.
        """
        function = self._functions[name]
        return sum(self._deliver(function, queue, times) for queue in function.queues)

    def consumers(self) -> dict[str, int]:
        """The functions with queues or streams, and the seconds of their batching windows."""
        return {
            name: function.window
            for name, function in self._functions.items()
            if function.queues or function.streams
        }

    def _deliver(self, function: Function, queue: str, times: int) -> int:
        if not sqs_backends[DEFAULT_ACCOUNT_ID][REGION].get_queue(queue).messages:
            return 0  # most queues are usually empty, and calling AWS is ten times the work
        sqs, url = self._aws["sqs"], self._physical[queue]
        messages: list[dict[str, Any]] = []
        while len(messages) < function.batch_size:
            received = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(MAX_RECEIVED, function.batch_size - len(messages)),
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            messages += received
            if not received:
                break
        if not messages:
            return 0
        failed: set[str] = set()
        for _ in range(times):
            failed = self._failed(function, queue, messages)
        for message in messages:
            self.delivered.append((function.name, message["Body"]))
            receipt = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failed:
                sqs.change_message_visibility(**receipt, VisibilityTimeout=0)
            else:
                sqs.delete_message(**receipt)
        return len(messages)

    def publish_changes(self, times: int = 1, only: Collection[str] | None = None) -> int:
        """Deliver the writes since the last time to the readers of the tables' streams, `times` times.

        If one of them raises, so does this: its whole batch is delivered again next time.
        """
        handed = 0
        for name, function in self._functions.items():
            if only is not None and name not in only:
                continue
            for table, filters in function.streams.items():
                cursor = f"{name} of {table}"
                records = self._stream(table, self._streamed[cursor])
                wanted = [each for each in records if any(matches(each, f) for f in filters)]
                for start in range(0, len(wanted), function.batch_size):
                    for _ in range(times):
                        self._call(function, {"Records": wanted[start : start + function.batch_size]})
                self._streamed[cursor] += len(records)
                handed += len(wanted)
        return handed

    def skip_streams(self) -> None:
        """Never deliver the changes so far: they were restored, not written."""
        for function in self._functions.values():
            for table in function.streams:
                name = f"{function.name} of {table}"
                self._streamed[name] += len(self._stream(table, self._streamed[name]))

    def replay_streams(self) -> None:
        """Deliver all changes again."""
        self._streamed.clear()

    def run(self, times: int = 1) -> None:
        """Deliver, every batch `times` times, until the streams and all queues are empty.

        A message that is delayed is not in its queue yet: `wait` for it.
        """
        fed = [name for name, function in self._functions.items() if function.queues]
        for _ in range(MAX_ROUNDS):
            if not self.publish_changes(times) + sum(self.deliver(name, times) for name in fed):
                return
        raise AssertionError("the pipeline does not get quiet")

    def wait(self, seconds: float) -> None:
        """Advance the time, for our functions and for AWS."""
        self._time.passed += timedelta(seconds=seconds)

    def now(self) -> str:
        """The current time, as our functions see it."""
        return system.clock()

    def configure(self, name: str, **settings: str) -> None:
        """Override the template's default settings of a function."""
        self._functions[name].environment.update(settings)

    def put(self, name: str, body: str) -> None:
        """Put a message into the queue that feeds a function."""
        self._aws["sqs"].send_message(QueueUrl=self._queue_url(self._functions[name]), MessageBody=body)

    def redeliver_everything(self) -> None:
        """Resend everything that was ever delivered, the latest first, under new message ids."""
        for name, body in reversed(self.delivered[:]):
            self.put(name, body)

    def max_receive_count(self, name: str) -> int:
        """How often a message is received before it is dead-lettered."""
        return int(self._redrive(name)["maxReceiveCount"])

    def dead_letters(self, name: str) -> list[str]:
        """The messages in the dead-letter queue of a function's queue."""
        return self._emptied(self._physical[refers_to(self._redrive(name)["deadLetterTargetArn"]) or ""])

    def held_up(self, name: str) -> list[str]:
        """Remove all messages that wait for a function; `put` them again to deliver them late."""
        queues = self._functions[name].queues
        return [body for queue in queues for body in self._emptied(self._physical[queue])]

    def _redrive(self, name: str) -> dict[str, Any]:
        queue = self._functions[name].queues[0]
        policy: dict[str, Any] = of_type(self._template, "AWS::SQS::Queue")[queue]["RedrivePolicy"]
        return policy

    def _emptied(self, url: str) -> list[str]:
        sqs = self._aws["sqs"]
        bodies = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                bodies.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def on_answer(self, listener: Callable[[str, dict[str, Any], dict[str, Any]], None]) -> None:
        """Call `listener` for every call of ours: "service.Operation", its parameters, AWS's response."""

        def requested(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
            context["asked"] = params

        def answered(parsed: dict[str, Any], context: dict[str, Any], event_name: str, **_: object) -> None:
            listener(event_name.removeprefix("after-call."), context["asked"], parsed)

        for client in self._clients.values():
            client.meta.events.register("before-parameter-build", requested)
            client.meta.events.register("after-call", answered)

    # Faults

    @contextlib.contextmanager
    def refusing(self, operation: str, text: str = "") -> Iterator[None]:
        """AWS responds with 503 to an operation ("sns.PublishBatch") and does not execute it."""

        def refuse(**_: object) -> tuple[object, dict[str, Any]]:
            error = {"Code": "ServiceUnavailable", "Message": text}
            return SimpleNamespace(status_code=503), {
                "Error": error,
                "ResponseMetadata": {"HTTPStatusCode": 503},
            }

        with self.hooked(f"before-call.{operation}", refuse):
            yield

    @contextlib.contextmanager
    def losing_an_answer(self, operation: str) -> Iterator[None]:
        """AWS executes the first call of the operation, but its response is lost."""
        answered = iter([False])

        def lose(request: botocore.awsrequest.AWSPreparedRequest, **_: object) -> object:
            if next(answered, True):
                return None
            raw = SimpleNamespace(stream=lambda: [b""])
            return botocore.awsrequest.AWSResponse(request.url, 500, HTTPHeaders(), raw)

        # Before moto's own hook, which is called as well, but whose response comes too late.
        with self.hooked(f"before-send.{operation}", lose):
            yield

    @contextlib.contextmanager
    def hooked(self, event: str, hook: Callable[..., object]) -> Iterator[None]:
        """Call `hook` at one of botocore's events ("before-call.sns.PublishBatch") of our clients."""
        events = self._clients[event.split(".")[1]].meta.events
        events.register_first(event, hook)
        try:
            yield
        finally:
            events.unregister(event, hook)

    # Stored data

    def item(self, table: str, **key: str) -> dict[str, Any]:
        """A stored item of a table, by the table's logical id."""
        answer = self._aws["dynamodb"].get_item(
            TableName=self._physical[table], Key={name: {"S": value} for name, value in key.items()}
        )
        item: dict[str, Any] = answer["Item"]
        return item

    def order_ids(self) -> list[str]:
        """The ids of all orders."""
        return [item["orderId"]["S"] for item in self.items("OrderTable") if "status" in item]

    def key_of(self, table: str, item: dict[str, Any]) -> dict[str, Any]:
        """The key of an item of a table, by the table's own name."""
        schema = self._aws["dynamodb"].describe_table(TableName=table)["Table"]["KeySchema"]
        return {each["AttributeName"]: item[each["AttributeName"]] for each in schema}

    def index_entries(self, table: str, item: dict[str, Any]) -> list[dict[str, Any]]:
        """The index entries of an item, by the table's own name."""
        description = self._aws["dynamodb"].describe_table(TableName=table)["Table"]
        keys = {each["AttributeName"] for each in description["KeySchema"]}
        entries = []
        for index in description.get("GlobalSecondaryIndexes", []):
            names = {each["AttributeName"] for each in index["KeySchema"]}
            if names <= item.keys():
                has = keys | names | {*index["Projection"].get("NonKeyAttributes", [])}
                entries.append({name: value for name, value in item.items() if name in has})
        return entries

    def stored(self, table: str, key: dict[str, Any]) -> dict[str, Any]:
        """A stored item, by the table's own name and its key; empty if it does not exist."""
        item: dict[str, Any] = self._aws["dynamodb"].get_item(TableName=table, Key=key).get("Item", {})
        return item

    def close(self) -> None:
        """Discard the clients of this pipeline, and restore the time."""
        self._time.close()
        aws_clients.client.cache_clear()

    def items(self, table: str) -> list[dict[str, Any]]:
        """All items of a table."""
        pages = self._aws["dynamodb"].get_paginator("scan").paginate(TableName=self._physical[table])
        return [item for page in pages for item in page["Items"]]

    def listen(self, topic: str, filter_policy: dict[str, Any] | None = None) -> Callable[[], list[str]]:
        """Subscribe an external queue to a topic; returns a function that takes all its messages."""
        self._listeners += 1
        sqs, name = self._aws["sqs"], f"listener-{self._listeners}"
        url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"RawMessageDelivery": "true"}
        if filter_policy:
            attributes["FilterPolicy"] = json.dumps(filter_policy)
        self._aws["sns"].subscribe(
            TopicArn=self._physical[topic], Protocol="sqs", Endpoint=arn, Attributes=attributes
        )
        return lambda: self._emptied(url)

    # Wiring

    def _stream(self, table: str, after: int) -> list[dict[str, Any]]:
        """The writes to a table after this many: moto has them, but not under AWS's own address."""
        stream = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(self._physical[table]).stream_shard
        assert stream is not None
        written = self._written.setdefault(table, [])
        written += [
            {
                "eventID": record["eventID"],
                "eventName": record["eventName"],
                "eventSource": "aws:dynamodb",
                "eventSourceARN": f"arn:aws:dynamodb:{REGION}:{DEFAULT_ACCOUNT_ID}:table/{table}/stream/now",
                "awsRegion": REGION,
                "dynamodb": {
                    name: record["dynamodb"].get(name)
                    for name in ("Keys", "NewImage", "OldImage", "SequenceNumber")
                },
            }
            for record in (each.to_json() for each in stream.items)
        ]
        # moto copies a table with its whole stream in each transaction.
        stream.starting_sequence_number += len(stream.items)
        stream.items.clear()
        return written[after:]

    def _create_queues(self) -> None:
        queues = of_type(self._template, "AWS::SQS::Queue")
        dead_letters_first = sorted(queues, key=lambda name: "RedrivePolicy" in queues[name])
        for name in dead_letters_first:
            attributes = {"VisibilityTimeout": str(queues[name].get("VisibilityTimeout", 30))}
            if redrive := queues[name].get("RedrivePolicy"):
                target = self._arns[refers_to(redrive["deadLetterTargetArn"]) or ""]
                attributes["RedrivePolicy"] = json.dumps({**redrive, "deadLetterTargetArn": target})
            sqs = self._aws["sqs"]
            self._physical[name] = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
            self._arns[name] = f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:{name}"

    def _create_topics(self) -> None:
        sns = self._aws["sns"]
        for name in of_type(self._template, "AWS::SNS::Topic"):
            self._physical[name] = self._arns[name] = sns.create_topic(Name=name)["TopicArn"]
        for subscription in of_type(self._template, "AWS::SNS::Subscription").values():
            if subscription["Protocol"] != "sqs":
                continue
            attributes = {"RawMessageDelivery": json.dumps(subscription.get("RawMessageDelivery", False))}
            if "FilterPolicy" in subscription:
                attributes["FilterPolicy"] = json.dumps(subscription["FilterPolicy"])
            sns.subscribe(
                TopicArn=self._arns[refers_to(subscription["TopicArn"]) or ""],
                Protocol="sqs",
                Endpoint=self._arns[refers_to(subscription["Endpoint"]) or ""],
                Attributes=attributes,
            )

    def _logical_ids(self) -> list[str]:
        return list(functions(self._template))

    def _function(self, logical_id: str) -> Function:
        properties = functions(self._template)[logical_id]
        code = ROOT / properties["CodeUri"]
        module, _, attribute = properties["Handler"].rpartition(".")
        events = [(event["Type"], event["Properties"]) for event in properties.get("Events", {}).values()]
        fed = [event for kind, event in events if kind in ("SQS", "DynamoDB")]
        streams = {refers_to(event["Stream"]) or "?": filters_of(event) for event in fed if "Stream" in event}
        queues = [refers_to(event["Queue"]) or "?" for event in fed if "Queue" in event]
        assert len(fed) in (len(queues), len(streams)), f"{logical_id} is fed by queues and streams"
        source = fed[0] if fed else {}
        window = "MaximumBatchingWindowInSeconds"
        assert all(
            event[size] == source[size] for event in fed for size in ("BatchSize", window) if size in source
        )
        return Function(
            name=code.name,
            handler=getattr(_load(code / f"{module}.py"), attribute),
            environment={k: self._value(v) for k, v in properties["Environment"]["Variables"].items()},
            routes=[(event["Method"].upper(), event["Path"]) for kind, event in events if kind == "Api"],
            queues=queues,
            streams=streams,
            batch_size=source.get("BatchSize", 10),
            window=source.get("MaximumBatchingWindowInSeconds", 0),
            reports_failures="ReportBatchItemFailures" in source.get("FunctionResponseTypes", []),
        )

    def _value(self, value: Any) -> str:
        """A setting's value for the function: a `Ref` is a table's name, a queue's URL, a topic's ARN."""
        match value:
            case {"Fn::If": ["OnAws", on_aws, _]}:
                return self._value(on_aws)
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{[^}]+\}", "nowhere", text)  # an address without a server here
            case {"Ref": str(name)} if name in self._template["Parameters"]:
                return str(self._template["Parameters"][name]["Default"])
            case {"Ref": "AWS::StackName" | "AWS::StackId"}:
                return "stack"
            case {"Ref": str(name)}:
                return self._physical[name]
            case {"Fn::GetAtt": [str(name), "Arn"]}:
                return self._arns[name]
        return str(value)

    def _queue_url(self, function: Function) -> str:
        assert function.queues, f"no queue feeds {function.name}"
        return self._physical[function.queues[0]]

    def _failed(self, function: Function, queue: str, messages: list[dict[str, Any]]) -> set[str]:
        """The messages that Lambda would return to the queue."""
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": message.get("MessageAttributes", {}),
                "eventSource": "aws:sqs",
                "eventSourceARN": self._arns[queue],
                "awsRegion": REGION,
            }
            for message in messages
        ]
        report = self._call(function, {"Records": records})
        if not function.reports_failures:
            return set()
        return {failure["itemIdentifier"] for failure in report["batchItemFailures"]}

    def _call(self, function: Function, event: dict[str, Any]) -> dict[str, Any]:
        """Call a function with exactly the settings that the template gives it."""
        self.invocations += 1
        with mock.patch.dict(os.environ, {**AWS_SETTINGS, **function.environment}, clear=True):
            return json.loads(json.dumps(function.handler(json.loads(json.dumps(event)), None)))  # type: ignore[no-any-return]

    def _count(self, event_name: str, **_: object) -> None:
        self.calls.append(event_name.removeprefix("before-send."))


class _Time:
    """A clock that can be advanced, on top of the real one."""

    def __init__(self) -> None:
        self.passed = timedelta()
        time = self

        class Now(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Now:
                return super().now(tz) + time.passed

        real = moto.core.utils.utcnow

        def aws_now() -> datetime:
            return real() + time.passed

        self._patches = contextlib.ExitStack()
        self._patches.enter_context(mock.patch.object(system, "datetime", Now))
        self._patches.enter_context(mock.patch.object(moto.core.utils, "utcnow", aws_now))

    def close(self) -> None:
        """Return to the real time."""
        self._patches.close()


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
