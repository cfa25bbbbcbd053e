"""`make simulate`: many schedules on all cores, or one again, or the mutants."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tests.simulation.mutants import MUTANTS, Caught, hunt
from tests.simulation.report import cells_expected, cells_table, mutants_table
from tests.simulation.run import Summary, on_all_cores, run_all, trace_of

SHOWN = 10  # failing seeds, and only the first with its trace

# A pipe or a log file has no width of its own, and the tables are wide.
console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def main() -> int:
    """Run what the arguments ask for; 1 if something did not hold."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules to run")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--seed", type=int, help="run this one again, and show all that happens")
    parser.add_argument("--mutants", action="store_true", help="take safeguards out, and see that it shows")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed)
    if arguments.mutants:
        return _mutants()
    return _many(range(arguments.first, arguments.first + arguments.seeds))


def _one(seed: int) -> int:
    trace = trace_of(seed)
    sys.stdout.write(f"{trace}\n")
    return int("✗ I" in trace)


def _many(seeds: range) -> int:
    total, started = Summary(), time.monotonic()
    with _progress() as progress:
        bar = progress.add_task("schedules", total=len(seeds), rate="")
        for part in run_all(seeds):
            total.merge(part)
            _advance(progress, bar, total.schedules, started)
    for table in cells_table(total.cells):
        console.print(table)
    seconds = time.monotonic() - started
    empty = sorted(cell for cell in cells_expected() if not total.cells[cell])
    console.print(f"{len(empty)} of the cells are empty{':' if empty else ''} {empty or ''}")
    console.print(
        f"{total.schedules} schedules in {seconds:.0f} s ({total.schedules / seconds:.0f}/s), "
        f"{total.steps} steps, orders {dict(sorted(total.statuses.items()))}"
    )
    for seed, broken in sorted(total.broken)[:SHOWN]:
        console.print(f"✗ seed {seed}: {broken[0]}   again: make simulate SEED={seed}", markup=False)
    if total.broken:
        sys.stdout.write(f"{trace_of(min(total.broken)[0])}\n")
        console.print(f"{len(total.broken)} schedules failed")
        return 1
    console.print("I1 to I10 held in all of them")
    return 0


def _mutants() -> int:
    caught: list[Caught] = []
    started = time.monotonic()
    with _progress() as progress:
        bar = progress.add_task("mutants", total=len(MUTANTS), rate="")
        for each in on_all_cores(hunt, MUTANTS):
            caught.append(each)
            _advance(progress, bar, len(caught), started)
    console.print(mutants_table(caught))
    return int(any(each.broken is None for each in caught))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _advance(progress: Progress, bar: TaskID, done: int, started: float) -> None:
    rate = done / (time.monotonic() - started)
    progress.update(bar, completed=done, rate=f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")


if __name__ == "__main__":
    sys.exit(main())
