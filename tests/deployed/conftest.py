"""The real template on one engine, for all tests of this suite."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last of all, look through what all others have had logged."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/deployed/test_logs.py"))
