"""The engine's process: ministack, with a few things set right and the API's documentation beside it.

Batch calls are authorised the way AWS does it: `sns:PublishBatch` and the like do not exist as permissions
there, `sns:Publish` covers both calls, and a role made for AWS has no other. A process that does not start
fails its own call only (see `_invoke_alone`), and all processes share their layers. And API Gateway answers
for itself what the API's document has it say, to requests that it takes no more of than on AWS; it answers a
WebSocket client with the subprotocol that was chosen. It runs in the engine's environment.
"""

import hashlib
import io
import os
import tempfile
import zipfile
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any

from ministack import app
from ministack.core import iam_actions, lambda_runtime
from ministack.services import apigateway, apigateway_v1, lambda_svc

_COVERED_BY = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}
_named_after_the_call = iam_actions.extract_iam_action


def _extract_iam_action(*request: Any, **more: Any) -> str | None:
    action: str | None = _named_after_the_call(*request, **more)
    return _COVERED_BY.get(action, action) if action else None


_invoke = lambda_runtime.Worker.invoke


def _invoke_alone(worker: Any, *arguments: Any, **more: Any) -> Any:
    """A function's process that does not start fails its own call only.

    ministack would discard all processes of that function, those included that are starting at this moment,
    whose calls then fail likewise: where several start at once, it never recovers.
    """
    try:
        return _invoke(worker, *arguments, **more)
    except Exception as error:
        process, worker._proc = worker._proc, None
        lambda_runtime._signal(process)
        return {"status": "error", "error": str(error), "cold_start": True}


_spawn = lambda_runtime.Worker._spawn
_layers: dict[str, Path] = {}
_unpacking = Lock()


def _spawn_with_common_layers(worker: Any) -> None:
    """A process with the layers of its function, unpacked once for all: on AWS, too, nobody writes to them.

    ministack unpacks them for each process anew, which takes longer than everything else in a cold start.
    """
    config = worker.config
    folders = [
        str(_unpacked(content))
        for layer in config.get("Layers", [])
        if (content := lambda_svc._resolve_layer_zip(layer))
    ]
    variables = config.get("Environment", {}).get("Variables", {})
    common = {"Variables": {**variables, "_LAMBDA_LAYERS_DIRS": os.pathsep.join(folders)}}
    worker.config = {**config, "Layers": [], "Environment": common}
    try:
        _spawn(worker)
    finally:
        worker.config = config


def _unpacked(content: bytes) -> Path:
    name = hashlib.sha256(content).hexdigest()
    with _unpacking:
        if name not in _layers:
            folder = Path(tempfile.mkdtemp(prefix="layer-"))
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                packed.extractall(folder)
            _layers[name] = folder
        return _layers[name]


_import_api = apigateway_v1._import_rest_api


def _import_whole_api(document: dict[str, Any], *more: Any) -> str:
    """An API with its document's gateway responses, which ministack knows but does not import."""
    api_id: str = _import_api(document, *more)
    for kind, answer in document.get("x-amazon-apigateway-gateway-responses", {}).items():
        apigateway_v1._put_gateway_response(api_id, kind, answer)
    return api_id


_import_method = apigateway_v1._import_operation


def _import_whole_method(api_id: str, resource_id: str, method: str, operation: Any, *more: Any) -> None:
    """A method with what its mock integration answers, which ministack knows but does not import."""
    _import_method(api_id, resource_id, method, operation, *more)
    integration = operation["x-amazon-apigateway-integration"]
    for pattern, answer in integration.get("responses", {}).items():
        answer = answer | {"selectionPattern": "" if pattern == "default" else pattern}
        apigateway_v1._put_integration_response(api_id, resource_id, method, answer["statusCode"], answer)


_answer_mock = apigateway_v1._invoke_mock_v1


def _answer_mock_as_http(integration: Any) -> tuple[int, dict[str, str], bytes]:
    """A mock's answer; ministack gives even a 204 a body."""
    status, headers, body = _answer_mock(integration)
    return status, headers, b"" if status == 204 else body


_validate_token = apigateway_v1._validate_cognito_authorizer


async def _validate_access_token(authorizer: Any, method: Any, *request: Any) -> tuple[Any, Any]:
    """The claims of a good token. A method with scopes takes access tokens only.

    ministack looks at the scopes alone, and puts those of a sign-in into its refresh token too.
    """
    claims, error = await _validate_token(authorizer, method, *request)
    if claims and method.get("authorizationScopes") and claims.get("token_use") != "access":
        return None, apigateway_v1._gw_error("UNAUTHORIZED", "Unauthorized")
    return claims, error


_MAX_REQUEST_BYTES = 10 * 1024 * 1024  # of a REST API
_check_validator = apigateway_v1._check_request_validation


def _check_request(method: Any, api_id: str, request: Any, headers: Any, body: bytes, query: Any) -> Any:
    """What is wrong with a request before it reaches the integration; its size, too."""
    if len(body or b"") > _MAX_REQUEST_BYTES:
        return apigateway_v1._gw_error("REQUEST_TOO_LARGE", "Request Entity Too Large")
    return _check_validator(method, api_id, request, headers, body, query)


_open_socket = apigateway.handle_websocket
_ask_socket_function = apigateway._invoke_ws_lambda
_chosen_protocol: ContextVar[str | None] = ContextVar("chosen_protocol", default=None)


async def _ask_for_protocol(*request: Any, **more: Any) -> Any:
    """Keep the subprotocol that the function behind a WebSocket API's $connect route chooses."""
    answer = await _ask_socket_function(*request, **more)
    _chosen_protocol.set(((answer or {}).get("headers") or {}).get("Sec-WebSocket-Protocol"))
    return answer


async def _open_socket_with_protocol(scope: Any, receive: Any, send: Any, *more: Any, **named: Any) -> None:
    """A WebSocket connection with the subprotocol that was chosen, without which browsers give it up."""

    async def say(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            message = message | {"subprotocol": _chosen_protocol.get()}
        await send(message)

    await _open_socket(scope, receive, say, *more, **named)


_PAGE = Path(__file__).parent.parent / ".local/docs/index.html"
_aws = app.app


async def _aws_and_docs(scope: Any, receive: Any, send: Any) -> None:
    """The AWS services, and at /_docs the page that local/docs.py wrote: both come and go together."""
    if scope["type"] != "http" or scope["path"] != "/_docs":
        await _aws(scope, receive, send)
        return
    there = _PAGE.is_file()
    body = _PAGE.read_bytes() if there else b"The page is not written yet: make docs"
    media_type = b"text/html; charset=utf-8" if there else b"text/plain"
    start = {
        "type": "http.response.start",
        "status": 200 if there else 404,
        "headers": [(b"content-type", media_type), (b"cache-control", b"no-store")],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    app.app = _aws_and_docs
    lambda_runtime.Worker.invoke = _invoke_alone
    lambda_runtime.Worker._spawn = _spawn_with_common_layers
    iam_actions.extract_iam_action = _extract_iam_action
    apigateway.handle_websocket = _open_socket_with_protocol
    apigateway._invoke_ws_lambda = _ask_for_protocol
    apigateway_v1._import_rest_api = _import_whole_api
    apigateway_v1._import_operation = _import_whole_method
    apigateway_v1._invoke_mock_v1 = _answer_mock_as_http
    apigateway_v1._validate_cognito_authorizer = _validate_access_token
    apigateway_v1._check_request_validation = _check_request
    app.main()
