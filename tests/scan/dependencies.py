"""`make scan-dependencies`: known vulnerabilities of every pinned package, of Python and of npm.

Queries the advisories of PyPI (pip-audit) and of npm's registry (npm audit). A package that could not be
checked is a failure as well: pip-audit alone skips it.

Exit codes: 0 nothing is known; 1 vulnerabilities are listed; 2 not everything could be checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.console import step
from order_capture_ops.cli import UNKNOWN, Parser, console, run, table
from tests.support.template import ROOT

PYTHON_LISTS = sorted(ROOT.glob("requirements/*.txt"))
NPM_FOLDERS = (ROOT, ROOT / "console")

ACCEPTED: Mapping[str, str] = {}
"""Advisories, by id, that do not affect the use of a package here: each with the reason."""


@dataclass
class Audit:
    """The known vulnerabilities of one list of packages."""

    found: list[tuple[str, str, str]] = field(default_factory=list)
    """Package with version, the advisory's id, and the fix."""
    unknown: list[str] = field(default_factory=list)
    """What could not be checked."""
    packages: int = 0


def of_pip_audit(output: str, error: str) -> Audit:
    """Parse the output of `pip-audit --format json`."""
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Audit(unknown=[_last_line(error)])
    audit = Audit(packages=len(dependencies))
    for each in dependencies:
        if "skip_reason" in each:
            audit.unknown.append(each["name"])
        for advisory in each.get("vulns", []):
            ids = {advisory["id"], *advisory.get("aliases", [])}
            if not ids & ACCEPTED.keys():
                versions = ", ".join(advisory["fix_versions"]) or "no release yet"
                audit.found.append(
                    (f"{each['name']} {each['version']}", advisory["id"], f"fixed in {versions}")
                )
    return audit


def of_npm_audit(output: str, error: str) -> Audit:
    """Parse the output of `npm audit --json`."""
    try:
        report = json.loads(output)
        packages = report["metadata"]["dependencies"]["total"]
    except (ValueError, KeyError, TypeError):
        return Audit(unknown=[_last_line(error)])
    audit = Audit(packages=packages)
    for name, each in report["vulnerabilities"].items():
        for advisory in each["via"]:
            # A text names another package, which is listed itself.
            if isinstance(advisory, dict) and (of := advisory["url"].rpartition("/")[2]) not in ACCEPTED:
                audit.found.append((f"{name} {each['range']}", of, advisory["title"]))
    return audit


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and "complete log" not in line]
    return lines[-1].strip() if lines else "no answer"


def audits() -> Iterator[tuple[str, Audit]]:
    """Audit each list in turn."""
    for path in PYTHON_LISTS:
        name = str(path.relative_to(ROOT))
        with step(name):
            program = [ROOT / ".local/venv/scan/bin/pip-audit", "--requirement", path, "--format", "json"]
            # Only pinned packages: nothing is resolved, downloaded or built.
            ran = _run(*program, "--disable-pip", "--require-hashes", "--progress-spinner", "off")
        yield name, of_pip_audit(ran.stdout, ran.stderr)
    for folder in NPM_FOLDERS:
        name = str((folder / "package-lock.json").relative_to(ROOT))
        with step(name):
            ran = _run(ROOT / ".local/bin/npm", "audit", "--json", "--audit=true", "--prefix", folder)
        yield name, of_npm_audit(ran.stdout, ran.stderr)


def _run(*program: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def report(of: Iterator[tuple[str, Audit]]) -> int:
    """Print what is known, and return the exit code."""
    vulnerabilities = table("Known vulnerabilities", "package", "advisory", "what")
    found, packages, unknown = 0, 0, []
    for name, audit in of:
        packages += audit.packages
        for row in audit.found:
            found += 1
            vulnerabilities.add_row(*row)
        if audit.unknown:
            others = len(audit.unknown) - 1
            unknown.append(f"{name}: {audit.unknown[0]}" + (f" and {others} others" if others else ""))
    if found:
        console.print(vulnerabilities)
    for line in unknown:
        console.print("[red]Not checked[/]", line)
    if unknown:
        console.print(
            "The advisories of these packages could not be read: nothing is known about them.\n"
            "It takes a network that reaches PyPI's JSON API and npm's registry themselves:\n"
            "a mirror of packages has no advisories."
        )
    if found:
        return 1
    if unknown:
        return UNKNOWN
    console.print(f"{packages:,} packages, and no known vulnerability.")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Audit all lists; see the module's docstring for the exit codes."""
    Parser(prog="make scan-dependencies", description=__doc__).parse_args(arguments)
    return run(lambda: report(audits()), failed=UNKNOWN)


if __name__ == "__main__":
    sys.exit(main())
