"""Times in the format used everywhere: ISO 8601, UTC, to the millisecond. They sort as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

TIME_PATTERN = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)


def format_utc(moment: datetime) -> str:
    """A time with a known zone, as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def second_of(time: str) -> str:
    """The second of a time, without a zone: `2026-11-20T10:00:00`."""
    return time[: len("2026-11-20T10:00:00")]


def after(time: str, seconds: float) -> str:
    """The time `seconds` later."""
    return format_utc(datetime.fromisoformat(time) + timedelta(seconds=seconds))
