"""schemathesis against a deployed stack: requests that swagger.yaml allows, and many that it does not.

Each request is a case, single or in a chain along the contract's links. Every response must follow the
contract: its status, media type, headers and body. Valid requests must be accepted, invalid ones refused, and
there may be no 5xx.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import schemathesis
import yaml
from openapi_schema_validator import OAS30Validator
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.generation.meta import TestPhase

from order_capture.adapters import system
from order_capture.domain.order import MAX_TOTAL, MAX_URL
from order_capture.domain.times import after
from order_capture.entrypoints.http.reports import MAX_DAYS
from tests.support.template import ROOT

# The examples and the edges of the schemas come first and once: about 500 cases. Then in rounds: random
# requests to each operation, and random chains of them, which go deeper, since only they know orders' ids.
_REQUESTS = 20  # to each operation, in a round
_CHAINS = 200  # in a round; of 1 to 6 requests each

_METHODS = {"get", "post", "delete"}

# Recurring ids, so that orders find existing accounts and stock: the same random requests create, change and
# spend them.
_NAMES = ("alice", "bob", "carol")
_WHERE_NAMES_GO = (
    *("path.customerId", "path.productId", "body.customerId", "body.productId"),
    *("body.items[*].productId", "body.orders[*].customerId", "body.orders[*].items[*].productId"),
)
_NAMED = {"dictionary": "names", "probability": 0.7}

_SECONDS = 60  # for one response: far longer than any function's timeout, so exceeding it is a hang


KEY = "Idempotency-Key"

Case = schemathesis.Case[Any]


_ADDRESS = OAS30Validator(
    yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))["components"]["schemas"]["Address"]
)


@dataclass
class FuzzSummary:
    """The results of a run."""

    cases: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each operation responded with each status."""
    failures: dict[str, str] = field(default_factory=dict)
    """The failures, and how to reproduce the first case of each kind."""

    def add(self, scenario: events.ScenarioFinished) -> None:
        """Add the results of one scenario."""
        recorder = scenario.recorder
        for case_id, interaction in recorder.interactions.items():
            self.cases += 1
            answer = interaction.response
            status = answer.status_code if answer is not None else 0
            self.statuses[recorder.cases[case_id].value.operation.label, status] += 1
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.failure_info is None:
                    continue
                label = recorder.cases[case_id].value.operation.label
                failure = check.failure_info.failure
                response = recorder.find_response(case_id=case_id)
                answered = f"{response.status_code} {response.text[:500]}" if response else "no answer"
                if response is not None and "x-correlation-id" not in response.headers:
                    answered += "\n(No X-Correlation-Id: the engine answered this, and no function of ours)"
                self.failures.setdefault(
                    f"{label}: {failure.title}",
                    f"{failure.message}\n{check.failure_info.code_sample}\n{answered}",
                )


def contract() -> dict[str, Any]:
    """swagger.yaml; the caller may change it."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))
    return loaded


def run(
    api_url: str,
    bearer: Callable[[], str],
    *,
    cases: int,
    seed: int,
    of: dict[str, Any] | None = None,
    enumerated: bool = True,
    until: Callable[[FuzzSummary], bool] = lambda _: True,
    on_progress: Callable[[FuzzSummary], None] = lambda _: None,
) -> FuzzSummary:
    """Send at least this number of cases and check the responses.

    Args:
        api_url: the API's URL.
        bearer: returns the Authorization header; called repeatedly, since tokens expire.
        cases: stop after this number of requests.
        seed: makes the requests reproducible, except for ids from earlier responses.
        of: the contract that the responses must follow, if not swagger.yaml.
        enumerated: begin with the examples and the edges of the schemas, which no seed changes.
        until: continue until this holds as well, for as many cases again at most. The responses
            depend on the current data, not only on the seed.
        on_progress: is called regularly with the summary so far.
    """
    summary, rounds = FuzzSummary(), 0

    def enough() -> bool:
        return summary.cases >= cases and (until(summary) or summary.cases >= 2 * cases)

    while not enough() and not summary.failures:
        schema = _schema(
            of or contract(), api_url, bearer(), seed + rounds, cases, enumerated=enumerated and not rounds
        )
        stream = from_schema(schema).execute()
        for event in stream:
            match event:
                case events.ScenarioFinished():
                    summary.add(event)
                    on_progress(summary)
                case events.NonFatalError() | events.FatalError():
                    summary.failures.setdefault(f"error: {event!r}"[:200], str(event))
            if enough():
                stream.stop()
        rounds += 1
    return summary


def _schema(
    of: dict[str, Any], api_url: str, bearer: str, seed: int, cases: int, *, enumerated: bool
) -> schemathesis.BaseSchema:
    """The contract as schemathesis reads it, with the settings of one round."""
    operations = sum(len(methods.keys() & _METHODS) for methods in of["paths"].values())
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "cache": {"enabled": False},
            "base-url": api_url,
            "headers": {"Authorization": bearer},
            "workers": 1,  # CPython 3.11 can't parse source in two threads at once, which Hypothesis does
            "request-timeout": _SECONDS,
            "continue-on-failure": True,
            "dictionaries": {"names": {"values": list(_NAMES)}},
            "parameters": dict.fromkeys(_WHERE_NAMES_GO, _NAMED),
            "generation": {
                "database": "none",
                "with-security-parameters": False,  # authorization has its own suite
            },
            "phases": {
                "examples": {"enabled": enumerated},
                # The engine drops gateway responses: it answers an unknown method in its own words.
                "coverage": {"enabled": enumerated, "unexpected-methods": []},
                # Few cases are a few of each operation, and not many of the first ones.
                "fuzzing": {"generation": {"max-examples": max(1, min(_REQUESTS, cases // operations))}},
                # Along the contract's own links only, and not along what may be guessed from names.
                "stateful": {
                    "generation": {"max-examples": _CHAINS},
                    "inference": {"algorithms": []},
                    "checks": _expecting("422"),  # here alone keys are reused: see before_call
                },
            },
            "checks": _expecting(),
        }
    )
    schema = schemathesis.openapi.from_dict(of, config=config)
    return schema.exclude(method="OPTIONS")  # to which the gateway itself responds


def _expecting(*more: str) -> dict[str, Any]:
    """The contract's statuses for valid and for invalid requests."""
    refused = ["401", "403", "404", "409", "429", *more]
    return {
        "positive_data_acceptance": {"expected-statuses": ["2xx", "304", *refused]},
        "negative_data_rejection": {"expected-statuses": ["400", "413", "415", *refused]},
    }


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Make a valid request follow the rules in the contract's text that no schema can express.

    * Amounts have two places at most, and unit prices come to the total.
    * A change of stock has one of balance and adjust at most.
    * A cursor is one that an answer gave; a report is of 92 days at most; a long wait shows nothing more.
    * `?at=` is in the last second: what there is was made by these requests, and may be gone after the next.
    * An Idempotency-Key stands for one request. Schemathesis repeats a few keys, and most requests would be
      answered with 422, whatever else is in them. In chains it keeps them.
    * No address leads anywhere, so that nothing is sent to one.
    """
    if case.meta is None:
        return
    case.body = _leading_nowhere(case.body)
    if not case.meta.is_negative_at(ParameterLocation.BODY):
        case.body = _adding_up(_rounded(case.body))
    if not case.meta.is_negative_at(ParameterLocation.QUERY):
        case.query.pop("cursor", None)
        if "wait" in case.query:
            case.query["wait"] = min(int(case.query["wait"]), 1)
        if "at" in case.query:
            ago = sum(map(ord, case.query["at"])) % 10 / 10
            case.query["at"] = after(system.clock(), -ago)
        if case.path == "/reports/daily":
            since, until = (date.fromisoformat(case.query[name]) for name in ("from", "to"))
            if (until - since).days >= MAX_DAYS:
                case.query["to"] = case.query["from"]
    reuses_keys = case.meta.phase.name is TestPhase.STATEFUL
    if KEY in case.headers and not reuses_keys and not case.meta.is_negative_at(ParameterLocation.HEADER):
        request = f"{case.operation.label} {case.path_parameters!r} {case.body!r}"
        own = uuid.uuid5(uuid.NAMESPACE_OID, f"{case.headers[KEY]} {request}")
        case.headers[KEY] = str(own).ljust(len(case.headers[KEY]), "-")


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 2)
        case list():
            return [_rounded(each) for each in value]
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
    return value


def _adding_up(value: Any) -> Any:
    match value:
        case {"orders": [*orders]}:
            return {**value, "orders": [_adding_up(order) for order in orders]}
        case {"items": [*lines], "totalAmount": _}:
            price = next((line["unitPrice"] for line in lines if "unitPrice" in line), None)
            total = sum(line["qty"] for line in lines) * Decimal(str(price or 0))
            if price is None or total > MAX_TOTAL:
                unpriced = [{k: v for k, v in line.items() if k != "unitPrice"} for line in lines]
                return {**value, "items": unpriced}
            priced = [{**line, "unitPrice": price} for line in lines]
            return {**value, "items": priced, "totalAmount": float(total)}
        case {"balance": _, "adjust": _, **rest}:
            return {**rest, "balance": value["balance"]}
    return value


def _leading_nowhere(value: Any) -> Any:
    """Replace the host of every address that the contract allows by one that can't exist."""
    match value:
        case list():
            return [_leading_nowhere(each) for each in value]
        case dict():
            return {name: _leading_nowhere(each) for name, each in value.items()}
        case str() if _ADDRESS.is_valid(value):
            return re.sub("^https?://[^/?]+", "https://nobody.invalid", value)[:MAX_URL]
    return value


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext,
    failure: Failure,
    case: Case,
    response: schemathesis.Response,
) -> bool:
    """Whether it is a failure: a batch with a valid list is accepted even if one of its orders is invalid.

    `batch_is_judged_order_by_order` sees to those.
    """
    if not isinstance(failure, AcceptedNegativeData) or not _is_accepted_batch(case, response):
        return True
    components = case.meta.components if case.meta is not None else {}
    elsewhere = [each for each, info in components.items() if info.mode.is_negative and each != "body"]
    batch = contract()["components"]["schemas"]["NewOrders"]
    batch["properties"]["orders"]["items"] = {}
    return bool(elsewhere) or not OAS30Validator(batch).is_valid(case.body)


@schemathesis.check
def batch_is_judged_order_by_order(
    _context: schemathesis.CheckContext, response: schemathesis.Response, case: Case
) -> None:
    """Every invalid order has a problem in its place; in a valid batch none has."""
    if not _is_accepted_batch(case, response):
        return
    order = OAS30Validator({"$ref": "#/components/schemas/NewOrder", "components": contract()["components"]})
    body: Any = case.body
    answer: Any = response.json()
    for sent, answered in zip(body["orders"], answer["orders"], strict=True):
        assert order.is_valid(sent) or "problem" in answered
        if case.meta is not None and not case.meta.is_negative_at(ParameterLocation.BODY):
            assert "problem" not in answered


def _is_accepted_batch(case: Case, response: schemathesis.Response) -> bool:
    return case.operation.definition.raw["operationId"] == "captureOrders" and response.status_code == 202
