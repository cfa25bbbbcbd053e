"""One bad record never fails its neighbours."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from order_capture.domain.errors import TemporaryError

logger = logging.getLogger(__name__)


@contextmanager
def given_back(failed: set[str], order_ids: Collection[str]) -> Iterator[None]:
    """Whatever goes wrong inside, the messages of these orders go back to their queue, and no others."""
    try:
        yield
    except TemporaryError as error:
        logger.warning("given back to the queue: %s", error, extra={"order_ids": sorted(order_ids)})
        failed.update(order_ids)
    except Exception:
        logger.exception("given back to the queue", extra={"order_ids": sorted(order_ids)})
        failed.update(order_ids)
