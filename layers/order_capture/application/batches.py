"""Batch processing in which one bad record never fails the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from order_capture.application.retry import HasTimeLeft
from order_capture.domain.errors import TransientError

logger = logging.getLogger(__name__)

MAX_ITEMS = 32
"""Maximum items of one write for several orders. An order has two or three, so that about ten orders fit.
Each item may be in another write at the same time, and one conflict refuses the whole write. With 100 items,
orders of ten thousand products that each sell once a second would refuse each other most of the time."""

Item = TypeVar("Item")


@contextmanager
def collecting_failures(failed: set[str], order_ids: Collection[str]) -> Iterator[None]:
    """Add these orders to `failed` if the block raises, so that only their messages are retried."""
    try:
        yield
    except TransientError as error:
        logger.warning("returned to the queue: %s", error, extra={"order_ids": sorted(order_ids)})
        failed.update(order_ids)
    except Exception:
        logger.exception("returned to the queue", extra={"order_ids": sorted(order_ids)})
        failed.update(order_ids)


def process_groups(
    failed: set[str],
    groups: Iterable[Sequence[Item]],
    id_of: Callable[[Item], str],
    process: Callable[[Sequence[Item]], Collection[str] | None],
    has_time_left: HasTimeLeft,
) -> None:
    """Process the groups in turn, as long as there is time. `failed` gets the orders that must be retried,
    including those that `process` returns.

    A group that fails for a permanent reason has a member at fault. Each member is then processed alone, and
    only that one fails.
    """
    for group in groups:
        order_ids = {id_of(each) for each in group}
        with collecting_failures(failed, order_ids):
            if not has_time_left():
                raise TransientError("no time is left to process it")
            try:
                failed.update(process(group) or ())
            except TransientError:
                raise
            except Exception:
                if len(group) == 1:
                    raise
                logger.warning(
                    "each is processed alone", exc_info=True, extra={"order_ids": sorted(order_ids)}
                )
                process_groups(failed, [[each] for each in group], id_of, process, has_time_left)
