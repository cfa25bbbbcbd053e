"""Cursors: the end of a page as an opaque text, which clients send back for the next page.

A cursor contains nothing secret and is not signed: it is only a position. Each request names the list itself.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from typing import TYPE_CHECKING

from order_capture.application.ports import OrderCursor

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

_SECOND = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_PLACE = re.compile(rf"({_SECOND}\.[0-9]{{3}}Z) ([!-~]{{1,64}})")
_PLACE_OF_ALL = re.compile(rf"({_SECOND}) ([!-~]{{1,64}})")


def encode(place: OrderCursor) -> str:
    """A place as text that needs no escaping in a URL."""
    return pack(f"{place.create_time} {place.order_id}")


def decode(cursor: str) -> OrderCursor:
    """The place in a cursor.

    Raises:
        ValueError: it is not one of our cursors.
    """
    return _place(_PLACE.fullmatch(unpack(cursor)))


def decode_listed(cursor: str) -> OrderCursor:
    """The place in a cursor of a customer's orders, or of all orders, where the time is a second.

    Raises:
        ValueError: it is not one of our cursors.
    """
    text = unpack(cursor)
    return _place(_PLACE.fullmatch(text) or _PLACE_OF_ALL.fullmatch(text))


def _place(match: re.Match[str] | None) -> OrderCursor:
    if not match:
        raise ValueError("not a cursor")
    return OrderCursor(match[1], match[2])


def pack(text: str) -> str:
    """Any text as a cursor."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unpack(cursor: str) -> str:
    """The text in a cursor.

    Raises:
        ValueError: it is not one of our cursors.
    """
    return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()


def next_page(request: Request, name: str, cursor: str) -> dict[str, str]:
    """The Link header (RFC 8288) of the next page: the same request, another cursor. `name` ends its path."""
    parameters = {name: values[0] for name, values in request.query.items()}
    return {"Link": f'<{name}?{urllib.parse.urlencode(parameters | {"cursor": cursor})}>; rel="next"'}
