"""The better design in each scenario: from the figures alone, with a margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SERVERLESS, MONOLITH, NEITHER = "serverless", "monolith", "neither"
MARGIN = 1.25
"""A quarter: the models are no more accurate than that."""
LEAST_SHARE = 0.001
"""Share of the orders: less than one in a thousand counts as this, so that ratios stay meaningful."""
USUAL_RATE, BUSY_RATE = 100, 1_000

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """The better design in a scenario, and the figures."""

    scenario: str
    winner: str
    text: str


def verdicts(figures: Figures) -> list[Verdict]:
    """One for each scenario."""
    judges: dict[str, Callable[[Figures], tuple[str, str]]] = {
        "decision": _decision,
        "cost, busy": _cost_busy,
        "cost, quiet": _cost_quiet,
        "ceiling": _ceiling,
        "burst, unplanned": _burst_unplanned,
        "burst, planned": _burst_planned,
        "hot product": _hot,
        "credit slow": _credit_slow,
        "credit away": _credit_away,
        "naive": _naive,
        "step functions": _step_functions,
    }
    return [Verdict(name, *judge(figures)) for name, judge in judges.items()]


def better(serverless: float | None, other: float | None, *, more: bool = False, name: str = MONOLITH) -> str:
    """The design whose figure is lower by more than the margin, or higher with `more`.

    Args:
        serverless: its figure; None if it never happened.
        other: the other design's.
        more: whether a higher figure is better.
        name: the name of the other design.
    """
    if serverless is None or other is None:
        if serverless is None and other is None:
            return NEITHER
        return name if serverless is None else SERVERLESS
    first, second = (other, serverless) if more else (serverless, other)
    if first * MARGIN < second:
        return SERVERLESS
    return name if second * MARGIN < first else NEITHER


def _decision(of: Figures) -> tuple[str, str]:
    first, second = _at(of, USUAL_RATE)
    return better(first["decided_p99"], second["decided_p99"]), (
        f"at {USUAL_RATE}/s half of the orders are decided within {_time(first['decided_p50'])} serverless, "
        f"within {_time(second['decided_p50'])} on the monolith"
    )


def _cost_busy(of: Figures) -> tuple[str, str]:
    first, second = (each["dollars_per_million"] for each in _at(of, BUSY_RATE))
    return better(first, second), (
        f"a million orders at {BUSY_RATE:,}/s cost ${first:.2f} serverless, ${second:.2f} on the monolith"
    )


def _cost_quiet(of: Figures) -> tuple[str, str]:
    even = of["break_even"]
    first, second = even["idle_month"]["serverless"], even["idle_month"]["with_standby"]
    return better(first, second), (
        f"a month without an order costs ${first:.0f} serverless, ${second:.0f} with servers; "
        f"the monolith costs less from {_rate(even['with_standby'])} on"
    )


def _ceiling(of: Figures) -> tuple[str, str]:
    """By AWS's default quotas: higher ones are usually granted, but none was modelled."""
    (ours, our_rate), (theirs, their_rate) = list(of["limits"].items())[:2]
    most = max(each["rate"] for each in of["steady"] if each["monolith"]["fits"])
    full = of["steady"][-1]["monolith"]["first_limit"].removeprefix("database ")
    return better(our_rate, most, more=True), (
        f"serverless needs a higher {ours} from {_rate(our_rate)} and a higher {theirs} from "
        f"{_rate(their_rate)}; one database fits up to {most:,}/s, then its {full} is full"
    )


def _burst_unplanned(of: Figures) -> tuple[str, str]:
    first, second = of["burst"]["serverless"], of["burst"]["monolith"]
    return better(_lost(first), _lost(second)), (
        f"of 100 times the load serverless takes {_share(first)}, a monolith of the usual size "
        f"{_share(second)}"
    )


def _burst_planned(of: Figures) -> tuple[str, str]:
    """Against a monolith that is always sized for the peak: if both accept alike, the cost decides."""
    burst = of["burst"]
    first, second, month = burst["serverless"], burst["for the peak"], burst["month"]
    taken = better(_lost(first), _lost(second))
    cost = better(month["serverless"], month["for the peak"])
    return cost if taken == NEITHER else taken, (
        f"a monolith sized for the peak takes {_share(second)}, and decides within "
        f"{_time(second['decided_p99'])} (serverless {_time(first['decided_p99'])}); a month at "
        f"{burst['base']}/s costs ${month['for the peak']:,} on it, ${month['serverless']:,} serverless"
    )


def _hot(of: Figures) -> tuple[str, str]:
    hot = of["hot"]
    first, second = _per_second(hot["serverless"]), _per_second(hot["with retries"])
    return better(first, second, more=True), (
        f"serverless decides {first:,.0f} orders/s of one product, the monolith {second:,.0f}: "
        f"its row lock allows {hot['row_bound_per_second']:,}"
    )


def _credit_slow(of: Figures) -> tuple[str, str]:
    first, second = of["slow"]["serverless"], of["slow"]["monolith"]
    return better(first["answer_p50"], second["answer_p50"]), (
        f"clients wait {_time(first['answer_p50'])} serverless, {_time(second['answer_p50'])} with the "
        f"monolith; taken: {_share(first)} and {_share(second)}; decided within "
        f"{_time(first['decided_p50'])} and {_time(second['decided_p50'])}"
    )


def _credit_away(of: Figures) -> tuple[str, str]:
    away = of["away"]
    first, second, retried = away["serverless"], away["monolith"], away["with retries"]
    return better(_lost(first), _lost(second)), (
        f"serverless takes {_share(first)} of the orders, the monolith {_share(second)} ({_share(retried)} "
        f"if clients retry); all are decided {_time(first['caught_up'])} and "
        f"{_time(retried['caught_up'])} after the outage"
    )


def _naive(of: Figures) -> tuple[str, str]:
    naive = of["alternatives"]["naive"]
    built, other = naive["hot_as_built"]["decided_p99"], naive["hot"]["decided_p99"]
    return better(built, other, name="naive"), (
        f"one product at 300/s, p99 decided: {_time(built)} as built, {_time(other)} with batches of one and "
        "no stripes"
    )


def _step_functions(of: Figures) -> tuple[str, str]:
    built, steps = of["alternatives"]["as_built"], of["alternatives"]["step_functions"]
    cheapest = min(steps.values())
    alone = better(built["one_by_one"], cheapest, name="step functions")
    in_tens = better(built["dollars_per_million"], cheapest, name="step functions")
    return alone if alone == in_tens else NEITHER, (
        f"a million orders: ${built['one_by_one']:.0f} as built if each comes alone, "
        f"${built['dollars_per_million']:.0f} in batches of ten; Express ${steps['express']:.0f}, "
        f"Standard ${steps['standard']:.0f}"
    )


def _at(of: Figures, rate: int) -> tuple[Figures, Figures]:
    (row,) = (each for each in of["steady"] if each["rate"] == rate)
    return row["serverless"], row["monolith"]


def _per_second(of: Figures) -> float:
    """Orders decided a second, from the first that was sent to the last that was decided."""
    decided: int = of["accepted"] + of["timed_out"]
    last: float | None = of["decided_all_at"]
    return decided / last if last else 0.0


def _lost(of: Figures) -> float:
    return max(LEAST_SHARE, 1 - float(of["accepted"]) / float(of["requested"]))


def _share(of: Figures) -> str:
    return f"{of['accepted'] / of['requested']:.0%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return (
        f"{1000 * seconds:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
        if seconds < 10
        else f"{seconds:.0f} s"
    )


def _rate(rate: float | None) -> str:
    """Rounded to two digits, the accuracy of the models."""
    return "no rate" if rate is None else f"{float(f'{rate:.2g}'):,g}/s"
