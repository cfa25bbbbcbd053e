"""The clock, waiting and unique ids."""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime

from order_capture.adapters import metrics
from order_capture.domain.times import format_utc


def clock() -> str:
    """The time now, ISO 8601, UTC, to the millisecond. Implements `application.ports.Clock`."""
    return format_utc(datetime.now(UTC))


def backoff(attempt: int) -> None:
    """Wait a random time: up to 20 ms after the first attempt, up to twice that after each further one.

    Full jitter, so that writers that conflicted once do not conflict again. Implements
    `application.ports.Backoff`.
    """
    metrics.count("Retries")
    time.sleep(random.uniform(0, 0.02 * 2 ** (attempt - 1)))


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def new_id() -> str:
    """A unique id."""
    return str(uuid.uuid4())
