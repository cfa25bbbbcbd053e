"""`make fuzz`: so many cases against an engine of its own, with what each operation answered."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from local import stack
from local.console import step
from local.engine import fresh
from tests.deployed.shop import Shop
from tests.fuzz.run import Summary, run

SHOWN = 10  # kinds of failures, each with its first case

# A pipe or a log file has no width of its own, and the table is wide.
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def main() -> int:
    """Run what the arguments ask for; 1 if an answer was not one of the contract's."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="how many requests to send")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of all that is random")
    arguments = parser.parse_args()
    started = time.monotonic()
    with fresh(auth=True) as engine, tempfile.TemporaryDirectory() as logs:
        with step("Deploying the stack"):
            shop = Shop(stack.deploy(engine, Path(logs) / "deploy.log"))
        with _progress() as progress:
            bar = progress.add_task("cases", total=arguments.cases)
            summary = run(
                shop.outputs["apiUrl"],
                shop.bearer,
                cases=arguments.cases,
                seed=arguments.seed,
                tell=lambda seen: progress.update(bar, completed=seen.cases),
            )
    console.print(table_of(summary))
    console.print(
        f"{summary.cases} cases in {time.monotonic() - started:.0f} s, seed {arguments.seed}: "
        f"{len(summary.failures)} kinds of failure"
    )
    for kind, case in list(summary.failures.items())[:SHOWN]:
        console.print(f"\n[red]✗[/] {escape(kind)}\n{escape(case)}", soft_wrap=True)
    return int(bool(summary.failures))


def table_of(summary: Summary) -> Table:
    """How often each operation answered with each status."""
    statuses = sorted({status for _, status in summary.statuses})
    table = Table("operation", *map(str, statuses), "all")
    totals: Counter[str] = Counter()
    for (label, _), number in summary.statuses.items():
        totals[label] += number
    for label, total in totals.items():
        table.add_row(label, *(str(summary.statuses[label, each] or "") for each in statuses), str(total))
    return table


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


if __name__ == "__main__":
    sys.exit(main())
