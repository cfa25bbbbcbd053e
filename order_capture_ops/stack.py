"""Where the stack is: on AWS by its name, or in the engine that runs in this checkout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import boto3
import botocore.config
import botocore.exceptions

from local import stack as local_stack
from order_capture_ops.errors import CommandError

_LOOPBACK = "http://127.0.0.1:"


class StackError(CommandError):
    """The stack cannot be reached, or has not what is asked for."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack. `client` makes a client of an AWS service where the stack is."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    client: Callable[[str], Any]
    on_aws: bool = False

    @property
    def suffix(self) -> str:
        """What a command on this stack ends with."""
        return f" STACK={self.name}" if self.on_aws else ""

    def output(self, name: str) -> str:
        """An output of the stack.

        Raises:
            StackError: it has none of that name.
        """
        if name not in self.outputs:
            raise StackError(f"The stack {self.name} has no output {name}: is it an order capture stack?")
        return self.outputs[name]


def find(name: str | None) -> Stack:
    """The stack of that name on AWS, by the usual profile and region; without a name, the local one.

    Neither side is ever shown the other's credentials: the local engine is given made-up ones, by a session
    that knows nothing of the person's own, and they go to the loopback interface only.

    Raises:
        StackError: there is no such stack.
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: AWS can't be asked.
    """
    # A tool may wait for a throttled table for longer than a function: there is no client to time out.
    config = botocore.config.Config(connect_timeout=5, retries={"mode": "standard", "total_max_attempts": 6})
    if name is not None:
        return replace(_describe(name, partial(boto3.Session().client, config=config)), on_aws=True)
    try:
        description = json.loads(local_stack.DESCRIPTION.read_text())
        name, endpoint = str(description["stackName"]), str(description["endpointUrl"])
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            "No stack is deployed in this checkout: `make run` deploys one, STACK=name takes one on AWS."
        ) from error
    if not endpoint.startswith(_LOOPBACK):
        raise StackError(f"{local_stack.DESCRIPTION} names {endpoint}, which is not on this machine.")
    direct = config.merge(botocore.config.Config(proxies={}))
    client = partial(local_stack.session(description).client, endpoint_url=endpoint, config=direct)
    try:
        return _describe(name, client)
    except (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError) as error:
        raise StackError(f"No engine answers at {endpoint}: `make run` starts one.") from error
    except StackError as error:  # somebody has interrupted its deployment
        raise StackError(f"{error} `make run` deploys it.") from error


def _describe(name: str, client: Callable[[str], Any]) -> Stack:
    try:
        (found,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise StackError(f"There is no stack {name} in {_place(client)}.") from error
        raise
    if not found.get("Outputs"):
        raise StackError(f"The stack {name} is {found['StackStatus']}, and has no outputs to go by.")
    return Stack(
        name,
        {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
        {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])},
        client,
    )


def _place(client: Callable[[str], Any]) -> str:
    """The region and account that a client asks, as far as these can be found out."""
    sts = client("sts")
    try:
        return f"{sts.meta.region_name} of account {sts.get_caller_identity()['Account']}"
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return f"{sts.meta.region_name} of this account"
