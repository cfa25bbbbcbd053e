"""The model's assumptions about AWS: every latency and limit, with its source and date.

All else (batch sizes, timeouts, MaximumConcurrency, windows, receives) is read from template.yaml. Limits are
from AWS's documentation as of 2026-11-28. Latencies are our assumptions, typical of one region, not measured
on AWS. A latency is the median of a lognormal distribution.

Not modelled: how a new table's capacity grows, and the limits of the API's stage. Every partition key is
assumed to have its own partition, as it does once DynamoDB has split a table for its traffic, or for its
warm throughput (docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html). The stage's
limits, which template.yaml sets by ApiRateLimit, are assumed to have been raised for the sale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from order_capture_ops.errors import UsageError

_DEVELOPERS = "docs.aws.amazon.com/amazondynamodb/latest/developerguide"
_LAMBDA = "docs.aws.amazon.com/lambda/latest/dg"


def constant(default: float, least: float, most: float, about: str, source: str = "assumed") -> Any:
    """A field that can be set on the command line, with its bounds, description and source."""
    return field(default=default, metadata={"least": least, "most": most, "about": about, "source": source})


@dataclass(frozen=True)
class Constants:
    """Times are in ms if the name ends in `_ms`, else in seconds; each can be set on the command line."""

    sigma: float = constant(0.35, 0, 2, "spread of all latencies: sigma of their lognormal distributions")

    # DynamoDB. From prepare to commit, a transaction conflicts with others.
    transaction_ms: float = constant(8, 0, 1_000, "a transaction from prepare to commit, and for each item")
    transaction_item_ms: float = constant(
        0.4, 0, 100, "more for each item of a transaction: 12 ms for ten holds, 18 for ten settlements"
    )
    refusal_ms: float = constant(6, 0, 1_000, "a transaction or a write that is refused")
    write_ms: float = constant(4, 0, 1_000, "a PutItem or UpdateItem")
    read_ms: float = constant(3, 0, 1_000, "a read of one item or of many")
    wcu_per_partition: float = constant(
        1_000,
        1,
        1e9,
        "write units a second for one partition key",
        f"{_DEVELOPERS}/bp-partition-key-design.html",
    )
    rcu_per_partition: float = constant(
        3_000,
        1,
        1e9,
        "read units a second for one partition key",
        f"{_DEVELOPERS}/bp-partition-key-design.html",
    )
    shards: float = constant(
        4, 1, 1_000, "shards of each stream: a new on-demand table has four partitions",
        f"{_DEVELOPERS}/on-demand-capacity-mode.html",
    )  # fmt: skip

    # SNS and SQS
    publish_ms: float = constant(10, 0, 1_000, "a PublishBatch")
    fan_out_ms: float = constant(20, 0, 10_000, "from SNS to a queue")
    send_ms: float = constant(6, 0, 1_000, "a SendMessageBatch or ChangeMessageVisibility")
    arrive_ms: float = constant(4, 0, 10_000, "from a send until the message can be received")
    receive_ms: float = constant(
        5, 0, 1_000, "from a message that can be received to the function that gets it"
    )

    # Lambda
    pollers: float = constant(
        5,
        1,
        1_000,
        "batches at a time that a queue's mapping begins with",
        f"{_LAMBDA}/services-sqs-scaling.html",
    )
    pollers_per_second: float = constant(
        5,
        0,
        1_000,
        "more of them a second while messages wait (300 a minute)",
        f"{_LAMBDA}/services-sqs-scaling.html",
    )
    pollers_idle: float = constant(
        60, 1, 10_000, "seconds without waiting messages after which it begins again"
    )
    stream_ms: float = constant(
        150, 0, 10_000, "from a write to the function that reads the stream, polled four times a second",
        f"{_LAMBDA}/with-ddb.html",
    )  # fmt: skip
    invocation_ms: float = constant(14, 0, 1_000, "work of an invocation beside its calls to AWS")
    cold_start_ms: float = constant(700, 0, 60_000, "what a first invocation in a new environment waits for")
    warm: float = constant(
        5, 0, 10_000, "environments of a queue's or a stream's function that are warm at first"
    )
    warm_api: float = constant(
        300, 0, 10_000, "environments of order_api that are: people look before they buy"
    )
    concurrency: float = constant(
        1_000, 1, 1e6, "executions at a time, of all functions together", f"{_LAMBDA}/lambda-concurrency.html"
    )
    scaling_per_second: float = constant(
        100,
        1,
        1e6,
        "new environments of a function a second (1,000 in ten seconds)",
        f"{_LAMBDA}/scaling-behavior.html",
    )

    # API Gateway and its clients
    gateway_ms: float = constant(8, 0, 1_000, "from a client to order_api")
    client_pause_ms: float = constant(
        500, 1, 60_000, "a client's pause before it sends a refused request again"
    )


KNOWN: Mapping[str, Any] = {each.name: each for each in fields(Constants)}


def constants_from(settings: str) -> Constants:
    """The constants, some of them set: `wcu_per_partition=500 sigma=0`.

    Raises:
        UsageError: a constant is unknown, or its value is out of range.
    """
    return replace(Constants(), **settings_of(settings, KNOWN))


def settings_of(settings: str, known: Mapping[str, Any]) -> dict[str, float]:
    """The values that are set, for the known fields.

    Raises:
        UsageError: a constant is unknown, or its value is out of range.
    """
    values: dict[str, float] = {}
    for setting in settings.split():
        name, _, text = setting.partition("=")
        if name not in known:
            raise UsageError(f"SET: no constant is named {name!r}; there are {', '.join(known)}")
        least, most = known[name].metadata["least"], known[name].metadata["most"]
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = float("nan")
        if not least <= values[name] <= most:
            raise UsageError(f"SET: {name} is a number from {least:g} to {most:g}, not {text!r}")
    return values
