"""Lambda SnapStart: what a function does before its snapshot is taken, and after one is restored.

Many environments start from one snapshot. What is random in it would be the same in all of them, and its
connections would be long closed (Lambda developer guide, "Handling uniqueness with Lambda SnapStart"). Ids
come from the system's own randomness, and times are read when they are needed: they need nothing here.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
from collections.abc import Callable
from typing import Any

from order_capture.adapters import aws_clients

logger = logging.getLogger(__name__)


def before_snapshot(work: Callable[[], object]) -> None:
    """Have `work` done before the snapshot is taken: what it imports and builds is in the snapshot.

    Nothing happens where no snapshot will be taken.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    hooks: Any = importlib.import_module("snapshot_restore_py")  # of Lambda's own runtime
    hooks.register_before_snapshot(_prepare, work)
    hooks.register_after_restore(renew)


def _prepare(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:  # the version would not be published; the first event may still succeed
        logger.exception("the trial call before the snapshot failed")
    aws_clients.close_connections()


def renew() -> None:
    """Renew what environments must not share: their pauses would be the same, and conflict again."""
    random.seed()
    aws_clients.close_connections()
