"""Where a page of a list ended, as the opaque text that clients hand back for the next one.

It holds nothing secret and is not signed: it only says where in the list to go on, and which list that is the
request says each time.
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
    """A place as text that needs no escaping in an address."""
    return pack(f"{place.create_time} {place.order_id}")


def decode(cursor: str) -> OrderCursor:
    """The place that a cursor stands for.

    Raises:
        ValueError: it is none of ours.
    """
    return _place(_PLACE.fullmatch(unpack(cursor)))


def decode_listed(cursor: str) -> OrderCursor:
    """The place that a cursor stands for, in a customer's orders or in those of all, whose time is a second.

    Raises:
        ValueError: it is none of ours.
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
        ValueError: it is none of ours.
    """
    return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()


def next_page(request: Request, name: str, cursor: str) -> dict[str, str]:
    """Where the next page is, by RFC 8288: the same request, with another cursor. `name` ends its path."""
    parameters = {name: values[0] for name, values in request.query.items()}
    return {"Link": f'<{name}?{urllib.parse.urlencode(parameters | {"cursor": cursor})}>; rel="next"'}
