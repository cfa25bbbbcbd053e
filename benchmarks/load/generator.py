"""Locust as a separate process in its own environment. It ends with this one, even if that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.traffic import MIXES, Answer, Assignment, read_answers
from local.engine import ROOT, ending_with_us
from order_capture_ops.errors import CommandError

PYTHON = ROOT / ".local/venv/load/bin/python"
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_STOP_SECONDS = 40  # requests in progress may finish: a response takes up to 35 s
_START_SECONDS = 60  # importing takes one second, on a busy machine many
_LOOK_SECONDS = 0.25


class GeneratorError(CommandError):
    """Locust is not installed, or failed; the message has the end of its output."""


@dataclass(frozen=True)
class Load:
    """The amount and kind of load."""

    mixes: tuple[str, ...] = tuple(MIXES)
    users: int = 8
    seconds: int = 20
    rate: float | None = None
    orders: int = 20_000


@dataclass
class Traffic:
    """The requests and responses."""

    answers: list[Answer] = field(default_factory=list)
    interrupted: bool = False


def installed() -> None:
    """Check that Locust can run here.

    Raises:
        GeneratorError: it is not installed.
    """
    if not PYTHON.exists():
        raise GeneratorError("Locust is not installed yet: `make load` installs it.")


def generate(
    load: Load,
    assignment: Assignment,
    folder: Path,
    *,
    page: int | None = None,
    page_seconds: float = 0,
    html: Path | None = None,
    on_progress: Callable[[Traffic], None] = lambda _: None,
) -> Traffic:
    """Run Locust until the time is up, the orders are sent, or Ctrl-C.

    Args:
        load: the amount and kind.
        assignment: what the users send, and to which target.
        folder: the folder for its files; must be empty.
        page: the port of Locust's web page, which starts and stops the load; None for no page.
        page_seconds: how long the page is served, at most.
        html: where Locust writes its own report.
        on_progress: is called a few times a second.

    Raises:
        GeneratorError: it is not installed, or failed.
    """
    installed()
    written = folder / "assignment.json"
    assignment.write(written)
    command = [
        str(PYTHON),
        *("-m", "locust", "--locustfile", str(_LOCUSTFILE), "--assignment", str(written)),
        *("--host", assignment.url, "--users", str(load.users), "--spawn-rate", str(load.users)),
        *("--stop-timeout", str(_STOP_SECONDS), "--exit-code-on-error", "0"),
        *(("--html", str(html)) if html else ()),
        *(("--web-host", "127.0.0.1", "--web-port", str(page)) if page else ("--headless", "--only-summary")),
        "--tags",
        *load.mixes,
    ]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        # Locust reads settings from the home and the working directory: the user's must not affect this load.
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = folder / "locust.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which then stops it
        )
        longest = (page_seconds if page else load.seconds) + _START_SECONDS + _STOP_SECONDS
        with ending_with_us(process.pid):
            traffic = _watched(process, Path(assignment.records), longest, on_progress)
    if process.returncode != 0 and not traffic.interrupted:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise GeneratorError(f"Locust failed with exit code {process.returncode}:\n{end}")
    return traffic


def _watched(
    process: subprocess.Popen[bytes], records: Path, longest: float, on_progress: Callable[[Traffic], None]
) -> Traffic:
    traffic, offset, stopping = Traffic(), 0, False
    deadline = time.monotonic() + longest

    def stop(*_: object) -> None:
        nonlocal stopping, deadline
        stopping, deadline = True, time.monotonic() + _STOP_SECONDS
        process.send_signal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        if traffic.interrupted:
            raise KeyboardInterrupt
        traffic.interrupted = True
        stop()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        while True:
            has_ended = process.poll() is not None
            new, offset = read_answers(records, offset)
            traffic.answers += new
            on_progress(traffic)
            if has_ended:
                return traffic
            if time.monotonic() > deadline:
                if stopping:
                    process.kill()
                else:
                    stop()
            time.sleep(_LOOK_SECONDS)
    finally:
        signal.signal(signal.SIGINT, before)


def chosen_mixes(names: Iterable[str]) -> tuple[str, ...]:
    """The mixes of these names, in the order of `MIXES`; all if there are none.

    Raises:
        ValueError: a name is unknown.
    """
    wanted = set(names)
    if unknown := sorted(wanted - MIXES.keys()):
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(MIXES)}")
    return tuple(mix for mix in MIXES if mix in wanted or not wanted)
