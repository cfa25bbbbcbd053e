"""Faulty receivers do not delay other customers' webhooks: in virtual time, with the real use cases."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from order_capture.application.webhooks import deliver_webhooks
from order_capture.domain.webhooks import Lane, ReceiverHealth, Share
from tests.simulation.deliveries import Customer, Model, quantile

SECONDS = 90
BAD = [f"bad{number}" for number in range(20)]

Behaviour = Callable[[random.Random], tuple[float, int]]
"""Seconds until a receiver responds, and the status."""


def quick(chance: random.Random) -> tuple[float, int]:
    return chance.uniform(0.05, 0.2), 200


RECEIVERS: dict[str, Behaviour] = {
    "slow but successful": lambda _: (14, 200),
    "slow and failing": lambda _: (14, 500),
    "never answering": lambda _: (1e9, 200),
    "failing at once": lambda chance: (quick(chance)[0], 500),
    "just quick enough": lambda _: (1.9, 200),
    "quick or slow by chance": lambda chance: (chance.choice([0.1, 14]), 200),
}


def behaviour(bad: Behaviour) -> Callable[[str], Behaviour]:
    return lambda host: bad if host.startswith("bad") else quick


def good_customers() -> Iterator[Customer]:
    """Some with one webhook, some with three, some whose orders have a callback URL."""
    for number in range(20):
        name = f"good{number}"
        hosts = [f"{name}-{each}.example" for each in range((1, 3, 0)[number % 3])]
        yield Customer(name, 0.3, hosts, None if hosts else lambda _, name=name: f"{name}.example")  # type: ignore[misc]


def with_webhooks(count: int, names: Sequence[str] = BAD, rate: float = 0.5) -> list[Customer]:
    return [Customer(name, rate, [f"{name}-{each}.example" for each in range(count)]) for name in names]


def with_callbacks() -> list[Customer]:
    """Customers whose orders each name a new host."""
    return [
        Customer(name, 1, [], lambda number, name=name: f"{name}-{number}.example")  # type: ignore[misc]
        for name in BAD
    ]


def others_waits(
    bad: Sequence[Customer], behaves: Behaviour, seed: int = 1, warm_up: float = 30
) -> list[float]:
    """The seconds that each webhook of the good customers took; infinite if it never arrived."""
    model = Model(seed, behaviour(behaves))
    for customer in good_customers():
        model.add(customer)
    model.time.run(warm_up)
    for customer in bad:
        model.add(customer)
    model.run(SECONDS)
    waits = [wait for name, found in model.waits.items() if name.startswith("good") for wait in found]
    owed = sum(count for name, count in model.owed.items() if name.startswith("good"))
    assert owed > 400
    return waits + [float("inf")] * (owed - len(waits))


def in_words(waits: Sequence[float]) -> str:
    return f"median {quantile(waits, 0.5):.2f} s, p99 {quantile(waits, 0.99):.2f} s, last {max(waits):.0f} s"


SCENARIOS = {
    "3 slow webhooks of one customer": (with_webhooks(3, BAD[:1]), "slow but successful"),
    "3 of 20 customers each, slow": (with_webhooks(3), "slow but successful"),
    "10 of 20 customers each, slow": (with_webhooks(10), "slow but successful"),
    "3 of 20, slow and failing": (with_webhooks(3), "slow and failing"),
    "3 of 20, never answering": (with_webhooks(3), "never answering"),
    "3 of 20, failing at once": (with_webhooks(3), "failing at once"),
    "10 of 20, just quick enough": (with_webhooks(10), "just quick enough"),
    "10 of 20, quick or slow by chance": (with_webhooks(10), "quick or slow by chance"),
    "callbacks of 20, a host each, slow": (with_callbacks(), "slow but successful"),
    "callbacks of 20, a host each, never answering": (with_callbacks(), "never answering"),
    "callbacks of 20, a host each, quick or slow by chance": (with_callbacks(), "quick or slow by chance"),
}


@pytest.mark.parametrize(("bad", "behaves"), SCENARIOS.values(), ids=SCENARIOS.keys())
def test_the_others_webhooks_arrive(bad: list[Customer], behaves: str) -> None:
    waits = others_waits(bad, RECEIVERS[behaves])

    print(in_words(waits))
    assert quantile(waits, 0.5) <= 1, in_words(waits)
    assert quantile(waits, 0.98) <= 15, in_words(waits)


def test_a_flood_of_one_customer_keeps_nobody_waiting() -> None:
    waits = others_waits(with_webhooks(10, BAD[:1], rate=5), quick)

    print(in_words(waits))
    assert quantile(waits, 0.5) <= 1, in_words(waits)
    assert quantile(waits, 0.98) <= 5, in_words(waits)


@pytest.mark.parametrize("seed", range(2, 5))
def test_it_does_not_depend_on_chance(seed: int) -> None:
    waits = others_waits(with_webhooks(3), RECEIVERS["slow but successful"], seed)

    assert quantile(waits, 0.5) <= 1, in_words(waits)
    assert quantile(waits, 0.98) <= 15, in_words(waits)


def test_those_who_begin_meanwhile_are_not_kept_waiting_either() -> None:
    waits = others_waits(with_webhooks(3), RECEIVERS["slow but successful"], warm_up=0)

    assert quantile(waits, 0.5) <= 1, in_words(waits)


def test_without_lanes_and_shares_nothing_arrives_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model shows the need for lanes and shares."""
    monkeypatch.setattr(ReceiverHealth, "lane", lambda *_: Lane.QUICK)
    monkeypatch.setattr(deliver_webhooks, "QUICK_SECONDS", 15)
    monkeypatch.setattr(Share, "free", lambda *_: [*range(8)])
    monkeypatch.setattr(Share, "backoff", lambda *_, **__: 0)
    waits = others_waits(with_webhooks(3), RECEIVERS["slow but successful"])

    assert quantile(waits, 0.5) > 30, in_words(waits)
