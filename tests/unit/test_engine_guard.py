"""Which requests the local engine accepts."""

from __future__ import annotations

import pytest

from local.engine_guard import Gate, GuardRequest, RefusedError, Rules, key_of

PORT = 4566
RULES = Rules(PORT, "the-secret")
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=AKIAOURS/20261128/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00"
}
STRANGER = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}
# Sent by browsers with a link, a form or an image, which do not always have an Origin header.
NAVIGATION = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "accept": "text/html"}
IMAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}

AWS_PATHS = ("/", "/bucket/page.html", "/restapis", "/2015-03-31/functions", "/v2/apis")


def ask(
    path: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    query: str = "",
    is_websocket: bool = False,
    rules: Rules = RULES,
) -> Gate:
    named = {"host": f"127.0.0.1:{PORT}"} | (headers or {})
    return rules.admit(GuardRequest(method, path, query, named, is_websocket))


def refusal(path: str, headers: dict[str, str] | None = None, **more: object) -> int:
    with pytest.raises(RefusedError) as refused:
        ask(path, headers, **more)  # type: ignore[arg-type]
    return refused.value.status


# ---------------------------------------------------------------- host
@pytest.mark.parametrize(
    "host",
    [
        "",
        "attacker.example",
        f"attacker.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:4567",
        f"localhost.attacker.example:{PORT}",
        f"[::1]:{PORT}",
        f"0.0.0.0:{PORT}",
        f"127.0.0.1:{PORT},attacker.example",
    ],
)
@pytest.mark.parametrize(
    "path", ["/", "/v1/order", "/_docs", "/_docs/stack.json", "/bucket/key", "/_ministack/ready"]
)
def test_another_host_name_is_rejected(host: str, path: str) -> None:
    assert refusal(path, SIGNED | {"host": host}) == 421


def test_localhost_is_an_allowed_host_name() -> None:
    assert ask("/", {"host": f"localhost:{PORT}"}) is Gate.PAGE


def test_a_relay_is_reached_by_an_allowed_host_name() -> None:
    relayed = Rules(PORT, "the-secret", other_hosts=frozenset(["172.17.0.1"]))
    assert ask("/v1/order", {"host": "172.17.0.1:9999"}, rules=relayed) is Gate.API
    assert refusal("/v1/order", {"host": "172.17.0.2:9999"}, rules=relayed) == 421


# ---------------------------------------------------------------- AWS
@pytest.mark.parametrize("path", AWS_PATHS)
def test_a_signed_request_reaches_the_aws_apis(path: str) -> None:
    assert ask(path, SIGNED, method="POST") is Gate.AWS


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", AWS_PATHS[1:])
@pytest.mark.parametrize("headers", [{}, NAVIGATION, IMAGE, STRANGER], ids=["tool", "link", "image", "fetch"])
def test_an_unsigned_request_reaches_no_api_of_aws(path: str, method: str, headers: dict[str, str]) -> None:
    assert refusal(path, headers, method=method) == 403


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
@pytest.mark.parametrize("origin", ["null", "http://attacker.example", ""])
def test_a_form_reaches_no_api_of_aws(content_type: str, origin: str) -> None:
    headers = {"content-type": content_type} | ({"origin": origin} if origin else {})
    assert refusal("/", headers, method="POST") in (403, 405)
    assert refusal("/bucket", headers, method="POST") == 403


@pytest.mark.parametrize(
    "query",
    [
        "Action=CreateStack&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test&X-Amz-Signature=0",
        "x-amz-signature=0",
        "AWSAccessKeyId=test&Signature=0&Expires=1",
    ],
)
@pytest.mark.parametrize("headers", [{}, SIGNED], ids=["by itself", "beside a header"])
def test_a_presigned_url_is_rejected(query: str, headers: dict[str, str]) -> None:
    assert refusal("/bucket/key", headers, query=query) == 403


@pytest.mark.parametrize(
    "headers", [NAVIGATION, IMAGE, STRANGER, {"origin": "null"}, {"origin": "https://evil"}]
)
def test_even_a_signed_request_from_another_site_is_rejected(headers: dict[str, str]) -> None:
    assert refusal("/bucket", SIGNED | headers) == 403


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        (SIGNED["authorization"], "AKIAOURS"),
        (
            "AWS4-HMAC-SHA256 SignedHeaders=host, Credential=AKIA1/20261128/x/y/aws4_request, Signature=0",
            "AKIA1",
        ),
        ("AWS4-HMAC-SHA256 Credential=/20261128/x/y/aws4_request", ""),
        ("AWS4-ECDSA-P256-SHA256 Credential=AKIA1/20261128/x/aws4_request", ""),
        ("AWS AKIA1:signature", ""),
        ("Bearer token", ""),
        ("", ""),
    ],
)
def test_the_key_is_read_from_the_header(authorization: str, key: str) -> None:
    assert key_of(authorization) == key


# ---------------------------------------------------------------- the stack's API
@pytest.mark.parametrize("headers", [{}, STRANGER, NAVIGATION, {"authorization": "Bearer token"}])
@pytest.mark.parametrize("path", ["/v1/order", "/v1", "/_aws/execute-api/0a1b2c3d/v1/order/1/status"])
def test_the_api_is_open_to_all_as_on_aws(path: str, headers: dict[str, str]) -> None:
    assert ask(path, headers, method="POST") is Gate.API


@pytest.mark.parametrize(
    "path",
    [
        "/_aws/execute-api/0a1b2c3d/v1/@connections/x",
        "/_aws/execute-api/0a1b2c3d/v1/@connections",
        "/v1/@connections/x",
        "/_aws/execute-api/",
        "/_aws/execute-api/0a1b2c3d",
        "/_aws/execute-api//v1/order",
        "/_aws/execute-api/../v1/order",
        "/restapis/0a1b2c3d/v1/_user_request_/order",
        "/v1x",
        "/us-east-1/.well-known/jwks.json",
        "/bucket/.well-known/openid-configuration",
    ],
)
def test_similar_paths_are_aws_apis_and_need_a_signature(path: str) -> None:
    assert refusal(path) == 403
    assert ask(path, SIGNED) is Gate.AWS


# ---------------------------------------------------------------- pages, sign-in
@pytest.mark.parametrize("path", ["/", "/_docs", "/_docs/", "/_docs/api.html", "/favicon.ico"])
def test_the_pages_are_read_only(path: str) -> None:
    assert ask(path, NAVIGATION) is Gate.PAGE
    assert refusal(path, method="POST") == 405


def test_only_the_engines_own_page_can_sign_customers_in() -> None:
    own = {"origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "same-origin"}
    assert ask("/login", own, method="POST") is Gate.SIGN_IN
    assert ask("/login", {}, method="POST") is Gate.SIGN_IN
    assert refusal("/login", STRANGER, method="POST") == 403
    assert refusal("/login", {"origin": "null"}, method="POST") == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/oauth2/authorize"),
        ("POST", "/oauth2/token"),
        ("GET", "/us-east-1_AbCdEf123/.well-known/jwks.json"),
    ],
)
def test_the_token_endpoints_are_open_as_on_aws(method: str, path: str) -> None:
    assert ask(path, NAVIGATION, method=method) is Gate.SIGN_IN
    assert refusal(path, method="DELETE") == 403


# ---------------------------------------------------------------- the console's session
OWN = f"http://127.0.0.1:{PORT}"
CONSOLE = {"origin": OWN, "sec-fetch-site": "same-origin", "content-type": "application/json"}


def test_the_console_may_ask_for_a_session() -> None:
    assert ask("/_console/session", CONSOLE, method="POST") is Gate.SESSION
    # a browser that does not send the origin
    older = {name: value for name, value in CONSOLE.items() if name != "sec-fetch-site"}
    assert ask("/_console/session", older, method="POST") is Gate.SESSION
    localhost = CONSOLE | {"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}
    assert ask("/_console/session", localhost, method="POST") is Gate.SESSION
    charset = CONSOLE | {"content-type": "Application/JSON; charset=utf-8"}
    assert ask("/_console/session", charset, method="POST") is Gate.SESSION


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "",
            "null",
            "http://attacker.example",
            f"http://attacker.example:{PORT}",
            f"https://127.0.0.1:{PORT}",
        ),
        *(
            "http://127.0.0.1",
            "http://127.0.0.1:8000",
            f"{OWN}.attacker.example",
            f"{OWN},http://attacker.example",
        ),
        f"http://localhost:{PORT}",  # the engine's too, but not the page's: browsers call it another site
    ],
)
def test_no_other_origin_gets_a_session(origin: str) -> None:
    for headers in (CONSOLE, SIGNED | CONSOLE, {"content-type": "application/json"}):
        assert refusal("/_console/session", headers | {"origin": origin}, method="POST") == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", ""])
def test_a_session_is_not_for_another_site_even_of_the_right_origin(site: str) -> None:
    assert refusal("/_console/session", CONSOLE | {"sec-fetch-site": site}, method="POST") == 403


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"]
)
def test_no_form_gets_a_session(media_type: str) -> None:
    assert refusal("/_console/session", CONSOLE | {"content-type": media_type}, method="POST") == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
def test_a_session_is_got_with_post_only(method: str) -> None:
    assert refusal("/_console/session", CONSOLE, method=method) == 405


def test_a_relay_gets_no_session() -> None:
    relayed = Rules(PORT, "the-secret", other_hosts=frozenset(["172.17.0.1", "attacker.example"]))
    for host in ("172.17.0.1:9999", "attacker.example:80"):
        headers = CONSOLE | {"host": host, "origin": f"http://{host}"}
        assert refusal("/_console/session", headers, method="POST", rules=relayed) == 403
        assert refusal("/_console/session", CONSOLE | {"host": host}, method="POST", rules=relayed) == 403


@pytest.mark.parametrize("path", ["/_console", "/_console/", "/_console/session/", "/_console/other"])
def test_there_is_nothing_beside_the_session(path: str) -> None:
    assert refusal(path, CONSOLE, method="POST") == 403


# ---------------------------------------------------------------- tools
@pytest.mark.parametrize(
    "path", ["/_ministack/reset", "/_ministack/ready", "/_ministack/config", "/_localstack/health"]
)
def test_the_engines_controls_need_the_secret(path: str) -> None:
    assert ask(path, {"x-engine-secret": "the-secret"}, method="POST") is Gate.TOOL
    assert refusal(path, method="POST") == 403
    assert refusal(path, SIGNED, method="POST") == 403
    assert refusal(path, {"x-engine-secret": "another"}, method="POST") == 403
    assert refusal(path, {"x-engine-secret": "the-secret"} | STRANGER, method="POST") == 403


# ---------------------------------------------------------------- WebSocket
def test_a_client_without_an_origin_opens_a_websocket_connection() -> None:
    assert ask("/ws/v1", is_websocket=True) is Gate.SOCKET
    assert ask("/_aws/execute-api/0a1b2c3d/v1", is_websocket=True) is Gate.SOCKET


def test_a_page_opens_a_connection_if_its_origin_is_allowed() -> None:
    page = {"origin": "https://shop.example.com"}
    assert ask("/ws/v1", page, is_websocket=True, rules=Rules(PORT, "s", allowed_origin="*")) is Gate.SOCKET
    allowed = Rules(PORT, "s", allowed_origin="https://shop.example.com")
    assert ask("/ws/v1", page, is_websocket=True, rules=allowed) is Gate.SOCKET
    assert refusal("/ws/v1", page, is_websocket=True) == 403
    assert refusal("/ws/v1", {"origin": "null"}, is_websocket=True, rules=allowed) == 403


@pytest.mark.parametrize("path", ["/", "/v1", "/ws", "/_docs", "/bucket"])
def test_there_are_no_other_websocket_connections(path: str) -> None:
    assert refusal(path, SIGNED, is_websocket=True) == 403
