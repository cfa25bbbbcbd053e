"""The app clients of services: one per service, so that each can be rotated or revoked separately.

A client's id stays the same when its secret is rotated: Idempotency-Keys belong to the caller with that id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import botocore.exceptions

from order_capture.adapters.operations.stack import Stack
from order_capture_ops.errors import CommandError, UsageError

OF_THE_STACK = ("ServiceClientId", "CustomerClientId", "ConsoleClientId")
"""Outputs with the clients that the template makes. Only the template changes them."""

MAX_SECRETS = 2
"""Per client:
https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AddUserPoolClientSecret.html"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_PAGE = 60  # the most that Cognito lists at a time


class ClientError(CommandError):
    """This client does not allow the operation; the message is shown to the user."""


@dataclass(frozen=True, slots=True)
class Client:
    """An app client of the user pool."""

    name: str
    client_id: str
    scopes: Sequence[str]
    of_the_stack: bool


@dataclass(frozen=True, slots=True)
class Secret:
    """A client's secret, for its service only."""

    client: Client
    value: str


def list_clients(stack: Stack) -> list[Client]:
    """All clients of the stack's user pool, by name."""
    return sorted(_clients(stack), key=lambda client: client.name)


def add(stack: Stack, name: str, scopes: Sequence[str]) -> Secret:
    """Create a service's client, with these scopes.

    Raises:
        UsageError: the name is taken, or the name or a scope is not allowed.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"ADD: {name!r} is not a name: 1 to 64 letters, digits and hyphens")
    known = _scopes(stack)
    if unknown := sorted({*scopes} - {*known}):
        raise UsageError(f"SCOPES: unknown scope {', '.join(unknown)}; known: {' '.join(known)}")
    if not scopes:
        raise UsageError(f"SCOPES is missing: one or more of {' '.join(known)}")
    if any(client.name == name for client in _clients(stack)):
        raise UsageError(f"ADD: a client {name} exists already; ROTATE={name} creates another secret for it")
    # Like the stack's own client in the template: the client credentials grant only, tokens for an hour.
    made = _pool(stack).create_user_pool_client(
        UserPoolId=stack.output("UserPoolId"),
        ClientName=name,
        GenerateSecret=True,
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthFlows=["client_credentials"],
        AllowedOAuthScopes=[*scopes],
        ExplicitAuthFlows=["ALLOW_REFRESH_TOKEN_AUTH"],
        PreventUserExistenceErrors="ENABLED",
        EnableTokenRevocation=True,
        AccessTokenValidity=60,
        TokenValidityUnits={"AccessToken": "minutes"},
    )["UserPoolClient"]
    return Secret(Client(name, made["ClientId"], scopes, of_the_stack=False), made["ClientSecret"])


def rotate(stack: Stack, name: str) -> Secret:
    """Give a client a second secret; the first keeps working until it is retired.

    Raises:
        UsageError: there is no such client.
        ClientError: it has two already, or the pool is on the local engine.
    """
    client = _named(stack, name)
    if not stack.on_aws:
        raise ClientError("The local engine keeps one secret for each client: rotate it on AWS.")
    key = {"UserPoolId": stack.output("UserPoolId"), "ClientId": client.client_id}
    try:
        made = _pool(stack).add_user_pool_client_secret(**key)["ClientSecretDescriptor"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "LimitExceededException":
            raise
        raise ClientError(
            f"{name} has {MAX_SECRETS} secrets, the maximum. Once its service has the newer one, "
            f"RETIRE={name} deletes the older."
        ) from error
    return Secret(client, made["ClientSecretValue"])


def retire(stack: Stack, name: str) -> Client:
    """Delete the older of a client's two secrets.

    Raises:
        UsageError: there is no such client.
        ClientError: it has only one.
    """
    client = _named(stack, name)
    key = {"UserPoolId": stack.output("UserPoolId"), "ClientId": client.client_id}
    secrets = [] if not stack.on_aws else _pool(stack).list_user_pool_client_secrets(**key)["ClientSecrets"]
    if len(secrets) < MAX_SECRETS:
        raise ClientError(f"{name} has one secret, which its service uses: ROTATE={name} adds another first.")
    oldest = min(secrets, key=lambda secret: secret["ClientSecretCreateDate"])
    _pool(stack).delete_user_pool_client_secret(**key, ClientSecretId=oldest["ClientSecretId"])
    return client


def revoke(stack: Stack, name: str) -> Client:
    """Delete a client. It gets no more tokens; those already issued stay valid for up to an hour.

    Raises:
        UsageError: there is no such client.
        ClientError: it is one of the stack's own.
    """
    client = _named(stack, name)
    if client.of_the_stack:
        raise ClientError(f"{name} is a part of the stack and can't be deleted: ROTATE={name} instead.")
    _pool(stack).delete_user_pool_client(UserPoolId=stack.output("UserPoolId"), ClientId=client.client_id)
    return client


def _named(stack: Stack, name: str) -> Client:
    found = [client for client in _clients(stack) if name in (client.name, client.client_id)]
    if not found:
        names = ", ".join(client.name for client in list_clients(stack))
        raise UsageError(f"there is no client {name}; there are {names}")
    if len(found) > 1:
        ids = ", ".join(client.client_id for client in found)
        raise UsageError(f"several clients are named {name}; give the id of one: {ids}")
    return found[0]


def _clients(stack: Stack) -> Iterator[Client]:
    pool, pool_id = _pool(stack), stack.output("UserPoolId")
    own = {stack.outputs[name] for name in OF_THE_STACK if name in stack.outputs}
    more: dict[str, Any] = {}
    while True:
        page = pool.list_user_pool_clients(UserPoolId=pool_id, MaxResults=_PAGE, **more)
        for each in page["UserPoolClients"]:
            found = pool.describe_user_pool_client(UserPoolId=pool_id, ClientId=each["ClientId"])
            client = found["UserPoolClient"]
            scopes = sorted(client.get("AllowedOAuthScopes", []))
            yield Client(client["ClientName"], client["ClientId"], scopes, client["ClientId"] in own)
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def _scopes(stack: Stack) -> list[str]:
    """All scopes that the stack's API requires."""
    servers = _pool(stack).list_resource_servers(UserPoolId=stack.output("UserPoolId"), MaxResults=50)
    return sorted(
        f"{server['Identifier']}/{scope['ScopeName']}"
        for server in servers["ResourceServers"]
        for scope in server["Scopes"]
    )


def _pool(stack: Stack) -> Any:
    return stack.client("cognito-idp")
