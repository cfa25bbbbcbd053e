"""Where a page of a list ended, as the opaque text that clients hand back for the next one.

It holds nothing secret and is not signed: it only says where in the list to go on, and which list that is the
request says each time.
"""

from __future__ import annotations

import base64
import re

from order_capture.application.ports import Place

_PLACE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,64})")


def encode(place: Place) -> str:
    """A place as text that needs no escaping in an address."""
    return base64.urlsafe_b64encode(f"{place.create_time} {place.order_id}".encode()).decode().rstrip("=")


def decode(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        ValueError: it is none of ours.
    """
    text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    match = _PLACE.fullmatch(text)
    if not match:
        raise ValueError("not a cursor")
    return Place(match[1].decode(), match[2].decode())
