"""Lambda SnapStart: hooks before a function's snapshot is taken, and after it is restored.

Many environments start from one snapshot. Random state in it would be the same in all of them, and its
connections would be closed (Lambda developer guide, "Handling uniqueness with Lambda SnapStart"). Ids use the
system's randomness, and times are read when they are needed: both need no hook.
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
    """Do `work` before the snapshot is taken, which then contains what `work` imports and builds.

    Without SnapStart this does nothing.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    hooks: Any = importlib.import_module("snapshot_restore_py")  # of Lambda's own runtime
    hooks.register_before_snapshot(_prepare, work)
    hooks.register_after_restore(renew)


def _prepare(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:  # raising would prevent publishing the version; its first event may still succeed
        logger.exception("the trial call before the snapshot failed")
    aws_clients.close_connections()


def renew() -> None:
    """Renew the state that environments must not share: with equal pauses, writes would conflict again."""
    random.seed()
    aws_clients.close_connections()
