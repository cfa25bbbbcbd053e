"""A deployed stack: its outputs say which queues, tables and logs it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.aws_clients import client
from order_capture.config import settings
from order_capture.domain.errors import OrderCaptureError


class MissingOutputError(OrderCaptureError):
    """A stack lacks an output: it is no order capture stack, or one of another release."""


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
            MissingOutputError: there is no such output.
        """
        if name not in self.outputs:
            raise MissingOutputError(
                f"The stack {self.name} has no output {name}: is it an order capture stack?"
            )
        return self.outputs[name]


KEPT_SECONDS = 60
"""A deployment changes the outputs last, when new versions of the functions already answer; and a snapshot of
a function (SnapStart) is as old as its version. So they are not kept for as long as a process lives."""

_kept: tuple[float, Stack] | None = None


def own_stack() -> Stack:
    """The stack that the function is part of, as of a minute ago at most.

    Its outputs could not all be environment variables, which have 4 KB together: the addresses of the queues
    alone take three.
    """
    global _kept
    now = time.time()  # not monotonic, which stands still in a snapshot
    if _kept is None or not 0 <= now - _kept[0] < KEPT_SECONDS:
        _kept = now, _describe_own()
    return _kept[1]


def _describe_own() -> Stack:
    (found,) = client("cloudformation").describe_stacks(StackName=settings.stack_id)["Stacks"]
    return Stack(
        found["StackName"],
        {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]},
        {each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]},
        client,
        on_aws=not settings.aws_endpoint_url,
    )
