"""Logging as in a newly started function's process."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from order_capture.entrypoints import logs


@contextmanager
def fresh_logging() -> Iterator[io.StringIO]:
    """While this lasts, captures such a process's lines from all loggers; its runtime passes DEBUG."""
    root, own, factory = (
        logging.getLogger(),
        logging.getLogger("order_capture"),
        logging.getLogRecordFactory(),
    )
    before = [(each, each.handlers[:], each.level, dict(each.__dict__)) for each in (root, own)]
    root.handlers, own.handlers = [], []
    own.__dict__.pop("init", None)  # Powertools' mark of a logger that it has already set up
    own.__dict__.pop("powertools_handler", None)
    root.setLevel(logging.DEBUG)
    logs.configure.cache_clear()
    try:
        with mock.patch("sys.stdout", io.StringIO()) as text:
            logs.configure()
        yield text
    finally:
        for each, handlers, level, attributes in before:
            each.__dict__.clear()
            each.__dict__.update(attributes)
            each.handlers = handlers
            each.setLevel(level)
        logging.setLogRecordFactory(factory)
        logs.configure.cache_clear()
