"""What more than one suite runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.dynamodb_local import UnavailableError, dynamodb_local
from tests.support.absent import absent


@pytest.fixture(scope="session")
def dynamodb_local_url() -> Iterator[str]:
    try:
        with dynamodb_local() as url:
            yield url
    except UnavailableError as reason:
        absent(str(reason))
