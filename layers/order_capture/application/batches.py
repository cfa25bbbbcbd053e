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
"""Items of one write for several orders: two or three for each, so that it takes about ten. Each item is one
more that another order may be writing, and a conflict on one refuses all. With 100 of them, orders of ten
thousand products that each sell once a second would refuse each other most of the time."""

Item = TypeVar("Item")


@contextmanager
def collecting_failures(failed: set[str], order_ids: Collection[str]) -> Iterator[None]:
    """Add these orders to `failed` if anything goes wrong inside, so that only their messages are retried."""
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
    """Process each group in turn, as long as there is time. `failed` gets the orders that must be retried,
    those that `process` returns among them.

    A group that fails for a permanent reason has a member at fault: each is then processed alone, and only
    that one fails.
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
