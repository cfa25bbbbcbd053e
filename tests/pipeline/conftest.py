from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pipeline import Pipeline
from tests.support.shop import Shop


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    with Pipeline.running() as pipeline:
        yield pipeline


@pytest.fixture
def shop(pipeline: Pipeline) -> Shop:
    """A shop with two customers and two products."""
    shop = Shop(pipeline)
    shop.open({"alice": 100, "bob": 10}, {"pen": 5, "ink": 3})
    return shop
