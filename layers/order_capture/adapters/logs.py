"""Structured logs from the standard library's logging.

On Lambda, the runtime itself writes each record as a line of JSON with all its `extra` fields
(LoggingConfig in template.yaml), at no cost to a cold start. Elsewhere nobody does, so that we do.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from functools import cache
from typing import Any

from order_capture.adapters import jsontext

_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """A line of JSON per record, with the fields that Lambda's own format has."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; values of no JSON type as text."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value if isinstance(value, str | int | list) else str(value)
            for name, value in record.__dict__.items()
            if name not in _STANDARD
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return jsontext.dumps(line)


@cache
def configure() -> None:
    """Make our records visible, once a process. Lambda's own handler stays if there is one."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)
    logging.getLogger("order_capture").setLevel(os.environ.get("LOG_LEVEL", "INFO"))
