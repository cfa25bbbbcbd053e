"""The settings of a function: the environment variables that template.yaml sets."""

from __future__ import annotations

import os
import urllib.parse


class MissingSettingError(RuntimeError):
    """A function is not deployed as template.yaml says."""


def env(name: str) -> str:
    """The environment variable `name`, which template.yaml sets.

    Raises:
        MissingSettingError: it is not set.
    """
    value = os.environ.get(name)
    if not value:
        raise MissingSettingError(f"the environment variable {name} is not set; template.yaml sets it on AWS")
    return value


def optional_env(name: str) -> str:
    """The environment variable `name`, or an empty text."""
    return os.environ.get(name, "")


def env_url(name: str) -> str:
    """The URL in the environment variable `name`; a mere path is one on the local engine."""
    return urllib.parse.urljoin(optional_env("AWS_ENDPOINT_URL"), env(name))


def allow_loopback() -> bool:
    """Whether a webhook may be on the engine's own machine: on the local engine only (template.yaml)."""
    return optional_env("LOOPBACK_WEBHOOKS") == "true"


def own_port() -> int | None:
    """The port of the local engine, which no webhook may use; None on AWS."""
    return urllib.parse.urlsplit(optional_env("AWS_ENDPOINT_URL")).port
