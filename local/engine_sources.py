"""Delivers the records of queues and streams to the engine's functions.

engine_pollers.py has the rules; ministack's own code receives, calls, deletes and retries each batch. It runs
in the engine's environment.
"""

import time
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from ministack.services import dynamodb, lambda_svc, sqs

from local import engine_functions
from local.engine_pollers import Poller, fitting

_all_mappings = lambda_svc._iter_all_esms
_mapping: ContextVar[Any] = ContextVar("mapping", default=None)
_pollers: dict[str, Poller] = {}
_stopping = False

_GAP = 0.01  # seconds between two polls of all sources; without it, each message would cost one
_LOOK_AGAIN = 1.0  # seconds after which they are polled even if nothing has happened


def _one_mapping() -> Iterator[Any]:
    """The mappings that ministack's pollers iterate over: only the current event source mapping."""
    chosen = _mapping.get()
    return iter([chosen] if chosen else _all_mappings())


def _poll_all() -> None:
    """Poll all event source mappings whenever something has happened, and start their batches.

    Each batch has its own thread, also for streams, so that no source waits for another's function. Mappings
    with a window come last, since those without are urgent. Kinesis, which the stack does not use, is not
    polled.
    """
    while not _stopping:
        lambda_svc._esm_wake.clear()
        wait, started = _LOOK_AGAIN, False
        for windowed in (False, True):
            for account, region, mapping in _all_mappings():
                if bool(mapping.get("MaximumBatchingWindowInSeconds")) is windowed:
                    idle = not (engine_functions.running or started)
                    begun, after = _poll_one(account, region, mapping, idle=idle)
                    started, wait = started or begun, min(wait, after)
        time.sleep(_GAP)
        lambda_svc._esm_wake.wait(max(0.0, wait - _GAP))


def _poll_one(account: str, region: str, mapping: dict[str, Any], *, idle: bool) -> tuple[bool, float]:
    """Start a mapping's next batch if it is due; returns whether it was, and seconds until it may be."""
    tokens = [
        (variable, variable.set(value))
        for variable, value in (
            (lambda_svc._request_account_id, account),
            (lambda_svc._request_region, region),
            (_mapping, (account, region, mapping)),
        )
    ]
    try:
        now = time.time()
        paused = lambda_svc._esm_backoff_until.get(mapping["UUID"], 0) - now
        if _stopping or paused > 0 or not mapping.get("Enabled", True):
            return False, max(paused, 0.0) or _LOOK_AGAIN
        is_queue = ":sqs:" in mapping["EventSourceArn"]
        waiting, after = (_messages if is_queue else _records)(mapping, now)
        poller = _pollers.setdefault(mapping["UUID"], Poller())
        if waiting:
            poller.batch_size = mapping.get("BatchSize", 10 if is_queue else 100)
            poller.window = float(mapping.get("MaximumBatchingWindowInSeconds") or 0)
            poller.limit = _limit(mapping) if is_queue else 1
            poller.slow = engine_functions.start_seconds()
        if not poller.is_due(waiting, now, idle=idle):
            return False, min(after, poller.check_after(now))
        if is_queue:
            return lambda_svc._poll_sqs(), after
        lambda_svc._dispatch_esm_batch(mapping["UUID"], lambda_svc._poll_dynamodb_streams)
        return True, after
    except Exception:
        # A failing source must not stop the others.
        traceback.print_exc()
        return False, _LOOK_AGAIN
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


def _limit(mapping: dict[str, Any]) -> int:
    record, config = lambda_svc._get_func_record_for_qualifier(
        mapping["FunctionName"], mapping.get("Qualifier")
    )
    if record is None:
        return 0
    queue = sqs._queue_by_arn(mapping["EventSourceArn"])
    return int(lambda_svc._sqs_esm_concurrency(mapping, record, config, queue))


def _messages(mapping: dict[str, Any], now: float) -> tuple[int, float]:
    """The number of visible messages in a mapping's queue, and seconds until there are more."""
    queue = sqs._queue_by_arn(mapping["EventSourceArn"])
    if not queue or not queue["messages"]:
        return 0, _LOOK_AGAIN
    times = [message.get("visible_at", 0.0) for message in queue["messages"]]
    later = [each for each in times if each > now]
    return len(times) - len(later), min(later) - now if later else _LOOK_AGAIN


def _records(mapping: dict[str, Any], now: float) -> tuple[int, float]:
    """The number of records in a mapping's stream that its function has not received."""
    table = mapping["EventSourceArn"].split("/")[1]
    start, end = dynamodb.stream_start_position(table), dynamodb.stream_end_position(table)
    return end - max(lambda_svc._dynamodb_stream_positions.get(mapping["UUID"], start), start), _LOOK_AGAIN


_dispatch = lambda_svc._dispatch_esm_batch


def _dispatch_noted(mapping_id: str, call: Callable[..., Any], *arguments: Any) -> None:
    """Run a batch in its own thread, and note it in its mapping's poller."""
    poller = _pollers[mapping_id]
    batch = poller.start(time.time())

    def run() -> None:
        try:
            call(*arguments)
        finally:
            poller.end(batch)

    _dispatch(mapping_id, run)


def _receive_batch(queue_url: str, at_most: int) -> list[dict[str, Any]]:
    """A batch of a queue's messages: up to the mapping's batch size, where ministack takes at most ten."""
    with sqs._queues_lock:
        queue = sqs._get_q(queue_url)
        sqs._expire_retained(queue)
        sqs._dlq_sweep(queue)
        now = time.time()
        sizes = (len(each["body"].encode()) for each in queue["messages"] if each["visible_at"] <= now)
        hidden_for = int(queue["attributes"].get("VisibilityTimeout", "30"))
        batch: list[dict[str, Any]] = sqs._collect_msgs(queue, fitting(sizes, at_most), hidden_for)
        return batch


def stop() -> None:
    """Deliver no more records."""
    global _stopping
    _stopping = True


def install() -> None:
    """Patch ministack."""
    lambda_svc._poll_loop = _poll_all
    lambda_svc._iter_all_esms = _one_mapping
    lambda_svc._dispatch_esm_batch = _dispatch_noted
    sqs._receive_messages_for_esm = _receive_batch
