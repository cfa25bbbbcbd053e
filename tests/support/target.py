"""The stack that the deployed tests run against, if it is not a temporary one.

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
"""Empty for a temporary stack. Not STACK, which may be set for operators' commands."""

SECONDS = 600
"""Timeout of a test against it: queues on AWS return stale counts for a minute."""


class ProtectedStackError(CommandError):
    """The stack is protected against deletion: tests must not write to its data."""


def describe(name: str = NAME) -> Mapping[str, str]:
    """The description of a stack that was named, if tests may write to it.

    Raises:
        ProtectedStackError: tests must not write to it.
        StackError: the stack does not exist.
    """
    deployed = find(name)
    if deployed.parameters.get("DeletionProtection") == "true":
        raise ProtectedStackError(
            f"{name} is protected against deletion. The tests write orders and users, and purge dead letters:"
            " name a stack to try things on."
        )
    return describe_named(deployed)


def needs_own_engine(why: str) -> pytest.MarkDecorator:
    """Mark tests that need an engine started by the tests; skipped when a stack is named."""
    return pytest.mark.skipif(bool(NAME), reason=f"not on {NAME}: {why}")
