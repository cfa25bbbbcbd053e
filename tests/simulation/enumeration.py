"""Every fault at every call of small scenarios, one at a time and in pairs: enumerated, not sampled."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.simulation import cloud, functions
from tests.simulation.books import Books
from tests.simulation.faults import Fault, ScriptedFaults
from tests.simulation.run import swept
from tests.simulation.schedule import Outcome, Schedule, Style
from tests.simulation.shoppers import Opening, Promises, Script, Shop, Shopper

IN_PAIRS = (Fault.FAIL_BEFORE, Fault.FAIL_AFTER, Fault.CRASH_AFTER)
"""The faults in pairs. A crash before a call equals one after the previous call."""
INTERLEAVINGS = 3

Clients = Callable[[Promises], Sequence[Script]]


_SHELF = Opening({"alice": "30.00", "bob": "30.00"}, {"pen": "1", "ink": "5"})


@dataclass(frozen=True)
class Scenario:
    """The initial data, and the clients' requests."""

    clients: Clients
    ends: set[str]
    """The final statuses of its orders without faults, over all interleavings."""
    ships: int
    """The maximum of shipped orders under any fault: a retry does not order twice."""
    unsaid: frozenset[Fault] = frozenset()
    """After these the outcome is unknown, and a retry without a key may order twice."""
    opening: Opening = _SHELF
    watch_delay: int = cloud.WATCH_DELAY
    deadline: int = cloud.DEADLINE
    stripes: int = 0
    """The number of stripes of each customer and product."""


def _body(customer: str, total: str, units: Mapping[str, int]) -> str:
    items = ",".join(f'{{"productId":"{product}","qty":{qty}}}' for product, qty in units.items())
    return f'{{"customerId":"{customer}","items":[{items}],"totalAmount":{total}}}'


def order(
    customer: str, total: str, *, idempotent: bool = True, **units: int
) -> Callable[[Promises], Script]:
    """A client that orders, and retries until it gets a response; without a key, only if asked to."""
    body = _body(customer, total, units)
    return lambda promises: lambda shop: Shopper(shop, promises).order(body, body if idempotent else None)


def order_and_leave(customer: str, total: str, **units: int) -> Callable[[Promises], Script]:
    """A client that orders once, and never reads the outcome."""
    body = _body(customer, total, units)

    def script(shop: Shop) -> None:
        shop.ask("POST", "/order", {}, body, None)

    return lambda promises: script


def order_and_cancel(customer: str, total: str, **units: int) -> Callable[[Promises], Script]:
    """A client that cancels its order as soon as it is accepted."""
    body = _body(customer, total, units)

    def make(promises: Promises) -> Script:
        def script(shop: Shop) -> None:
            shopper = Shopper(shop, promises)
            if placed := shopper.order(body, body):
                shopper.cancel(placed["orderId"], None)

        return script

    return make


def all_of(*clients: Callable[[Promises], Script]) -> Clients:
    """Several clients."""
    return lambda promises: [make(promises) for make in clients]


SCENARIOS: Mapping[str, Scenario] = {
    "one order, shipped": Scenario(all_of(order("alice", "10.10", pen=1)), {"SHIPPED"}, 1),
    "one order of two products": Scenario(all_of(order("alice", "10.10", pen=1, ink=2)), {"SHIPPED"}, 1),
    "one order, rejected": Scenario(all_of(order("alice", "10.10", pen=2)), {"REJECTED"}, 0),
    "one order, cancelled": Scenario(
        all_of(order_and_cancel("alice", "10.10", pen=1)), {"CANCELLED", "SHIPPED"}, 1
    ),
    "one order, its client gone": Scenario(all_of(order_and_leave("alice", "10.10", pen=1)), {"SHIPPED"}, 1),
    "one order without a key": Scenario(
        all_of(order("alice", "10.10", idempotent=False, ink=1)),
        {"SHIPPED"},
        1,
        frozenset({Fault.FAIL_AFTER}),
    ),
    "one order, watched at once": Scenario(
        all_of(order("alice", "10.10", pen=1)), {"SHIPPED", "EXPIRED"}, 1, watch_delay=0, deadline=0
    ),
    "two orders, one unit": Scenario(
        all_of(order("alice", "10.10", pen=1), order("bob", "20.20", pen=1)), {"SHIPPED", "REJECTED"}, 1
    ),
    "two orders, one purse": Scenario(
        all_of(order("alice", "20.20", pen=1), order("alice", "10.10", ink=1)), {"SHIPPED", "REJECTED"}, 1
    ),
    "one order, more than a stripe has": Scenario(
        all_of(order("alice", "20.20", ink=3)), {"SHIPPED"}, 1, stripes=2
    ),
    "one order, more than all stripes have": Scenario(
        all_of(order("alice", "10.10", ink=6)), {"REJECTED"}, 0, stripes=2
    ),
    "two orders of a striped product": Scenario(
        all_of(order("alice", "10.10", ink=3), order("bob", "10.10", ink=3)),
        {"SHIPPED", "REJECTED"},
        1,
        stripes=2,
    ),
    "one order on stripes, cancelled": Scenario(
        all_of(order_and_cancel("alice", "20.20", ink=3)), {"CANCELLED", "SHIPPED"}, 1, stripes=2
    ),
}
PAIRED = ("one order, shipped", "one order, rejected", "one order, more than a stripe has")


@dataclass(frozen=True)
class Case:
    """A run of a scenario: the faults by call, and the interleaving."""

    scenario: str
    at: Mapping[int, Fault]
    interleaving: int = 0


@dataclass(frozen=True)
class Run:
    """The result of a case."""

    outcome: Outcome
    calls: int
    books: Books


def run_case(case: Case, *, tracing: bool = False) -> Run:
    """Run a case, deterministically. To be called while functions are `simulated`.

    Interleaving 0 is sequential; the others interleave.
    """
    scenario = SCENARIOS[case.scenario]
    style = Style(
        switching=0.7 if case.interleaving else 0.0,
        eager=0.7 if case.interleaving else 1.0,
        whole_batches=1.0,
        replays=0.0,
        watch_delay=scenario.watch_delay,
        deadline=scenario.deadline,
        stripes=scenario.stripes,
        divided=float(scenario.stripes > 0),
    )
    faults = ScriptedFaults(case.at)
    schedule = Schedule(random.Random(case.interleaving), style, faults, tracing=tracing)
    schedule.open(scenario.opening)
    books = schedule.books
    return Run(schedule.run(scenario.clients(schedule.promises)), faults.calls, books)


def broken_in(case: Case) -> list[str]:
    """The broken invariants of a case."""
    scenario = SCENARIOS[case.scenario]
    outcome = run_case(case).outcome
    shipped = outcome.statuses["SHIPPED"]
    if shipped > scenario.ships and scenario.unsaid.isdisjoint(case.at.values()):
        return [*outcome.broken, f"I9: {shipped} orders shipped, and {scenario.ships} was asked for"]
    return outcome.broken


def singles(scenario: str, interleaving: int) -> Iterator[Case]:
    """Every fault at every call that the scenario makes without faults."""
    calls = run_case(Case(scenario, {}, interleaving)).calls
    for call in range(calls):
        for fault in Fault:
            if fault is not Fault.STALE:
                yield Case(scenario, {call: fault}, interleaving)


def pairs(scenario: str, first: int) -> Iterator[Case]:
    """Every two faults: the first at that call, the second at each call that is made after it."""
    for fault in IN_PAIRS:
        calls = run_case(Case(scenario, {first: fault})).calls
        for call in range(first + 1, calls):
            for second in IN_PAIRS:
                yield Case(scenario, {first: fault, call: second})


@dataclass(frozen=True)
class Part:
    """The work unit of a process: the singles of an interleaving, or the pairs after a first call."""

    scenario: str
    interleaving: int = 0
    first: int | None = None


def parts() -> list[Part]:
    """All parts of the enumeration."""
    found = [Part(scenario, interleaving) for scenario in SCENARIOS for interleaving in range(INTERLEAVINGS)]
    with functions.simulated():
        for scenario in PAIRED:
            calls = run_case(Case(scenario, {})).calls
            found += [Part(scenario, first=first) for first in range(calls)]
    return found


def run_part(part: Part) -> tuple[Part, int, list[str]]:
    """Run a part; returns the number of its cases, and a trace of each failure."""
    failed: list[str] = []
    number = 0
    with functions.simulated(), swept():
        cases = (
            singles(part.scenario, part.interleaving)
            if part.first is None
            else pairs(part.scenario, part.first)
        )
        for case in cases:
            number += 1
            if broken := broken_in(case):
                trace = run_case(case, tracing=True).outcome.trace
                failed.append("\n".join([str(case), *trace, *broken]))
    return part, number, failed
