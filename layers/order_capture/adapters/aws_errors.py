"""Classify the errors of AWS and botocore: can the caller retry, or is the request refused?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import botocore.exceptions

from order_capture.config import MissingSettingError
from order_capture.domain.errors import TransientError

BUSY = "The system is too busy at this moment. Send the same request again."

_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionInProgressException",
}
# Codes of DynamoDB, SNS and SQS. All other refusals (no permission, no such table, no encryption key) come
# from the environment. It can be fixed while the request waits.
_REFUSED = {
    "BatchRequestTooLong",
    "AWS.SimpleQueueService.BatchRequestTooLong",
    "InvalidMessageContents",
    "InvalidParameter",
    "InvalidParameterValue",
    "ItemCollectionSizeLimitExceededException",
    "SerializationException",
    "ValidationError",
    "ValidationException",
}


def is_unavailable(error: Exception) -> bool:
    """Whether AWS could not take a call for now: throttling, a server error, or no response."""
    match error:
        case botocore.exceptions.HTTPClientError() | botocore.exceptions.ConnectionError():
            return True
        case botocore.exceptions.ClientError():
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.response["Error"]["Code"] in _THROTTLED
    return False


@contextmanager
def unavailable_as_transient() -> Iterator[None]:
    """Raise a `TransientError` where AWS could not take a call for now.

    A use case that processes a batch of orders then returns all of them to their queue. Trying each of them
    alone would be ten times the calls that were throttled.
    """
    try:
        yield
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        if is_unavailable(error):
            raise TransientError(BUSY) from error
        raise


def codes_of(error: botocore.exceptions.ClientError) -> list[str | None]:
    """The code of an error, or the codes of each action of a transaction that was refused."""
    answer: Any = error.response
    return [each.get("Code") for each in (answer["Error"], *answer.get("CancellationReasons", []))]


def is_refusal(code: str | None) -> bool:
    """Whether an error code means that AWS refuses the request itself, and would refuse it again."""
    return code in _REFUSED


def is_worth_a_retry(error: Exception) -> bool:
    """Whether the same work may succeed later: the cause is in the environment, not in the record.

    A bug of ours shows as any other exception, and may affect one record or all. It is taken for a fault of
    this one record: one in a thousand is the usual case.
    """
    match error:
        case TransientError() | MissingSettingError() | ImportError() | OSError():
            return True
        case botocore.exceptions.ParamValidationError():
            return False
        case botocore.exceptions.ClientError():
            return not any(map(is_refusal, codes_of(error)))
        case botocore.exceptions.BotoCoreError():
            return True
    return False
