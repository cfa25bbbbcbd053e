"""`make bench`: what an order costs, how fast the functions import, how large the packages are."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks import cost, imports, sizes
from local.console import console, step
from local.engine import PYTHON, ROOT
from order_capture_ops.cli import Parser, run
from order_capture_ops.errors import CommandError

# sam keeps what it knows of its cache one folder above the build's, so each build has a folder around it.
AWS_BUILD = ROOT / ".local/build/bench-aws/build"
LOCAL_BUILD = ROOT / ".local/build/bench-local/build"


def main(arguments: list[str] | None = None) -> int:
    """`make bench`."""
    Parser(prog="make bench", description=__doc__, example="make bench").parse_args(arguments)
    return run(_bench)


def _bench() -> int:
    """Measure and print."""
    logging.disable()
    with step("Running orders through the handlers"):
        costs = cost.measure()
        before = {orders: cost.calls_before_the_answer(orders) for orders in (1, 100)}
    with step("Building the packages with sam"):
        _build(AWS_BUILD, {})
        _build(LOCAL_BUILD, {"LAYER_PYTHON": str(PYTHON)})
    with step("Starting every function"):
        times = imports.measure(LOCAL_BUILD)

    table = _table(
        "per order, with all that follows", "calls", "requests", "write units", "of history", "read units"
    )
    for each in costs:
        figures = (each.calls, each.requests, each.write_units, each.history_units, each.read_units)
        table.add_row(each.scenario, *(f"{figure:.1f}" for figure in figures))
    console.print(table)
    for orders, calls in before.items():
        console.print(f"  Calls before the 202 of a request with {orders} orders: {calls}")
    table = _table(
        "CPU ms to start, over a bare interpreter",
        "function",
        "boto3, pydantic",
        "+ Powertools",
        "share of it",
    )
    for time in times:
        milliseconds = (f"{each:.0f}" for each in (time.milliseconds, time.plain, time.powertools))
        share = f"{time.share:.2f}" if time.fits else f"{time.share:.2f} (over {imports.BUDGET})"
        table.add_row(time.function, *milliseconds, share)
    console.print(table)

    table = _table("package", "zipped KB", "unpacked KB")
    for size in sizes.measure(AWS_BUILD):
        table.add_row(size.package, f"{size.zipped / 1000:,.1f}", f"{size.unpacked / 1000:,.1f}")
    console.print(table)
    return 0


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE)
    for header in headers:
        table.add_column(header, overflow="fold", justify="left" if table.columns == [] else "right")
    return table


def _build(folder: Path, environment: dict[str, str]) -> None:
    cache = folder.parent / "cache"
    command = ["sam", "build", "--build-dir", str(folder), "--cached", "--cache-dir", str(cache)]
    finished = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise CommandError(f"{finished.stderr}\nsam build failed")


if __name__ == "__main__":
    sys.exit(main())
