"""An order's log, for people. No code parses these lines: the order has the data."""

from __future__ import annotations

from order_capture.domain.ledger import LEDGERS
from order_capture.domain.order import PUBLISH_FAILED, CheckRecorded, Order, OrderStatus, StatusChange

_WORDS = {
    OrderStatus.PENDING: "order received",
    OrderStatus.CONFIRMED: "confirmed",
    OrderStatus.REJECTED: "rejected",
    OrderStatus.SHIPPED: "shipped",
    OrderStatus.CANCELLED: "cancelled",
    OrderStatus.EXPIRED: "expired: not decided in time",
}
_REASONS = {PUBLISH_FAILED: "it could not be published"}


def log_lines(order: Order) -> list[str]:
    """The lines, in order, each with its time."""
    return [f"{step.time} {_words(order, step)}" for step in order.timeline]


def _words(order: Order, step: StatusChange | CheckRecorded) -> str:
    if isinstance(step, CheckRecorded):
        return f"{step.check.lower()} {LEDGERS[step.check].with_decimals(order.checks[step.check])}"
    reason = "" if step.reason is None else f": {_REASONS.get(step.reason, step.reason)}"
    return f"{_WORDS[step.status]}{reason}"
