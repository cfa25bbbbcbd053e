"""What an order costs: counted from the real calls of the real handlers, over moto, wired as template.yaml.

AWS's rules turn calls into units: a write costs a unit for each KB of the item begun, twice that in a
transaction, and one more for an index that a new item is in; a billable request is one to API Gateway,
Lambda, SNS or SQS, those included that Lambda's poller makes for us: one to receive a batch, one to delete
it. DynamoDB bills units, not requests.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from moto import mock_aws

from tests.support.pipeline import Pipeline
from tests.support.shop import CONSUMERS, Shop, order_of, priced
from tests.support.sizes import stored_size

WATCH_DELAY = 60  # seconds, the template's
ORDERS = 10  # what a queue's function takes in one batch


@dataclass(frozen=True)
class Cost:
    """Per order: calls over the network by our code, requests that AWS bills, units written and read.

    What the history takes is apart: no order waits for it.
    """

    scenario: str
    calls: float
    requests: float
    write_units: float
    history_units: float
    read_units: float


@dataclass
class Meter:
    """Counts what one pipeline does to AWS."""

    pipeline: Pipeline
    requests: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    writes: int = 0
    history: int = 0
    reads: int = 0

    def __post_init__(self) -> None:
        self.pipeline.on_answer(self._take)

    def _take(self, operation: str, parameters: dict[str, Any], answer: dict[str, Any]) -> None:
        self.calls += 1
        service, _, name = operation.partition(".")
        if service != "dynamodb":
            self.requests[service] += 1
            return
        match name:
            case "PutItem" | "UpdateItem":
                self.writes += self._units(parameters) + _is_indexed(parameters)
            case "TransactWriteItems":
                actions = [a for each in parameters["TransactItems"] for a in each.values()]
                self.writes += sum(2 * self._units(action) + _is_indexed(action) for action in actions)
            case "BatchWriteItem":
                puts = [
                    each["PutRequest"] for of_one in parameters["RequestItems"].values() for each in of_one
                ]
                self.history += sum(math.ceil(stored_size(put["Item"]) / 1024) for put in puts)
            case "GetItem":
                self.reads += _read_units(answer.get("Item", {}))
            case "BatchGetItem":
                items = [item for found in answer["Responses"].values() for item in found]
                self.reads += sum(_read_units(item) for item in items)
            case _:
                raise ValueError(f"no rule for what {operation} costs")

    def _units(self, action: dict[str, Any]) -> int:
        item = action.get("Item", {})
        names = ("orderId",) if "orderId" in item else ("customerId", "productId", "entry")
        key = action.get("Key") or {name: item[name] for name in names if name in item}
        return max(1, math.ceil(stored_size(self.pipeline.stored(action["TableName"], key)) / 1024))


def _is_indexed(action: dict[str, Any]) -> bool:
    """Whether it writes an index too: a new order does; its changes touch no key of it."""
    item: dict[str, Any] = action.get("Item", {})
    return "orderId" in item and "customerId" in item


def _read_units(item: dict[str, Any]) -> int:
    return max(1, math.ceil(stored_size(item) / 4096))  # strongly consistent


def measure() -> list[Cost]:
    """Ten orders of one item each, from the request until they are shipped."""
    everybody = [f"customer-{index}" for index in range(ORDERS)]
    hot = [order_of(customer, 10, pen=1) for customer in everybody]
    apart = [order_of(customer, 10, **{f"pen{index}": 1}) for index, customer in enumerate(everybody)]
    return [
        _run("POST /order, one hot product", hot, batch=False),
        _run("POST /order with a key, one hot product", hot, batch=False, idempotent=True),
        _run("POST /orders, one hot product", hot, batch=True),
        _run("POST /order at its price, one hot product", [priced(body, 10) for body in hot], batch=False),
        _run("POST /order, a product each", apart, batch=False),
    ]


def calls_before_the_answer(orders: int) -> int:
    """How many calls our code makes before it answers a request with so many orders."""
    with mock_aws():
        pipeline = Pipeline()
        shop = Shop(pipeline)
        body = order_of() if orders == 1 else {"orders": [order_of(f"c{i}") for i in range(orders)]}
        shop.post(body)
        pipeline.close()
        return len(pipeline.calls)


def _run(scenario: str, orders: list[dict[str, Any]], *, batch: bool, idempotent: bool = False) -> Cost:
    with mock_aws():
        pipeline = Pipeline()
        shop = Shop(pipeline)
        products = {line["productId"] for order in orders for line in order["items"]}
        shop.open({order["customerId"]: 100 for order in orders}, dict.fromkeys(products, 1000))
        if all("unitPrice" in line for order in orders for line in order["items"]):
            for product in products:
                pipeline.ask("POST", "/stock", {"productId": product, "price": 10})
        pipeline.publish_changes()
        pipeline.calls.clear()
        meter = Meter(pipeline)
        for number, body in enumerate([{"orders": orders}] if batch else orders):
            shop.post(body, f"key-{number}" if idempotent else None)
            meter.requests["apigateway"] += 1
            meter.requests["lambda"] += 1
        while any([*(_deliver(pipeline, meter, name) for name in CONSUMERS), _follow(pipeline, meter)]):
            pass
        pipeline.wait(WATCH_DELAY)  # each order is looked at once more, and found shipped
        while _deliver(pipeline, meter, "order_watchdog"):
            pass
        pipeline.close()
        shipped = sum(shop.account(order["customerId"])[2] > 0 for order in orders)
        if shipped != len(orders):
            raise RuntimeError(f"{shipped} of {len(orders)} orders shipped")
        return Cost(
            scenario,
            calls=meter.calls / ORDERS,
            requests=meter.requests.total() / ORDERS,
            write_units=meter.writes / ORDERS,
            history_units=meter.history / ORDERS,
            read_units=meter.reads / ORDERS,
        )


def _follow(pipeline: Pipeline, meter: Meter) -> bool:
    """What the streams' functions do. Lambda reads streams for nothing."""
    before = pipeline.invocations
    followed = bool(pipeline.publish_changes())
    meter.requests["lambda"] += pipeline.invocations - before
    return followed


def _deliver(pipeline: Pipeline, meter: Meter, name: str) -> bool:
    if not pipeline.deliver(name):
        return False
    meter.requests["sqs"] += 2
    meter.requests["lambda"] += 1
    return True
