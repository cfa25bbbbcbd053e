"""The engine's process: ministack behind its front, with some corrections, and persistent data.

Batch calls are authorised as on AWS: there `sns:PublishBatch` and the like do not exist as permissions, and
`sns:Publish` covers both calls. A process that fails to start fails only its own call (see `_invoke_alone`),
and all processes share their layers. API Gateway returns the gateway responses of the API's document, limits
requests as on AWS, and returns the chosen subprotocol to a WebSocket client. It runs in the engine's
environment.
"""

import asyncio
import copy
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, quote

from ministack import app
from ministack.core import iam_actions, lambda_runtime, sigv4
from ministack.core.responses import AccountRegionScopedDict, AccountScopedDict
from ministack.services import apigateway, apigateway_v1, dynamodb, lambda_svc, sqs, sts

from local import (
    engine_console,
    engine_functions,
    engine_server,
    engine_shortcuts,
    engine_snapshots,
    engine_sources,
)
from local.engine_front import AsgiMessage, Deployed, Front, Receive, Scope, Send
from local.engine_guard import Rules
from local.engine_snapshots import REFUSED, Header, SnapshotError, Snapshots

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


_resource_of = iam_actions.extract_resource_arn


def _extract_resource_arn(service: str, *request: Any, **more: Any) -> str:
    """The resource of a call, as in policies, where a log group's ARN ends with `:*`.

    See https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html
    """
    arn: str = _resource_of(service, *request, **more)
    return f"{arn}:*" if service == "logs" and ":log-group:" in arn and not arn.endswith(":*") else arn


_import_api = apigateway_v1._import_rest_api


def _import_whole_api(document: dict[str, Any], *more: Any) -> str:
    """Import an API with its document's gateway responses, which ministack supports but does not import."""
    api_id: str = _import_api(document, *more)
    for kind, answer in document.get("x-amazon-apigateway-gateway-responses", {}).items():
        apigateway_v1._put_gateway_response(api_id, kind, answer)
    return api_id


_ANY = "x-amazon-apigateway-any-method"
_import_path = apigateway_v1._import_path_item


def _import_whole_path(api_id: str, path: str, item: dict[str, Any], *more: Any) -> None:
    """Import a path's ANY method if it invokes a function; ministack supports it but does not import it.

    ministack does not render a mock's template, and has its own response for missing routes.
    """
    any_method = item.get(_ANY)
    if any_method and any_method["x-amazon-apigateway-integration"]["type"] != "mock":
        item = item | {"any": any_method}
    _import_path(api_id, path, item, *more)


_import_method = apigateway_v1._import_operation


def _import_whole_method(api_id: str, resource_id: str, method: str, operation: Any, *more: Any) -> None:
    """Import a method with its mock integration's responses, which ministack does not import."""
    _import_method(api_id, resource_id, method, operation, *more)
    integration = operation["x-amazon-apigateway-integration"]
    for pattern, answer in integration.get("responses", {}).items():
        answer = answer | {"selectionPattern": "" if pattern == "default" else pattern}
        apigateway_v1._put_integration_response(api_id, resource_id, method, answer["statusCode"], answer)


_answer_mock = apigateway_v1._invoke_mock_v1


def _answer_mock_as_http(integration: Any) -> tuple[int, dict[str, str], bytes]:
    """A mock's response; ministack adds a body even to a 204."""
    status, headers, body = _answer_mock(integration)
    return status, headers, b"" if status == 204 else body


_validate_token = apigateway_v1._validate_cognito_authorizer


async def _validate_access_token(authorizer: Any, method: Any, *request: Any) -> tuple[Any, Any]:
    """The claims of a valid token. A method with scopes accepts access tokens only.

    ministack checks only the scopes, and adds a sign-in's scopes to its refresh token too.
    """
    claims, error = await _validate_token(authorizer, method, *request)
    if claims and method.get("authorizationScopes") and claims.get("token_use") != "access":
        return None, apigateway_v1._gw_error("UNAUTHORIZED", "Unauthorized")
    return claims, error


_MAX_REQUEST_BYTES = 10 * 1024 * 1024  # of a REST API
_check_validator = apigateway_v1._check_request_validation


def _check_request(method: Any, api_id: str, request: Any, headers: Any, body: bytes, query: Any) -> Any:
    """The error of a request before it reaches the integration, including its size."""
    if len(body or b"") > _MAX_REQUEST_BYTES:
        # With API Gateway's own text: only this gateway response can't be customised, not even by
        # DEFAULT_4XX.
        return 413, {"Content-Type": "application/json"}, b'{"message":"Request Too Long"}'
    return _check_validator(method, api_id, request, headers, body, query)


_aws = app.app
_execute = apigateway_v1.handle_execute
_raw_path: ContextVar[str] = ContextVar("raw_path", default="")


async def _aws_as_written(scope: Scope, receive: Receive, send: Send) -> None:
    """The AWS services; one of them needs the path as the client wrote it."""
    _raw_path.set((scope.get("raw_path") or b"").decode("latin-1"))
    await _aws(scope, receive, send)


async def _execute_as_written(api_id: str, stage: str, method: str, path: str, *more: Any) -> Any:
    """Route and forward a request by the raw path with its escapes, as a REST API does.

    ministack would unescape it, and the function would unescape it again.
    """
    raw = _raw_path.get()
    roots = (
        f"/_aws/execute-api/{api_id}/{stage}/",
        f"/restapis/{api_id}/{stage}/_user_request_/",
        f"/{stage}/",
    )
    root = next((each for each in roots if raw.startswith(each)), None)
    return await _execute(api_id, stage, method, raw[len(root) - 1 :] if root else path, *more)


_open_socket = apigateway.handle_websocket
_ask_socket_function = apigateway._invoke_ws_lambda
_chosen_protocol: ContextVar[str | None] = ContextVar("chosen_protocol", default=None)


async def _ask_for_protocol(*request: Any, **more: Any) -> Any:
    """Keep the subprotocol that the function of a WebSocket API's $connect route chooses."""
    answer = await _ask_socket_function(*request, **more)
    _chosen_protocol.set(((answer or {}).get("headers") or {}).get("Sec-WebSocket-Protocol"))
    return answer


async def _open_socket_with_protocol(scope: Any, receive: Any, send: Any, *more: Any, **named: Any) -> None:
    """Accept a WebSocket connection with the chosen subprotocol, without which browsers close it."""

    async def say(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            message = message | {"subprotocol": _chosen_protocol.get()}
        await send(message)

    await _open_socket(scope, receive, say, *more, **named)


# ---------------------------------------------------------------- credentials
_sessions: dict[tuple[str, str], dict[str, str]] = {}


def _session_of_role(config: dict[str, Any]) -> dict[str, str]:
    """Random credentials for a function. ministack derives them from names, which can be guessed."""
    function, role = config["FunctionArn"], config["Role"]
    if (function, role) not in _sessions:
        account = function.split(":")[4]
        name = config["FunctionName"][:64]
        role_name = role.rpartition("/")[2]
        made = {
            "AWS_ACCESS_KEY_ID": f"ASIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
            "AWS_SESSION_TOKEN": secrets.token_hex(32),
        }
        session = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}",
            "UserId": f"{role_name}:{name}",
            "SecretAccessKey": made["AWS_SECRET_ACCESS_KEY"],
            "SessionToken": made["AWS_SESSION_TOKEN"],
        }
        sts.register_session(made["AWS_ACCESS_KEY_ID"], session)
        _sessions[function, role] = made
    return _sessions[function, role]


def _verifier(own_key: str, secret: str) -> Callable[[Scope, bytes], bool]:
    """Returns a function that verifies a signed request."""

    def verify(scope: Scope, body: bytes) -> bool:
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), sigv4.decode_header_value(raw_value)
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        signature = sigv4.parse_header_signature(headers)
        if isinstance(signature, tuple):
            return False
        if signature.access_key_id != own_key:
            # Issued by the engine, which verifies these itself, each with its role's permissions.
            return signature.access_key_id in sts._sessions
        query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
        return (
            sigv4.request_time_failure(signature) is None
            and sigv4.header_signature_failure(signature, secret, scope["method"], path, query, headers, body)
            is None
        )

    return verify


# ---------------------------------------------------------------- data
def _extras() -> dict[str, Any]:
    """State that a crash must not lose and that ministack's own state lacks: the tables' streams."""
    return {
        "records": dynamodb._stream_records,
        "trimmed": dynamodb._stream_trimmed,
        "closed": dynamodb._closed_streams,
        "tokens": dynamodb._txn_idempotency,
    }


def _gather() -> dict[str, Any]:
    """The state of all services. This memory is not used afterwards, so nothing is copied."""
    copy.deepcopy = lambda value, *_: value
    dynamodb.copy = copy  # instead of engine_shortcuts.py's function
    lambda_svc._prune_orphan_code_blobs = lambda _: None  # the previous snapshot still needs them
    states = {key: get() for key, get in app._build_persistence_save_dict().items()}
    for layer in states.get("lambda", {}).get("layers", AccountRegionScopedDict()).all_values():
        for each in layer["versions"]:
            if isinstance(each.get("_zip_data"), bytes):
                each["_zip_data"] = {"blob": lambda_svc._write_code_blob(each["_zip_data"])}
    return {"services": states, "streams": _extras(), "sequence": dynamodb._stream_seq_counter}


def _restore(content: dict[str, Any], header: Header, port: int) -> None:
    """Put a snapshot's state back into the services."""
    services = content["services"]
    blobs = set()
    for layer in services.get("lambda", {}).get("layers", AccountRegionScopedDict()).all_values():
        for each in layer["versions"]:
            if isinstance(each.get("_zip_data"), dict):
                name = each["_zip_data"]["blob"]
                blobs.add(name)
                each["_zip_data"] = lambda_svc._read_code_blob(name)
    for function in services.get("lambda", {}).get("functions", AccountRegionScopedDict()).all_values():
        for each in [function, *function.get("versions", {}).values()]:
            if isinstance(each.get("code_zip"), dict):
                blobs.add(each["code_zip"]["code_blob_ref"])
            # Its pending transition is complete by now.
            if each.get("config", {}).get("State") == "Pending":
                each["config"]["State"] = "Active"
    lambda_svc._prune_orphan_code_blobs(blobs)
    if header.port != port:
        for key in ("lambda", "cloudformation", "sns", "apigateway", "apigateway_v1"):
            if key in services:
                services[key] = _on_port(services[key], header.port, port)
    _restore_queues(services.get("sqs", {}), released=not header.clean)
    for key, store in _extras().items():
        store.update(content["streams"][key])
    dynamodb._stream_seq_counter = content["sequence"]
    for key, module in app._state_map.items():
        if services.get(key):
            app._get_module(module).load_persisted_state(services[key])


def _on_port(value: Any, before: int, now: int) -> Any:
    """The same state with this engine's port in the resources' addresses."""
    match value:
        case str():
            return value.replace(f"//localhost:{before}/", f"//localhost:{now}/")
        case dict():
            return {_on_port(key, before, now): _on_port(each, before, now) for key, each in value.items()}
        case list():
            return [_on_port(each, before, now) for each in value]
        case tuple():
            return tuple(_on_port(each, before, now) for each in value)
        case AccountScopedDict() | AccountRegionScopedDict():
            return type(value).from_dict(_on_port(value.to_dict(), before, now))
    return value


def _restore_queues(state: dict[str, Any], *, released: bool) -> None:
    """Queues with this engine's port; messages in flight at a killed function are visible at once."""
    queues = AccountRegionScopedDict()
    now = time.time()
    for (account, region, url), queue in state.get("queues", queues).all_items():
        canonical = sqs._queue_url_for_account(account, url.rpartition("/")[2])
        if "url" in queue:
            queue["url"] = canonical
        queues.set_scoped(account, region, canonical, queue)
        for message in queue["messages"] if released else ():
            if message.get("receive_count", 0) > 0:
                message["visible_at"] = min(message["visible_at"], now)
    state["queues"] = queues


def _may_save() -> bool:
    """False during a deployment: half of one could not be continued."""
    stacks = getattr(sys.modules.get("ministack.services.cloudformation"), "_stacks", None)
    statuses = [stack.get("StackStatus", "") for stack in stacks.all_values()] if stacks else []
    return not any(status.endswith("_IN_PROGRESS") and "REVIEW" not in status for status in statuses)


# ---------------------------------------------------------------- process
_KNOWN_FOR = 0.2  # seconds; read for each request, and a deployment takes longer
_known: tuple[float, Deployed] = (0.0, Deployed())


def _deployed() -> Deployed:
    """The deployed stack, cached."""
    global _known
    now = time.monotonic()
    if now > _known[0] + _KNOWN_FOR:
        _known = now, _find_deployed()
    return _known[1]


def _find_deployed() -> Deployed:
    """The deployed stack, by the outputs of a stack that has the API."""
    stacks = getattr(sys.modules.get("ministack.services.cloudformation"), "_stacks", None)
    for stack in stacks.all_values() if stacks else ():
        if stack.get("StackStatus") == "DELETE_COMPLETE":  # it keeps its outputs
            continue
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs") or ()}
        if "ApiId" in outputs and "SocketId" in outputs:
            parameters = {
                each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters") or ()
            }
            return Deployed(
                outputs["ApiId"],
                outputs["SocketId"],
                outputs["ApiStage"],
                parameters.get("AllowedOrigin", ""),
                outputs.get("ConsoleClientId", ""),
            )
    return Deployed()


def _end_together(tied: bool) -> None:
    """End the functions with this process, and this process with its owner.

    A process group outlives its leader. So this one has a member that waits at a pipe for the leader's end;
    the system closes the pipe even if a process is killed.
    """
    global _guardian
    _guardian = subprocess.Popen(["/bin/sh", "-c", "read -r _; kill -9 0"], stdin=subprocess.PIPE)
    if tied:

        def wait() -> None:
            os.read(0, 1)
            os.killpg(0, signal.SIGKILL)

        Thread(target=wait, daemon=True, name="lifeline").start()


_guardian: subprocess.Popen[bytes] | None = None


_STOP_SECONDS = 10  # for requests in progress


async def _stop(front: Front, snapshots: Snapshots) -> None:
    """Finish requests in progress, take the last snapshot, and end."""
    front.closed = True
    engine_sources.stop()
    deadline, quiet = time.monotonic() + _STOP_SECONDS, 0
    while quiet < 3 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        quiet = (
            0
            if engine_functions.running or front.open_calls or any(lambda_svc._esm_inflight.values())
            else quiet + 1
        )
    snapshots.save_and_exit()


def main() -> None:
    """Run the engine whose directory the environment names, until it is stopped."""
    # Functions inherit the environment, and must not see this checkout's packages.
    sys.path.remove(os.environ.pop("PYTHONPATH"))
    home = Path(os.environ.pop("ENGINE_HOME"))
    settings = json.loads(os.environ.pop("ENGINE_SETTINGS"))
    credentials = json.loads((home / "engine.json").read_text())
    port = int(os.environ["GATEWAY_PORT"])
    state = home / "state"
    key, secret = credentials["accessKeyId"], credentials["secretAccessKey"]
    _end_together(settings["tied"])

    front = Front(
        _aws_as_written,
        rules=lambda allowed_origin: Rules(port, secret, frozenset(settings["otherHosts"]), allowed_origin),
        deployed=_deployed,
        verify=_verifier(key, secret),
        own_key=key,
        console_key=engine_console.console_key(secret),
        sign_in=lambda client_id: engine_console.sign_in(_aws_as_written, client_id, port, secret),
        docs=Path(__file__).parent.parent / ".local/docs",
        status=lambda: {"pauses": snapshots.pauses},
    )
    snapshots = Snapshots(state, engine=version("ministack"), port=port, gather=_gather, may_save=_may_save)
    background = []

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" or not settings["keepsData"]:
            await front(scope, receive, send)
            return

        async def started(message: AsgiMessage) -> None:
            if message["type"] == "lifespan.startup.complete":
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(
                    signal.SIGTERM,
                    lambda: background.append(loop.create_task(_stop(front, snapshots))),
                )
                background.append(loop.create_task(snapshots.run()))
            await send(message)

        await front(scope, receive, started)

    def load() -> None:
        try:
            found = engine_snapshots.load(state, version("ministack"))
            if found:
                _restore(found[1], found[0], port)
        except Exception as error:
            if not isinstance(error, SnapshotError):
                traceback.print_exc()
                error = SnapshotError("the engine does not support it")
            print(error, flush=True)
            os._exit(REFUSED)

    if settings["keepsData"]:
        app.PERSIST_STATE = True
        app._load_persisted_state = load
        app.save_all = lambda _: None
        front.on_change = snapshots.note_change
        lambda_svc._run_sqs_batch = _noting(lambda_svc._run_sqs_batch, snapshots)
        lambda_svc._poll_dynamodb_streams = _noting(lambda_svc._poll_dynamodb_streams, snapshots)
    app.app = serve if settings["guarded"] else _aws_as_written
    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = _session_of_role
    engine_functions.install(home)
    engine_sources.install()
    engine_shortcuts.install()
    engine_server.install()
    iam_actions.extract_iam_action = _extract_iam_action
    iam_actions.extract_resource_arn = _extract_resource_arn
    apigateway.handle_websocket = _open_socket_with_protocol
    apigateway._invoke_ws_lambda = _ask_for_protocol
    apigateway_v1._import_rest_api = _import_whole_api
    apigateway_v1._OPENAPI_HTTP_METHODS.add("any")
    apigateway_v1._import_path_item = _import_whole_path
    apigateway_v1._import_operation = _import_whole_method
    apigateway_v1.handle_execute = _execute_as_written
    apigateway_v1._invoke_mock_v1 = _answer_mock_as_http
    apigateway_v1._validate_cognito_authorizer = _validate_access_token
    apigateway_v1._check_request_validation = _check_request
    app.main()


def _noting(call: Callable[..., Any], snapshots: Snapshots) -> Callable[..., Any]:
    """The same function, which notes a change if it did anything."""

    def noting(*arguments: Any) -> Any:
        result = call(*arguments)
        if result or arguments:
            snapshots.note_change()
        return result

    return noting


if __name__ == "__main__":
    main()
