"""`make simulate`: many schedules on all cores, a replay of one, or the mutants."""

from __future__ import annotations

import sys
import textwrap
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from order_capture_ops.cli import Parser, errors, integer_between, run
from tests.simulation.mutants import MUTANTS, Caught, hunt
from tests.simulation.report import INVARIANTS, cells_expected, cells_table, mutants_table
from tests.simulation.run import Summary, on_all_cores, run_all, trace_of

SHOWN = 10  # failing seeds, and only the first with its trace

MOST_SEEDS = 100_000_000
LAST_SEED = 2**63 - 1

# A pipe or a log file has no width, and the tables are wide.
console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the requested simulation; 1 if an invariant did not hold."""
    parser = Parser(prog="make simulate", description=__doc__, example="make simulate SEEDS=10000")
    parser.add_argument(
        "--seeds", type=integer_between(1, MOST_SEEDS), default=10_000, help="how many schedules to run"
    )
    parser.add_argument("--first", type=integer_between(0, LAST_SEED), default=0, help="the first one's seed")
    parser.add_argument(
        "--seed", type=integer_between(0, LAST_SEED), help="run this one again, and show all of it"
    )
    parser.add_argument("--mutants", action="store_true", help="take safeguards out, and see that it shows")
    parser.add_argument("--cells", action="store_true", help="show how often each fault was met at each call")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return run(lambda: _one(options.seed))
    if options.mutants:
        return run(_mutants)
    seeds = range(options.first, options.first + options.seeds)
    return run(lambda: _many(seeds, show_cells=options.cells))


def _one(seed: int) -> int:
    trace = trace_of(seed)
    sys.stdout.write(f"{trace}\n")
    return int("✗ I" in trace)


def _many(seeds: range, *, show_cells: bool) -> int:
    total, started = Summary(), time.monotonic()
    with _progress() as progress:
        bar = progress.add_task("schedules", total=len(seeds), rate="")
        for part in run_all(seeds):
            total.merge(part)
            _advance(progress, bar, total.schedules, started)
    if show_cells:
        for table in cells_table(total.cells):
            console.print(table)
    for line in summary_of(total, time.monotonic() - started):
        console.print(line, markup=False, soft_wrap=True)
    if total.broken:
        sys.stdout.write(f"{trace_of(min(total.broken)[0])}\n")
    return int(bool(total.broken))


def summary_of(total: Summary, seconds: float) -> list[str]:
    """A summary of what ran, what held, and what that proves, in lines of at most 80 columns."""
    orders = ", ".join(f"{number:,} {status}" for status, number in sorted(total.statuses.items()))
    expected = cells_expected()
    met = sum(bool(total.cells[cell]) for cell in expected)
    held = "✓" if met == len(expected) else "·"  # where not every fault was met, it has not been shown
    fallen = Counter(reason.partition(":")[0] for _, broken in total.broken for reason in broken[:1])
    return [
        f"Schedules: {total.schedules:,} in {seconds:.0f} s ({total.schedules / seconds:.0f}/s), "
        f"steps: {total.steps:,}",
        *textwrap.wrap(f"Orders: {orders}", 80),
        f"Faults met: {met:,} of the {len(expected):,} that can happen (ARGS=--cells lists them)",
        "",
        *(
            f"{'✗' if fallen[code] else held} {code:3} {meaning}"
            + (f": {fallen[code]:,} schedules" if fallen[code] else "")
            for code, meaning in INVARIANTS.items()
        ),
        "",
        *(
            line
            for seed, broken in sorted(total.broken)[:SHOWN]
            for line in (f"✗ make simulate SEED={seed}", f"    {broken[0]}")
        ),
        _verdict(total, met, len(expected)),
    ]


def _verdict(total: Summary, met: int, expected: int) -> str:
    if total.broken:
        return f"✗ Schedules that failed: {len(total.broken):,} of {total.schedules:,}"
    if met < expected:
        return (
            f"Nothing fell, but {total.schedules:,} schedules are too few to show that it holds:\n"
            f"{expected - met:,} faults were never met. The default is SEEDS=10000."
        )
    return f"✓ All of it held in all {total.schedules:,} schedules."


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
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def _advance(progress: Progress, bar: TaskID, done: int, started: float) -> None:
    rate = done / (time.monotonic() - started)
    progress.update(bar, completed=done, rate=f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")


if __name__ == "__main__":
    sys.exit(main())
