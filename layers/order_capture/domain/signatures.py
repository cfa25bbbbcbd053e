"""Signatures of webhooks, by Standard Webhooks 1.0 (symmetric, v1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

SECRET_BYTES = 32  # as many as the hash has; the standard requires 24 to 64
_PREFIX = "whsec_"


def secret_of(key: bytes) -> str:
    """A key in the form that its receiver gets."""
    return _PREFIX + base64.b64encode(key).decode()


def signature(secrets: Sequence[str], message_id: str, timestamp: int, body: str) -> str:
    """The `webhook-signature` of a message: one signature per secret, of which one must match.

    Example:
        >>> signature(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        ...           '{"test": 2432232314}')
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return " ".join(
        "v1,"
        + base64.b64encode(
            hmac.digest(base64.b64decode(secret.removeprefix(_PREFIX)), signed, hashlib.sha256)
        ).decode()
        for secret in secrets
    )
