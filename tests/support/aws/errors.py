"""AWS's errors, as botocore raises them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError


def client_error(operation: str, code: str, message: str = "", status: int = 400, **more: Any) -> ClientError:
    """An error with a code; `more` are the extra fields of some errors."""
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(answer, operation)


def invalid(operation: str, message: str) -> ClientError:
    """DynamoDB's error for an invalid request."""
    return client_error(operation, "ValidationException", message)


def cancelled(reasons: Sequence[dict[str, Any]]) -> ClientError:
    """DynamoDB's error for a cancelled transaction: a reason per action, in their order."""
    codes = ", ".join(reason["Code"] for reason in reasons)
    return client_error(
        "TransactWriteItems",
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        CancellationReasons=list(reasons),
    )
