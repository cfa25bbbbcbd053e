"""Makes ministack's frequent work per request cheaper: parsing and copying.

It runs in the engine's environment.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, wraps
from types import SimpleNamespace
from typing import Any

from ministack.core import iam_evaluator, router
from ministack.core.responses import get_account_id
from ministack.services import dynamodb

_CACHE_SIZE = 4096  # of each kind: a stack has some hundred expressions and policies


def _cached(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with a cache for text arguments; others are mostly errors, and can't be keys."""
    cache = lru_cache(_CACHE_SIZE)(call)

    @wraps(call)
    def answer(*arguments: Any) -> Any:
        is_text = all(isinstance(each, str) for each in arguments)
        return (cache if is_text else call)(*arguments)

    return answer


def _copied(call: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """The same function, which returns a new list to each caller."""
    return wraps(call)(lambda *arguments: [*call(*arguments)])


def _caller_arn(headers: dict[str, str], query: dict[str, Any] | None = None) -> str:
    """The caller, for the policies of queues and topics. ministack also reads the caller's own policies."""
    credential = None
    with suppress(Exception):  # as in ministack, the account is the default
        if key := router.extract_access_key_id(headers or {}, query or {}):
            credential = iam_evaluator.resolve_credential(key, get_account_id())
    return getattr(credential, "principal_arn", "") or f"arn:aws:iam::{get_account_id()}:root"


def _copy_of(value: Any) -> Any:
    """A deep copy of an item.

    ministack copies each updated item seven times. `copy.deepcopy` also looks for objects that occur twice,
    which JSON does not have, and takes several times as long.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is dict:
        return {key: _copy_of(each) for key, each in value.items()}
    if kind is list:
        return [_copy_of(each) for each in value]
    return copy.deepcopy(value)


def install() -> None:
    """Patch ministack."""
    for name in (
        "_condition_syntax_error",
        "_ddb_canonicalize_number",
        "_number_error",
        "_number_size_bytes",
    ):
        setattr(dynamodb, name, _cached(getattr(dynamodb, name)))
    dynamodb.copy = SimpleNamespace(copy=copy.copy, deepcopy=_copy_of)
    dynamodb._tokenize = _copied(_cached(dynamodb._tokenize))
    iam_evaluator.parse_policy_document = _copied(_cached(iam_evaluator.parse_policy_document))
    iam_evaluator.request_caller_arn = _caller_arn
