"""What an error of AWS, or of botocore in front of it, means for who has called."""

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
# Of DynamoDB, SNS and SQS. All other refusals (no permission, no such table, no key to encrypt with) are of
# the surroundings, which are put right while what was asked for may wait.
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
    """Whether AWS could not take a call just now: too many of them, a fault of its own, no answer."""
    match error:
        case botocore.exceptions.HTTPClientError() | botocore.exceptions.ConnectionError():
            return True
        case botocore.exceptions.ClientError():
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.response["Error"]["Code"] in _THROTTLED
    return False


@contextmanager
def unavailable_as_transient() -> Iterator[None]:
    """Raise a `TransientError` where AWS could not take a call just now.

    A use case that works for many orders at once then returns them to their queue, and does not try each of
    them alone, which would be ten times the calls that were too many.
    """
    try:
        yield
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        if is_unavailable(error):
            raise TransientError(BUSY) from error
        raise


def codes_of(error: botocore.exceptions.ClientError) -> list[str | None]:
    """The code of an error, and those of each part of a transaction that was refused."""
    answer: Any = error.response
    return [each.get("Code") for each in (answer["Error"], *answer.get("CancellationReasons", []))]


def is_refusal(code: str | None) -> bool:
    """Whether AWS refuses what it was given, and will the next time, by the code of its error."""
    return code in _REFUSED


def is_worth_a_retry(error: Exception) -> bool:
    """Whether the same work may well succeed later: what is wrong is around it, not in it.

    A mistake of ours shows as any other exception, and it is not known whether all records meet it. It is
    taken for one of the record at hand: one of a thousand is the usual case.
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
