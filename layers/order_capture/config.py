"""The settings of the functions: the environment variables that template.yaml sets, and the type of each.

Each is read and checked when it is used. A pydantic model would be built at every start, even for settings
that the start does not use, and the authorizer would load pydantic only for this.
"""

from __future__ import annotations

import math
import os
import urllib.parse
from collections.abc import Callable
from typing import Generic, TypeVar, overload

Value = TypeVar("Value")


class MissingSettingError(RuntimeError):
    """A function is not deployed as in template.yaml: a setting is missing or invalid."""


def env(name: str) -> str:
    """The environment variable `name`, which template.yaml sets.

    Raises:
        MissingSettingError: it is not set.
    """
    value = os.environ.get(name)
    if not value:
        raise MissingSettingError(f"the environment variable {name} is not set; template.yaml sets it on AWS")
    return value


class Setting(Generic[Value]):
    """A setting, named as its environment variable in lower case.

    Args:
        read: converts the text to the value; raises ValueError if it is invalid.
        expected: describes a valid text, for the error.
        default: for a variable that may be left out.
    """

    def __init__(self, read: Callable[[str], Value], expected: str, default: Value | None = None) -> None:
        self._read, self._expected, self.default = read, expected, default
        self.variable = ""

    def __set_name__(self, _owner: type, name: str) -> None:
        self.variable = name.upper()

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[Value]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> Setting[Value] | Value:
        """Read the variable.

        Raises:
            MissingSettingError: it is not set, or invalid. The value is not in the error.
        """
        if instance is None:
            return self
        if self.default is not None and not os.environ.get(self.variable):
            return self.default
        try:
            return self._read(env(self.variable))
        except ValueError:
            message = f"the environment variable {self.variable} must be {self._expected}; see template.yaml"
            raise MissingSettingError(message) from None


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise ValueError(value)
    return int(value)


def _timeout(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < math.inf:
        raise ValueError(value)
    return seconds


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError(value)
    return value == "true"


def _url(value: str) -> str:
    # A path without a host is one of the local engine.
    url = urllib.parse.urljoin(os.environ.get("AWS_ENDPOINT_URL", ""), value)
    if not url.startswith(("https://", "http://")):
        raise ValueError(value)
    return url


def _text(default: str | None = None) -> Setting[str]:
    return Setting(str, "a text", default)


class Settings:
    """All settings; a function has only those that it uses."""

    order_table = _text()
    account_table = _text()
    stock_table = _text()
    history_table = _text()
    report_table = _text()
    webhook_table = _text()
    connection_table = _text()

    order_topic_arn = _text()
    order_event_topic_arn = _text()
    account_topic_arn = _text()
    stock_topic_arn = _text()

    order_update_queue_url = _text()
    order_watch_queue_url = _text()
    ship_order_queue_url = _text()
    webhook_sender_queue_url = _text()
    webhook_slow_queue_url = _text()
    webhook_sender_dlq_url = _text()
    queue_url = _text()
    """The queue that feeds the function."""
    dead_letter_queue_url = _text()

    stack_id = _text()

    order_deadline_seconds = Setting(_whole, "a whole number of seconds")
    watch_delay_seconds = Setting(_whole, "a whole number of seconds")
    ledger_stripes = Setting(_whole, "a whole number")
    webhook_timeout_seconds = Setting(_timeout, "a number of seconds above 0")

    allowed_origin = _text("")
    """The allowed CORS origin; empty if none is allowed."""
    loopback_webhooks = Setting(_flag, "true or false", default=False)
    """Whether a webhook may be on the machine itself: only on the local engine."""
    connections_url = Setting(_url, "a URL, or a path of the local engine")
    token_issuer = _text()
    token_keys_url = Setting(_url, "a URL, or a path of the local engine")

    sign_in_url = _text("")
    """The URL of the user pool's pages; empty on the local engine: there they are at the page's own host."""
    socket_url = _text()
    """A URL, or a path of the local engine."""
    stack_name = _text()

    powertools_metrics_namespace = _text("")
    """Empty if nothing is measured."""
    aws_endpoint_url = _text("")
    """The local engine's URL; empty on AWS."""

    @property
    def engine_port(self) -> int | None:
        """The port of the local engine, which no webhook may use; None on AWS."""
        return urllib.parse.urlsplit(self.aws_endpoint_url).port


settings = Settings()
