"""The tables, with the keys from template.yaml, in DynamoDB or a substitute."""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.config
import botocore.session

from tests.support.template import ROOT, parse

REGION = "us-east-1"
_CREATED_WITH = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


@cache
def session() -> Any:
    """One session with fake credentials: separate ones would each load the service descriptions again."""
    made = botocore.session.Session()
    made.set_credentials("testing", "testing")
    made.set_config_variable("region", REGION)
    made.set_config_variable("ignore_configured_endpoint_urls", True)  # set by `make env`, for another engine
    return made


def dynamodb_client(endpoint_url: str | None = None) -> Any:
    """A client of DynamoDB for `endpoint_url`, or for moto if it is active."""
    return session().create_client(
        "dynamodb",
        endpoint_url=endpoint_url,
        config=botocore.config.Config(
            proxies={}, connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}
        ),
    )


def create_tables(client: Any, suffix: str = "", *, streams: bool = False) -> dict[str, str]:
    """Create every table of the template, with its stream or without; returns their names by logical id."""
    names = {}
    for logical_id, properties in _tables().items():
        names[logical_id] = f"{logical_id}{suffix}"
        client.create_table(
            TableName=names[logical_id],
            **{name: properties[name] for name in _CREATED_WITH if name in properties},
            **(_stream(properties) if streams else {}),
        )
    return names


@cache
def _tables() -> dict[str, dict[str, Any]]:
    """The properties of the tables; none is created by a loop."""
    resources = parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if isinstance(resource, dict) and resource["Type"] == "AWS::DynamoDB::Table"
    }


def _stream(properties: dict[str, Any]) -> dict[str, Any]:
    specification = properties.get("StreamSpecification")
    return {"StreamSpecification": {"StreamEnabled": True, **specification}} if specification else {}
