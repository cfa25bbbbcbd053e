"""Who sent a request, by what API Gateway's authorizer has found in the token that it verified."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from order_capture.application.callers import Caller
from order_capture.entrypoints.http.problems import UnauthenticatedError


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
    # A user's access token names them; that of the client-credentials grant names the client, as its subject.
    known = username or (subject and subject == claims.get("client_id"))
    if claims.get("token_use") != "access" or not subject or not known:
        raise UnauthenticatedError
    return Caller(subject, username)
