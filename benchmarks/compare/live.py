"""Both designs on this machine under the same load, in turns: the traditional one, and the local stack.

It shows how fast the traditional design is on this machine, and that neither oversells, loses or doubles an
order. It can't show how fast the serverless design is: here an emulator of AWS runs it, on the same cores.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.load import generator
from benchmarks.load.audit import Kind
from benchmarks.load.generator import Load
from benchmarks.load.report import Report
from benchmarks.load.run import OnStep, Options
from benchmarks.load.run import measure as run_load
from benchmarks.load.targets import Target
from benchmarks.load.traffic import PLENTY
from benchmarks.traditional import server
from local import engine, stack

ROUNDS, SECONDS, USERS, RATE = 3, 8, 8, 4.0
"""RATE: orders a second that the local stack handles on two busy cores without a backlog."""

_WARM_UP_SECONDS = 5  # forty functions start, connections open, PostgreSQL plans its statements
_LAST_UNITS = 10
_PATIENCE = 300.0  # seconds for the backlog of the local stack
_CUSTOMERS = _PRODUCTS = 20  # enough for `spread`; each is prepared and audited in each round
_EVEN = 0.1  # ratios closer to 1 than this count as even

FIGURES = {
    "orders_per_second": "orders/s",
    "answer_p50": "answer p50, ms",
    "answer_p95": "answer p95, ms",
    "decided_p50": "decided p50, ms",
    "decided_p95": "decided p95, ms",
}
HIGHER_IS_BETTER = frozenset({"orders_per_second"})

STATEMENT = (
    "The local stack is an emulator of AWS, on the same cores as its functions, its tables and the "
    "load: its figures say nothing about AWS, nor do their ratios. What this shows: how the traditional "
    "design does on this machine, and that both keep the books right under the same load. How both do at "
    "size is for the model."
)


@dataclass(frozen=True)
class Case:
    """A load for both designs."""

    name: str
    mixes: tuple[str, ...]
    rate: float | None = None
    orders: int = 20_000
    hot_units: int = PLENTY
    oversells: bool = False
    """Whether most orders must be refused: then only correctness is compared, not speed."""


CASES = (
    Case("spread, at one rate", ("spread",), rate=RATE),
    Case("spread, at full load", ("spread",)),
    Case("one hot product", ("hot",)),
    # Limited, because the local stack accepts batches much faster than it decides them.
    Case("batches, 200 orders", ("batches",), orders=200),
    Case(f"the last {_LAST_UNITS} units", ("hot",), hot_units=_LAST_UNITS, oversells=True),
)


@dataclass(frozen=True)
class Measured:
    """The results of one design in a case: medians over the rounds, and sums."""

    figures: dict[str, float | None]
    """Keys are those of `FIGURES`."""
    accepted: int
    refused: int
    """Orders that got an error instead of an id."""
    statuses: dict[str, int]
    faults: dict[str, int]
    """Oversold, lost, doubled, inconsistent."""


@dataclass(frozen=True)
class Comparison:
    """A case with the results of both."""

    case: str
    traditional: Measured
    local_stack: Measured
    ratios: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Local stack ÷ traditional over the rounds: median, least, most. Empty if speed is not compared."""

    @property
    def better(self) -> dict[str, str]:
        """The better design for each figure, if it was better in every round."""
        return {name: _better(name, ratio) for name, ratio in self.ratios.items()}

    @property
    def is_right(self) -> bool:
        """Whether both kept all promises."""
        return not any(self.traditional.faults.values()) and not any(self.local_stack.faults.values())

    def json(self) -> dict[str, Any]:
        """For scripts: times in milliseconds."""
        return asdict(self) | {"better": self.better, "is_right": self.is_right}


def available() -> None:
    """Check that both designs can run here.

    Raises:
        CommandError: PostgreSQL or an environment is not installed.
    """
    server.installed()
    generator.installed()


def measure(
    *,
    rounds: int = ROUNDS,
    seconds: int = SECONDS,
    users: int = USERS,
    cases: Sequence[Case] = CASES,
    on_step: OnStep = lambda *_: None,
) -> list[Comparison]:
    """Start both, on separate ports with new data, and run each case's load on them in turns.

    Args:
        rounds: how often each gets each load.
        seconds: of load, each time.
        users: clients at a time.
        cases: the loads.
        on_step: is called with what is being done.

    Raises:
        CommandError: one can't run here, or does not answer.
    """
    available()
    total = rounds * len(cases) * 2
    done = 0
    reports: dict[tuple[str, str], list[Report]] = {}
    with ExitStack() as running:
        on_step("starting the traditional design and the local stack", 0, 0)
        traditional = running.enter_context(server.running())
        local = running.enter_context(engine.fresh())
        folder = Path(
            running.enter_context(tempfile.TemporaryDirectory(prefix="compare-", dir=engine.ROOT / ".local"))
        )
        targets = {
            "traditional": Target.at(traditional.url),
            "local_stack": Target.of_engine(stack.deploy(local, folder / "deploy.log")),
        }
        for target in targets.values():
            warming_up = Load(users=users, seconds=_WARM_UP_SECONDS)
            _run(target, warming_up, cases[0], False, lambda step: on_step(f"warming up: {step}", 0, 0))
        for number in range(1, rounds + 1):
            for case in cases:
                for name, target in targets.items():
                    place = f"round {number} of {rounds}: {case.name}: {name.replace('_', ' ')}"
                    show = partial(_show, on_step, place, done, total)
                    load = Load(case.mixes, users, seconds, case.rate, case.orders)
                    report = _run(target, load, case, number == rounds and case is cases[-1], show)
                    reports.setdefault((case.name, name), []).append(report)
                    done += 1
    return [
        compare(case, reports[case.name, "traditional"], reports[case.name, "local_stack"]) for case in cases
    ]


def _show(on_step: OnStep, place: str, done: int, total: int, step: str) -> None:
    on_step(f"{place}: {step}", done, total)


def _run(target: Target, load: Load, case: Case, audits: bool, show: Callable[[str], None]) -> Report:
    report = run_load(target, load, _options(case, audits=audits), lambda step, *_: show(step))
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def _options(case: Case, *, audits: bool) -> Options:
    # If speed is compared, nothing is scarce: the faster design would sell out first, and do less work.
    return Options(
        patience=_PATIENCE,
        customers=_CUSTOMERS,
        products=_PRODUCTS,
        hot_units=case.hot_units,
        scarce_units=PLENTY,
        scarce_credit=PLENTY,
        audits_tables=audits,
    )


def compare(case: Case, traditional: Sequence[Report], local_stack: Sequence[Report]) -> Comparison:
    """Compare the rounds of both pairwise: the first with the first, and so on."""
    found = Comparison(case.name, _measured(traditional), _measured(local_stack))
    if case.oversells:
        return found
    ratios = {}
    for name in FIGURES:
        pairs = [
            (one, other)
            for one, other in zip(_values(name, traditional), _values(name, local_stack), strict=True)
            if one and other
        ]
        if pairs:
            each = [other / one for one, other in pairs]
            ratios[name] = (statistics.median(each), min(each), max(each))
    return replace(found, ratios=ratios)


def _measured(reports: Sequence[Report]) -> Measured:
    return Measured(
        figures={name: _median(_values(name, reports)) for name in FIGURES},
        accepted=sum(report.accepted for report in reports),
        refused=sum(sum(report.refused.values()) for report in reports),
        statuses=_sum(report.statuses for report in reports),
        faults=_sum({kind.value: report.counts[kind] for kind in Kind} for report in reports),
    )


def _values(name: str, reports: Iterable[Report]) -> list[float | None]:
    return [report.json()[name] for report in reports]


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total


def _better(name: str, ratio: tuple[float, float, float]) -> str:
    _, least, most = ratio
    if name in HIGHER_IS_BETTER:
        least, most = 1 / most, 1 / least
    if most < 1 - _EVEN:
        return "local stack"
    return "traditional" if least > 1 + _EVEN else "even"


def print_table(comparisons: Sequence[Comparison], console: Console) -> None:
    """Print what was measured, in 80 columns."""
    title = "Live, on this machine: medians of the rounds"
    table = Table(box=box.SIMPLE, title=title, title_justify="left", width=80)
    table.add_column("")
    for header in ("traditional", "local stack", "ratio (range)"):
        table.add_column(header, justify="right", no_wrap=True)
    for each in comparisons:
        table.add_row(f"[bold]{each.case}[/]")
        for name, (median, least, most) in each.ratios.items():
            table.add_row(
                f"  {FIGURES[name]}",
                _number(each.traditional.figures[name]),
                _number(each.local_stack.figures[name]),
                f"{_ratio(median)} ({_ratio(least)}–{_ratio(most)})",
            )
        both = (each.traditional, each.local_stack)
        shipped = (f"{one.statuses.get('SHIPPED', 0):,} of {one.accepted:,}" for one in both)
        table.add_row("  shipped, of accepted", *shipped, end_section=True)
    console.print(table)
    for each in comparisons:
        for name, measured in (("traditional", each.traditional), ("local stack", each.local_stack)):
            if wrong := ", ".join(f"{number:,} {kind}" for kind, number in measured.faults.items() if number):
                console.print(f"[red]✗[/] {each.case}: {name}: {wrong}")
            if measured.refused:
                console.print(f"  {each.case}: {name}: {measured.refused:,} orders got an error")
    if all(each.is_right for each in comparisons):
        console.print("[green]✓[/] Neither oversold, lost or doubled an order.")
    console.print(f"\n{STATEMENT}", soft_wrap=False, width=80)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
