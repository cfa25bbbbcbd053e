"""A function's configuration and clients from its environment."""

from __future__ import annotations

import os
import random
import re
import time
from typing import Any

import pytest

from order_capture.adapters import aws_clients, system, time_budget
from order_capture.application.retry import MAX_ATTEMPTS
from order_capture.config import MissingSettingError, Setting, Settings, settings
from order_capture.entrypoints import invocations
from tests.support.factories import lambda_context
from tests.support.template import functions, load_template


def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_TABLE", "orders")
    assert settings.order_table == "orders"

    monkeypatch.setenv("ORDER_TABLE", "")

    with pytest.raises(MissingSettingError, match="ORDER_TABLE is not set"):
        _ = settings.order_table


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WATCH_DELAY_SECONDS", "1.5", "a whole number of seconds"),
        ("WEBHOOK_TIMEOUT_SECONDS", "nan", "a number of seconds above 0"),
        ("LOOPBACK_WEBHOOKS", "yes", "true or false"),
        ("CONNECTIONS_URL", "/connections", "a URL, or a path of the local engine"),
    ],
)
def test_a_setting_of_another_type_is_named_with_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv(name, value)

    with pytest.raises(MissingSettingError, match=f"{name} must be {expected}") as caught:
        getattr(settings, name.lower())
    assert value not in str(caught.value).replace(expected, "")


def test_a_path_is_a_url_of_the_local_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    monkeypatch.setenv("CONNECTIONS_URL", "/connections")

    assert settings.connections_url == "http://127.0.0.1:4566/connections"
    assert settings.engine_port == 4566


def test_the_settings_are_those_that_the_template_sets() -> None:
    declared = {each.variable: each for each in vars(Settings).values() if isinstance(each, Setting)}
    template = load_template()
    set_there = {
        name
        for function in [template["Globals"]["Function"], *functions(template).values()]
        for name in function["Environment"]["Variables"]
    }

    of_powertools = {"LOG_LEVEL", "POWERTOOLS_SERVICE_NAME"}
    assert set_there - of_powertools <= declared.keys()
    assert {name for name, each in declared.items() if each.default is None} <= set_there


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "_ends_at", float("inf"))


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services whose clients were created."""
    services: list[str] = []
    monkeypatch.setattr(aws_clients, "client", services.append)
    for name in [name for name in os.environ if re.search("_TABLE$|_TOPIC_ARN$|_QUEUE_URL$", name)]:
        monkeypatch.delenv(name)
    return services


@pytest.mark.parametrize(
    ("settings", "services"),
    [
        (["ORDER_TABLE", "ORDER_TOPIC_ARN"], ["dynamodb", "sns"]),
        (["ORDER_TABLE", "STOCK_TABLE", "SHIP_ORDER_QUEUE_URL"], ["dynamodb", "sqs"]),
        (["HISTORY_TABLE", "DEAD_LETTER_QUEUE_URL"], ["dynamodb"]),
        ([], []),
    ],
)
def test_a_function_starts_with_the_clients_that_its_settings_name(
    settings: list[str], services: list[str], created: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in settings:
        monkeypatch.setenv(name, "somewhere")
    aws_clients.create_clients()
    assert created == services


def test_a_call_that_is_tried_twice_has_failed_after_seven_seconds() -> None:
    config = vars(aws_clients._CONFIG)
    assert config["retries"] == {"mode": "standard", "total_max_attempts": 2}
    assert 2 * (config["connect_timeout"] + config["read_timeout"]) + 1 == aws_clients.WORST_CALL_SECONDS


def test_the_clock_is_utc_to_the_millisecond() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", system.clock())


def test_all_pauses_of_a_write_together_stay_well_inside_a_functions_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)

    for tries in range(1, MAX_ATTEMPTS + 1):
        system.backoff(tries)

    assert slept == sorted(slept)
    assert sum(slept) < 2


def test_ids_are_unique_and_such_as_clients_may_use() -> None:
    ids = {system.new_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9._:@+~-]{1,64}", each) for each in ids)


def test_no_call_is_tried_that_could_outlast_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a function with less time left than one attempt may take
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")

    def handle(_event: dict[str, Any], _context: Any) -> None:
        client: Any = aws_clients.session().client("sqs", region_name="eu-west-1")
        client.delete_message(QueueUrl="https://sqs.eu-west-1.amazonaws.com/1/queue", ReceiptHandle="receipt")

    context = lambda_context(int(1000 * time_budget.RESERVED_SECONDS) - 1)
    # WHEN it calls AWS THEN nothing is sent, and the work can be retried
    with pytest.raises(invocations.InvocationFailedError, match="no time is left"):
        invocations.invocation(handle)({}, context)


def test_what_is_kept_of_a_functions_time_is_enough_for_one_try() -> None:
    config = vars(aws_clients._CONFIG)
    assert config["connect_timeout"] + config["read_timeout"] <= time_budget.RESERVED_SECONDS
