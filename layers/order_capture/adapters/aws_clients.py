"""Clients of AWS services: one of each per process, with timeouts and retries that fit a Lambda function."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import boto3
import botocore.config


@cache
def client(service: str, endpoint: str | None = None) -> Any:
    """The process's client of an AWS service, created when it is first needed.

    Args:
        service: as boto3 names it.
        endpoint: a URL other than the service's usual one.
    """
    made = session().client(service, config=_CONFIG, endpoint_url=endpoint)  # type: ignore[call-overload]
    _made.append(made)
    return made


def close_connections() -> None:
    """Close the clients' connections. Each opens new ones when it needs them."""
    for each in _made:
        each.close()


@cache
def session() -> boto3.Session:
    """The session that creates the process's clients."""
    made = boto3.Session()
    made.events.register("before-send", _check_each_try)
    return made


_made: list[Any] = []
_checks: list[Callable[[], None]] = []


def before_each_try(check: Callable[[], None]) -> None:
    """Call `check` before each attempt of each call to AWS; an exception from it ends the call."""
    _checks.append(check)


def _check_each_try(**_: object) -> None:
    for check in _checks:
        check()


# Two attempts of at most three seconds each, and the pause between them, fit into every function's timeout
# (template.yaml; a rule checks it). The client retries throttling, 5xx and broken connections. Conflicting
# writes are retried by our own code, since only it knows what to write then.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 1, 2, 2
_LONGEST_PAUSE = 1  # of botocore's standard mode after a first attempt, which waits a random part of it
_CONFIG = botocore.config.Config(
    connect_timeout=_CONNECT_SECONDS,
    read_timeout=_READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
)
WORST_CALL_SECONDS = _ATTEMPTS * (_CONNECT_SECONDS + _READ_SECONDS) + (_ATTEMPTS - 1) * _LONGEST_PAUSE
"""The longest that one call to AWS can take before it fails."""


def create_clients() -> None:
    """Create the clients that the function's settings name, before its first event needs them.

    Lambda gives a function a whole core while it starts, and less than a third of one afterwards. Creating a
    client takes 60 ms. None is created for a dead-letter queue alone, which is hardly ever written to.
    """
    kinds = {"_TABLE": "dynamodb", "_TOPIC_ARN": "sns", "_QUEUE_URL": "sqs"}
    settings = [name for name in os.environ if name != "DEAD_LETTER_QUEUE_URL"]
    for suffix, service in kinds.items():
        if any(name.endswith(suffix) for name in settings):
            client(service)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:  # set by AWS, not where tests and commands import this
    create_clients()
