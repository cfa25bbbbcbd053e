"""Checks the translated template.yaml for all combinations of parameters; part of `make check`.

Every combination is checked by the rules, and those that differ for a linter are linted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.support.template import Template
from tests.template.deployment_rules import DEPLOYMENT_RULES
from tests.template.translation import Choice, covering, decided, unchanging

# False findings, each with its reason.
WAIVED: dict[str, str] = {}


def lint(template: Template) -> list[str]:
    """cfn-lint's errors and warnings for a template."""
    from cfnlint.api import lint as cfn_lint  # a second to import, in each process
    from cfnlint.config import ManualArgs

    found = cfn_lint(json.dumps(template), config=ManualArgs(regions=["us-east-1"]))
    return [
        f"{match.rule.id} {'/'.join(str(step) for step in match.path)}: {match.message}"
        for match in found
        if match.rule.id not in WAIVED and match.rule.id[0] in "EW"
    ]


def findings(combinations: list[tuple[Choice, Template]]) -> Iterator[tuple[Choice, str]]:
    """The findings, each with its parameters."""
    with unchanging():
        for choice, template in combinations:
            for rule in DEPLOYMENT_RULES.rules:
                yield from ((choice, finding) for finding in rule(template))
        to_lint = covering(combinations)
    print(f"   {len(combinations)} combinations of parameters, {len(to_lint)} of them cover all to lint")
    with ProcessPoolExecutor(max_workers=2) as pool:
        linted = pool.map(lint, [template for _, template in to_lint])
        for done, ((choice, _), found) in enumerate(zip(to_lint, linted, strict=True), start=1):
            over = done == len(to_lint) or not sys.stdout.isatty()
            print(f"   linted {done} of {len(to_lint)}", end="\n" if over else "\r", flush=True)
            yield from ((choice, finding) for finding in found)


def main() -> int:
    """Report each finding once, with the first combination that has it; 1 if there are any."""
    found: dict[str, Choice] = {}
    for choice, finding in findings(decided()):
        found.setdefault(finding, choice)
    for finding, choice in found.items():
        print(finding, *(f"  {name}={value!r}" for name, value in choice.items()), sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
