"""The clock, waiting and unique ids."""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime

from order_capture.adapters import metrics
from order_capture.domain.times import format_utc


def clock() -> str:
    """The current time: ISO 8601, UTC, to the millisecond. Implements `application.ports.Clock`."""
    return format_utc(datetime.now(UTC))


def backoff(attempt: int) -> None:
    """Wait a random time: up to 20 ms after the first attempt, up to twice as long after each further one.

    Full jitter, so that writers that conflicted once do not conflict again. At most 160 ms: the write of an
    item takes a tenth of that. Implements `application.ports.Backoff`.
    """
    metrics.count("Retries")
    time.sleep(random.uniform(0, min(0.16, 0.02 * 2 ** (attempt - 1))))  # nosec B311 # no secret


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def random_fraction() -> float:
    """A random number from 0 to 1. Implements `application.ports.Random`."""
    return random.random()  # nosec B311 # chooses stripes and spreads waits: not a secret


def new_id() -> str:
    """A unique id."""
    return str(uuid.uuid4())
