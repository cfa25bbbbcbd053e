"""Open orders, and what each of them waits for; the console shows the same."""

from __future__ import annotations

from collections.abc import Iterator

from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.operations.queues import SqsQueues
from order_capture.adapters.operations.stack import Stack
from order_capture.adapters.system import backoff, clock
from order_capture.application.operations.list_open_orders import ListOpenOrders, OpenOrder
from order_capture.application.retry import Retry, always
from order_capture.domain.order import CheckType
from order_capture_ops.progress import ProgressCallback

_PAGE = 100  # orders in one read


def orders(stack: Stack) -> DynamoOrderRepository:
    """The orders of a stack."""
    return DynamoOrderRepository(stack.client("dynamodb"), stack.output("OrderTableName"), Retry(backoff))


def open_orders(stack: Stack, on_progress: ProgressCallback = lambda *_: None) -> Iterator[OpenOrder]:
    """The orders that were open when the watchdog first checked them and still are, oldest first."""
    client, retry = stack.client("dynamodb"), Retry(backoff)
    ledgers = {
        CheckType.BALANCE: DynamoLedgerRepository(
            client, stack.output("AccountTableName"), "customerId", retry
        ),
        CheckType.STOCK: DynamoLedgerRepository(client, stack.output("StockTableName"), "productId", retry),
    }
    use_case = ListOpenOrders(orders(stack), ledgers, SqsQueues(stack), clock, always)
    after = None
    while True:
        page = use_case.list_page(after, _PAGE)
        on_progress("open orders", len(page.orders))
        yield from page.orders
        if page.next is None:
            return
        after = page.next
