"""What a function is given by where it runs: clients, settings, the clock, randomness."""

from __future__ import annotations

import os
import random
import time
import urllib.parse
import uuid
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
    return _session().create_client(service, config=_CONFIG, endpoint_url=endpoint)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


# Lambda gives up on us after 10 s or more (template.yaml): three tries of at most 2 s each, and the pauses
# between them, leave time to answer. What is tried again here is what AWS could not take (throttling, 5xx, a
# broken connection); a write that met another one is ours to retry, since only we know how the world looks
# after it.
_CONFIG = botocore.config.Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 3}
)


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
