"""`make clients`: each service has its own client, which can be rotated and revoked separately."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters.operations.stack import Stack
from order_capture_ops import __main__ as cli
from order_capture_ops import clients

POOL = {"UserPoolId": "us-east-1_Pool"}


class UserPool:
    """Cognito's user pool, as far as its app clients are concerned."""

    def __init__(self) -> None:
        self.clients: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, list[dict[str, Any]]] = {}
        self.create_user_pool_client(**POOL, ClientName="services", AllowedOAuthScopes=["orders/read"])

    def list_resource_servers(self, **_: object) -> dict[str, Any]:
        scopes = [{"ScopeName": "read"}, {"ScopeName": "write"}]
        return {"ResourceServers": [{"Identifier": name, "Scopes": scopes} for name in ("orders", "stock")]}

    def list_user_pool_clients(self, NextToken: str = "0", **_: object) -> dict[str, Any]:  # noqa: N803
        """One on each page."""
        ids, start = [*self.clients], int(NextToken)
        more = {"NextToken": str(start + 1)} if start + 1 < len(ids) else {}
        return {"UserPoolClients": [{"ClientId": each} for each in ids[start : start + 1]], **more}

    def describe_user_pool_client(self, ClientId: str, **_: object) -> dict[str, Any]:  # noqa: N803
        return {"UserPoolClient": self.clients[ClientId]}

    def create_user_pool_client(self, **settings: Any) -> dict[str, Any]:
        client_id = f"client-{len(self.clients)}"
        self.clients[client_id] = {**settings, "ClientId": client_id, "ClientSecret": f"{client_id}-first"}
        self.secrets[client_id] = []
        self.add_user_pool_client_secret(client_id)
        return {"UserPoolClient": self.clients[client_id]}

    def delete_user_pool_client(self, ClientId: str, **_: object) -> None:  # noqa: N803
        del self.clients[ClientId]

    def add_user_pool_client_secret(self, ClientId: str, **_: object) -> dict[str, Any]:  # noqa: N803
        known = self.secrets[ClientId]
        if len(known) == clients.MAX_SECRETS:
            error: Any = {"Error": {"Code": "LimitExceededException", "Message": "too many"}}
            raise botocore.exceptions.ClientError(error, "AddUserPoolClientSecret")
        secret = {
            "ClientSecretId": f"secret-{len(known)}",
            "ClientSecretValue": f"{ClientId}-{len(known)}",
            "ClientSecretCreateDate": datetime.now(UTC) + timedelta(days=len(known)),
        }
        known.insert(0, secret)
        return {"ClientSecretDescriptor": secret}

    def list_user_pool_client_secrets(self, ClientId: str, **_: object) -> dict[str, Any]:  # noqa: N803
        return {"ClientSecrets": self.secrets[ClientId]}

    def delete_user_pool_client_secret(self, ClientId: str, ClientSecretId: str, **_: object) -> None:  # noqa: N803
        known = self.secrets[ClientId]
        self.secrets[ClientId] = [each for each in known if each["ClientSecretId"] != ClientSecretId]


@pytest.fixture
def pool() -> UserPool:
    return UserPool()


@pytest.fixture
def stack(pool: UserPool) -> Stack:
    outputs = {"UserPoolId": POOL["UserPoolId"], "ServiceClientId": "client-0"}
    return Stack("shop", outputs, {}, lambda service: pool, on_aws=True)


Run = Callable[..., int]


@pytest.fixture
def run(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `make clients` with these options."""
    monkeypatch.setattr(cli.stacks, "find", lambda name: stack)  # type: ignore[attr-defined]
    return lambda *options: cli.main(["clients", *options])


def test_a_new_client_has_the_scopes_it_was_given_and_no_others(
    run: Run, pool: UserPool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--add", "warehouse", "--scopes", "stock/read stock/write", "--json") == 0

    made = json.loads(capsys.readouterr().out)
    assert made == {"name": "warehouse", "id": "client-1", "secret": "client-1-first"}
    settings = pool.clients["client-1"]
    assert settings["AllowedOAuthScopes"] == ["stock/read", "stock/write"]
    assert settings["AllowedOAuthFlows"] == ["client_credentials"]
    assert settings["GenerateSecret"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--add", "a b", "--scopes", "stock/read"), "ADD: 'a b' is not a name"),
        (("--add", "x"), "SCOPES is missing: one or more of orders/read orders/write stock/read stock/write"),
        (
            ("--add", "x", "--scopes", "stock/all"),
            "SCOPES: unknown scope stock/all; known:",
        ),
        (
            ("--add", "services", "--scopes", "stock/read"),
            "a client services exists already; ROTATE=",
        ),
        (("--scopes", "stock/read"), "SCOPES is for ADD only"),
        (("--rotate", "nobody"), "there is no client nobody; there are services"),
    ],
)
def test_what_is_not_allowed_is_said(
    run: Run, pool: UserPool, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run(*options) == 2

    assert message in capsys.readouterr().err
    assert [*pool.clients] == ["client-0"]


def test_a_rotated_client_keeps_its_id_and_its_first_secret_until_that_is_retired(
    run: Run, pool: UserPool, capsys: pytest.CaptureFixture[str]
) -> None:
    # when
    assert run("--rotate", "services") == 0
    # then
    shown = capsys.readouterr().out
    assert "client-0-1" in shown
    assert "make clients STACK=shop RETIRE=services" in shown
    assert len(pool.secrets["client-0"]) == 2
    # when its service has the new one
    assert run("--retire", "services") == 0
    # then the old one is gone
    assert [each["ClientSecretValue"] for each in pool.secrets["client-0"]] == ["client-0-1"]


def test_a_third_secret_is_refused_with_the_way_out(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--rotate", "services") == 0

    assert run("--rotate", "services") == 1

    assert "RETIRE=services deletes the older" in capsys.readouterr().err


def test_the_only_secret_of_a_client_is_never_retired(
    run: Run, pool: UserPool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--retire", "services") == 1

    assert "ROTATE=services adds another first" in capsys.readouterr().err
    assert len(pool.secrets["client-0"]) == 1


def test_a_revoked_client_is_gone_and_the_stacks_own_stays(
    run: Run, pool: UserPool, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--add", "warehouse", "--scopes", "stock/read")

    assert run("--revoke", "warehouse") == 0
    assert run("--revoke", "services") == 1

    assert [*pool.clients] == ["client-0"]
    assert "services is a part of the stack" in capsys.readouterr().err


def test_the_list_names_every_client_and_shows_no_secret(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--add", "warehouse", "--scopes", "stock/read")
    capsys.readouterr()

    assert run() == 0

    shown = capsys.readouterr().out
    assert "warehouse" in shown
    assert "part of the stack" in shown
    assert "first" not in shown


def test_the_local_engine_says_that_it_rotates_nothing(stack: Stack) -> None:
    with pytest.raises(clients.ClientError, match="rotate it on AWS"):
        clients.rotate(replace(stack, on_aws=False), "services")
