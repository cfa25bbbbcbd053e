"""Validate the text of URLs that customers choose for webhooks.

The addresses that they resolve to are checked at every request to them (`adapters.webhook_client`).
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from order_capture.config import settings
from order_capture.domain.ip_ranges import is_uri_text
from order_capture.domain.order import MAX_URL

# https to a hostname, not to an IP address, with or without a port; no user, no fragment. On the local engine
# also http to the machine itself. `is_uri_text` then refuses characters that must be percent-encoded.
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
URL_PATTERN = (
    r"^(https://([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
    rf"|http://127\.0\.0\.1)(:({_PORT}))?([/?][!\x22$-~]*)?$"
)


def _url(value: Any) -> Any:
    """Raise an error with its own message; the pattern itself is in the model, as in the contract."""
    if not isinstance(value, str) or len(value) > MAX_URL:
        return value  # refused by the model
    if not re.fullmatch(URL_PATTERN, value):
        raise PydanticCustomError("url", "not an address to send to")
    if not is_uri_text(value):
        raise PydanticCustomError("uri", "not a URI")
    if not value.startswith("https:"):
        if not settings.loopback_webhooks:
            raise PydanticCustomError("https", "not https")
        if (urllib.parse.urlsplit(value).port or 80) == settings.engine_port:
            raise PydanticCustomError("own_port", "the local engine itself")
    return value


Url = Annotated[str, Field(pattern=URL_PATTERN, max_length=MAX_URL), BeforeValidator(_url)]
