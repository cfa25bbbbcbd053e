"""Real processes against real servers: DynamoDB Local, and the deployed stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Say = Callable[[str], None]

_said = pytest.StashKey[list[str]]()


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Say:
    """Have a line printed at the end of the run: what was measured, and how much of it."""
    return pytestconfig.stash.setdefault(_said, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_said, []):
        terminalreporter.write_line(line)
