"""Programs of JavaScript that the tests run, on packages of package.json."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from local.engine import ROOT
from tests.support.absent import absent


def answer_of(program: str, package: str, *arguments: str, text: str = "") -> dict[str, Any]:
    """The JSON that a program writes, which uses a package, given some arguments and a text to read."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / package).exists():
        absent(f"{package} needs node, and `npm ci` installs it (make test does)")
    finished = subprocess.run(
        [node, "--input-type=module", "--eval", program, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PATH": str(Path(node).parent)},
    )
    assert finished.returncode == 0, finished.stderr
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer
