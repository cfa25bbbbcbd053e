"""One run: prepare customers and products, send the load, follow every order to its end, audit the books."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.load import audit, orders
from benchmarks.load.audit import Fault, Kind
from benchmarks.load.generator import Load, Traffic, generate
from benchmarks.load.report import Report, build
from benchmarks.load.targets import Api, Target
from benchmarks.load.traffic import HOT_UNITS, SCARCE_CREDIT, SCARCE_UNITS, Assignment, Shop
from local.engine import ROOT
from order_capture_ops import audit as ops
from order_capture_ops.tables import Tables

FOLDER = ROOT / ".local/load"
PATIENCE = 120.0
"""Seconds that orders may take to end after the load: twice a busy laptop's backlog."""

_ORDER_DEADLINE_SECONDS = 900.0  # the template's default of OrderDeadlineSeconds

OnStep = Callable[[str, float, float], None]
"""Called with the step, the amount done and the total, in seconds, orders or balances."""


@dataclass(frozen=True)
class Options:
    """What is prepared and checked besides the load itself."""

    patience: float = PATIENCE
    customers: int = 50
    products: int = 50
    hot_units: int = HOT_UNITS
    scarce_units: int = SCARCE_UNITS
    scarce_credit: int = SCARCE_CREDIT
    audits_tables: bool = True
    """Whether `order_capture_ops audit` also checks the tables, if the target is a stack."""
    page: int | None = None
    """The port of Locust's web page; None for no page."""
    page_seconds: float = 0.0
    locust_html: Path | None = None
    """Where Locust writes its own report."""


def measure(
    target: Target, load: Load, options: Options | None = None, on_step: OnStep = lambda *_: None
) -> Report:
    """Run a load and report on it.

    Raises:
        CommandError: the target does not respond, or Locust fails.
    """
    options = options or Options()
    shop = Shop.create(
        f"load-{uuid.uuid4().hex[:8]}",
        customers=options.customers,
        products=options.products,
        hot_units=options.hot_units,
        scarce_units=options.scarce_units,
        scarce_credit=options.scarce_credit,
    )
    _remove_orphans()
    with (
        contextlib.closing(Api(target)) as api,
        tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=_runs()) as temporary,
    ):
        count = _Count(on_step, "preparing customers and products", len(shop.customers) + len(shop.stock))
        api.prepare(shop, count)

        folder = Path(temporary)
        assignment = Assignment(
            url=target.url,
            token=target.token,
            shop=shop,
            records=str(folder / "records.jsonl"),
            users=load.users,
            seconds=load.seconds,
            rate=load.rate,
            orders=load.orders,
        )
        traffic = generate(
            load,
            assignment,
            folder,
            page=options.page,
            page_seconds=options.page_seconds,
            html=options.locust_html,
            on_progress=lambda traffic: _show(traffic, load, on_step),
        )
        answers = traffic.answers
        intake = orders.take_in(answers)
        asked = intake.unknown
        if asked:
            count = _Count(on_step, "resolving unknown results", len(asked))
            intake = orders.take_in([*answers, *orders.ask_again(api, asked, options.patience, count)])

        count = _Count(on_step, "following orders to their end", len(intake.orders))
        views = orders.follow(api, intake.orders, options.patience, count)

        count = _Count(on_step, "reading the books", len(shop.customers) + len(shop.stock))
        books = audit.read_books(api, shop, options.patience, count)
        faults = audit.find_faults(intake, views, books, intake.unknown)
        audits_tables = options.audits_tables and target.stack is not None
        if audits_tables:
            faults += _differences(target, on_step)
        return build(
            target.name,
            answers,
            intake,
            views,
            orders.clock_offset(intake.orders, views),
            faults,
            asked_again=len(asked),
            interrupted=traffic.interrupted,
            audited=audits_tables,
        )


def _runs() -> Path:
    runs = FOLDER / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    return runs


def _remove_orphans() -> None:
    """Remove the files of killed runs: they contain an access token."""
    for run in _runs().iterdir():
        if not psutil.pid_exists(int(run.name.partition("-")[0])):
            shutil.rmtree(run, ignore_errors=True)


def _differences(target: Target, on_step: OnStep) -> list[Fault]:
    """The differences that `order_capture_ops audit` finds in all tables of a stack."""
    assert target.stack is not None
    deadline = float(target.stack.parameters.get("OrderDeadlineSeconds", _ORDER_DEADLINE_SECONDS))
    done = 0

    def on_progress(_: str, advance: int) -> None:
        nonlocal done
        done += advance
        on_step("auditing the tables", done, 0)

    on_step("auditing the tables", 0, 0)
    found = ops.audit(Tables.of(target.stack), deadline, on_progress=on_progress)
    return [
        Fault(Kind.INCONSISTENT, each.entity, f"{each.what}: expected {each.expected}, found {each.found}")
        for each in found.differences
    ]


def _show(traffic: Traffic, load: Load, on_step: OnStep) -> None:
    answers = traffic.answers
    elapsed = answers[-1].sent_at - answers[0].sent_at if answers else 0.0
    accepted = sum("orderId" in result for answer in answers for result in answer.results)
    step = "stopping the load" if traffic.interrupted else "load"
    on_step(
        f"{step}: {len(answers):,} answers, {accepted:,} orders taken",
        min(elapsed, load.seconds),
        load.seconds,
    )


class _Count:
    """Reports a step's progress by increments."""

    def __init__(self, on_step: OnStep, step: str, total: int) -> None:
        self._on_step, self._step, self._total, self._done = on_step, step, total, 0
        on_step(step, 0, total)

    def __call__(self, advance: int) -> None:
        self._done += advance
        self._on_step(self._step, self._done, self._total)
