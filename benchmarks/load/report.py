"""The figures of a run, as a table and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.load.audit import Fault, Kind, count
from benchmarks.load.orders import ClockOffset, Intake, decided_seconds
from benchmarks.load.targets import View
from benchmarks.load.traffic import MIXES, Answer
from order_capture_ops.cli import pluralize

PERCENTILES = (50, 95, 99)
_SHOWN_FAULTS = 20
_MILLISECONDS = 1000


@dataclass(frozen=True)
class Latency:
    """Percentiles in milliseconds; None if nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latency:
        """The percentiles of these durations."""
        found = sorted(seconds)
        return cls(*(_rounded(percentile(found, each)) for each in PERCENTILES))


@dataclass(frozen=True)
class MixFigures:
    """The figures of one mix."""

    requests: int
    accepted: int
    answer: Latency
    decided: Latency


@dataclass
class Report:
    """The result of a run."""

    target: str
    seconds: float
    """From the first request to the last response of the load."""
    requests: int
    reads: int
    accepted: int
    refused: dict[int, int]
    """Orders that were never accepted, by HTTP status; 0 without a response."""
    failed_reads: int
    statuses: dict[str, int]
    """How the accepted orders ended."""
    reasons: dict[str, int]
    """Why they were rejected."""
    orders_per_second: float
    """Accepted orders that have ended, from the first request to the last of them."""
    answer: Latency
    decided: Latency
    mixes: dict[str, MixFigures]
    replays: int
    """Repeated requests that got the orders of the first one."""
    asked_again: int
    """Requests that were retried after the load, because their effect was unknown."""
    unknown: int
    """Requests whose effect is still unknown."""
    offset: ClockOffset
    faults: list[Fault]
    audited: bool = False
    """Whether `order_capture_ops audit` also checked the tables."""
    interrupted: bool = False
    answered: list[tuple[float, float]] = field(default_factory=list)
    """For the plots, for each POST: seconds from the first request to its response, and its latency."""
    ended: list[tuple[float, float]] = field(default_factory=list)
    """The same for ended orders."""

    @property
    def counts(self) -> Counter[Kind]:
        """The number of orders, units and accounts affected by each kind of fault."""
        return count(self.faults)

    @property
    def is_right(self) -> bool:
        """Whether all promises were kept."""
        return not self.faults

    def json(self) -> dict[str, Any]:
        """For scripts: times in milliseconds."""
        return {
            "target": self.target,
            "requests": self.requests,
            "reads": self.reads,
            "accepted": self.accepted,
            "refused": sum(self.refused.values()),
            "refused_by_status": {str(status): number for status, number in sorted(self.refused.items())},
            "failed_reads": self.failed_reads,
            "statuses": self.statuses,
            "reasons": self.reasons,
            **{kind.value: self.counts[kind] for kind in Kind},
            "orders_per_second": self.orders_per_second,
            **_flat("answer", self.answer),
            **_flat("decided", self.decided),
            "units": {"answer": "ms", "decided": "ms", "seconds": "s"},
            "seconds": round(self.seconds, 3),
            "replays": self.replays,
            "asked_again": self.asked_again,
            "unknown": self.unknown,
            "clock_offset_ms": round(self.offset.seconds * _MILLISECONDS, 1),
            "clock_uncertainty_ms": round(self.offset.uncertainty * _MILLISECONDS, 1),
            "audited": self.audited,
            "interrupted": self.interrupted,
            "mixes": {
                name: {
                    "requests": mix.requests,
                    "accepted": mix.accepted,
                    **_flat("answer", mix.answer),
                    **_flat("decided", mix.decided),
                }
                for name, mix in self.mixes.items()
            },
            "faults": [f"{fault.kind}: {fault.subject}: {fault.what}" for fault in self.faults],
        }


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The percentile of the values (nearest rank); None without values."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def build(
    target: str,
    answers: Sequence[Answer],
    intake: Intake,
    views: Mapping[str, View | None],
    offset: ClockOffset,
    faults: Collection[Fault],
    *,
    asked_again: int = 0,
    interrupted: bool = False,
    audited: bool = False,
) -> Report:
    """Build the report from the records of the load and the outcomes of its orders."""
    posts = [answer for answer in answers if answer.body]
    reads = [answer for answer in answers if not answer.body]
    start = min((answer.sent_at for answer in answers), default=0.0)
    decided = {
        order_id: seconds
        for order_id, order in intake.orders.items()
        if (seconds := decided_seconds(order, views.get(order_id), offset)) is not None
    }
    ended = sorted(
        (intake.orders[each].sent_at + seconds - start, seconds) for each, seconds in decided.items()
    )
    keys = Counter(answer.key for answer in posts if answer.results)
    views_found = [view for view in views.values() if view is not None]
    mixes = {}
    sent = {answer.mix for answer in posts}
    for name in filter(sent.__contains__, MIXES):
        mixes[name] = MixFigures(
            sum(answer.mix == name for answer in posts),
            sum(order.mix == name for order in intake.orders.values()),
            Latency.of(answer.seconds for answer in posts if answer.mix == name and answer.status),
            Latency.of(seconds for each, seconds in decided.items() if intake.orders[each].mix == name),
        )
    return Report(
        target=target,
        seconds=max((answer.sent_at + answer.seconds for answer in answers), default=0.0) - start,
        requests=len(posts),
        reads=len(reads),
        accepted=len(intake.orders),
        refused=dict(intake.refused),
        failed_reads=sum(not 200 <= answer.status < 300 for answer in reads),
        statuses=dict(Counter(str(view["status"]) for view in views_found).most_common()),
        reasons=dict(
            Counter(_reason(view) for view in views_found if view["status"] == "REJECTED").most_common()
        ),
        orders_per_second=round(len(ended) / ended[-1][0], 2) if ended and ended[-1][0] > 0 else 0.0,
        answer=Latency.of(answer.seconds for answer in posts if answer.status),
        decided=Latency.of(decided.values()),
        mixes=mixes,
        replays=sum(number - 1 for number in keys.values()),
        asked_again=asked_again,
        unknown=len(intake.unknown),
        offset=offset,
        faults=list(faults),
        audited=audited,
        interrupted=interrupted,
        answered=sorted(
            (answer.sent_at + answer.seconds - start, answer.seconds) for answer in posts if answer.status
        ),
        ended=ended,
    )


def print_table(report: Report, console: Console) -> None:
    """Print the figures in 80 columns."""
    figures = Table(box=box.SIMPLE, title=f"Load on {report.target}", title_justify="left", width=80)
    for column in ("mix", "requests", "accepted"):
        figures.add_column(column, justify="left" if column == "mix" else "right")
    figures.add_column("answer ms\np50 p95 p99", justify="right", no_wrap=True)
    figures.add_column("decided ms\np50 p95 p99", justify="right", no_wrap=True)
    for name, mix in report.mixes.items():
        figures.add_row(
            name, f"{mix.requests:,}", f"{mix.accepted:,}", _three(mix.answer), _three(mix.decided)
        )
    figures.add_section()
    figures.add_row(
        "all", f"{report.requests:,}", f"{report.accepted:,}", _three(report.answer), _three(report.decided)
    )
    console.print(figures)
    for name, value in facts(report):
        console.print(f"  {name:<12} {escape(value)}", soft_wrap=False)
    counts = report.counts
    marks = ", ".join(f"[{'red' if counts[kind] else 'green'}]{counts[kind]:,} {kind}[/]" for kind in Kind)
    console.print(f"\n{'[green]✓[/]' if report.is_right else '[red]✗[/]'} {marks}")
    console.print(f"  as {_judged_by(report)}")
    for fault in report.faults[:_SHOWN_FAULTS]:
        console.print(f"  [red]{fault.kind}[/] {escape(fault.subject)}: {escape(fault.what)}")
    if (more := len(report.faults) - _SHOWN_FAULTS) > 0:
        console.print(f"  and {more:,} more (JSON=1 lists all)")


def _judged_by(report: Report) -> str:
    return "according to the API and the audit of the tables" if report.audited else "according to the API"


def facts(report: Report) -> list[tuple[str, str]]:
    """The facts besides the latencies: names and texts."""
    found = [
        ("orders/s", f"{report.orders_per_second:,.1f} to their end, over {report.seconds:.1f} s of load")
    ]
    found.append(("ended", _listed(report.statuses) or "no order was accepted"))
    if report.reasons:
        found.append(("rejected", _listed(report.reasons)))
    if report.refused:
        found.append(
            (
                "refused",
                ", ".join(
                    f"{number:,} with {status or 'no answer'}"
                    for status, number in sorted(report.refused.items())
                ),
            )
        )
    if report.replays:
        found.append(("repeated", f"{pluralize(report.replays, 'request')} with a key that had its answer"))
    if report.reads:
        failed = f", {report.failed_reads:,} of them failed" if report.failed_reads else ""
        found.append(("read", f"{report.reads:,} times the status of an order{failed}"))
    if report.asked_again:
        still = f", still unknown: {report.unknown:,}" if report.unknown else ""
        found.append(
            (
                "asked again",
                f"{pluralize(report.asked_again, 'request')} with an unknown result{still}",
            )
        )
    if report.offset.seconds:
        found.append(
            (
                "clocks",
                f"the target's is {report.offset.seconds * _MILLISECONDS:+,.0f} ms ahead "
                f"(± {report.offset.uncertainty * _MILLISECONDS:,.0f} ms), taken off",
            )
        )
    return found


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _reason(view: View) -> str:
    checks = (check for check in (view.get("checks") or {}).values() if check)
    return next(
        (str(check["code"]) for check in checks if check["outcome"] == "DECLINED"), "without a reason"
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * _MILLISECONDS, 1)


def _flat(name: str, latency: Latency) -> dict[str, float | None]:
    return {f"{name}_p50": latency.p50, f"{name}_p95": latency.p95, f"{name}_p99": latency.p99}


def _three(latency: Latency) -> str:
    return " ".join(_short(value) for value in (latency.p50, latency.p95, latency.p99))


def _short(milliseconds: float | None) -> str:
    """Six characters at most, so that the table fits: milliseconds, or seconds from 100 s."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:,.0f}" if milliseconds < 99_999 else f"{milliseconds / _MILLISECONDS:.0f}s"
