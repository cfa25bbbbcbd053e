"""The tutorials and the README's example, followed: their blocks are pasted into a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from local.engine import ROOT, Engine
from tests.deployed.shop import TIMEOUT, StackClient
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("the tutorials are about the local stack")

# Blocks use the tests' stack in place of the checkout's. Other commands have their own tests.
_MAKE = """
set -e
make() {{
    case "$*" in
        "-s token") echo {token} ;;
        "-s env") echo {env} ;;
        *) echo "make $*" ;;
    esac
}}
curl() {{ command curl --silent --show-error --fail-with-body "$@"; }}
"""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(shop: StackClient, tmp_path: Path) -> Path:
    """A folder like a checkout, whose stack is the tests'."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/stack.json").write_text(json.dumps(dict(shop.outputs)))
    (tmp_path / ".local/venv").symlink_to(ROOT / ".local/venv")
    return tmp_path


@pytest.fixture
def prelude(shop: StackClient, engine: Engine) -> str:
    """The shell's state before the first block."""
    token = f"Authorization: Bearer {shop.tokens.of_service()}"
    variables = "".join(f"export {name}={value}; " for name, value in engine.variables().items())
    return _MAKE.format(token=shlex.quote(token), env=shlex.quote(variables))


def shell(script: str, folder: Path) -> str:
    """The output of a script in a new shell."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readmes_example_works(checkout: Path, prelude: str, shop: StackClient) -> None:
    (example,) = blocks("README.md", "sh")
    printed = shell(prelude + example, checkout)
    assert '"status":"SHIPPED"' in printed or '"status":"CONFIRMED"' in printed
    shop.come_to_rest()


def test_the_first_order(checkout: Path, prelude: str, shop: StackClient) -> None:
    printed = shell(prelude + "\n".join(blocks("docs/tutorial/first-order.md", "sh")), checkout)
    # then: shipped, and no second order with the same key; then rejected, as in the text
    assert '"status":"SHIPPED"' in printed or '"status":"CONFIRMED"' in printed
    assert "stock DECLINED INSUFFICIENT_STOCK pen, asked 5, available 4" in printed
    assert "make audit" in printed
    assert "make logs FUNCTION=order_update SINCE=5m" in printed
    shop.sqs.purge_queue(QueueUrl=shop.outputs["OrderUpdateQueueUrl"])  # the nonsense of section 8
    shop.come_to_rest()


def test_the_first_consumer(checkout: Path, prelude: str, shop: StackClient) -> None:
    page = "docs/tutorial/first-consumer.md"
    (program,) = blocks(page, "python")
    start, order = blocks(page, "sh")
    # given: the account and the product of the tutorial before
    shop.post("/account", {"customerId": "erin", "balance": 100})
    shop.post("/stock", {"productId": "pen", "balance": 5, "price": 9.50})
    (checkout / "consumer.py").write_text(program)
    assert ".local/venv/engine/bin/python consumer.py" in start
    running = subprocess.Popen(
        ["bash", "-c", prelude + start],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    try:
        assert running.stdout.readline() == "Waiting for orders to ship\n"
        # when
        (order_id,) = re.findall(r'"orderId":"([^"]+)"', shell(prelude + order, checkout))
        # then
        assert running.stdout.readline() == f"A label for erin {order_id}\n"
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    subscribed = shop.sqs.get_queue_url(QueueName="labels")["QueueUrl"]
    shop.sqs.delete_queue(QueueUrl=subscribed)
