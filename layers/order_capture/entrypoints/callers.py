"""Who sent a request, by what API Gateway's authorizer has found in the token that it verified."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from order_capture.application.callers import Caller
from order_capture.entrypoints.http.problems import UnauthenticatedError

OPERATORS = "operators"
"""The user pool's group whose members act for every customer, as services do."""

_GROUPS = "cognito:groups"


def caller_from_event(event: Mapping[str, Any]) -> Caller:
    """The caller that an API event's claims name.

    The gateway has checked signature, expiry, issuer and scopes. This fails closed all the same: an event
    that came past the authorizer has no claims, and a token that is neither a service's nor a user's access
    token stands for nobody.

    Raises:
        UnauthenticatedError: there is no telling who it is.
    """
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    claims: Mapping[str, Any] = authorizer.get("claims") or {}
    # `sam local` enforces no authorizer, and nothing but it sets this variable.
    if not claims and os.environ.get("AWS_SAM_LOCAL") == "true":
        return Caller("sam-local")
    return caller_from_claims(claims)


def caller_from_claims(claims: Mapping[str, Any]) -> Caller:
    """The caller that a verified token's claims name.

    Raises:
        UnauthenticatedError: there is no telling who it is.
    """
    subject, username = claims.get("sub"), claims.get("username")
    # A user's access token names the user; a client-credentials token names the client, as its subject.
    known = username or (subject and subject == claims.get("client_id"))
    if claims.get("token_use") != "access" or not subject or not known:
        raise UnauthenticatedError
    is_operator = bool(username) and OPERATORS in groups_of(claims)
    return Caller(subject, None if is_operator else username)


def caller_from_context(context: Mapping[str, Any]) -> Caller:
    """The caller that a WebSocket event names, by what the authorizer found (`authorizer_context`).

    Raises:
        UnauthenticatedError: there is no telling who it is.
    """
    return caller_from_claims({**context, _GROUPS: context.get("groups", "")})


# The claims that identify a caller.
_IDENTITY = ("sub", "client_id", "token_use", "username")


def authorizer_context(claims: Mapping[str, Any]) -> dict[str, str]:
    """What an authorizer passes on of a token's claims: texts only, and no colon in a name."""
    context = {name: str(claims[name]) for name in _IDENTITY if name in claims}
    groups = groups_of(claims)
    return context | ({"groups": ",".join(sorted(groups))} if groups else {})


def groups_of(claims: Mapping[str, Any]) -> set[str]:
    """The groups of the user pool that a token's user is in.

    The token has a list. A REST API's authorizer hands on a text, `one,two`; other kinds of API, and the
    local engine, `[one two]`. No group's name has a space, and administrators give none a comma.
    """
    groups = claims.get(_GROUPS) or ()
    if isinstance(groups, str):
        groups = re.split(r"[,\s]+", re.sub(r"^\[(.*)\]$", r"\1", groups))
    return {str(group) for group in groups if group}
