"""The caller of a request, from the claims of the token that API Gateway's authorizer verified."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from order_capture.application.callers import Caller
from order_capture.entrypoints.http.problems import UnauthenticatedError

OPERATORS = "operators"
"""The user pool group whose members act for every customer, as services do."""

_GROUPS = "cognito:groups"


def caller_from_event(event: Mapping[str, Any]) -> Caller:
    """The caller named by an API event's claims.

    The gateway has checked signature, expiry, issuer and scopes. This still fails closed: an event that
    bypassed the authorizer has no claims, and only a service's or a user's access token identifies a caller.

    Raises:
        UnauthenticatedError: the claims do not identify a caller.
    """
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    claims: Mapping[str, Any] = authorizer.get("claims") or {}
    # `sam local` enforces no authorizer, and is the only one to set this variable.
    if not claims and os.environ.get("AWS_SAM_LOCAL") == "true":
        return Caller("sam-local")
    return caller_from_claims(claims)


def caller_from_claims(claims: Mapping[str, Any]) -> Caller:
    """The caller named by a verified token's claims.

    Raises:
        UnauthenticatedError: the claims do not identify a caller.
    """
    subject, username = claims.get("sub"), claims.get("username")
    # A user's access token names the user; a client-credentials token names the client, as its subject.
    known = username or (subject and subject == claims.get("client_id"))
    if claims.get("token_use") != "access" or not subject or not known:
        raise UnauthenticatedError
    is_operator = bool(username) and OPERATORS in groups_of(claims)
    return Caller(subject, None if is_operator else username)


def caller_from_context(context: Mapping[str, Any]) -> Caller:
    """The caller of a WebSocket event, from the authorizer's context (`authorizer_context`).

    Raises:
        UnauthenticatedError: the claims do not identify a caller.
    """
    return caller_from_claims({**context, _GROUPS: context.get("groups", "")})


# The claims that identify a caller.
_IDENTITY = ("sub", "client_id", "token_use", "username")


def authorizer_context(claims: Mapping[str, Any]) -> dict[str, str]:
    """The claims that an authorizer passes on: texts only, and no colon in a name."""
    context = {name: str(claims[name]) for name in _IDENTITY if name in claims}
    groups = groups_of(claims)
    return context | ({"groups": ",".join(sorted(groups))} if groups else {})


def groups_of(claims: Mapping[str, Any]) -> set[str]:
    """The user pool groups of a token's user.

    The token has a list. A REST API's authorizer passes on a text, `one,two`; other kinds of API, and the
    local engine, `[one two]`. A group's name can't have a space, and administrators use no comma.
    """
    groups = claims.get(_GROUPS) or ()
    if isinstance(groups, str):
        groups = re.split(r"[,\s]+", re.sub(r"^\[(.*)\]$", r"\1", groups))
    return {str(group) for group in groups if group}
