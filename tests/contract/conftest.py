"""The same tests on the in-memory AWS, on moto, and on DynamoDB Local, which is AWS's own engine.

The unit tests and the simulation run the adapters on the in-memory AWS (tests/support/aws).

What moto can't show: it ignores ClientRequestToken, it never reports a conflict, and it runs one request
at a time. DynamoDB Local is concurrent, but has no conflicts either: it makes one transaction wait for the
other. How conflicts are read is shown in tests/unit/test_dynamodb_answers.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from tests.support.aws.dynamodb import DynamoDB
from tests.support.fakes import RecordedBackoff
from tests.support.stores import Stores, dynamo_stores
from tests.support.tables import create_tables, dynamodb_client

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def dynamodb_local_client(dynamodb_local_url: str) -> Any:
    return dynamodb_client(dynamodb_local_url)


@pytest.fixture(scope="module")
def moto_client() -> Iterator[Any]:
    with mock_aws():
        yield dynamodb_client()


@pytest.fixture(scope="session")
def aws_fake_client() -> DynamoDB:
    return DynamoDB()


@pytest.fixture(params=["aws_fake", "moto", "dynamodb_local"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    """A client of DynamoDB, or a substitute."""
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture
def tables(dynamodb: Any) -> dict[str, str]:
    """New tables: their names by logical id."""
    return create_tables(dynamodb, f"-{next(_numbers)}")


@pytest.fixture(params=["aws_fake", "moto", "dynamodb_local"])
def stores(request: pytest.FixtureRequest) -> Stores:
    client = request.getfixturevalue(f"{request.param}_client")
    return dynamo_stores(client, create_tables(client, f"-{next(_numbers)}"), RecordedBackoff())
