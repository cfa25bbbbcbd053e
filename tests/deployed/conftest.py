"""One engine for all tests of this suite, with the real template on it, deployed as an operator does it.

The engine enforces IAM: every function has what its role allows and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local import stack
from local.engine import Engine, fresh
from tests.deployed.shop import Shop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last of all, look through what all others have had logged."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/deployed/test_logs.py"))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with fresh(auth=True) as running:
        yield running


@pytest.fixture(scope="session")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(stack.deploy(engine, tmp_path_factory.mktemp("deploy") / "deploy.log"))
