"""`make game-day`: break a stack five times, and check that alarms and runbook lead to the fix.

It runs on a separate engine. After each breakage it waits for the alarm, finds the alarm's section in the
runbook, and follows it. If the section lacks a step, or the steps do not fix the stack, the game day has
failed.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from local import stack as stacks
from local.alarms import ALARM, OK, Alarms, CloudWatch
from local.breakages import BREAKAGES, Breakage, Site, Step
from local.console import console, step
from local.engine import ROOT, Engine, fresh, require_free
from local.restore_drill import Traffic, open_shop, order_statuses, service_client
from local.runbook import Section, find_section
from order_capture.domain.order import TRANSITIONS, OrderStatus
from order_capture_ops.cli import FAILED, Parser, port, run, table
from order_capture_ops.errors import CommandError
from order_capture_ops.history import MIN_AGE_SECONDS
from order_capture_ops.stack import Stack, described
from order_capture_ops.tables import Tables

RETRY_SECONDS = 5
"""The delay before a failed message is retried here, instead of a minute. It is retried as often as on AWS,
but is dead-lettered after two minutes instead of eleven."""
MEASURE_SECONDS = 5.0
PATIENCE_SECONDS = 900.0  # for an alarm, or for orders to end: the slowest needs five minutes
_COMMAND_SECONDS = 300.0
_TERMINAL = {str(status) for status in OrderStatus if not TRANSITIONS[status]}

_WAITING, _IN_FLIGHT = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"


class GameDayError(CommandError):
    """A breakage was not detected, or not fixed."""


@dataclass
class Watch:
    """Replaces CloudWatch: measures the queues, and raises the stack's own alarms on them.

    The engine has no queue metrics. Alarm states are set there, so that operators' commands show them. The
    age of a queue's oldest message is taken as the time since the queue was last seen empty: never too low,
    and exact while nothing is consumed.
    """

    stack: Stack
    cloudwatch: CloudWatch = field(default_factory=CloudWatch)
    failed: list[Exception] = field(default_factory=list)
    raised: set[str] = field(default_factory=set)
    """The logical ids of the raised alarms."""
    _alarms: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    _seen_empty: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the deployed alarms on queues."""
        pages = self.stack.client("cloudwatch").get_paginator("describe_alarms")
        named = re.compile(rf"{re.escape(self.stack.name)}-(\w+)-\w+")
        self._alarms = {
            match[1]: alarm
            for page in pages.paginate(AlarmNamePrefix=f"{self.stack.name}-")
            for alarm in page["MetricAlarms"]
            if (match := named.fullmatch(alarm["AlarmName"])) and alarm.get("Namespace") == "AWS/SQS"
        }
        self.raised = {name for name, alarm in self._alarms.items() if alarm["StateValue"] == ALARM}

    def measure(self, now: float) -> None:
        """Measure every queue once, and update every alarm."""
        sqs = self.stack.client("sqs")
        urls = {url.rpartition("/")[2]: url for key, url in self.stack.outputs.items() if key.endswith("Url")}
        for queue in {each["Dimensions"][0]["Value"] for each in self._alarms.values()}:
            counts = sqs.get_queue_attributes(QueueUrl=urls[queue], AttributeNames=[_WAITING, _IN_FLIGHT])
            waiting, in_flight = (int(counts["Attributes"][name]) for name in (_WAITING, _IN_FLIGHT))
            if not waiting + in_flight:
                self._seen_empty[queue] = now
            of_queue = {"QueueName": queue}
            age = now - self._seen_empty.setdefault(queue, now)
            self.cloudwatch.put("AWS/SQS", "ApproximateNumberOfMessagesVisible", of_queue, now, waiting)
            self.cloudwatch.put("AWS/SQS", "ApproximateAgeOfOldestMessage", of_queue, now, age)
        self._evaluate(now)

    def _evaluate(self, now: float) -> None:
        resources = {
            name: {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}
            for name, alarm in self._alarms.items()
        }
        alarms = Alarms({"Resources": resources}, str, self.cloudwatch)
        states = {name: alarms.state(name, now) for name in self._alarms}
        raised = {name for name, state in states.items() if state == ALARM}
        for name in raised ^ self.raised:
            self.stack.client("cloudwatch").set_alarm_state(
                AlarmName=self._alarms[name]["AlarmName"],
                StateValue=ALARM if name in raised else OK,
                StateReason="measured by the game day",
            )
        self.raised = raised

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Measure during this block."""
        ended = threading.Event()

        def work() -> None:
            try:
                while not ended.wait(MEASURE_SECONDS):
                    self.measure(time.time())
            except (BotoCoreError, ClientError, KeyError, ValueError) as error:
                self.failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def check(self) -> None:
        """Raise the error that stopped the measuring, if any."""
        if self.failed:
            raise GameDayError(f"Measuring the queues failed: {self.failed[0]}")


@dataclass(frozen=True)
class Result:
    """The result of one breakage."""

    breakage: Breakage
    seen: float | None = None
    """Seconds until it was detected."""
    cured: float | None = None
    """Seconds from the first step of the fix until the stack was healthy."""
    problem: str = ""


@dataclass
class GameDay:
    """An operator of the stack on this engine, with the runbook and the commands."""

    engine: Engine
    site: Site
    watch: Watch
    patience: float = PATIENCE_SECONDS

    def play(self, breakage: Breakage) -> Result:
        """Break the stack, detect it, fix it."""
        console.print(f"\n[bold]{breakage.name}[/]: {breakage.what}")
        seen = None
        try:
            section = find_section(breakage.runbook)
            if section is None:
                raise GameDayError(f"The runbook has no section about {breakage.runbook}.")
            with step("Breaking it"):
                breakage.inject(self.site)
            started = time.monotonic()
            self._see(breakage, section)
            seen = time.monotonic() - started
            console.print(f"  The runbook: {section.title}")
            started = time.monotonic()
            for each in breakage.cure:
                self._follow(each, section)
            self._recover(breakage)
            return Result(breakage, seen, time.monotonic() - started)
        except (CommandError, BotoCoreError, ClientError) as error:
            console.print(f"  [red]✗[/] {escape(str(error))}", soft_wrap=True)
            return Result(breakage, seen, problem=str(error))

    def _see(self, breakage: Breakage, section: Section) -> None:
        if alarm := breakage.alarm:
            with step(f"Waiting for {alarm}"):
                self._until(lambda: alarm in self.watch.raised, f"{alarm} was not raised")
        for each in breakage.symptoms:
            self._follow(each, section)

    def _follow(self, what: Step, section: Section) -> None:
        """Do a step, if the runbook has it."""
        if not section.names(what.instruction):
            raise GameDayError(f"The runbook's section {section.title!r} lacks: {what.instruction}")
        with step(what.instruction):
            if what.act:
                what.act(self.site)
                return
            code, output = self._make(what.instruction)
        if bool(code) != what.finds_problems or not re.search(what.shows, output):
            raise GameDayError(
                f"{what.instruction} ended with {code}, and should show {what.shows!r}:\n{output}"
            )

    def _recover(self, breakage: Breakage) -> None:
        tables = Tables.of(self.site.stack)

        def open_orders() -> set[str]:
            ended = {order_id for order_id, status in order_statuses(tables).items() if status in _TERMINAL}
            return {*self.site.traffic.placed} - ended

        with step("Waiting until every order has ended"):
            self._until(lambda: not open_orders(), "orders are still open")
        with step("Waiting until no alarm is raised"):
            self._until(lambda: not self.watch.raised, "an alarm is still raised")
        if breakage.alarm is None:  # else a minute has passed
            with step(
                f"Waiting {MIN_AGE_SECONDS} s: the audit leaves the last minute to the history's stream"
            ):
                time.sleep(MIN_AGE_SECONDS + 1)
        for command in ("make status", "make audit"):
            with step(command):
                code, output = self._make(command)
            if code:
                raise GameDayError(f"After {breakage.name} was fixed, {command} still shows:\n{output}")

    def _until(self, done: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + self.patience
        while not done():
            self.watch.check()
            if time.monotonic() > deadline:
                raise GameDayError(f"After {self.patience:.0f} s {problem}.")
            time.sleep(1)

    def _make(self, command: str) -> tuple[int, str]:
        """Run an operator's command on this stack; returns its exit code and output."""
        environment = {
            name: value
            for name, value in self.engine.environment().items()
            # of this `make game-day`, and for `make run`
            if name not in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PORT")
        }
        try:
            ran = subprocess.run(
                [*shlex.split(command), f"STACK={self.site.stack.name}"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GameDayError(f"{command} did not end within {_COMMAND_SECONDS:.0f} s.") from error
        return ran.returncode, ran.stdout


def main(arguments: list[str] | None = None) -> int:
    """Play all breakages, or one; returns 1 if one was not detected or not fixed."""
    parser = Parser(prog="make game-day", description=__doc__, example="make game-day ONLY=poison-message")
    parser.add_argument("--only", choices=[each.name for each in BREAKAGES], help="play this one")
    parser.add_argument("--list", action="store_true", help="list the breakages, and break nothing")
    parser.add_argument("--port", type=port, help="of the engine (default: a free one)")
    options = parser.parse_args(arguments)
    chosen = [each for each in BREAKAGES if options.only in (None, each.name)]
    if options.list:
        show_list(chosen)
        return 0
    return run(lambda: game_day(chosen, options.port), failed=FAILED)


def game_day(chosen: Sequence[Breakage], at_port: int | None = None) -> int:
    """Play these breakages on a new stack; returns the exit code."""
    if at_port:
        require_free(at_port)
    with fresh(port=at_port) as engine, tempfile.TemporaryDirectory() as logs:
        with step("Deploying a stack"):
            description = stacks.deploy(engine, Path(logs) / "deploy.log")
        results = play_all(prepare(engine, description), chosen)
    show(results)
    return FAILED if any(each.problem for each in results) else 0


def prepare(engine: Engine, description: Mapping[str, str]) -> GameDay:
    """Create accounts and products on a deployed stack, and shorten its retry delays."""
    deployed = described(description)
    traffic = Traffic(service_client(description), Random(0))
    open_shop(traffic.api)
    _shorten_retries(deployed)
    return GameDay(engine, Site(deployed, traffic), Watch(deployed))


def play_all(game: GameDay, chosen: Sequence[Breakage]) -> list[Result]:
    """Play these breakages, one at a time; stops after one that was not fixed."""
    results: list[Result] = []
    with game.watch.going_on():
        for each in chosen:
            results.append(game.play(each))
            if results[-1].problem:
                break
    return results


def _shorten_retries(stack: Stack) -> None:
    sqs = stack.client("sqs")
    for name, url in stack.outputs.items():
        if name.endswith("QueueUrl"):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(RETRY_SECONDS)})


def show_list(chosen: Sequence[Breakage]) -> None:
    """Print the breakages, and the runbook's section for each."""
    shown = table("", "breakage", "what happens", "runbook")
    for each in chosen:
        shown.add_row(each.name, each.what, each.runbook)
    console.print(shown)


def show(results: Sequence[Result]) -> None:
    """Print the results."""
    shown = table("\nGame day", "breakage", "detected by", "fixed by", right=("detected", "fixed"))
    for each in results:
        commands = "; ".join(cure.instruction.removeprefix("make ") for cure in each.breakage.cure)
        shown.add_row(
            each.breakage.name,
            each.breakage.alarm or each.breakage.symptoms[0].instruction,
            commands if each.cured is not None else "nothing",
            *("-" if seconds is None else f"{seconds:.0f} s" for seconds in (each.seen, each.cured)),
        )
    console.print(shown)
    for each in results:
        if each.problem:
            console.print(
                f"[red]✗[/] {each.breakage.name}: {escape(each.problem.splitlines()[0])}", soft_wrap=True
            )
    if not any(each.problem for each in results):
        console.print("[green]✓[/] All were detected, and the runbook led to each fix.")


if __name__ == "__main__":
    sys.exit(main())
