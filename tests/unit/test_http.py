"""API Gateway's events in, responses out; internal errors are not exposed."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any, NoReturn

import botocore.exceptions
import pytest

from order_capture.domain.errors import (
    BalanceOutOfRangeError,
    IdempotencyConflictError,
    LedgerInconsistencyError,
    NotFoundError,
    OpenHoldsError,
    RequestInProgressError,
    TransientError,
)
from order_capture.entrypoints.http.api import Request, Response, RestApi, Route
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError, UnsupportedMediaTypeError
from tests.support.factories import api_event

SECRET = "arn:aws:dynamodb:us-east-1:123456789012:table/OrderTable"


def aws_error(code: str, status: int) -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": SECRET}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutItem",
    )


def answer_to(event: dict[str, Any], response: Response | Exception | None = None) -> dict[str, Any]:
    """The response of a function whose only route, `GET /`, returns or raises `response`."""
    return _ask(event, response)[0]


def request_of(event: dict[str, Any]) -> Request:
    """The request that the route gets for an event."""
    return _ask(event, None)[1][0]


def _ask(
    event: dict[str, Any], response: Response | Exception | None
) -> tuple[dict[str, Any], list[Request]]:
    seen: list[Request] = []

    def route(request: Request) -> Response:
        seen.append(request)
        if isinstance(response, Exception):
            raise response
        return response or Response({"ok": True})

    return resolve(event, route), seen


def resolve(event: dict[str, Any], route: Route, method: str = "GET") -> dict[str, Any]:
    """The response of a function whose only route is this one, with the path `/`."""
    app = RestApi()
    app.route("/", method)(route)
    return app.resolve(event, None)


def test_a_route_is_answered_as_it_says() -> None:
    response = Response({"orderId": "order-1"}, HTTPStatus.ACCEPTED, {"Location": "order/order-1"})

    answer = answer_to(api_event(), response)

    assert answer == {
        "statusCode": 202,
        "headers": {
            "Content-Type": "application/json",
            "X-Correlation-Id": "request-1",
            "Location": "order/order-1",
        },
        "body": '{"orderId":"order-1"}',
    }


def test_an_unknown_route_is_not_found() -> None:
    answer = answer_to(api_event("GET", "/nowhere"))

    assert answer["statusCode"] == 404
    assert "Allow" not in answer["headers"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "BREW"])
def test_a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(method: str) -> None:
    answer = answer_to(api_event(method, "/"))

    assert answer["statusCode"] == 405
    assert answer["headers"]["Allow"] == "GET, HEAD, OPTIONS"
    problem = json.loads(answer["body"])
    assert problem["type"] == "urn:order-capture:problem:method-not-allowed"
    assert problem["detail"] == "This path supports only GET, HEAD, OPTIONS."


@pytest.mark.parametrize(
    "response",
    [
        Response({"orderId": "order-1"}, headers={"ETag": 'W/"1"'}),
        None,
        NotFoundError("None."),
        RuntimeError(),
    ],
)
def test_a_head_is_answered_like_its_get_without_a_body(response: Any) -> None:
    got, headed = (answer_to(api_event(method, "/"), response) for method in ("GET", "HEAD"))

    assert headed == {**got, "body": ""}


def test_what_only_takes_a_post_has_no_head() -> None:
    answer = resolve(api_event("HEAD", "/"), lambda _: Response({}), "POST")

    assert (answer["statusCode"], answer["headers"]["Allow"], answer["body"]) == (405, "OPTIONS, POST", "")


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        "application/json ; profile=x",
    ],
)
def test_a_body_may_be_called_json_or_nothing(media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type is not None else None

    request_of(api_event(headers=headers)).expect_json()


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/problem+json",
        "application/cloudevents+json",
        "application/jsonp",
        "application/json, text/plain",
        "json",
        "*/*",
    ],
)
def test_a_body_that_is_called_something_else_is_not_read(media_type: str) -> None:
    request = request_of(api_event(headers={"content-type": media_type}))

    with pytest.raises(UnsupportedMediaTypeError, match="application/json"):
        request.expect_json()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("alice", "alice"),
        ("a%40b", "a@b"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("%2569", "%69"),
        ("%25%32%45", "%2E"),
    ],
)
def test_a_part_of_the_path_is_unescaped_once(written: str, read: str) -> None:
    assert request_of(api_event(path={"id": written})).path_parameter("id") == read


@pytest.mark.parametrize("name", ["x" * 1000, "\ud800", "\x00", "a\nb"])
def test_a_name_of_the_clients_own_is_repeated_as_far_as_it_can_be_shown(name: str) -> None:
    request = request_of(api_event(query={name: ["1"]}))

    with pytest.raises(RequestInvalidError) as refusal:
        request.refuse_parameters()

    (error,) = refusal.value.errors
    assert len(error.field) <= 40
    assert error.field.isprintable()
    assert error.field.encode()


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RequestInvalidError([FieldError("qty", "is odd")]), 400, "invalid-request"),
        (NotFoundError("No such thing."), 404, "not-found"),
        (BalanceOutOfRangeError("Too little."), 409, "balance-out-of-range"),
        (OpenHoldsError("Held."), 409, "still-held"),
        (IdempotencyConflictError(), 422, "idempotency-key-reused"),
        (RequestInProgressError(), 409, "request-running"),
        (UnsupportedMediaTypeError(), 415, "unsupported-media-type"),
        (TransientError("Come again."), 503, "unavailable"),
    ],
)
def test_what_goes_wrong_on_purpose_is_a_problem_in_words(error: Exception, status: int, kind: str) -> None:
    answer = answer_to(api_event(), error)

    problem = json.loads(answer["body"])
    assert answer["statusCode"] == problem["status"] == status
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert problem["type"] == f"urn:order-capture:problem:{kind}"
    assert problem["detail"] == str(error)
    assert problem["requestId"] == answer["headers"]["X-Correlation-Id"] == "request-1"
    assert ("Retry-After" in answer["headers"]) == (kind in ("request-running", "unavailable"))


def test_every_field_of_a_bad_request_is_named() -> None:
    errors = [FieldError("items[0].qty", "must be at least 1"), FieldError("note", "is not a field")]

    answer = answer_to(api_event(), RequestInvalidError(errors))

    assert json.loads(answer["body"])["errors"] == [
        {"field": "items[0].qty", "message": "must be at least 1"},
        {"field": "note", "message": "is not a field"},
    ]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        KeyError(SECRET),
        RecursionError(SECRET),
        LedgerInconsistencyError(SECRET),
        aws_error("AccessDeniedException", 400),
        aws_error("ResourceNotFoundException", 400),
    ],
)
def test_of_what_goes_wrong_otherwise_nothing_is_shown(error: Exception) -> None:
    answer = answer_to(api_event(), error)

    assert answer["statusCode"] == 500
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert "Retry-After" not in answer["headers"]
    everything = json.dumps(answer)
    for internal in (SECRET, type(error).__name__, "Traceback", "PutItem", "AccessDenied", "DynamoDB"):
        assert internal not in everything
    assert set(json.loads(answer["body"])) == {"type", "title", "status", "detail", "requestId"}


@pytest.mark.parametrize(
    "error",
    [
        aws_error("ThrottlingException", 400),
        aws_error("ProvisionedThroughputExceededException", 400),
        aws_error("InternalServerError", 500),
        botocore.exceptions.EndpointConnectionError(endpoint_url=SECRET),
        botocore.exceptions.ReadTimeoutError(endpoint_url=SECRET),
    ],
)
def test_a_busy_aws_is_a_reason_to_come_again(error: Exception) -> None:
    answer = answer_to(api_event(), error)

    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == "1"
    assert SECRET not in json.dumps(answer)


def test_an_answer_that_can_not_be_written_as_json_shows_nothing_of_it_either() -> None:
    answer = answer_to(api_event(), Response({"secret": object()}))

    assert answer["statusCode"] == 500


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
def test_a_headers_name_is_found_however_it_is_written(name: str) -> None:
    assert request_of(api_event(headers={name: "key-1"})).idempotency_key == "key-1"


def test_an_answer_without_a_body_has_no_content() -> None:
    answer = answer_to(api_event(), Response(None, HTTPStatus.NOT_MODIFIED, {"ETag": 'W/"1"'}))

    assert answer == {
        "statusCode": 304,
        "headers": {"X-Correlation-Id": "request-1", "ETag": 'W/"1"'},
        "body": "",
    }


@pytest.mark.parametrize("tags", ['W/"2"', '"2"', 'W/"1", W/"2"', '"1","2"', "*"])
def test_a_client_knows_the_answer_whose_tag_it_sends(tags: str) -> None:
    request = request_of(api_event(headers={"If-None-Match": tags}))

    assert request.is_conditional
    assert request.etag_matches('W/"2"')


@pytest.mark.parametrize("tags", ['W/"1"', '"22"', "2", "", "W/2", '"1", "3"'])
def test_a_client_knows_no_other_answer(tags: str) -> None:
    assert not request_of(api_event(headers={"If-None-Match": tags})).etag_matches('W/"2"')


def test_a_client_names_no_more_tags_than_fit() -> None:
    tags = ", ".join(['W/"1"'] * 40)
    assert not request_of(api_event(headers={"If-None-Match": tags[:256]})).etag_matches('W/"2"')
    with pytest.raises(RequestInvalidError, match="If-None-Match must be at most 256 characters"):
        request_of(api_event(headers={"If-None-Match": tags})).etag_matches('W/"2"')


def test_a_client_that_sends_no_tag_knows_nothing() -> None:
    request = request_of(api_event())

    assert not request.is_conditional
    assert not request.etag_matches('W/"2"')


@pytest.mark.parametrize("name", ["X-Correlation-Id", "x-correlation-id"])
def test_the_clients_own_correlation_id_is_echoed(name: str) -> None:
    answer = answer_to(api_event(headers={name: "corr-7"}))

    assert answer["headers"]["X-Correlation-Id"] == "corr-7"


@pytest.mark.parametrize("value", ["", "x" * 129, "a\r\nSet-Cookie: b", "é"])
def test_a_correlation_id_that_is_not_plain_is_refused_and_not_echoed(value: str) -> None:
    answer = answer_to(api_event(headers={"X-Correlation-Id": value}))

    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["errors"][0]["field"] == "X-Correlation-Id"
    assert answer["headers"]["X-Correlation-Id"] == "request-1"


def test_a_body_may_come_in_base64() -> None:
    event = api_event(body="x") | {
        "body": base64.b64encode(b'{"a":"\xc3\xa9"}').decode(),
        "isBase64Encoded": True,
    }

    assert request_of(event).body == '{"a":"é"}'.encode()


def test_a_body_that_is_not_the_base64_it_says_it_is_gets_an_answer() -> None:
    answer = answer_to(api_event() | {"body": "é", "isBase64Encoded": True})

    assert answer["statusCode"] >= 400
    assert "ASCII" not in answer["body"]


@pytest.mark.parametrize("missing", ["headers", "pathParameters", "body", "isBase64Encoded"])
def test_what_an_event_may_leave_out_does_not_matter(missing: str) -> None:
    event = api_event()

    assert answer_to({**event, missing: None})["statusCode"] == 200
    del event[missing]
    assert answer_to(event)["statusCode"] == 200


def test_even_an_empty_event_gets_an_answer() -> None:
    def route(_: Request) -> NoReturn:
        raise AssertionError("no route was asked for")

    assert resolve({}, route)["statusCode"] == 401


def test_without_an_allowed_origin_no_browser_is_let_in() -> None:
    headers = {
        name.lower() for answer in (answer_to(api_event()), answer_to({})) for name in answer["headers"]
    }

    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("response", [None, NotFoundError("No such thing."), RuntimeError(SECRET)])
def test_every_answer_lets_in_the_origin_that_the_stack_allows(
    response: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_ORIGIN", "https://shop.example.com")

    headers = answer_to(api_event(), response)["headers"]

    assert headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
    assert "X-Correlation-Id" in headers["Access-Control-Expose-Headers"]
