"""Webhook requests over real sockets: to the checked address only, and within the timeout."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from order_capture.adapters import webhook_client
from order_capture.domain.webhooks import DeliveryResponse
from tests.support.receiver import HANGS, FakeReceiver

HEADERS = {"content-type": "application/json", "webhook-id": "msg-1"}
NOT_PUBLIC = DeliveryResponse(None, "the address is not a public one")


def post(url: str, *addresses: str, loopback: bool = True, timeout: float = 5) -> DeliveryResponse:
    def resolver(host: str, port: int) -> list[str]:
        return list(addresses) or webhook_client.resolve(host, port)

    return webhook_client.post(
        url, HEADERS, '{"of": "żółw"}', timeout=timeout, loopback=loopback, resolver=resolver
    )


def test_the_request_arrives_whole_and_its_status_is_the_answer() -> None:
    with FakeReceiver(202) as receiver:
        answer = post(receiver.url)
        (received,) = receiver.received

    assert answer == DeliveryResponse(202)
    assert (received.path, received.body) == ("/hooks/orders?of=alice", '{"of": "żółw"}')
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["webhook-id"] == "msg-1"


NOW = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("9" * 400, float("inf")),
        ("Sat, 28 Nov 2026 12:02:00 GMT", 120),
        ("Saturday, 28-Nov-26 12:02:00 GMT", 120),
        ("Sat Nov 28 12:02:00 2026", 120),
        ("Sun Dec  6 12:00:00 2026", 8 * 24 * 3600),
        ("Saturday, 28-Nov-76 12:00:00 GMT", 50 * 365.25 * 24 * 3600 - 43200),
        ("Sat, 28 Nov 2026 11:59:00 GMT", 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        ("Thursday, 29-Feb-96 08:49:37 GMT", 0),
    ],
)
def test_retry_after_may_be_seconds_or_a_date(value: str, seconds: float) -> None:
    assert webhook_client.retry_after([value], NOW) == pytest.approx(
        seconds, abs=86400 if seconds > 1e9 else 0
    )


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["-1"],
        ["+5"],
        ["1.5"],
        ["1e3"],
        ["0x10"],
        ["١٢٠"],
        ["120 s"],
        ["120, 60"],
        ["soon"],
        ["2026-11-28T12:02:00Z"],
        ["Sat, 28 Nov 2026 12:02:00 +0100"],
        ["Sat, 32 Nov 2026 12:02:00 GMT"],
        ["120", "120"],
    ],
)
def test_an_invalid_retry_after_is_ignored(values: list[str]) -> None:
    assert webhook_client.retry_after(values, NOW) == 0


def test_a_response_has_its_retry_after() -> None:
    with FakeReceiver(503, headers={"retry-after": "120"}) as receiver:
        assert post(receiver.url) == DeliveryResponse(503, retry_after=120)


def test_a_redirect_is_not_followed() -> None:
    with FakeReceiver(200) as elsewhere, FakeReceiver(307, headers={"location": elsewhere.url}) as receiver:
        assert post(receiver.url) == DeliveryResponse(307)
        assert elsewhere.received == []


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("10.0.0.1",),
        ("169.254.169.254",),
        ("100.64.0.1",),
        ("::1",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::",),
        ("fe80::1%eth0",),
        ("fd00:ec2::254",),
        ("8.8.8.8", "127.0.0.1"),  # one bad one is enough
    ],
)
def test_a_name_that_resolves_to_a_private_address_is_rejected(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise AssertionError("something was connected to")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert post("https://innocent.example/", *addresses, loopback=False) == NOT_PUBLIC


def test_the_local_engine_allows_only_loopback_itself() -> None:
    assert post("http://127.0.0.1:1/", "10.0.0.1") == NOT_PUBLIC
    assert post("http://127.0.0.1:1/", "127.0.0.2") == NOT_PUBLIC


def test_the_local_engine_itself_is_not_reached_by_any_name() -> None:
    with FakeReceiver() as engine:
        for url in (engine.url, f"https://innocent.example:{engine.port}/"):
            answer = webhook_client.post(
                url,
                HEADERS,
                "{}",
                timeout=5,
                loopback=True,
                own_port=engine.port,
                resolver=lambda *_: ["127.0.0.1"],
            )
            assert answer == DeliveryResponse(None, "the address is the local engine's own")
        assert engine.received == []


@pytest.mark.parametrize("path", ["{}", "|", "\\", "^", "<>", '"', "`", " ", "%zz", "ż"])
def test_a_url_registered_before_the_rule_is_never_sent_raw(path: str) -> None:
    with FakeReceiver() as receiver:
        answer = post(f"http://127.0.0.1:{receiver.port}/{path}")
        assert answer == DeliveryResponse(None, "the address has characters that a URI does not allow")
        assert receiver.received == []


@pytest.mark.parametrize("address", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_other_spellings_of_loopback_are_loopback(address: str) -> None:
    assert post(f"https://{address}/", loopback=False) == NOT_PUBLIC


def test_the_checked_address_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GIVEN a name that resolves to a public address first, and to loopback from then on
    answers = iter([["93.184.215.14"]])
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], **_: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    # WHEN something is sent there
    answer = webhook_client.post(
        "https://rebinds.example/",
        HEADERS,
        "{}",
        timeout=5,
        resolver=lambda *_: next(answers, ["127.0.0.1"]),
    )
    # THEN it went to the first address, and the name was not resolved again
    assert connected == [("93.184.215.14", 443)]
    assert answer == DeliveryResponse(None, "no response: ConnectionRefusedError")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key with a self-signed certificate for shop.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_receiver(certificate: Path) -> Iterator[FakeReceiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeReceiver(204) as receiver:
        receiver._server.socket = context.wrap_socket(receiver._server.socket, server_side=True)
        yield receiver


def test_tls_is_made_with_the_name_and_not_with_the_address(
    tls_receiver: FakeReceiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(webhook_client, "_context", lambda: trusting)

    assert post(f"https://shop.example:{tls_receiver.port}/", "127.0.0.1") == DeliveryResponse(204)
    assert tls_receiver.received[0].headers["host"] == f"shop.example:{tls_receiver.port}"
    other = post(f"https://other.example:{tls_receiver.port}/", "127.0.0.1")
    assert other == DeliveryResponse(None, "TLS failed: CERTIFICATE_VERIFY_FAILED")


def test_a_self_signed_certificate_is_rejected(tls_receiver: FakeReceiver) -> None:
    answer = post(f"https://shop.example:{tls_receiver.port}/", "127.0.0.1")

    assert answer == DeliveryResponse(None, "TLS failed: CERTIFICATE_VERIFY_FAILED")
    assert tls_receiver.received == []


def test_a_hanging_receiver_times_out() -> None:
    with FakeReceiver(HANGS) as receiver:
        began = time.monotonic()
        assert post(receiver.url, timeout=0.3) == DeliveryResponse(
            None, "no response within 0.3 s", is_late=True
        )
        assert time.monotonic() - began < 2


def test_a_slowly_dripping_response_times_out() -> None:
    # GIVEN a receiver that sends its response byte by byte, so that no read ever times out
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            try:
                for byte in b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1000:
                    connection.send(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    # THEN it does not hold up the sender
    port = listening.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/", timeout=0.3) == DeliveryResponse(
        None, "no response within 0.3 s", is_late=True
    )


def test_a_name_resolution_that_hangs_times_out() -> None:
    over = threading.Event()

    def resolver(*_: object) -> list[str]:
        over.wait(5)
        return []

    answer = webhook_client.post("https://slow.example/", HEADERS, "{}", timeout=0.2, resolver=resolver)
    over.set()
    assert answer == DeliveryResponse(None, "no response within 0.2 s", is_late=True)


def test_nothing_is_sent_after_the_timeout() -> None:
    # GIVEN a name that is resolved too late
    late = threading.Event()

    def resolver(*_: object) -> list[str]:
        late.wait(5)
        return ["127.0.0.1"]

    with FakeReceiver() as receiver:
        answer = webhook_client.post(
            receiver.url, HEADERS, "{}", timeout=0.2, loopback=True, resolver=resolver
        )
        assert answer == DeliveryResponse(None, "no response within 0.2 s", is_late=True)
        # WHEN the name is resolved after all
        late.set()
        time.sleep(0.3)
        # THEN nothing is sent
        assert receiver.received == []


def test_nothing_is_sent_if_the_connection_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, made = socket.create_connection, threading.Event()

    def slowly(*of: Any, **more: Any) -> socket.socket:
        time.sleep(0.4)
        made.set()
        return connect(*of, **more)

    with FakeReceiver() as receiver:
        monkeypatch.setattr(socket, "create_connection", slowly)
        assert post(receiver.url, timeout=0.2) == DeliveryResponse(
            None, "no response within 0.2 s", is_late=True
        )
        assert made.wait(5)
        time.sleep(0.2)
        assert receiver.received == []


def answering(*parts: bytes, forever: bytes = b"") -> str:
    """The address of a server that reads one request and sends these in turn, the last repeatedly."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            try:
                request = b""
                while not request.endswith(b"}"):  # what is left unread would reset the connection
                    request += connection.recv(65536)
                for part in parts:
                    connection.sendall(part)
                    time.sleep(0.02)
                while forever:
                    connection.sendall(forever)
                    time.sleep(0.02)
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/"


def test_1xx_responses_are_ignored() -> None:
    before = [b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"]
    assert post(answering(*before, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) == DeliveryResponse(200)
    assert post(answering(*before, b"HTTP/1.1 410 Gone\r\n\r\n")).is_gone
    switching = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"
    assert post(answering(switching)) == DeliveryResponse(101)


def test_endless_1xx_responses_time_out() -> None:
    url = answering(forever=b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert post(url, timeout=0.3) == DeliveryResponse(None, "no response within 0.3 s", is_late=True)


def test_an_unresponsive_address_leaves_time_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []

    def connect(_: tuple[str, int], timeout: float) -> socket.socket:
        given.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    post("https://shop.example/", "1.1.1.1", "8.8.8.8", loopback=False, timeout=5)
    post("https://shop.example/", "1.1.1.1", loopback=False, timeout=5)
    assert given == [2.5, 2.5, 5]


def test_an_endless_response_is_not_read() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def flood() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(b"x" * 65536)
            except OSError:
                return

    threading.Thread(target=flood, daemon=True).start()
    assert post(f"http://127.0.0.1:{listening.getsockname()[1]}/") == DeliveryResponse(200)


def test_endless_headers_are_not_read() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def flood() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    connection.sendall(b"x: y\r\n" * 1000)
            except OSError:
                return

    threading.Thread(target=flood, daemon=True).start()
    answer = post(f"http://127.0.0.1:{listening.getsockname()[1]}/")
    assert answer == DeliveryResponse(None, "no response: HTTPException")


def test_the_addresses_of_a_name_are_tried_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected: list[str] = []

    def connect(address: tuple[str, int], **_: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    answer = post("https://shop.example/", "1.1.1.1", "2606:4700::1111", "8.8.8.8", "9.9.9.9", loopback=False)
    assert connected == ["1.1.1.1", "2606:4700::1111", "8.8.8.8"]
    assert answer == DeliveryResponse(None, "no response: ConnectionRefusedError")


def test_a_refused_connection_is_a_failed_delivery() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/") == DeliveryResponse(None, "no response: ConnectionRefusedError")
