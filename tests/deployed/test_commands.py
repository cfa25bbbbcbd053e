"""The make commands against the deployed stack, with a proxy set that does not exist."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local import env_json, follow, receiver, tokens
from local.engine import free_port
from order_capture_ops import __main__ as ops
from order_capture_ops import dead_letters, status
from order_capture_ops import stack as stacks
from tests.deployed.shop import StackClient, body_of, eventually
from tests.support.template import functions, load_template

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _described(shop: StackClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands find this suite's stack."""
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
    deployed = stacks.find(None)
    dlq = dead_letters.queue(deployed, "order_update")
    assert status._consumer_of(status._mappings(deployed), dlq) == shop.outputs["OrderUpdateFunctionName"]


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


def test_env_json_has_each_functions_variables_as_containers_need_them(shop: StackClient) -> None:
    content = env_json.variables(stacks.find(None), "172.17.0.1")

    assert set(content) == set(functions(load_template()))
    api = content["OrderApiFunction"]
    assert api["ORDER_TABLE"] == shop.outputs["OrderTableName"]
    port = shop.endpoint.rpartition(":")[2]
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
