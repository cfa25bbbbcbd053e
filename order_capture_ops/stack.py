"""Find the stack: on AWS by name, or on this checkout's local engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import botocore.config
import botocore.exceptions
import botocore.session

from order_capture.adapters.operations.stack import Stack
from order_capture_ops.errors import CommandError

__all__ = [
    "DESCRIPTION",
    "Clients",
    "Location",
    "Stack",
    "StackError",
    "described",
    "find",
    "isolated_session",
    "locate",
    "located",
    "status_of",
]

DESCRIPTION = Path(__file__).resolve().parent.parent / ".local/stack.json"
"""The local stack's description, which `make run` writes after deploying it."""

_LOOPBACK = "http://127.0.0.1:"
# A command may wait for a throttled table for longer than a function, whose client would time out.
_CONFIG = botocore.config.Config(connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 6})
_NO_PROXY = botocore.config.Config(proxies={})


Clients = Callable[[str], Any]


class Location(NamedTuple):
    """Where a stack is: its name, and a factory of clients for that region or engine."""

    name: str
    client: Clients


class StackError(CommandError):
    """The stack can't be reached, or lacks what a command needs."""


def find(name: str | None) -> Stack:
    """Find the stack of that name on AWS, in the usual profile and region; without a name, the local one.

    The user's AWS credentials are never sent to the local engine, nor the engine's to AWS: the engine's
    belong to an isolated session, and are sent to the loopback interface only.

    Raises:
        StackError: there is no such stack.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: AWS can't be called.
    """
    if name is not None:
        return replace(_describe(name, partial(boto3.Session().client, config=_CONFIG)), on_aws=True)
    try:
        return described(json.loads(DESCRIPTION.read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            "No stack is deployed in this checkout: `make run` deploys one, STACK=name selects one on AWS."
        ) from error


def locate(name: str | None) -> Location:
    """Where the stack of that name is, or was: its existence is not checked.

    Raises:
        StackError: no name is given, and no local stack was deployed.
    """
    if name is not None:
        return Location(name, partial(boto3.Session().client, config=_CONFIG))
    try:
        return located(json.loads(DESCRIPTION.read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            "No stack was deployed in this checkout: `make run` deploys one, STACK=name selects one on AWS."
        ) from error


def located(description: Mapping[str, str]) -> Location:
    """Where the described stack on a local engine is.

    Raises:
        KeyError: the description is not complete.
        StackError: it is not on this machine.
    """
    endpoint = str(description["endpointUrl"])
    session = isolated_session(description)
    if not endpoint.startswith(_LOOPBACK):
        raise StackError(f"{DESCRIPTION} names {endpoint}, which is not on this machine.")
    client = partial(session.client, endpoint_url=endpoint, config=_CONFIG.merge(_NO_PROXY))
    return Location(str(description["stackName"]), client)


def described(description: Mapping[str, str]) -> Stack:
    """The described stack on a local engine; `local.stack.describe` returns descriptions.

    Raises:
        KeyError: the description is not complete.
        StackError: the engine does not respond, or has no such stack.
    """
    name, client = located(description)
    endpoint = description["endpointUrl"]
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


def status_of(cloudformation: Any, name: str) -> str | None:
    """The status of a stack; None if there is none, or only a change set that would create it."""
    found = _found(cloudformation, name)
    status = str(found["StackStatus"]) if found else None
    return None if status in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE") else status


def _found(cloudformation: Any, name: str) -> Mapping[str, Any] | None:
    try:
        (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return found  # type: ignore[no-any-return]


def _describe(name: str, client: Clients) -> Stack:
    found = _found(client("cloudformation"), name)
    if found is None:
        raise StackError(f"There is no stack {name} in {_region_and_account(client)}.")
    if not found.get("Outputs"):
        raise StackError(f"The stack {name} is {found['StackStatus']} and has no outputs.")
    return Stack(
        name,
        {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
        {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])},
        client,
    )


def _region_and_account(client: Clients) -> str:
    """The region and account of a client, as far as they can be determined."""
    sts = client("sts")
    try:
        return f"{sts.meta.region_name} of account {sts.get_caller_identity()['Account']}"
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return f"{sts.meta.region_name} of this account"
