"""POSTs to addresses that customers have chosen, so that none of them leads to what is ours.

A name is resolved once; all of its addresses must be public, and the connection goes to one of those that
were checked, whatever the name says a moment later (DNS rebinding). TLS and Host still speak of the name.
No redirect is followed and no answer is read beyond its head. Proxies of the environment are passed by.
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
"""The addresses of a name."""

MAX_ADDRESSES = 3  # of a name that are tried


class ForbiddenAddressError(Exception):
    """A name leads to where nothing is sent."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver has for a name."""
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
    """POST, and say what came of it within `timeout` seconds, whatever takes the time.

    `loopback` lets http://127.0.0.1 be reached as well, for a stack whose receivers are on the same machine;
    of its ports all but `own_port`, which is the stack's.
    """
    if not is_uri_text(url):  # it was registered before that was checked
        return DeliveryResponse(None, "the address has characters that a URI does not allow")
    exchange = _Exchange(url, headers, body, timeout, loopback, own_port, resolver)
    # In a thread of its own, since neither resolving a name nor an answer that drips in byte by byte would
    # end at any other timeout. A thread that is given up ends when its socket is closed.
    thread = threading.Thread(target=exchange.run, daemon=True)
    thread.start()
    thread.join(timeout)
    answer = exchange.answer
    if answer is None:
        exchange.close()
        return exchange.too_late
    return answer


# The forms of a date that a recipient has to take (RFC 9110, section 5.6.7). strptime takes any case, and a
# day of the week that is not the date's: there is nothing to be gained by refusing them.
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


def retry_after(values: list[str], now: datetime) -> float:
    """The seconds that Retry-After asks for: a number of them, or a date; 0 where it says nothing of use."""
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
    """An answer behind all interim responses (1xx), of which http.client knows 100 only."""

    def begin(self) -> None:
        """Read the head of the answer itself."""
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment]  # or it takes itself for read
            super().begin()


class _Exchange:
    """One request and its answer."""

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
        """Have `answer` set."""
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
            # Its text may hold what the other side sent.
            self.answer = DeliveryResponse(None, f"no response: {type(error).__name__}")
        except Exception:
            logger.exception("webhook request failed unexpectedly")
            self.answer = DeliveryResponse(None, "no response: internal error")
        finally:
            self.close()

    def close(self) -> None:
        """Hang up, and send nothing more, whatever the thread is at: resolving a name may take minutes."""
        with self._lock:
            self._over, used = True, self._socket
        if used is not None:
            # Closing alone wakes no thread that reads.
            with contextlib.suppress(OSError):
                used.shutdown(socket.SHUT_RDWR)
            used.close()

    def _use(self, new: socket.socket) -> None:
        """Let `close` hang up on this socket.

        Raises:
            TimeoutError: it has been called already.
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
        # http.client connects only where there is no socket yet.
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
        """A socket to the first of the host's addresses that answers."""
        addresses = self._checked(self._resolve(host, port), port, secure)
        for address in addresses:
            if self._over:
                raise TimeoutError
            try:
                # An address that is not there leaves the next ones their time.
                plain = socket.create_connection((address, port), timeout=self._timeout / len(addresses))
                self._use(plain)
                plain.settimeout(self._timeout)
                if not secure:
                    return plain
                # What wraps a socket takes its place, before a handshake that may take its time.
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
        """The addresses, if each of them may be reached.

        Raises:
            ForbiddenAddressError: one may not.
        """
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME)
        if self._loopback and set(addresses) == {"127.0.0.1"}:
            if port == self._own_port:
                raise ForbiddenAddressError("the address is the local engine's own")
            return addresses
        # A scope ("%eth0") belongs to addresses of one's own link only.
        if not secure or not all("%" not in each and is_public(each) for each in addresses):
            raise ForbiddenAddressError("the address is not a public one")
        return addresses[:MAX_ADDRESSES]


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
