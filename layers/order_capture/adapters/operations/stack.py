"""A deployed stack: its outputs name its queues, tables and logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.aws_clients import client
from order_capture.config import settings
from order_capture.domain.errors import OrderCaptureError


class MissingOutputError(OrderCaptureError):
    """A stack lacks an output: it is not an order capture stack, or is of another release."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack. `client` creates a client of an AWS service of the stack's engine: AWS or local."""

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
"""Outputs are not cached for the life of a process: a deployment changes them last, when new versions of the
functions already run, and a function's snapshot (SnapStart) is as old as its version."""

_kept: tuple[float, Stack] | None = None


def own_stack() -> Stack:
    """The stack that the function is part of; its outputs are at most a minute old.

    They do not fit into environment variables, which have 4 KB together: the queues' URLs alone take three.
    """
    global _kept
    now = time.time()  # not monotonic time, which stands still in a snapshot
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
