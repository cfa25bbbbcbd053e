"""The real template on one engine, for all tests of this suite."""

from __future__ import annotations

import pytest

from tests.support import target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last of all, look through what all others have had logged. What is far away gets more time."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/deployed/test_logs.py"))
    if target.NAME:
        for item in items:
            if item.nodeid.startswith("tests/deployed/"):
                item.add_marker(pytest.mark.timeout(target.SECONDS))
