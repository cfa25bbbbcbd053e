"""JavaScript programs for the tests, with the checkout's own Node and the packages of package.json."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from local.engine import ROOT

NODE = ROOT / ".local/bin/node"


def module(path: str) -> Path:
    """A file of a package of package.json."""
    found = ROOT / "node_modules" / path
    for needed in (NODE, found):
        assert needed.exists(), f"{needed} is not installed: `make test` installs it"
    return found


def answer_of(program: str, package: str, *arguments: str, text: str = "") -> dict[str, Any]:
    """The JSON output of a program that uses a package, given its arguments and standard input."""
    module(package)
    finished = subprocess.run(
        [NODE, "--input-type=module", "--eval", program, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={},
    )
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer
