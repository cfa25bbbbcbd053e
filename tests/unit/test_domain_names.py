"""An API at a custom domain name, without the stage in the path, and at its default address."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest

from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.api import Request, Response, RestApi
from tests.support.factories import api_event

AT_THE_STAGE = {"domainName": "a1b2.execute-api.eu-west-1.amazonaws.com", "path": "/v1/orders", "stage": "v1"}
AT_A_NAME_OF_ITS_OWN = {"domainName": "api.example.com", "path": "/orders", "stage": "v1"}


def listed(context: dict[str, str]) -> dict[str, Any]:
    """The response of a list with a next page, requested at this address."""
    app = RestApi()

    @app.get("/orders")
    def get_orders(request: Request) -> Response:
        request.parameters("customerId")
        return Response({}, headers=pagination.next_page(request, "orders", "next"))

    event = api_event("GET", "/orders", query={"customerId": ["alice"]})
    event["requestContext"] |= context
    return app.resolve(event | {"path": "/orders"}, None)


def test_the_answer_is_the_same_at_either_address() -> None:
    assert listed(AT_THE_STAGE) == listed(AT_A_NAME_OF_ITS_OWN)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("https://api.example.com/orders", "https://api.example.com/orders?customerId=alice&cursor=next"),
        (
            "https://a1b2.execute-api.eu-west-1.amazonaws.com/v1/orders",
            "https://a1b2.execute-api.eu-west-1.amazonaws.com/v1/orders?customerId=alice&cursor=next",
        ),
    ],
)
def test_a_link_leads_to_the_address_that_was_asked(asked: str, expected: str) -> None:
    link = listed(AT_A_NAME_OF_ITS_OWN)["headers"]["Link"]

    assert urllib.parse.urljoin(asked, link[1 : link.index(">")]) == expected
