"""Authorize WebSocket connections by access token.

API Gateway verifies the tokens of the HTTP API itself, but supports no user pool for a WebSocket API. The
rules are the same: signed by the pool, not expired, an access token, with the scope.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.config import settings
from order_capture.entrypoints.callers import authorizer_context, caller_from_claims
from order_capture.entrypoints.http.problems import UnauthenticatedError
from order_capture.entrypoints.invocations import Handler, invocation
from order_capture.entrypoints.websocket.api import PROTOCOL, offered_protocols

logger = logging.getLogger(__name__)


def authorizer_handler(scope: str) -> Handler[dict[str, Any]]:
    """The Lambda handler of a REQUEST authorizer, which admits tokens of the user pool with this scope."""

    def handle(event: dict[str, Any], _context: LambdaContext | None) -> dict[str, Any]:
        try:
            claims = _verified(_token(event), scope)
            principal, effect = caller_from_claims(claims).subject, "Allow"
            context = authorizer_context(claims)
        except UnauthenticatedError:
            principal, effect, context = "nobody", "Deny", {}
        logger.info("%s: %s", effect, principal)
        statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": event["methodArn"]}
        return {
            "principalId": principal,
            "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
            "context": context,
        }

    return invocation(handle, lambda: handle({"methodArn": "*", "headers": {}}, None))


def _token(event: Mapping[str, Any]) -> str:
    """The token in the Authorization header or, since a browser page can't set one, the subprotocol that is
    offered beside ours. It is never in the URL, which is logged."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    if "authorization" in headers:
        return str(headers["authorization"]).removeprefix("Bearer ")
    return next((each for each in offered_protocols(headers) if each != PROTOCOL), "")


def _verified(token: str, scope: str) -> Mapping[str, Any]:
    """The claims of a token.

    Raises:
        UnauthenticatedError: it is not valid.
        jwt.PyJWKClientConnectionError: the pool's keys can't be fetched for now.
    """
    try:
        key = _keys(settings.token_keys_url).get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=["RS256"],
            issuer=settings.token_issuer,
            # An ID token has an audience and is refused for that; an access token has none.
            options={"require": ["exp", "iss", "sub"]},
        )
    except jwt.PyJWKClientConnectionError:
        raise
    except jwt.PyJWTError as error:
        raise UnauthenticatedError from error
    if scope not in str(claims.get("scope", "")).split():
        raise UnauthenticatedError
    return claims


@cache
def _keys(url: str) -> jwt.PyJWKClient:
    """The pool's public keys, fetched once an hour, and when a token names an unknown key."""
    return jwt.PyJWKClient(url, lifespan=60 * 60, timeout=3)
