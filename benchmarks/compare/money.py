"""Monthly costs of each design at list prices: servers of the right size, or the cost per order."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import cost
from benchmarks.compare.monolith import Constants, Servers
from benchmarks.cost import BATCH, Cost
from tests.support.template import functions, load_template, of_type, on_aws

PRICES = Path(__file__).with_name("prices.toml")
SECONDS_PER_HOUR = 3_600
_BYTES_PER_CONNECTION = 9_531_392  # of memory, in RDS's default max_connections (its user guide, "Quotas")
_MOST_CONNECTIONS = 5_000  # the same page


@cache
def prices() -> dict[str, Any]:
    """The price file."""
    return tomllib.loads(PRICES.read_text())


def seconds_per_month() -> float:
    """As in AWS's own examples."""
    return float(prices()["hours_per_month"] * SECONDS_PER_HOUR)


# ----------------------------------------------------------------------------------------------- the monolith
@dataclass(frozen=True)
class Fleet:
    """Servers that are large enough for a load, and what they cost."""

    servers: Servers
    database: str
    """The instance class."""
    month: float
    """Dollars a month."""
    shares: Mapping[str, float]
    """The used share of each limit, from 0 to 1."""
    fits: bool
    """Whether all shares are within the planned maximum."""

    @property
    def first_limit(self) -> str:
        """The limit that would be reached first."""
        return max(self.shares, key=lambda name: self.shares[name])


def fleet(mean: float, constants: Constants, *, standby: bool = True, peak: float = 1.0) -> Fleet:
    """The cheapest fleet for a rate of orders.

    Args:
        mean: orders a second, all month long.
        standby: two tasks behind a balancer and a database with a standby, or one task and one database.
        peak: the multiple of `mean` that the servers must be sized for.
    """
    file, most, rate = prices(), prices()["assumed"]["utilisation"], mean * peak
    needed = rate * constants.app_cpu_ms / 1000 / most
    least_tasks = 2 if standby else 1
    sizes = file["application"]["vcpus"]
    size = next((each for each in sizes if each * least_tasks >= needed), sizes[-1])
    tasks = max(least_tasks, math.ceil(needed / size - 1e-9))
    db_needed = rate * constants.db_cpu_ms / 1000
    classes = file["database"]["classes"]
    database = next((each for each in classes if each["baseline"] * most >= db_needed), classes[-1])
    max_connections = min(_MOST_CONNECTIONS, int(database["gb"] * 1024**3 / _BYTES_PER_CONNECTION))
    servers = Servers(size, tasks, database["vcpus"], max_connections, standby)
    commit = constants.standby_commit_ms if standby else constants.commit_ms
    connected = constants.round_trip_ms + constants.db_cpu_ms + 1.5 * commit  # half a flush is under way
    shares = {
        "application CPU": needed * most / (size * tasks),
        "database CPU": db_needed / database["baseline"],
        "database log": rate * constants.serial_ms / 1000,
        "connections": rate * connected / 1000 / servers.connections(constants),
    }
    fits = all(share <= most + 1e-9 for share in shares.values())
    month = _month(mean, servers, database, is_large=rate >= file["database"]["large_from"])
    return Fleet(servers, database["name"], month, shares, fits)


def _month(rate: float, servers: Servers, database: Mapping[str, Any], *, is_large: bool) -> float:
    file = prices()
    application, balancer, hours = file["application"], file["balancer"], file["hours_per_month"]
    vcpus, copies = servers.app_vcpus * servers.tasks, 2 if servers.standby else 1
    hour = vcpus * (application["vcpu_hour"] + application["gb_per_vcpu"] * application["gb_hour"])
    hour += copies * database["hour"]
    if servers.standby:
        assumed = file["assumed"]
        connections = rate / assumed["orders_per_connection"] / balancer["connections_per_unit"]
        gigabytes = rate * assumed["bytes_per_order"] * SECONDS_PER_HOUR / 1e9 / balancer["gb_per_unit"]
        hour += balancer["hour"] + max(connections, gigabytes) * balancer["unit_hour"]
    hour += copies * balancer["address_hour"]
    log_gigabytes = rate * seconds_per_month() * file["assumed"]["log_bytes_per_order"] / 1e9
    storage = file["database"]
    gigabytes = storage["large_gb"] if is_large else storage["small_gb"]
    return float(
        hour * hours
        + log_gigabytes * cost.prices()["dollars_per_gb"]["logs"]
        + copies * gigabytes * storage["storage_gb_month"]
    )


# ------------------------------------------------------------------------------------------------- serverless
class Serverless:
    """What an order costs without servers, by the batch size and the orders of a month."""

    def __init__(self, full: Cost, single: Cost, batches: Mapping[float, float]) -> None:
        """`full` is the cost in batches of ten, `single` that of orders sent one by one; `batches` has the
        measured messages per batch, by order rate."""
        self.full, self.single = full, single
        self._batches = sorted(batches.items())

    def batch(self, rate: float) -> float:
        """Messages per batch at a rate of orders a second: interpolated by logarithm between measured
        rates, and the nearest rate's outside them."""
        below = [each for each in self._batches if each[0] <= rate]
        above = [each for each in self._batches if each[0] >= rate]
        if not below or not above:
            return (below[-1] if below else above[0])[1]
        (low, first), (high, second) = below[-1], above[0]
        if low == high:
            return first
        return first + (second - first) * math.log(rate / low) / math.log(high / low)

    def per_million(self, rate: float) -> float:
        """Dollars for a million orders, at a constant rate of orders a second.

        All messages of a batch but one save cost, so a batch of five saves 8/9 of what one of ten does.
        """
        saved = (1 - 1 / max(1.0, self.batch(rate))) / (1 - 1 / BATCH)
        dollars = self.single.total_dollars + saved * (self.full.total_dollars - self.single.total_dollars)
        millions = rate * seconds_per_month() / 1e6
        flat = self.full.dollars_per_million["api"]
        return dollars - flat + _tiered(millions, prices()["api"]["tiers"]) / millions

    def month(self, rate: float) -> float:
        """Dollars, including the idle costs."""
        return idle_month() + self.per_million(rate) * rate * seconds_per_month() / 1e6

    def per_order(self) -> dict[str, float]:
        """How much of each limit (limits.toml) an order in a full batch uses."""
        return {
            "requests": self.full.requests["apigateway"],
            "executions": self.full.lambda_milliseconds / 1000,
            "write_units": max(self.full.table_write_units.values()),
            "messages": self.full.published,
        }


def _tiered(millions: float, tiers: Sequence[Mapping[str, float]]) -> float:
    dollars = 0.0
    for tier in tiers:
        of_this = min(millions, tier.get("millions", math.inf))
        dollars += of_this * tier["dollars"]
        millions -= of_this
    return dollars


@cache
def idle_month() -> float:
    """Dollars of a month without any order: alarms, the dashboard, and the polling of empty queues."""
    template, idle = on_aws(load_template()), prices()["idle"]
    events = [event for each in functions(template).values() for event in each.get("Events", {}).values()]
    queues = sum(event["Type"] == "SQS" for event in events)
    polls = queues * idle["polls_per_queue_hour"] * prices()["hours_per_month"]
    return float(
        sum(map(_metrics, of_type(template, "AWS::CloudWatch::Alarm").values())) * idle["alarm_metric_month"]
        + len(of_type(template, "AWS::CloudWatch::CompositeAlarm")) * idle["composite_alarm_month"]
        + len(of_type(template, "AWS::CloudWatch::Dashboard")) * idle["dashboard_month"]
        + polls / 1e6 * cost.prices()["dollars_per_million"]["sqs_requests"]
    )


def _metrics(alarm: Mapping[str, Any]) -> int:
    """The metrics that an alarm reads, each of which is billed."""
    return sum("MetricStat" in each for each in alarm.get("Metrics", [])) or 1


def break_even(first: Callable[[float], float], second: Callable[[float], float]) -> float | None:
    """Orders a second above which the first design costs more a month than the second; None if never."""
    rates = [10 ** (power / 50) for power in range(-150, 251)]  # 0.001 to 100,000
    dearer = next((rate for rate in rates if first(rate) > second(rate)), None)
    if dearer is None:
        return None
    low, high = dearer / 10 ** (1 / 50), dearer
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if first(middle) > second(middle) else (middle, high)
    return high


def step_functions(single: Cost) -> dict[str, float]:
    """Dollars a million orders, if a state machine calls the functions instead of topics and queues.

    Then no order is batched: functions and tables cost what they do for orders sent one by one.
    """
    of = prices()["step_functions"]
    functions_and_tables = sum(
        dollars for name, dollars in single.dollars_per_million.items() if name not in ("sqs", "sns")
    )
    duration = (
        math.ceil(of["express_seconds"] * 10) / 10 * of["express_memory_gb"] * of["express_gb_second"] * 1e6
    )
    return {
        "standard": functions_and_tables + of["transitions"] * of["transitions_per_million"],
        "express": functions_and_tables + of["express_requests_per_million"] + duration,
    }
