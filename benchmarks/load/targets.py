"""The targets of the load: the local stack, one on AWS, or a server on this machine; and their API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from benchmarks.load.traffic import PRICE, Shop
from local.tokens import Tokens, describe
from order_capture.adapters.serializers import decimal_json
from order_capture_ops import stack as stacks
from order_capture_ops.errors import CommandError, UsageError
from order_capture_ops.stack import Stack

_LOOPBACK = ("127.0.0.1", "localhost")
_TIMEOUT_SECONDS = 35.0  # API Gateway responds within 29
_MAX_ATTEMPTS = 6  # pauses of 0.25 s, 0.5 s, …: 8 s in total, longer than a function's cold start
_FIRST_BACKOFF_SECONDS = 0.25
_THREADS = 8  # concurrent requests while preparing and following; not part of the load

View = Mapping[str, Any]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class ApiError(CommandError):
    """The target's response does not follow the contract."""


@dataclass(frozen=True)
class Target:
    """The system under load."""

    name: str
    """For a sentence: "the local stack"."""
    url: str
    token: str = field(default="", repr=False)
    stack: Stack | None = None
    """The stack that `order_capture_ops audit` can check; None for another server."""

    @classmethod
    def find(cls, stack: str | None) -> Target:
        """The named stack on AWS, or the local one, with a token of its service client.

        Raises:
            CommandError: the stack or its token does not exist.
        """
        found = stacks.find(stack)
        described = describe(found)
        url = found.output("ApiUrl") if found.on_aws else described["apiUrl"]
        name = f"the stack {found.name} on AWS" if found.on_aws else "the local stack"
        return cls(name, url.rstrip("/"), Tokens(described).of_service(), found)

    @classmethod
    def of_engine(cls, description: Mapping[str, str]) -> Target:
        """A stack on a separate engine, as described by `local.stack.deploy`."""
        token = Tokens(description).of_service()
        return cls("the local stack", description["apiUrl"], token, stacks.described(description))

    @classmethod
    def at(cls, url: str) -> Target:
        """A server on this machine that needs no token.

        Raises:
            UsageError: the address is not on this machine.
        """
        try:
            parts = urlsplit(url)
            is_local = parts.scheme == "http" and parts.hostname in _LOOPBACK and bool(parts.port)
        except ValueError:
            is_local = False
        if not is_local or parts.query or parts.fragment or parts.username:
            raise UsageError(
                f"URL (--url): {url!r} is not the address of a server on this machine, such as "
                "http://127.0.0.1:8080. For a stack on AWS use STACK=name."
            )
        return cls(f"the server at {url}", url.rstrip("/"))


class Api:
    """The target's API, with retries. Numbers are exact decimals."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._has_answered = False  # no retries before the first response
        on_this_machine = urlsplit(target.url).hostname in _LOOPBACK
        self._http = httpx.Client(
            base_url=target.url,
            headers={"Authorization": f"Bearer {target.token}"} if target.token else {},
            timeout=_TIMEOUT_SECONDS,
            trust_env=not on_this_machine,  # the user's proxy is not for the loopback interface
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def prepare(self, shop: Shop, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Create the shop's customers and products.

        Raises:
            ApiError: one can't be created.
        """
        bodies: list[tuple[str, dict[str, Any]]] = [
            *(("/account", {"customerId": each, "balance": money}) for each, money in shop.customers.items()),
            *(
                ("/stock", {"productId": each, "balance": units, "price": PRICE})
                for each, units in shop.stock.items()
            ),
        ]

        def create(one: tuple[str, dict[str, Any]]) -> None:
            path, body = one
            answer = self.post(path, body, key=f"{path[1:]}-{body.get('customerId') or body['productId']}")
            if not answer.is_success:
                raise ApiError(f"POST {path} answered {answer.status_code}: {answer.text[:300]}")

        for _ in in_parallel(create, bodies):
            on_progress(1)

    def post(self, path: str, body: Mapping[str, Any], key: str) -> httpx.Response:
        """Post a body with its Idempotency-Key; retry while the target is busy."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send("POST", path, content=decimal_json.dumps(dict(body)), headers=headers)

    def order(self, order_id: str) -> View | None:
        """The current order; None if it does not exist."""
        return self._get(f"/order/{order_id}")

    def balance(self, path: str) -> View | None:
        """An account or the stock of a product, by path (`/account/alice`); None if it does not exist."""
        return self._get(path)

    def orders_of(self, customer: str) -> list[View] | None:
        """All orders of a customer; None if the target does not list orders."""
        found: list[View] = []
        path = f"/orders?customerId={customer}&limit=100"
        while path:
            answer = self._send("GET", path)
            if answer.status_code in (404, 405):
                return None
            page = self._read(answer, path)
            found += page["orders"]
            following = answer.url.join(answer.links.get("next", {}).get("url", ""))
            if following.host != answer.url.host:
                raise ApiError(f"The next page of {path} is on another host: {following.host}")
            path = str(following) if "next" in answer.links else ""
        return found

    def _get(self, path: str) -> View | None:
        answer = self._send("GET", path)
        return None if answer.status_code == 404 else self._read(answer, path)

    def _read(self, answer: httpx.Response, path: str) -> View:
        if answer.status_code != 200:
            raise ApiError(f"GET {path} answered {answer.status_code}: {answer.text[:300]}")
        try:
            view: View = decimal_json.loads(answer.text)
        except ValueError as error:
            raise ApiError(f"GET {path}: the answer {error}: {answer.text[:300]}") from error
        return view

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        backoff = _FIRST_BACKOFF_SECONDS
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                answer = self._http.request(method, path, **more)
                self._has_answered = True
                if answer.status_code not in (409, 429) and answer.status_code < 500:
                    return answer
            except httpx.TransportError as error:
                if attempt == _MAX_ATTEMPTS or not self._has_answered:
                    raise ApiError(f"No answer from {self._target.name}: {error}") from error
            else:
                if attempt == _MAX_ATTEMPTS:
                    return answer
            time.sleep(backoff)
            backoff *= 2
        raise AssertionError("unreachable")


def in_parallel(call: Callable[[_In], _Out], over: Iterable[_In]) -> Iterator[_Out]:
    """Call it for each item, some concurrently, and yield the results in order. The first error ends it."""
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            yield from threads.map(call, over)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def exact(number: Any) -> Decimal:
    """A number of a response, as a Decimal."""
    return Decimal(str(number))
