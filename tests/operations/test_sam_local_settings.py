"""What `sam local` needs to run functions against a stack: variables, and a relay to the engine."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from local import bridge, env_json
from order_capture_ops.stack import Stack

DEPLOYED = {
    "shop-OrderApi": {"ORDER_TABLE": "shop-Orders", "QUEUE_URL": "http://localhost:4670/000000000000/queue"},
    "shop-ShipOrder": {"QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/queue"},
}


def stack_at(endpoint: str) -> Stack:
    def configuration(FunctionName: str) -> dict[str, Any]:  # noqa: N803
        return {"Environment": {"Variables": DEPLOYED[FunctionName]}}

    client = SimpleNamespace(
        get_function_configuration=configuration, meta=SimpleNamespace(endpoint_url=endpoint)
    )
    outputs = {"OrderApiFunctionName": "shop-OrderApi", "ShipOrderFunctionName": "shop-ShipOrder", "Url": "x"}
    return Stack("shop", outputs, {}, lambda _: client)


def test_containers_can_reach_every_address_of_the_local_stack() -> None:
    content = env_json.variables(stack_at("http://127.0.0.1:4670"), "172.17.0.1")

    assert content == {
        "OrderApiFunction": {
            "ORDER_TABLE": "shop-Orders",
            "QUEUE_URL": "http://172.17.0.1:4670/000000000000/queue",
            "AWS_ENDPOINT_URL": "http://172.17.0.1:4670",
        },
        "ShipOrderFunction": {
            "QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/queue",
            "AWS_ENDPOINT_URL": "http://172.17.0.1:4670",
        },
    }


def test_variables_of_a_stack_on_aws_are_unchanged() -> None:
    content = env_json.variables(stack_at("https://lambda.eu-west-1.amazonaws.com"))

    assert content["ShipOrderFunction"] == DEPLOYED["shop-ShipOrder"]


def test_a_relay_forwards_requests_and_responses() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[::-1])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with bridge.relay("127.0.0.1", server.server_address[1]) as port:
            sent = b"ab" * 100_000
            answer = httpx.post(f"http://127.0.0.1:{port}/", content=sent, trust_env=False)
        server.shutdown()

    assert answer.content == sent[::-1]


def test_containers_use_the_docker_bridge_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:

    address = SimpleNamespace(family=socket.AF_INET, address="172.17.0.1")
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"docker0": [address]})
    assert bridge.container_hosts() == ["host.docker.internal", "172.17.0.1"]
    monkeypatch.setattr(psutil, "net_if_addrs", dict)
    assert bridge.container_hosts() == ["host.docker.internal"]


def test_without_an_engine_the_bridge_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("local.bridge.engine.find", lambda: None)

    assert bridge.main([]) == 1

    assert capsys.readouterr().err == "Error: No engine runs here: `make run` starts it.\n"
