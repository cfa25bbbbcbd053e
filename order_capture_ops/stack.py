"""Find the stack: on AWS by name, or on this checkout's local engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

from order_capture_ops.errors import CommandError

DESCRIPTION = Path(__file__).resolve().parent.parent / ".local/stack.json"
"""The description of the local stack, which `make run` writes after deploying it."""

_LOOPBACK = "http://127.0.0.1:"


class StackError(CommandError):
    """The stack can't be reached, or lacks something that a command needs."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack. `client` creates a client for an AWS service where the stack is."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    client: Callable[[str], Any]
    on_aws: bool = False

    @property
    def suffix(self) -> str:
        """The suffix of a make command for this stack."""
        return f" STACK={self.name}" if self.on_aws else ""

    def output(self, name: str) -> str:
        """An output of the stack.

        Raises:
            StackError: there is no such output.
        """
        if name not in self.outputs:
            raise StackError(f"The stack {self.name} has no output {name}: is it an order capture stack?")
        return self.outputs[name]


def find(name: str | None) -> Stack:
    """The stack of that name on AWS, in the usual profile and region; without a name, the local one.

    The user's AWS credentials are never sent to the local engine, nor the engine's to AWS: these belong to an
    isolated session, and go to the loopback interface only.

    Raises:
        StackError: there is no such stack.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: AWS can't be called.
    """
    # A command may wait for a throttled table for longer than a function, whose client would time out.
    config = botocore.config.Config(connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 6})
    if name is not None:
        return replace(_describe(name, partial(boto3.Session().client, config=config)), on_aws=True)
    try:
        description = json.loads(DESCRIPTION.read_text())
        name, endpoint = str(description["stackName"]), str(description["endpointUrl"])
        session = isolated_session(description)
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            "No stack is deployed in this checkout: `make run` deploys one, STACK=name takes one on AWS."
        ) from error
    if not endpoint.startswith(_LOOPBACK):
        raise StackError(f"{DESCRIPTION} names {endpoint}, which is not on this machine.")
    no_proxy = config.merge(botocore.config.Config(proxies={}))
    client = partial(session.client, endpoint_url=endpoint, config=no_proxy)
    try:
        return _describe(name, client)
    except (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError) as error:
        raise StackError(f"No engine answers at {endpoint}: `make run` starts one.") from error
    except StackError as error:  # its deployment was interrupted
        raise StackError(f"{error} `make run` deploys it.") from error


def isolated_session(description: Mapping[str, str]) -> boto3.Session:
    """A boto3 session for the local engine that ignores the user's own AWS profiles and settings.

    Its clients take the engine's `endpoint_url`, and use no proxy.
    """
    variables: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
        "region": (None, None, description["region"], None),
    }
    session = botocore.session.Session(session_vars=variables)
    session.set_credentials(
        description.get("accessKeyId", "unknown"), description.get("secretAccessKey", "unknown")
    )
    session.set_default_client_config(botocore.config.Config(proxies={}))
    return boto3.Session(botocore_session=session)


def _describe(name: str, client: Callable[[str], Any]) -> Stack:
    try:
        (found,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise StackError(f"There is no stack {name} in {_region_and_account(client)}.") from error
        raise
    if not found.get("Outputs"):
        raise StackError(f"The stack {name} is {found['StackStatus']} and has no outputs.")
    return Stack(
        name,
        {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
        {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])},
        client,
    )


def _region_and_account(client: Callable[[str], Any]) -> str:
    """The region and account of a client, as far as they can be determined."""
    sts = client("sts")
    try:
        return f"{sts.meta.region_name} of account {sts.get_caller_identity()['Account']}"
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return f"{sts.meta.region_name} of this account"
