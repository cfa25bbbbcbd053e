"""`make fuzz`: N cases against a temporary or a named stack, with the statuses of each operation."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from local import stack
from local.console import step
from local.engine import fresh
from order_capture_ops.cli import Parser, errors, integer_between
from order_capture_ops.cli import run as run_command
from tests.deployed.shop import StackClient
from tests.fuzz.run import FuzzSummary, run
from tests.support import target

MOST_CASES = 10_000_000
LAST_SEED = 2**32 - 1
SHOWN = 10  # kinds of failures, each with its first case

# A pipe or a log file has no width, and the table is wide.
console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the requested cases; 1 if a response broke the contract."""
    parser = Parser(prog="make fuzz", description=__doc__, example="make fuzz N=10000 SEED=17")
    parser.add_argument(
        "--cases", type=integer_between(1, MOST_CASES), default=10_000, help="how many requests to send"
    )
    parser.add_argument(
        "--seed",
        type=integer_between(0, LAST_SEED),
        default=random.randrange(1_000_000),
        help="of all that is random (default: another one each time)",
    )
    parser.add_argument("--stack", metavar="NAME", help="one that exists (default: a stack of its own)")
    options = parser.parse_args(arguments)
    return run_command(lambda: _fuzz(options.cases, options.seed, options.stack))


@contextmanager
def _stack_to_fuzz(name: str | None) -> Iterator[StackClient]:
    if name is not None:
        yield StackClient(target.describe(name))
        return
    with fresh(auth=True) as engine, tempfile.TemporaryDirectory() as logs:
        with step("Deploying the stack"):
            deployed = stack.deploy(engine, Path(logs) / "deploy.log")
        yield StackClient(deployed)


def _fuzz(cases: int, seed: int, name: str | None) -> int:
    started = time.monotonic()
    with _stack_to_fuzz(name) as shop, _progress() as progress:
        bar = progress.add_task("cases", total=cases)
        summary = run(
            shop.outputs["apiUrl"],
            shop.bearer,
            cases=cases,
            seed=seed,
            on_progress=lambda seen: progress.update(bar, completed=seen.cases),
        )
    console.print(table_of(summary))
    console.print(
        f"{summary.cases} cases in {time.monotonic() - started:.0f} s, seed {seed}: "
        f"{len(summary.failures)} kinds of failure"
    )
    for kind, case in list(summary.failures.items())[:SHOWN]:
        console.print(f"\n[red]✗[/] {escape(kind)}\n{escape(case)}", soft_wrap=True)
    return int(bool(summary.failures))


def table_of(summary: FuzzSummary) -> Table:
    """How often each operation responded with each status."""
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
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


if __name__ == "__main__":
    sys.exit(main())
