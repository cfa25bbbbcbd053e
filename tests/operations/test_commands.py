"""Every command rejects an invalid argument with what is allowed, in one or two lines, and exits with 2."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.template import ROOT

TAKES_A_STACK = (
    *("status", "logs", "stuck", "watch", "audit", "rebuild-history", "republish"),
    *("check-reports", "rebuild-reports"),
)
BAD: Sequence[tuple[str, Sequence[str], str]] = (
    *(("order_capture_ops", arguments, "") for arguments in ((), ("nonsense",))),
    *(("order_capture_ops", (command, "--nonsense"), "--nonsense") for command in TAKES_A_STACK),
    *(
        ("order_capture_ops", ("redrive", "order_update", f"--rate={rate}"), "RATE (--rate)")
        for rate in ("0", "-1", "abc", "nan", "")
    ),
    *(
        ("order_capture_ops", ("redrive", "order_update", f"--limit={limit}"), "LIMIT (--limit)")
        for limit in ("0", "-1", "1.5", "abc")
    ),
    ("order_capture_ops", ("republish", "--rate=0"), "RATE (--rate)"),
    ("order_capture_ops", ("republish", "--stock", "--accounts"), "--accounts"),
    ("order_capture_ops", ("republish-events", "--since=yesterday"), "2h"),
    ("order_capture_ops", ("republish-events", "--rate=-5", "--since=2h"), "RATE (--rate)"),
    ("order_capture_ops", ("republish-events", "--", "a/b"), "'a/b' is not an id"),
    ("order_capture_ops", ("watch", "--", "a;b"), "'a;b' is not an id"),
    ("order_capture_ops", ("audit", "--grace-period=-1"), "GRACE_PERIOD (--grace-period)"),
    ("order_capture_ops", ("check-reports", "--grace-period=x"), "GRACE_PERIOD (--grace-period)"),
    ("order_capture_ops", ("status", "--limit=0"), "LIMIT (--limit)"),
    ("order_capture_ops", ("logs", "--since=yesterday"), "SINCE (--since)"),
    ("order_capture_ops", ("logs", "--lines=0"), "LINES (--lines)"),
    ("order_capture_ops", ("logs", "--order=a b"), "ORDER (--order)"),
    ("local.tokens", ("--customer=a/b",), "CUSTOMER (--customer)"),
    ("local.follow", (), "either ORDER or CUSTOMER"),
    ("local.follow", ("--order=1", "--customer=alice"), "either ORDER or CUSTOMER"),
    ("local.follow", ("--order=a b",), "ORDER (--order)"),
    ("local.receiver", (), "either SECRET or CUSTOMER"),
    ("local.receiver", ("--customer=alice", "--port=70000"), "PORT (--port)"),
    ("local.env_json", ("--nonsense",), "--nonsense"),
    ("local.bridge", ("--nonsense",), "--nonsense"),
    ("local.run", ("--port=0",), "PORT (--port)"),
    ("local.run", ("--port=70000",), "PORT (--port)"),
    ("local.run", ("--port=abc",), "PORT (--port)"),
    *(
        ("tests.simulation", (f"--seeds={seeds}",), "SEEDS (--seeds)")
        for seeds in ("0", "-5", "many", "9" * 30, "")
    ),
    ("tests.simulation", ("--seed=-1",), "SEED (--seed)"),
    ("tests.simulation", ("--first=x",), "FIRST (--first)"),
    *(("tests.fuzz", (f"--cases={cases}",), "N (--cases)") for cases in ("0", "-5", "many", "9" * 30)),
    ("tests.fuzz", ("--seed=x",), "SEED (--seed)"),
    ("benchmarks", ("--nonsense",), "--nonsense"),
    ("benchmarks.load", ("--mix=hots",), "MIX (--mix)"),
    *(("benchmarks.load", (f"--users={users}",), "USERS (--users)") for users in ("0", "501", "many")),
    *(
        ("benchmarks.load", (f"--seconds={seconds}",), "SECONDS (--seconds)")
        for seconds in ("0", "1801", "x")
    ),
    *(
        ("benchmarks.load", (f"--rate={rate}",), "RATE (--rate)")
        for rate in ("0", "-1", "nan", "inf", "5001")
    ),
    ("benchmarks.load", ("--orders=100001",), "ORDERS (--orders)"),
    ("benchmarks.load", ("--units=0",), "UNITS (--units)"),
    ("benchmarks.load", ("--patience=3601",), "PATIENCE (--patience)"),
    ("benchmarks.load", ("--web-port=0",), "WEB_PORT (--web-port)"),
    ("benchmarks.load", ("--stack=a", "--url=http://127.0.0.1:1"), "either STACK or URL"),
)


def main_of(module: str) -> Callable[[list[str]], int]:
    package = module if (ROOT / f"{module.replace('.', '/')}.py").exists() else f"{module}.__main__"
    main: Callable[[list[str]], int] = importlib.import_module(package).main
    return main


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    BAD,
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_invalid_argument_exits_2_with_what_is_allowed(
    module: str, arguments: Sequence[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main_of(module)(list(arguments))

    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Error: ")
    assert expected in lines[0]
    assert len(lines) <= 2
    if len(arguments) > 0 and arguments != ("nonsense",):
        assert lines[1].startswith("For example: make ")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )


def test_help_lists_every_command_within_80_columns() -> None:
    lines = make("help").stdout.splitlines()
    listed = {line.split()[1] for line in lines if line.startswith("  make ")}

    assert max(map(len, lines)) <= 80
    assert {"run", "status", "logs", "follow", "receiver", "env.json", "audit", "simulate", "help"} <= listed
    phony = {
        name
        for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
        if line.startswith(".PHONY:")
        for name in line.split()[1:]
    }
    assert listed <= phony


def test_an_unknown_variable_is_rejected() -> None:
    finished = make("logs", "FUNCTON=order_api")

    assert finished.returncode == 2
    assert "Unknown: FUNCTON" in finished.stderr


def test_a_value_is_never_executed_by_the_shell(tmp_path: Path) -> None:
    """Quotes, dollars and semicolons in a variable are part of the value, which is then invalid."""
    marker = tmp_path / "run"
    for command, variable in (("token", "CUSTOMER"), ("watch", "ORDERS"), ("logs", "SINCE")):
        finished = make(command, f'{variable}=a"; touch {marker}; "`touch {marker}`')

        assert finished.returncode == 2, finished.stderr
        assert not marker.exists()
        assert f"{variable}" in finished.stderr
