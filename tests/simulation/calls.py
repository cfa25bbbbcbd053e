"""The clients that the functions get: every call is a point where others may run, and where it may fail.

botocore's own retries are part of it: what was applied and not answered is asked again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import botocore.exceptions

from tests.simulation.faults import POSSIBLE, Cells, Fault, Faults
from tests.simulation.next_release import with_more
from tests.simulation.scheduler import Crashed, Scheduler
from tests.support.aws.errors import cancelled, client_error

STALL = 70_000  # milliseconds: more than the queues' visibility timeout
READ_PARTS = 4  # of a batch, each at a moment of its own: every item, where there are stripes
TIMEOUT = 9_000  # milliseconds: botocore's three tries of 3 s


class Client:
    """A client of one AWS service. `log` is called with every call and what became of it."""

    def __init__(
        self,
        service: object,
        scheduler: Scheduler,
        chance: random.Random,
        new_id: Callable[[], str],
        cells: Cells,
        log: Callable[[str, Mapping[str, Any], str], None] | None,
    ) -> None:
        self._service = service
        self._scheduler = scheduler
        self._chance = chance
        self._new_id = new_id
        self._cells = cells
        self._log = log
        self.faults: Faults

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        # botocore gives a token to each transaction, the same for its retries.
        tokens = operation == "transact_write_items"
        reads = operation.endswith("get_item")
        ask = getattr(self._service, operation)
        if operation == "batch_get_item":
            ask = partial(self._read_apart, ask)
        call = partial(self._call, operation, ask, POSSIBLE[operation], tokens, reads)
        self.__dict__[operation] = call
        return call

    def _call(
        self,
        operation: str,
        ask: Callable[..., dict[str, Any]],
        possible: tuple[Fault, ...],
        tokens: bool,
        reads: bool,
        **params: Any,
    ) -> dict[str, Any]:
        if tokens:
            params["ClientRequestToken"] = self._new_id()
        elif reads and not _is_consistent(params):
            possible = (*possible, Fault.STALE)
        task = self._scheduler.current
        if task.newer:
            params = with_more(operation, params)
        self._scheduler.may_switch()
        fault = self.faults.of_call(possible)
        if fault is not None:
            self._cells[fault, f"{task.place} {operation} {target_of(params)}"] += 1
        try:
            answer = ask(**params) if fault is None else self._faulty(fault, operation, ask, params)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, Crashed) as error:
            if self._log is not None:
                self._log(operation, params, _ending(fault, f"✗ {_short(error)}"))
            raise
        if self._log is not None:
            self._log(operation, params, _ending(fault, "✓"))
        return answer

    def _read_apart(
        self,
        ask: Callable[..., dict[str, Any]],
        *,
        RequestItems: Mapping[str, Mapping[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        """Read the items of a batch one by one, or many of them in a few parts: it is no snapshot."""
        ((table, request),) = RequestItems.items()
        keys = sorted(request["Keys"], key=repr)  # the caller's may come from a set
        self._chance.shuffle(keys)
        found: list[Any] = []
        for start in range(0, len(keys), size := -(-len(keys) // READ_PARTS) or 1):
            if start:
                self._scheduler.may_switch()
            part = ask(RequestItems={table: {**request, "Keys": keys[start : start + size]}})
            found += part["Responses"][table]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def _faulty(
        self, fault: Fault, operation: str, ask: Callable[..., dict[str, Any]], params: dict[str, Any]
    ) -> dict[str, Any]:
        match fault:
            case Fault.CRASH_BEFORE:
                raise Crashed
            case Fault.CRASH_AFTER:
                self._apply(ask, params)
                raise Crashed
            case Fault.FAIL_BEFORE:
                self._scheduler.sleep(TIMEOUT)
                if self._chance.random() < 0.5:
                    raise botocore.exceptions.ConnectTimeoutError(endpoint_url="https://aws")
                raise client_error(operation, "InternalServerError", status=500)
            case Fault.FAIL_AFTER:
                self._apply(ask, params)
                self._scheduler.sleep(TIMEOUT)
                raise botocore.exceptions.ReadTimeoutError(endpoint_url="https://aws")
            case Fault.ANSWER_LOST:
                self._apply(ask, params)
                self._scheduler.sleep(TIMEOUT // 3)
                return ask(**params)
            case Fault.THROTTLED:
                raise self._throttled(operation, params)
            case Fault.STALLED:
                self._scheduler.sleep(STALL)
                return ask(**params)
            case Fault.CONFLICT:
                raise self._conflict(operation, params)
            case Fault.PARTIAL:
                return self._partial(operation, ask, params)
            case Fault.STALE:
                with self._service.lagging():  # type: ignore[attr-defined]
                    return ask(**params)

    @staticmethod
    def _apply(ask: Callable[..., dict[str, Any]], params: dict[str, Any]) -> None:
        """Do it, whether or not it is refused."""
        with suppress(botocore.exceptions.ClientError):
            ask(**params)

    def _throttled(self, operation: str, params: Mapping[str, Any]) -> botocore.exceptions.ClientError:
        if operation == "transact_write_items" and self._chance.random() < 0.7:
            return self._cancelled(
                params, self._chance.choice(("ThrottlingError", "ProvisionedThroughputExceeded"))
            )
        code = {
            "publish_batch": "Throttled",
            "send_message": "RequestThrottled",
            "send_message_batch": "RequestThrottled",
        }.get(operation, "ProvisionedThroughputExceededException")
        return client_error(operation, code)

    def _conflict(self, operation: str, params: Mapping[str, Any]) -> botocore.exceptions.ClientError:
        if operation == "transact_write_items":
            return self._cancelled(params, "TransactionConflict")
        return client_error(operation, "TransactionConflictException")

    def _cancelled(self, params: Mapping[str, Any], code: str) -> botocore.exceptions.ClientError:
        """A transaction that one or several of its items were in the way of."""
        reasons = [{"Code": code if self._chance.random() < 0.5 else "None"} for _ in params["TransactItems"]]
        reasons[int(self._chance.random() * len(reasons))] = {"Code": code}
        return cancelled(reasons)

    def _partial(
        self, operation: str, ask: Callable[..., dict[str, Any]], params: dict[str, Any]
    ) -> dict[str, Any]:
        if operation == "batch_get_item":
            ((table, request),) = params["RequestItems"].items()
            keys = sorted(request["Keys"], key=repr)  # the caller's may come from a set
            left, done = self._parted(keys)
            unread = {table: {**request, "Keys": left}}
            if not done:
                return {"Responses": {}, "UnprocessedKeys": unread}
            answer = ask(RequestItems={table: {**request, "Keys": done}})
            return {**answer, "UnprocessedKeys": unread}
        name = "PublishBatchRequestEntries" if operation == "publish_batch" else "Entries"
        failed, sent = self._parted(params[name])
        answer = ask(**{**params, name: sent}) if sent else {"Successful": []}
        failures = [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in failed]
        return {**answer, "Failed": failures}

    def _parted(self, entries: list[Any]) -> tuple[list[Any], list[Any]]:
        """Those that fail, at least one, and those that don't."""
        unlucky = int(self._chance.random() * len(entries))
        failing = [i == unlucky or self._chance.random() < 0.5 for i in range(len(entries))]
        return (
            [entry for entry, fails in zip(entries, failing, strict=True) if fails],
            [entry for entry, fails in zip(entries, failing, strict=True) if not fails],
        )


def target_of(params: Mapping[str, Any]) -> str:
    """The table, queue or topic that a call is about; of a transaction, its first table."""
    if "TransactItems" in params:
        ((_, action),) = params["TransactItems"][0].items()
        return str(action["TableName"])
    if "RequestItems" in params:
        return str(next(iter(params["RequestItems"])))
    if "TableName" in params:
        return str(params["TableName"])
    if "TopicArn" in params:
        return str(params["TopicArn"]).rpartition(":")[2]
    return str(params["QueueUrl"]).rpartition("/")[2]


def _is_consistent(params: Mapping[str, Any]) -> bool:
    if "RequestItems" in params:
        return all(request.get("ConsistentRead", False) for request in params["RequestItems"].values())
    return bool(params.get("ConsistentRead", False))


def _ending(fault: Fault | None, end: str) -> str:
    return end if fault is None else f"[{fault}] {end}"


def _short(error: BaseException) -> str:
    if not isinstance(error, botocore.exceptions.ClientError):
        return type(error).__name__
    code = error.response["Error"]["Code"]
    reasons: Any = error.response.get("CancellationReasons")
    return f"{code} {[reason['Code'] for reason in reasons]}" if reasons else code
