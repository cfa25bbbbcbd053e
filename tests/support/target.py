"""The stack that the tests of the deployed system are pointed at, when it is not one of their own.

`make deployed STACK=name`: on AWS in the usual profile and region, or on the engine at AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from local.stack import describe_named
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import find

NAME = os.environ.get("TEST_STACK", "")
"""Empty for a stack of the tests' own. Not STACK, which may be set for operators' commands."""

SECONDS = 600
"""That one test may take against it: queues on AWS answer for a minute with what they knew before."""


class ProtectedStackError(CommandError):
    """The stack is protected against deletion: it has data that tests must not be among."""


def describe(name: str = NAME) -> Mapping[str, str]:
    """The description of a stack that was named, if tests may write to it.

    Raises:
        ProtectedStackError: it is not one to try things on.
        StackError: there is no such stack.
    """
    deployed = find(name)
    if deployed.parameters.get("DeletionProtection") == "true":
        raise ProtectedStackError(
            f"{name} is protected against deletion. The tests write orders and users, and purge dead letters:"
            " name a stack to try things on."
        )
    return describe_named(deployed)


def needs_own_engine(why: str) -> pytest.MarkDecorator:
    """Mark what works on an engine that the tests have started only; skipped when a stack is named."""
    return pytest.mark.skipif(bool(NAME), reason=f"not on {NAME}: {why}")
