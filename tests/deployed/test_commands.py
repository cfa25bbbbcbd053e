"""The make commands on the deployed stack, with a nonexistent proxy configured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.load import __main__ as load
from benchmarks.load.generator import PYTHON as LOCUST_PYTHON
from benchmarks.load.traffic import MIXES
from local import env_json, follow, receiver, tokens
from local.engine import free_port
from order_capture.adapters.system import clock
from order_capture.domain.times import after
from order_capture_ops import __main__ as ops
from order_capture_ops import stack as stacks
from order_capture_ops import status
from order_capture_ops.close_books import close_books
from order_capture_ops.tables import Tables
from tests.deployed.shop import TIMEOUT, StackClient, body_of, eventually
from tests.support.absent import absent
from tests.support.target import needs_own_engine
from tests.support.template import functions, load_template

pytestmark = needs_own_engine("the commands look for the stack of this checkout")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _described(shop: StackClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the commands to this suite's stack."""
    description = tmp_path / "stack.json"
    description.write_text(json.dumps(dict(shop.outputs)))
    monkeypatch.setattr(stacks, "DESCRIPTION", description)
    monkeypatch.setattr(tokens, "DESCRIPTION", description)
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def poisoned(shop: StackClient) -> Iterator[str]:
    """The id of a message that order_update rejected until it was dead-lettered."""
    queue, dlq = shop.outputs["OrderUpdateQueueUrl"], shop.outputs["OrderUpdateDlqUrl"]
    shop.sqs.purge_queue(QueueUrl=dlq)
    try:
        with shop.few_receives("OrderUpdate", receives=5):
            sent = shop.sqs.send_message(QueueUrl=queue, MessageBody="nonsense")["MessageId"]
            assert eventually(lambda: shop.waiting(dlq), lambda count: count == 1) == 1
        yield sent
    finally:
        shop.sqs.purge_queue(QueueUrl=dlq)


def test_a_poison_message_is_shown_with_its_reason(
    shop: StackClient, poisoned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # reading it leaves it in the queue
        assert ops.main(["status", "--json"]) == 1
        found = json.loads(capsys.readouterr().out)
        (queue,) = (each for each in found["dead_letters"] if each["queue"] == "OrderUpdateDlq")
        (message,) = queue["messages"]

        assert (message["reason"], message["excerpt"]) == ("it is not JSON", "nonsense")
        assert message["receives"] >= 5
        assert "make redrive QUEUE=order_update DRY_RUN=1" in found["next"]
    assert shop.waiting(shop.outputs["OrderUpdateDlqUrl"]) == 1
    assert ops.main(["logs", "--function", "OrderUpdateFunction"]) == 0
    assert "refused a message" in capsys.readouterr().out


def test_status_of_a_healthy_stack_has_no_problems(
    shop: StackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.come_to_rest()

    ops.main(["status", "--json"])

    found = json.loads(capsys.readouterr().out)
    waiting = {queue["name"]: queue["waiting"] for queue in found["queues"]}
    assert waiting["ShipOrderQueue"] == 0
    assert {"ReportQueue", "WebhookSenderQueue"} < set(waiting)
    assert (found["alarms"], found["consumers"]) == ([], [])
    consumers = {each["function"] for each in status._mappings(stacks.find(None))}
    assert shop.outputs["OrderUpdateFunctionName"] in consumers


def test_the_logs_of_an_order_come_from_all_functions(
    shop: StackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    order_id = shop.place(alice, {pen: 1}, "1.00")
    shop.ended(order_id)

    def functions_that_wrote() -> set[str]:
        assert ops.main(["logs", "--order", order_id, "--json"]) == 0
        return {json.loads(line)["function"] for line in capsys.readouterr().out.splitlines()}

    on_its_way = {"order_api", "balance_checker", "stock_checker", "order_update", "ship_order"}
    assert eventually(functions_that_wrote, lambda seen: on_its_way <= seen) >= on_its_way


def test_an_order_is_followed_to_its_end(shop: StackClient, capsys: pytest.CaptureFixture[str]) -> None:
    alice, pen = shop.new_customer(), shop.new_product(1)
    order_id = shop.place(alice, {pen: 2}, "1.00")

    assert follow.main(["--order", order_id]) == 0

    printed = capsys.readouterr().out
    assert order_id in printed
    assert "REJECTED" in printed
    assert f"INSUFFICIENT_STOCK {pen}, asked 2, available 1" in printed


def test_an_unknown_order_can_not_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow.main(["--order", "no-such-order"]) == 1
    assert "There is no such order" in capsys.readouterr().err


def test_the_receiver_registers_a_webhook_and_removes_it(shop: StackClient) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    with receiver.Receiver() as listening:
        with receiver._registered(alice, listening):
            order_id = shop.place(alice, {pen: 1}, "1.00")
            events = eventually(lambda: list(listening.events.values()), lambda seen: len(seen) == 3)
        assert {event["type"] for event in events} == {"order.placed", "order.confirmed", "order.shipped"}
        assert {event["subject"] for event in events} == {order_id}
        assert listening.rejected == 0
    assert body_of(shop.get(f"/webhooks?customerId={alice}"))["webhooks"] == []


def test_tokens_are_printed_and_unknown_scopes_are_rejected(
    shop: StackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["--customer", shop.new_customer()], ["--scopes", "orders/read"]):
        assert tokens.main(arguments) == 0
        assert capsys.readouterr().out.startswith("Authorization: Bearer ")

    assert tokens.main(["--scopes", "foo/bar"]) == 2
    refused = capsys.readouterr().err.splitlines()
    assert refused[0] == "Error: SCOPES=foo/bar is not a scope of a service."
    assert "orders/read, orders/write" in refused[1]


def test_a_customer_is_exported_and_then_erased(
    shop: StackClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, pen = shop.new_customer(), shop.new_product(10)
    order_id = shop.place(alice, {pen: 2}, "7.50")
    assert shop.ended(order_id)["status"] == "SHIPPED"
    tokens.main(["--customer", alice])  # the customer has a user from then on
    sold = shop.units(pen)
    output = tmp_path / "customer.json"

    assert ops.main(["export-customer", alice, "--output", str(output)]) == 0
    exported = json.loads(output.read_text())
    assert [order["orderId"] for order in exported["orders"]] == [order_id]
    assert exported["user"]["username"] == alice

    capsys.readouterr()
    assert ops.main(["erase-customer", alice, "--json"]) == 0
    pseudonym = json.loads(capsys.readouterr().out)["pseudonym"]

    assert shop.order(order_id)["customerId"] == pseudonym
    assert shop.get(f"/account/{alice}").status_code == 404
    assert shop.units(pen) == sold
    assert ops.main(["export-customer", alice, "--output", str(output)]) == 1
    assert ops.main(["audit"]) == 0


def test_books_are_closed_once_a_retention_is_set(
    shop: StackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ops.main(["close-books", "--dry-run"]) == 2
    assert "OrderRetentionDays is 0: everything is kept" in capsys.readouterr().err

    tables = Tables.of(stacks.find(None))
    long_ago = after(clock(), -3650 * 24 * 3600)
    assert close_books(tables, long_ago).orders == 0
    assert tables.accounts.closed_until() == long_ago


def test_env_json_has_each_functions_variables_as_containers_need_them(shop: StackClient) -> None:
    content = env_json.variables(stacks.find(None), "172.17.0.1")

    assert set(content) == set(functions(load_template())) - {"SmokeTestFunction"}, "it is on AWS only"
    api = content["OrderApiFunction"]
    assert api["ORDER_TABLE"] == shop.outputs["OrderTableName"]
    port = shop.outputs["endpointUrl"].rpartition(":")[2]
    assert api["AWS_ENDPOINT_URL"] == f"http://172.17.0.1:{port}"
    assert api["ORDER_TOPIC_ARN"] == shop.outputs["OrderTopicArn"]
    queue = content["OrderUpdateFunction"]["SHIP_ORDER_QUEUE_URL"]
    assert queue.startswith(f"http://172.17.0.1:{port}/")


def test_the_operators_commands_run_on_the_deployed_stack(
    shop: StackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: tuple[Callable[[], int], ...] = (
        lambda: ops.main(["stuck"]),
        lambda: ops.main(["redrive", "order_update", "--dry-run"]),
        lambda: ops.main(["republish", "--dry-run"]),
        lambda: ops.main(["republish-events", "--since", "1h", "--dry-run"]),
    )
    # Unreadable items of earlier tests are reported, with a 1.
    assert {command() for command in commands} <= {0, 1}
    assert ops.main(["redrive"]) == 2
    assert "QUEUE is missing. Dead letters now:" in capsys.readouterr().err


def test_a_load_is_followed_to_its_end_and_the_books_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not LOCUST_PYTHON.exists():
        absent("Locust is not installed: `make .local/venv/load/.ready` installs it")
    path = tmp_path / "report.html"

    code = load.main(
        ["--users=4", "--seconds=5", f"--patience={TIMEOUT:.0f}", "--json", "--no-audit", f"--html={path}"]
    )

    found = json.loads(capsys.readouterr().out)
    assert (found["faults"], code) == ([], 0)
    assert (found["lost"], found["oversold"], found["doubled"], found["inconsistent"]) == (0, 0, 0, 0)
    assert found["accepted"] == sum(found["statuses"].values()) > 0
    assert set(found["statuses"]) <= {"SHIPPED", "REJECTED"}
    assert found["mixes"].keys() <= MIXES.keys()
    for figure in ("answer_p50", "answer_p95", "answer_p99", "decided_p50", "decided_p95", "decided_p99"):
        assert found[figure] > 0
    assert found["orders_per_second"] > 0
    assert "<svg" in path.read_text()
    assert (tmp_path / "report-locust.html").exists()


def test_the_dashboard_shows_what_became_of_orders(
    shop: StackClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # given
    alice, bob, pen = shop.new_customer("100.00"), shop.new_customer("1.00"), shop.new_product()
    placed = [shop.place(alice, {pen: 1}, "10.00"), shop.place(bob, {pen: 1}, "10.00")]
    assert [view["status"] for view in shop.all_ended(placed)] == ["SHIPPED", "REJECTED"]
    file = tmp_path / "board.html"

    def filled() -> set[str]:
        assert ops.main(["dashboard", "--json", "--output", str(file)]) == 0
        return set(json.loads(capsys.readouterr().out)["filled"])

    # when
    wanted = {"Orders", "Seconds to decision and shipment", "Orders rejected, by reason"}
    found = eventually(filled, lambda titles: wanted <= titles)
    # then
    assert wanted <= found
    assert "INSUFFICIENT_BALANCE" in file.read_text(encoding="utf-8")
