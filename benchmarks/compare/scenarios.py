"""The scenarios (a) to (e): both designs under the same load, and which does better."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import cost
from benchmarks.compare import money, monolith, serverless
from benchmarks.compare.load import Load, Outage, arrivals
from benchmarks.compare.money import Fleet, Serverless
from benchmarks.compare.monolith import Constants, Servers
from benchmarks.compare.serverless import AS_BUILT, NAIVE, QUIET, WARM
from benchmarks.compare.verdicts import Verdict, verdicts
from benchmarks.cost import Cost
from benchmarks.flash_sale.wiring import wiring

OURS = "MaximumConcurrency"
"""The template's parameter, not a limit of AWS."""
LIMITS = Path(__file__).with_name("limits.toml")
PLAYED_RATES = (10, 100, 1_000, 5_000)
RATES = (*PLAYED_RATES, 10_000, 20_000, 50_000)
PRODUCTS = 10_000
BASE, PEAK = 10, 1_000
HOT_RATE = 5_000
CORES = (2, 4, 8, 16, 32, 64)
PEAK_FACTOR = 10
"""A shop's peak load as a multiple of its mean."""


@dataclass(frozen=True)
class Sizes:
    """The duration of each load, in seconds of virtual time, which determines how long a run takes."""

    steady: Mapping[int, float]
    burst: float
    hot: float
    naive_hot: float
    naive_steady: float
    outage_rate: float
    slow: float
    computed: float = 1.0
    """For the rates that only the monolith runs."""
    capacity: float = 1.0


FULL = Sizes({10: 30, 100: 10, 1_000: 4, 5_000: 3}, 60, 2, 2, 3, 5, 60)
QUICK = Sizes({10: 4, 100: 2, 1_000: 1.5, 5_000: 1}, 6, 0.6, 0.6, 0.3, 1, 6, 0.5, 0.3)


@dataclass(frozen=True)
class Job:
    """The work of one process."""

    name: str
    run: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loads:
    """The same orders for both designs."""

    steady: Mapping[int, Load]
    burst: Load
    hot: Load
    naive_hot: Load
    slow: Load
    away: Load
    naive_steady: Load

    @classmethod
    def of(cls, sizes: Sizes, seed: int) -> Loads:
        """Loads of the given durations."""
        quiet = arrivals(BASE, 10, seed=seed)
        burst = Load("burst", quiet + arrivals(PEAK, sizes.burst, seed=seed, begins=10), PRODUCTS)
        away = Outage(begins=30, ends=330, seconds=2.0, answers=False)
        slow = Outage(begins=2, ends=2 + sizes.slow, seconds=2.0, answers=True)
        return cls(
            steady={
                rate: Load(f"{rate:,}/s", arrivals(rate, seconds, seed=seed), PRODUCTS)
                for rate, seconds in sizes.steady.items()
            },
            burst=burst,
            hot=Load("hot", arrivals(HOT_RATE, sizes.hot, seed=seed), 1),
            naive_hot=Load("naive hot", arrivals(300, sizes.naive_hot, seed=seed), 1),
            slow=Load("slow", arrivals(20, sizes.slow + 4, seed=seed), 1_000, slow),
            away=Load("away", arrivals(sizes.outage_rate, 390, seed=seed), 1_000, away),
            naive_steady=Load("naive steady", arrivals(1_000, sizes.naive_steady, seed=seed), PRODUCTS),
        )


def jobs(loads: Loads, seed: int) -> list[Job]:
    """The jobs for the real functions, longest first."""

    def play(
        name: str, load: Load, constants: Mapping[str, float], design: serverless.Design = AS_BUILT
    ) -> Job:
        return Job(name, serverless.play, (load, design), {"seed": seed, "constants": constants})

    steady = [
        play(f"steady {rate}", load, {**WARM, "pollers": max(5, rate // 200)})
        for rate, load in loads.steady.items()
    ]
    return [
        play("burst", loads.burst, QUIET),
        *reversed(steady),
        play("hot", loads.hot, QUIET),
        Job("cost", cost.measure, (("a product each", "one by one"),)),
        play("away", loads.away, QUIET),
        play("naive steady", loads.naive_steady, WARM, NAIVE),
        play("slow", loads.slow, QUIET),
        play("naive hot", loads.naive_hot, QUIET, NAIVE),
        play("built hot", loads.naive_hot, QUIET),
    ]


def run_all(todo: Sequence[Job], processes: int) -> Iterator[tuple[Job, Any]]:
    """Each job with its result, as soon as it is done."""
    # Not forked: this process may have threads, which show the progress.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawned, _end_together, (os.getpid(),)) as pool:
        running: dict[Future[Any], Job] = {
            pool.submit(job.run, *job.arguments, **job.named): job for job in todo
        }
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_together(parent: int) -> None:
    """End this process when its parent has ended, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class Report:
    """All results: the basis of output, plots and verdicts."""

    figures: Mapping[str, Any]
    """What JSON=1 prints, except the verdicts."""
    verdicts: Sequence[Verdict]
    timelines: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
    """By scenario and design: seconds, and the orders decided by then."""
    broken: Sequence[str]
    """Promises about correct decisions that did not hold."""

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        verdicts = {each.scenario: {"winner": each.winner, "text": each.text} for each in self.verdicts}
        return {**self.figures, "verdicts": verdicts, "broken": list(self.broken)}


def report(found: Mapping[str, Any], loads: Loads, sizes: Sizes, constants: Constants, seed: int) -> Report:
    """Compare the results of the real functions with those of the monolith's model under the same loads."""
    full, single = _costs(found["cost"])
    batches = {float(rate): found[f"steady {rate}"].batch for rate in loads.steady}
    dollars = Serverless(full, single, batches)
    limits = _limits(dollars, found[f"steady {max(loads.steady)}"].consumers)
    figures: dict[str, Any] = {
        "seed": seed,
        "measured": dict(monolith.measured()),
        "prices": str(money.prices()["date"]),
        "limits": {name: round(rate) for name, rate in limits.items()},
        "steady": [_steady(rate, found, loads, dollars, limits, constants, sizes, seed) for rate in RATES],
        "break_even": _break_even(dollars, constants),
        "burst": _burst(found["burst"], loads.burst, dollars, constants, seed),
        "hot": _hot(found["hot"], loads.hot, constants, seed),
        "slow": _credit(found["slow"], loads.slow, constants, seed),
        "away": _credit(found["away"], loads.away, constants, seed),
        "vertical": [vertical(cores, constants, sizes.capacity, seed) for cores in CORES],
        "alternatives": _alternatives(found, loads, dollars),
    }
    broken = [
        f"{name}: {reason}"
        for name, played in found.items()
        if isinstance(played, serverless.Played)
        for reason in played.broken
    ]
    timelines = {name: figures[name].pop("timelines") for name in ("burst", "hot", "slow", "away")}
    return Report(figures, verdicts(figures), timelines, broken)


def _costs(costs: Sequence[Cost]) -> tuple[Cost, Cost]:
    by_name = {each.scenario: each for each in costs}
    return by_name["a product each"], by_name["one by one"]


# ------------------------------------------------------------------------------------------ (a) a steady load
def _limits(dollars: Serverless, consumers: Mapping[str, float]) -> dict[str, float]:
    """Orders a second at which each default quota is reached, lowest first."""
    file = tomllib.loads(LIMITS.read_text())
    takes = dollars.per_order() | {"batches": max(consumers.values())}
    found = {
        each["name"]: each.get("per_second", each.get("at_a_time")) / takes[each["unit"]]
        for each in file["limit"]
    }
    sources = [source for each in wiring("prod").functions.values() for source in each.queues]
    found[OURS] = min(
        source.concurrency / consumers[source.queue] for source in sources if consumers.get(source.queue)
    )
    return dict(sorted(found.items(), key=lambda each: each[1]))


def _steady(
    rate: int,
    found: Mapping[str, Any],
    loads: Loads,
    dollars: Serverless,
    limits: Mapping[str, float],
    constants: Constants,
    sizes: Sizes,
    seed: int,
) -> dict[str, Any]:
    fleet = money.fleet(rate, constants)
    load = loads.steady.get(rate) or Load(f"{rate:,}/s", arrivals(rate, sizes.computed, seed=seed), PRODUCTS)
    played = monolith.play(load, fleet.servers, constants, seed=seed)
    of_functions = found.get(f"steady {rate}")
    return {
        "rate": rate,
        "serverless": {
            "played": of_functions is not None,
            **(of_functions.outcome.figures() if of_functions else {}),
            "batch": round(dollars.batch(rate), 2),
            "dollars_per_million": round(dollars.per_million(rate), 2),
            "month": round(dollars.month(rate)),
            "limits": {name: round(rate / most, 3) for name, most in limits.items()},
            "to_raise": [name for name, most in limits.items() if rate > most],
        },
        "monolith": {
            **played.outcome.figures(),
            **_of_fleet(fleet, rate),
            "limits": {name: round(share, 3) for name, share in fleet.shares.items()},
            "first_limit": fleet.first_limit,
        },
    }


def _of_fleet(fleet: Fleet, rate: float) -> dict[str, Any]:
    return {
        "app_vcpus": fleet.servers.app_vcpus * fleet.servers.tasks,
        "database": fleet.database,
        "month": round(fleet.month),
        "dollars_per_million": round(fleet.month / (rate * money.seconds_per_month() / 1e6), 2),
        "fits": fleet.fits,
    }


def _break_even(dollars: Serverless, constants: Constants) -> dict[str, Any]:
    """Average orders a second above which the monolith costs less a month."""

    def of(standby: bool, peak: float) -> float | None:
        rate = money.break_even(
            dollars.month, lambda rate: money.fleet(rate, constants, standby=standby, peak=peak).month
        )
        return None if rate is None else round(rate, 3)

    return {
        "with_standby": of(True, 1),
        "with_standby_sized_for_peak": of(True, PEAK_FACTOR),
        "one_server_each": of(False, 1),
        "peak_factor": PEAK_FACTOR,
        "idle_month": {
            "serverless": round(money.idle_month(), 2),
            "with_standby": round(money.fleet(0, constants).month, 2),
            "one_server_each": round(money.fleet(0, constants, standby=False).month, 2),
        },
    }


# ----------------------------------------------------------------------------- (b) to (d): what is not steady
def _burst(
    played: serverless.Played, load: Load, dollars: Serverless, constants: Constants, seed: int
) -> dict[str, Any]:
    small, large = money.fleet(BASE, constants), money.fleet(BASE, constants, peak=PEAK / BASE)
    return _beside(
        load,
        played,
        {
            "monolith": monolith.play(load, small.servers, constants, seed=seed),
            "with retries": monolith.play(load, small.servers, constants, seed=seed, patience=600),
            "for the peak": monolith.play(load, large.servers, constants, seed=seed),
        },
        month={
            "serverless": round(dollars.month(BASE)),
            "monolith": round(small.month),
            "for the peak": round(large.month),
        },
        base=BASE,
        peak=PEAK,
    )


def _hot(played: serverless.Played, load: Load, constants: Constants, seed: int) -> dict[str, Any]:
    fleet = money.fleet(HOT_RATE, constants)
    bound = 1 / monolith.Monolith(fleet.servers, constants, seed).row_seconds
    return _beside(
        load,
        played,
        {
            "monolith": monolith.play(load, fleet.servers, constants, seed=seed),
            "with retries": monolith.play(load, fleet.servers, constants, seed=seed, patience=600),
        },
        rate=HOT_RATE,
        conflicts=round(played.conflicts, 3),
        row_bound_per_second=round(bound),
    )


def _credit(played: serverless.Played, load: Load, constants: Constants, seed: int) -> dict[str, Any]:
    servers = money.fleet(len(load.times) / load.ends, constants).servers
    assert load.outage is not None
    beside = _beside(
        load,
        played,
        {
            "monolith": monolith.play(load, servers, constants, seed=seed),
            "with retries": monolith.play(load, servers, constants, seed=seed, patience=600),
        },
        outage_seconds=load.outage.ends - load.outage.begins,
        outage_ends=load.outage.ends,
    )
    for name in ("serverless", "with retries"):
        caught_up = _caught_up(load, beside["timelines"][name])
        beside[name]["caught_up"] = None if caught_up is None else round(caught_up - load.outage.ends, 1)
    return beside


USUAL_DELAY = 2.0
"""Seconds: orders younger than this may be open at any time."""


def _caught_up(load: Load, timeline: Sequence[tuple[float, float]]) -> float | None:
    """When, after the outage, all orders older than `USUAL_DELAY` are decided."""
    assert load.outage is not None
    for now, decided in timeline:
        if now >= load.outage.ends and decided >= bisect_right(load.times, now - USUAL_DELAY):
            return now
    return None


def _beside(
    load: Load, played: serverless.Played, others: Mapping[str, monolith.Played], **more: Any
) -> dict[str, Any]:
    """The figures of both designs under one load, with the time at which all orders were decided."""
    outcomes = {"serverless": played.outcome, **{name: each.outcome for name, each in others.items()}}
    figures = {name: outcome.figures() for name, outcome in outcomes.items()}
    for name, outcome in outcomes.items():
        figures[name]["decided_all_at"] = _decided_at(outcome.timeline)
    timelines: dict[str, Sequence[tuple[float, float]]] = {"ordered": monolith.counted(load.times)}
    timelines |= {name: each.timeline for name, each in outcomes.items()}
    return {**figures, **more, "timelines": timelines}


def _decided_at(timeline: Sequence[tuple[float, float]]) -> float | None:
    """When the last order was decided, to half a second."""
    most = timeline[-1][1] if timeline else 0
    return next((now for now, number in timeline if number >= most), None)


# --------------------------------------------------------------------------------------- (e) vertical scaling
def vertical(cores: int, constants: Constants, seconds: float, seed: int) -> dict[str, Any]:
    """Orders a second of one machine for all, and of a database on its own machine."""
    machine = Servers(cores, 1, cores, standby=False, shared=True)
    alone = Servers(4, cores, cores)  # far more application than the database's cores can serve

    def does(servers: Servers, clients: int, products: int) -> int:
        return round(
            monolith.capacity(
                servers, constants, clients=clients, products=products, seconds=seconds, seed=seed
            )
        )

    return {
        "cores": cores,
        "one_machine": does(machine, 64 * cores, PRODUCTS),
        "one_machine_hot": does(machine, 64, 1),
        "own_database": does(alone, 64 * cores, PRODUCTS),
        "own_database_hot": does(alone, 64, 1),
    }


# --------------------------------------------------------------------------------- other ways without servers
def _alternatives(found: Mapping[str, Any], loads: Loads, dollars: Serverless) -> dict[str, Any]:
    naive, built = found["naive hot"], found["built hot"]
    return {
        "naive": {
            "steady": found["naive steady"].outcome.figures(),
            "hot": {**naive.outcome.figures(), "conflicts": round(naive.conflicts, 3)},
            "hot_as_built": {**built.outcome.figures(), "conflicts": round(built.conflicts, 3)},
            "dollars_per_million": round(dollars.single.total_dollars, 2),
        },
        "as_built": {
            "dollars_per_million": round(dollars.full.total_dollars, 2),
            "one_by_one": round(dollars.single.total_dollars, 2),
        },
        "step_functions": {
            name: round(each, 2) for name, each in money.step_functions(dollars.single).items()
        },
        "loads": {"naive_hot": len(loads.naive_hot.times), "hot_rate": 300},
    }


def sizes_of(*, quick: bool, seconds: float | None = None) -> Sizes:
    """How long the loads last; `seconds` caps each of the functions' loads, for tests."""
    sizes = QUICK if quick else FULL
    if seconds is None:
        return sizes
    return replace(
        sizes,
        steady={rate: min(each, seconds) for rate, each in sizes.steady.items()},
        burst=min(sizes.burst, seconds),
        hot=min(sizes.hot, seconds),
        slow=min(sizes.slow, seconds),
    )
