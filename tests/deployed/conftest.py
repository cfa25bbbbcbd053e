"""The real template on one engine, shared by all tests of this suite."""

from __future__ import annotations

import pytest

from tests.support import target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the logs of all tests last. Tests of a remote stack get more time."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/deployed/test_logs.py"))
    if target.NAME:
        for item in items:
            if item.nodeid.startswith("tests/deployed/"):
                item.add_marker(pytest.mark.timeout(target.SECONDS))
