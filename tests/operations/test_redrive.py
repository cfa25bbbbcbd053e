"""Dead letters are moved back to their source, and none is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters.operations import dead_letters
from order_capture.adapters.operations.dead_letters import DeadLetterQueue, peek, redrive
from order_capture.application.operations.ports import RedriveResult
from order_capture_ops.__main__ import dead_letter_queue
from order_capture_ops.errors import UsageError
from order_capture_ops.stack import Stack
from tests.operations.conftest import Run
from tests.support.factories import body_of, check, details_of
from tests.support.shop import Shop, order_of

SqsMessage = dict[str, Any]


@pytest.fixture
def sqs(stack: Stack) -> Any:
    return stack.client("sqs")


def dlq_of(stack: Stack, name: str) -> DeadLetterQueue:
    return dead_letter_queue(stack, name)


def put(sqs: Any, url: str, body: str, **attributes: str) -> None:
    values = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=values)


def waiting(sqs: Any, url: str) -> list[SqsMessage]:
    """The messages of a queue, without removing them."""
    messages: list[SqsMessage] = []
    while batch := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
    ).get("Messages"):
        messages += batch
    for message in messages:
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    return messages


def bodies(sqs: Any, url: str) -> list[str]:
    return sorted(message["Body"] for message in waiting(sqs, url))


def fail_for_good(shop: Shop, name: str, operation: str) -> None:
    """Make a function fail until its message is in the dead-letter queue."""
    with shop.pipeline.refusing(operation):
        for _ in range(shop.pipeline.max_receive_count(name) + 1):
            shop.pipeline.deliver(name)


@pytest.fixture
def unshipped(shop: Shop) -> str:
    """A confirmed order whose message to ship was dead-lettered."""
    order_id = shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
    fail_for_good(shop, "ship_order", "dynamodb.TransactWriteItems")
    assert shop.status(order_id) == "CONFIRMED"
    return order_id


class TestDryRun:
    def test_lists_the_messages_and_moves_none(self, stack: Stack, sqs: Any, unshipped: str) -> None:
        dlq = dlq_of(stack, "ship_order")
        before = [(message["MessageId"], message["Body"]) for message in waiting(sqs, dlq.url)]

        (message,) = peek(sqs, dlq)

        assert (message.type, message.order_id) == ("order.ship", unshipped)
        assert 0 <= message.age < 60
        assert message.receives >= 1
        assert [(message["MessageId"], message["Body"]) for message in waiting(sqs, dlq.url)] == before
        assert waiting(sqs, dlq.targets[0]) == []

    def test_lists_every_message_once(self, stack: Stack, sqs: Any) -> None:
        dlq = dlq_of(stack, "order_update")
        for number in range(25):
            put(sqs, dlq.url, body_of(check(details_of(f"order-{number}"))))

        messages = peek(sqs, dlq)

        assert {message.order_id for message in messages} == {f"order-{number}" for number in range(25)}
        assert len(messages) == 25
        assert len(peek(sqs, dlq, limit=7)) == 7
        assert len(waiting(sqs, dlq.url)) == 25

    def test_by_command(
        self, run: Run, stack: Stack, sqs: Any, unshipped: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        put(sqs, stack.outputs["ShipOrderDlqUrl"], "nonsense")
        assert run("redrive", "ShipOrderDlq", "--dry-run") == 0
        printed = capsys.readouterr().out
        assert run("redrive", "ShipOrderDlq", "--dry-run", "--json") == 0
        messages = json.loads(capsys.readouterr().out)["messages"]

        assert unshipped in printed
        assert "foreign message" in printed
        assert {(each["type"], each["order_id"]) for each in messages} == {
            ("order.ship", unshipped),
            (None, None),
        }


class TestRedrive:
    def test_moves_a_message_and_the_order_ships(
        self, shop: Shop, run: Run, unshipped: str, stack: Stack, sqs: Any
    ) -> None:
        assert run("redrive", "ship_order") == 0
        assert waiting(sqs, stack.outputs["ShipOrderDlqUrl"]) == []

        shop.pipeline.run()

        assert shop.status(unshipped) == "SHIPPED"
        shop.books_add_up()

    def test_keeps_body_and_attributes(self, stack: Stack, sqs: Any, unshipped: str) -> None:
        dlq = dlq_of(stack, "ship_order")
        (message,) = waiting(sqs, dlq.url)

        assert redrive(sqs, dlq) == RedriveResult(moved=1)

        (moved,) = waiting(sqs, dlq.targets[0])
        assert moved["Body"] == message["Body"]
        assert {name: value["StringValue"] for name, value in moved["MessageAttributes"].items()} == {
            "type": "order.ship",
            "version": "1",
        }

    @pytest.mark.parametrize(
        "name", ["order_update", "order-update", "OrderUpdate", "OrderUpdateDlq", "OrderUpdateQueue"]
    )
    def test_finds_a_queue_by_all_its_names(self, stack: Stack, name: str) -> None:
        assert dlq_of(stack, name).url == stack.outputs["OrderUpdateDlqUrl"]
        assert dlq_of(stack, name).targets == (stack.outputs["OrderUpdateQueueUrl"],)

    def test_covers_every_queue_of_a_function(self, stack: Stack) -> None:
        served = {dlq.url for dlq in dead_letters.all_queues(stack) if dlq.targets}
        fed = {name.removesuffix("QueueUrl") for name in stack.outputs if name.endswith("QueueUrl")}
        fed -= {"WebhookSlow"}  # it shares the dead-letter queue of the quick lane

        assert served == {stack.outputs[f"{name}DlqUrl"] for name in (*fed, "OrderTopic", "OrderEventTopic")}

    def test_skips_foreign_messages(self, run: Run, stack: Stack, sqs: Any) -> None:
        dlq = dlq_of(stack, "order_update")
        ours = body_of(check())
        without_end = ours.replace('"qty":1', '"qty":1e100000000')
        for body in ("nonsense", ours, "{}", without_end):
            put(sqs, dlq.url, body)

        assert run("redrive", "order_update") == 1

        assert bodies(sqs, dlq.url) == sorted(["nonsense", "{}", without_end])
        assert bodies(sqs, dlq.targets[0]) == [ours]

    def test_moves_foreign_messages_when_forced(self, run: Run, stack: Stack, sqs: Any) -> None:
        dlq = dlq_of(stack, "order_update")
        put(sqs, dlq.url, "nonsense")

        assert run("redrive", "order_update", "--force") == 0

        assert (bodies(sqs, dlq.url), bodies(sqs, dlq.targets[0])) == ([], ["nonsense"])

    def test_respects_the_limit(
        self, run: Run, stack: Stack, sqs: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        dlq = dlq_of(stack, "order_update")
        for number in range(25):
            put(sqs, dlq.url, body_of(check(details_of(f"order-{number}"))))

        assert run("redrive", "order_update", "--limit", "12", "--json") == 0

        assert json.loads(capsys.readouterr().out)["moved"] == 12
        assert len(waiting(sqs, dlq.url)) == 13
        assert len(waiting(sqs, dlq.targets[0])) == 12

    def test_respects_the_rate(self, stack: Stack, sqs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        dlq = dlq_of(stack, "order_update")
        for number in range(12):
            put(sqs, dlq.url, body_of(check(details_of(f"order-{number}"))))
        now = [0.0]
        clock = SimpleNamespace(
            monotonic=lambda: now[0], time=lambda: 0.0, sleep=lambda s: now.__setitem__(0, now[0] + s)
        )
        monkeypatch.setattr(dead_letters, "time", clock)
        seen: list[tuple[int, float]] = []

        redrive(sqs, dlq, rate=4, on_progress=lambda _, moved: seen.append((moved, now[0])))

        assert seen == [(4, 0.0), (4, 1.0), (4, 2.0)]

    def test_moves_large_messages_one_by_one(self, stack: Stack, sqs: Any) -> None:
        dlq = dlq_of(stack, "order_update")
        large = ["a" * 150_000, "b" * 150_000]
        for body in large:
            put(sqs, dlq.url, body)

        assert redrive(sqs, dlq, force=True) == RedriveResult(moved=2)

        assert bodies(sqs, dlq.targets[0]) == large

    def test_does_not_move_a_message_twice_that_fails_again(self, stack: Stack, sqs: Any) -> None:
        dlq = dlq_of(stack, "order_update")
        put(sqs, dlq.url, body_of(check()))
        loop = DeadLetterQueue(dlq.channel, dlq.url, targets=(dlq.url,))  # each message fails again at once

        assert redrive(sqs, loop) == RedriveResult(moved=1)
        assert len(waiting(sqs, dlq.url)) == 1


class TestDeadLettersOfATopic:
    """They go back to every checker, since the message does not name the one that SNS could not reach."""

    def test_go_to_both_checkers_and_take_effect_once(
        self, shop: Shop, run: Run, stack: Stack, sqs: Any
    ) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.deliver("balance_checker")
        (lost,) = waiting(sqs, stack.outputs["StockCheckerQueueUrl"])
        assert shop.pipeline.held_up("stock_checker") == [lost["Body"]]
        added_by_sns = {"RequestID": "r", "ErrorCode": "AccessDenied", "ErrorMessage": "no"}
        dlq_url = stack.outputs["OrderTopicDlqUrl"]
        put(sqs, dlq_url, lost["Body"], type="order.check", version="1", **added_by_sns)

        assert run("redrive", "OrderTopicDlq") == 0

        for name in ("BalanceChecker", "StockChecker"):
            (message,) = waiting(sqs, stack.outputs[f"{name}QueueUrl"])
            assert message["Body"] == lost["Body"]
            assert set(message["MessageAttributes"]) == {"type", "version"}
        shop.pipeline.run()
        assert shop.status(order_id) == "SHIPPED"
        shop.books_add_up()

    def test_stay_until_every_subscriber_has_them(self, stack: Stack, sqs: Any) -> None:
        dlq = dlq_of(stack, "order_topic")
        put(sqs, dlq.url, body_of(check()))
        second = dlq.targets[1]

        def refuse(params: dict[str, Any], **_: object) -> None:
            if params["QueueUrl"] == second:
                raise botocore.exceptions.EndpointConnectionError(endpoint_url=second)

        sqs.meta.events.register("provide-client-params.sqs.SendMessageBatch", refuse)
        with pytest.raises(botocore.exceptions.EndpointConnectionError):
            redrive(sqs, dlq)

        assert len(waiting(sqs, dlq.targets[0])) == 1
        assert len(waiting(sqs, dlq.url)) == 1


def test_on_aws_a_poll_asks_all_of_sqss_servers(stack: Stack) -> None:
    assert dlq_of(replace(stack, on_aws=True), "order_update").wait > 0
    assert dlq_of(stack, "order_update").wait == 0, "the local engine has one"


class TestFailures:
    def test_a_crash_between_sending_and_deleting_loses_nothing(
        self, shop: Shop, stack: Stack, sqs: Any, unshipped: str
    ) -> None:
        dlq = dlq_of(stack, "ship_order")

        def crash(**_: object) -> None:
            raise KeyboardInterrupt

        sqs.meta.events.register("before-call.sqs.DeleteMessageBatch", crash)
        with pytest.raises(KeyboardInterrupt):
            redrive(sqs, dlq)
        sqs.meta.events.unregister("before-call.sqs.DeleteMessageBatch", crash)

        assert len(waiting(sqs, dlq.url)) == len(waiting(sqs, dlq.targets[0])) == 1, "in both"
        assert redrive(sqs, dlq) == RedriveResult(moved=1)
        shop.pipeline.run()
        assert shop.status(unshipped) == "SHIPPED"
        shop.books_add_up()

    def test_messages_that_sqs_rejects_stay(self, run: Run, stack: Stack, sqs: Any, unshipped: str) -> None:
        dlq = dlq_of(stack, "ship_order")

        def fail(parsed: dict[str, Any], **_: object) -> None:
            failed = [
                {"Id": each["Id"], "Code": "InternalError", "SenderFault": False}
                for each in parsed.pop("Successful")
            ]
            parsed["Failed"] = failed

        sqs.meta.events.register("after-call.sqs.SendMessageBatch", fail)

        assert redrive(sqs, dlq) == RedriveResult(failed=1)

        assert len(waiting(sqs, dlq.url)) == 1

    def test_an_unknown_queue_exits_2_with_the_known_ones(
        self, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("redrive", "nonsense") == 2
        assert "OrderUpdateDlq" in capsys.readouterr().err

    def test_a_queue_without_targets_is_unknown(self, stack: Stack) -> None:
        with pytest.raises(UsageError, match="There are: BalanceCheckerDlq"):
            dlq_of(stack, "ChangePublisherDlq")
