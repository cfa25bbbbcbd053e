"""What a function is given by where it runs: clients, settings, the clock, randomness."""

from __future__ import annotations

import os
import random
import time
import urllib.parse
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.config
import botocore.session

from order_capture.domain.times import written


class MissingSettingError(RuntimeError):
    """A function is not deployed as template.yaml says."""


def setting(name: str) -> str:
    """The environment variable `name`, which template.yaml sets.

    Raises:
        MissingSettingError: it is not set.
    """
    value = os.environ.get(name)
    if not value:
        raise MissingSettingError(f"the environment variable {name} is not set; template.yaml sets it on AWS")
    return value


def optional_setting(name: str) -> str:
    """The environment variable `name`, or nothing."""
    return os.environ.get(name, "")


def takes_loopback() -> bool:
    """Whether a receiver may be on the engine's own machine: on the local engine only (template.yaml)."""
    return optional_setting("LOOPBACK_WEBHOOKS") == "true"


def own_port() -> int | None:
    """The port of the local engine, which a receiver must not be; none on AWS."""
    return urllib.parse.urlsplit(optional_setting("AWS_ENDPOINT_URL")).port


def address(name: str) -> str:
    """The address in the environment variable `name`; one that is a mere path is the local engine's."""
    return urllib.parse.urljoin(optional_setting("AWS_ENDPOINT_URL"), setting(name))


@cache
def client(service: str, endpoint: str | None = None) -> Any:
    """The process's client of an AWS service, made when it is first needed; at its usual address, or another.

    botocore without boto3: its clients are the same, and importing it takes 15 ms less of a cold start.
    """
    return session().create_client(service, config=_CONFIG, endpoint_url=endpoint)


@cache
def session() -> botocore.session.Session:
    """What the process's clients are made by."""
    made = botocore.session.get_session()
    made.register("before-send", _check_each_try)
    return made


_checks: list[Callable[[], None]] = []


def before_each_try(check: Callable[[], None]) -> None:
    """Have `check` called before each try of each call to AWS; what it raises ends the call."""
    _checks.append(check)


def _check_each_try(**_: object) -> None:
    for check in _checks:
        check()


# Two tries of at most three seconds each, and the pause between them, fit into every function's timeout
# (template.yaml; a rule holds it to that). What is tried again here is what AWS could not take (throttling,
# 5xx, a broken connection); a write that met another one is ours to retry, since only we know how the world
# looks after it.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 1, 2, 2
_LONGEST_PAUSE = 1  # of botocore's standard mode after a first try: a random part of it
_CONFIG = botocore.config.Config(
    connect_timeout=_CONNECT_SECONDS,
    read_timeout=_READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
)
WORST_CALL_SECONDS = _ATTEMPTS * (_CONNECT_SECONDS + _READ_SECONDS) + (_ATTEMPTS - 1) * _LONGEST_PAUSE
"""How long one call to AWS may take until it has failed."""


def create_clients() -> None:
    """Create the clients that the function's settings name, before its first event needs them.

    Lambda gives a function a whole core while it starts, and less than a third of one afterwards: a client is
    60 ms of work. A queue for dead letters alone names no client, since it is hardly ever written to.
    """
    kinds = {"_TABLE": "dynamodb", "_TOPIC_ARN": "sns", "_QUEUE_URL": "sqs"}
    settings = [name for name in os.environ if name != "DEAD_LETTER_QUEUE_URL"]
    for suffix, service in kinds.items():
        if any(name.endswith(suffix) for name in settings):
            client(service)


def clock() -> str:
    """The time now, ISO 8601, UTC, to the millisecond."""
    return written(datetime.now(UTC))


def pause(tries: int) -> None:
    """Wait a random time before the next try, up to 20 ms after the first and twice that after each more.

    Full jitter, so that those who met once don't meet again.
    """
    time.sleep(random.uniform(0, 0.02 * 2 ** (tries - 1)))


def sleep(seconds: float) -> None:
    """Wait for so long, for a client that asks for it."""
    time.sleep(seconds)


def new_id() -> str:
    """A unique id."""
    return str(uuid.uuid4())


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:  # as AWS sets it; not where tests and commands import this
    create_clients()
