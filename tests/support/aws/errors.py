"""The errors that AWS answers with, as botocore raises them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError


def client_error(operation: str, code: str, message: str = "", status: int = 400, **more: Any) -> ClientError:
    """An answer with an error code; `more` are the fields that some errors have beside it."""
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(answer, operation)


def invalid(operation: str, message: str) -> ClientError:
    """DynamoDB's answer to a request that it can't read."""
    return client_error(operation, "ValidationException", message)


def cancelled(reasons: Sequence[dict[str, Any]]) -> ClientError:
    """DynamoDB's answer to a transaction that it refuses: a reason per action, in their order."""
    codes = ", ".join(reason["Code"] for reason in reasons)
    return client_error(
        "TransactWriteItems",
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        CancellationReasons=list(reasons),
    )
