"""Runs schedules: one by its seed, or many on all cores."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.simulation import functions
from tests.simulation.faults import Cells, RandomFaults
from tests.simulation.schedule import Outcome, Schedule, Style
from tests.simulation.shoppers import Crowd

CHUNK = 250  # seeds per task of a process: a second or two, so that the progress bar moves


@dataclass
class Summary:
    """The results of many schedules."""

    schedules: int = 0
    steps: int = 0
    broken: list[tuple[int, list[str]]] = field(default_factory=list)
    """The seeds of failed schedules, and the reasons."""
    cells: Cells = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, seed: int, outcome: Outcome) -> None:
        """Add one result."""
        self.schedules += 1
        self.steps += outcome.steps
        self.cells.update(outcome.cells)
        self.statuses.update(outcome.statuses)
        if outcome.broken:
            self.broken.append((seed, outcome.broken))

    def merge(self, other: Summary) -> None:
        """Add all results of another summary."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.cells.update(other.cells)
        self.statuses.update(other.statuses)
        self.broken += other.broken


def run_seed(seed: int, *, tracing: bool = False, unreadable: int = 0) -> Outcome:
    """Run the schedule of a seed, deterministically. To be called while functions are `simulated`."""
    chance = random.Random(seed)
    style = replace(Style.drawn(chance), unreadable=unreadable)
    # Expiry rarely conflicts with another write, and the consequences must be covered as well.
    faults = RandomFaults(chance, storm=style.deadline == 0 and chance.random() < 0.8)
    rush = style.stripes > 0 and chance.random() < 0.2
    if rush:  # what happens between heads needs several at them, each for itself
        style = replace(style, divided=1.0, whole_batches=0.2, switching=max(style.switching, 0.6))
    schedule = Schedule(chance, style, faults, tracing=tracing)
    crowd = Crowd(chance, schedule.promises, rush=rush)
    schedule.open(crowd.opening)
    return schedule.run(crowd.scripts())


def trace_of(seed: int) -> str:
    """The trace of a seed's schedule, line by line, and its broken invariants."""
    with functions.simulated():
        outcome = run_seed(seed, tracing=True)
    return "\n".join([f"seed {seed}", *outcome.trace, *(f"✗ {reason}" for reason in outcome.broken or ())])


def run_range(seeds: range) -> Summary:
    """Run these seeds in this process."""
    summary = Summary()
    with functions.simulated(), swept():
        for seed in seeds:
            summary.add(seed, run_seed(seed))
    return summary


def run_all(seeds: range) -> Iterator[Summary]:
    """Run these seeds on all cores; yields a summary of each part as it is done."""
    parts = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    yield from on_all_cores(run_range, parts)


Part = TypeVar("Part")
Result = TypeVar("Result")


def on_all_cores(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """The results of `work` for each part, in separate processes, in order of completion."""
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        waiting: list[Future[Result]] = [pool.submit(work, part) for part in parts]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def swept() -> Iterator[None]:
    """While this lasts, garbage collection is off: schedules leave hardly any. What some leave (kept errors
    and their frames) is collected at the end, without checking older objects."""
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()
