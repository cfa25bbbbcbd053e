"""POST to URLs that customers have chosen, and never reach an internal address (SSRF).

A name is resolved once, and all of its addresses must be public. The connection goes to one of the checked
addresses, even if the name resolves differently a moment later (DNS rebinding). TLS and Host still use the
name. Redirects are not followed, response bodies are not read, and the environment's proxies are ignored.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache

from order_capture.domain.ip_ranges import is_public, is_uri_text
from order_capture.domain.webhooks import DeliveryResponse

logger = logging.getLogger(__name__)

Resolve = Callable[[str, int], list[str]]
"""Resolves a name to its addresses."""

MAX_ADDRESSES = 3  # of a name, to be tried


class ForbiddenAddressError(Exception):
    """A name resolves to an address to which nothing may be sent."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, from the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def post(
    url: str,
    headers: Mapping[str, str],
    body: str,
    *,
    timeout: float,
    loopback: bool = False,
    own_port: int | None = None,
    resolver: Resolve = resolve,
) -> DeliveryResponse:
    """POST, and return the result within `timeout` seconds in every case.

    `loopback` also allows http://127.0.0.1, for a stack with receivers on the same machine: every port except
    `own_port`, which is the stack's own.
    """
    if not is_uri_text(url):  # registered before this was checked
        return DeliveryResponse(None, "the address has characters that a URI does not allow")
    exchange = _Exchange(url, headers, body, timeout, loopback, own_port, resolver)
    # In a separate thread: no other timeout covers resolving a name, or a response that drips in byte by
    # byte. An abandoned thread ends when its socket is closed.
    thread = threading.Thread(target=exchange.run, daemon=True)
    thread.start()
    thread.join(timeout)
    answer = exchange.answer
    if answer is None:
        exchange.close()
        return exchange.too_late
    return answer


# The date formats that a recipient must accept (RFC 9110, section 5.6.7). strptime also accepts any case, and
# a wrong day of the week: refusing them would gain nothing.
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


def retry_after(values: list[str], now: datetime) -> float:
    """The seconds of a Retry-After header: a number, or the time until a date; 0 if it is not usable."""
    value = values[0].strip() if len(values) == 1 else ""
    if re.fullmatch("[0-9]+", value):
        return float(value)
    for form in _DATES:
        with contextlib.suppress(ValueError):
            date = datetime.strptime(value, form).replace(tzinfo=UTC)
            if "%y" in form:  # two digits: never more than 50 years ahead
                date = date.replace(year=now.year // 100 * 100 + date.year % 100)
                if date.year > now.year + 50:
                    date = date.replace(year=date.year - 100)
            return max((date - now).total_seconds(), 0)
    return 0


class _Response(http.client.HTTPResponse):
    """A response that skips all interim responses (1xx); http.client skips only 100."""

    def begin(self) -> None:
        """Read the head of the final response."""
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment]  # otherwise http.client takes the head as read
            super().begin()


class _Exchange:
    """One request and its response."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        body: str,
        timeout: float,
        loopback: bool,
        own_port: int | None,
        resolver: Resolve,
    ) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._headers = headers
        self._body = body.encode()
        self._timeout = timeout
        self._loopback = loopback
        self._own_port = own_port
        self._resolve = resolver
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self.answer: DeliveryResponse | None = None
        self.too_late = DeliveryResponse(None, f"no response within {timeout:g} s", is_late=True)

    def run(self) -> None:
        """Send the request and set `answer`."""
        try:
            self.answer = self._send()
        except ForbiddenAddressError as error:
            self.answer = DeliveryResponse(None, str(error))
        except socket.gaierror:
            self.answer = DeliveryResponse(None, "the hostname has no address")
        except ssl.SSLError as error:
            self.answer = DeliveryResponse(None, f"TLS failed: {error.reason or 'no certificate to trust'}")
        except TimeoutError:
            self.answer = self.too_late
        except (OSError, http.client.HTTPException) as error:
            # Only the type: the error's text may contain what the receiver sent.
            self.answer = DeliveryResponse(None, f"no response: {type(error).__name__}")
        except Exception:
            logger.exception("webhook request failed unexpectedly")
            self.answer = DeliveryResponse(None, "no response: internal error")
        finally:
            self.close()

    def close(self) -> None:
        """Disconnect and send nothing more, even if the thread is still resolving a name, for minutes."""
        with self._lock:
            self._over, used = True, self._socket
        if used is not None:
            # Closing alone does not wake a thread that reads.
            with contextlib.suppress(OSError):
                used.shutdown(socket.SHUT_RDWR)
            used.close()

    def _use(self, new: socket.socket) -> None:
        """Let `close` close this socket.

        Raises:
            TimeoutError: `close` has already been called.
        """
        with self._lock:
            if not self._over:
                self._socket = new
                return
        new.close()
        raise TimeoutError

    def _send(self) -> DeliveryResponse:
        secure = self._url.scheme == "https"
        host, port = self._url.hostname or "", self._url.port or (443 if secure else 80)
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        connection.response_class = _Response
        # http.client connects only if there is no socket yet.
        connection.sock = self._connected(host, port, secure)
        path = urllib.parse.urlunsplit(("", "", self._url.path or "/", self._url.query, ""))
        connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        default = 443 if secure else 80
        connection.putheader("host", host if port == default else f"{host}:{port}")
        connection.putheader("content-length", str(len(self._body)))
        for name, value in self._headers.items():
            connection.putheader(name, value)
        connection.endheaders(self._body)
        response = connection.getresponse()
        requested = response.headers.get_all("retry-after", [])
        return DeliveryResponse(response.status, retry_after=retry_after(requested, datetime.now(UTC)))

    def _connected(self, host: str, port: int, secure: bool) -> socket.socket:
        """A socket to the first of the host's addresses that accepts a connection."""
        addresses = self._checked(self._resolve(host, port), port, secure)
        for address in addresses:
            if self._over:
                raise TimeoutError
            try:
                # An unreachable address leaves the next ones their share of the time.
                plain = socket.create_connection((address, port), timeout=self._timeout / len(addresses))
                self._use(plain)
                plain.settimeout(self._timeout)
                if not secure:
                    return plain
                # The wrapped socket takes the plain one's place before the handshake, which may be slow.
                wrapped = _context().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
                self._use(wrapped)
                wrapped.do_handshake()
                return wrapped
            except ssl.SSLError:
                raise
            except OSError:
                if address == addresses[-1]:
                    raise
        raise AssertionError("a name without an address was let through")

    def _checked(self, addresses: list[str], port: int, secure: bool) -> list[str]:
        """The addresses, if all of them are allowed.

        Raises:
            ForbiddenAddressError: one of them is not.
        """
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME)
        if self._loopback and set(addresses) == {"127.0.0.1"}:
            if port == self._own_port:
                raise ForbiddenAddressError("the address is the local engine's own")
            return addresses
        # Only link-local addresses have a scope ("%eth0").
        if not secure or not all("%" not in each and is_public(each) for each in addresses):
            raise ForbiddenAddressError("the address is not a public one")
        return addresses[:MAX_ADDRESSES]


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
