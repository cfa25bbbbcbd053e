"""`make bench`: what an order costs, how fast the functions import, how large the packages are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmarks import cost, imports, sizes
from local.console import console, step
from local.engine import PYTHON, ROOT
from order_capture_ops.cli import Parser, run
from order_capture_ops.errors import CommandError

# sam stores its cache's metadata one folder above the build, so each build has its own parent folder.
AWS_BUILD = ROOT / ".local/build/bench-aws/build"
LOCAL_BUILD = ROOT / ".local/build/bench-local/build"


def main(arguments: list[str] | None = None) -> int:
    """`make bench`."""
    parser = Parser(prog="make bench", description=__doc__, example="make bench COST=1")
    parser.add_argument("--cost", action="store_true", help="measure only the cost of an order")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    return run(lambda: _bench(only_cost=options.cost, as_json=options.json))


def _bench(*, only_cost: bool, as_json: bool) -> int:
    """Measure and print."""
    found: dict[str, Any] = {}
    with _step("Running orders through the handlers", quiet=as_json):
        costs = cost.measure()
        before = {orders: cost.calls_before_the_answer(orders) for orders in (1, 100)}
    if as_json:
        found["prices"] = {"date": str(cost.prices()["date"]), "region": cost.prices()["region"]}
        found["costs"] = [asdict(each) | {"total_dollars": each.total_dollars} for each in costs]
        found["calls_before_the_answer"] = before
    else:
        _print_costs(costs, before)
    if not only_cost:
        with _step("Building the packages with sam", quiet=as_json):
            _build(AWS_BUILD, {})
            _build(LOCAL_BUILD, {"LAYER_PYTHON": str(PYTHON)})
        with _step("Starting every function", quiet=as_json):
            times = imports.measure(LOCAL_BUILD)
        packages = sizes.measure(AWS_BUILD)
        if as_json:
            found["starts"] = [asdict(each) | {"share": each.share} for each in times]
            found["packages"] = [asdict(each) for each in packages]
        else:
            _print_starts(times)
            _print_packages(packages)
    if as_json:
        print(json.dumps(found, indent=2))
    return 0


def _step(text: str, *, quiet: bool) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if quiet else step(text)


def _print_costs(costs: Sequence[cost.Cost], before: Mapping[int, int]) -> None:
    file = cost.prices()
    table = _table("per order", "calls", "requests", "writes", "reads", "Lambda ms", "$/million")
    for each in costs:
        figures = (
            *(each.calls, sum(each.requests.values())),
            *(sum(each.write_units.values()), sum(each.read_units.values()), each.lambda_milliseconds),
        )
        table.add_row(each.scenario, *(f"{figure:.1f}" for figure in figures), f"{each.total_dollars:.2f}")
    console.print(table)
    for title, names, of in (
        ("write units", ("order", "history", "reports"), "write_units"),
        ("read units", ("order", "reports", "webhooks", "followers"), "read_units"),
        ("billable requests", ("apigateway", "lambda", "sqs", "sns"), "requests"),
    ):
        table = _table(title, *names)
        for each in costs:
            table.add_row(each.scenario, *(f"{getattr(each, of).get(name, 0):.1f}" for name in names))
        console.print(table)
    kinds = list(costs[0].dollars_per_million)
    table = _table("$/million", *kinds)
    for each in costs:
        table.add_row(each.scenario, *(f"{each.dollars_per_million[kind]:.2f}" for kind in kinds))
    console.print(table)
    console.print(f"  Prices of {file['date']}, {file['region']}: benchmarks/prices.toml")
    for orders, calls in before.items():
        console.print(f"  Calls before the 202 of a request with {orders} orders: {calls}")


def _print_starts(times: Iterable[imports.StartTime]) -> None:
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


def _print_packages(packages: Iterable[sizes.PackageSize]) -> None:
    table = _table("package", "zipped KB", "unpacked KB")
    for size in packages:
        table.add_row(size.package, f"{size.zipped / 1000:,.1f}", f"{size.unpacked / 1000:,.1f}")
    console.print(table)


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
