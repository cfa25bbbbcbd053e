"""The local stack, deployed with the same deploy.sh that operators use."""

import contextlib
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from local.engine import PYTHON, REGION, ROOT, Engine, ending_with_us, find, write_private
from local.engine_console import CONSOLE_PATH, OPERATOR, operator_password
from local.engine_guard import API_PATH, DOCS_PATH, SOCKET_PATH
from local.lock import exclusive
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import DESCRIPTION, Stack, isolated_session

_SETTINGS = tomllib.loads((ROOT / "samconfig.toml").read_text())["local"]["global"]["parameters"]
NAME: str = _SETTINGS["stack_name"]


class DeployError(CommandError):
    """The stack could not be deployed; the message has the end of deploy.sh's output."""


def session(of: Mapping[str, str] | Engine | None = None) -> boto3.Session:
    """A boto3 session with an engine's credentials, isolated from the user's own AWS settings.

    Args:
        of: an engine, or the description of one (`describe`); by default this checkout's. For the description
            of a named stack (`describe_named`), it is the user's own session.
    """
    if of is None:
        of = find()
    if isinstance(of, Mapping) and of.get("named"):
        return boto3.Session(region_name=of["region"])
    if isinstance(of, Engine):
        of = {"accessKeyId": of.access_key_id, "secretAccessKey": of.secret_access_key}
    return isolated_session({"region": REGION, **(of or {})})


def status(engine: Engine) -> str | None:
    """The stack's status, or None if there is no stack."""
    try:
        found = (
            session(engine)
            .client("cloudformation", endpoint_url=engine.url)
            .describe_stacks(StackName=NAME)["Stacks"]
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return found[0]["StackStatus"]


def deploy(engine: Engine, log: Path) -> dict[str, str]:
    """Build and deploy the template to the engine, and describe the result.

    Returns:
        `consoleUrl` and `apiDocsUrl` if it has a console, `apiUrl`, `socketUrl`, `docsUrl`, `endpointUrl`,
        `region`, `stackName`, and the addresses for tokens. Then the engine's credentials, and the stack's
        outputs by name, except those that are for AWS only.

    Raises:
        DeployError: deploy.sh failed.
    """
    # The dependency layer is built for the engine's interpreter, which runs the functions.
    environment = engine.environment() | {"LAYER_PYTHON": str(PYTHON)}
    environment["PATH"] = f"{ROOT / '.local/bin'}{os.pathsep}{environment['PATH']}"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A checkout has one set of build directories, so a test run and `make run` take turns.
    with (
        exclusive("deploy", wait=True),
        tempfile.TemporaryDirectory(prefix="deploy-", dir=ROOT / ".local") as temporary,
        log.open("wb") as output,
    ):
        deploying = subprocess.Popen(
            ["./deploy.sh", "--env", "local"],
            cwd=ROOT,
            env=environment | {"TMPDIR": temporary},  # sam leaves empty directories behind
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with ending_with_us(deploying.pid):
            code = deploying.wait()
    if code != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise DeployError(f"{end}\n\ndeploy.sh failed with exit code {code}; its output: {log}")
    _set_up_console(engine)
    return describe(engine)


_GROUP = "operators"  # as template.yaml names it


def _set_up_console(engine: Engine) -> None:
    """Allow sign-in to the console at this engine's addresses, and create the operator.

    The template can't know the addresses: the engine's port is chosen when it is started.
    """
    outputs = _outputs(engine)
    if "ConsoleClientId" not in outputs:  # its parameter Console is false
        return
    pool = session(engine).client("cognito-idp", endpoint_url=engine.url)
    app = {"UserPoolId": outputs["UserPoolId"], "ClientId": outputs["ConsoleClientId"]}
    pages = [f"http://{host}:{engine.port}{CONSOLE_PATH}" for host in ("127.0.0.1", "localhost")]
    client = pool.describe_user_pool_client(**app)["UserPoolClient"]
    # An update resets omitted settings.
    known = pool.meta.service_model.operation_model("UpdateUserPoolClient").input_shape.members
    kept = {name: value for name, value in client.items() if name in known and value != ""}
    pool.update_user_pool_client(**kept | {"CallbackURLs": pages, "LogoutURLs": pages})
    user = {"UserPoolId": outputs["UserPoolId"], "Username": OPERATOR}
    with contextlib.suppress(pool.exceptions.UsernameExistsException):
        pool.admin_create_user(**user, MessageAction="SUPPRESS")
    pool.admin_set_user_password(**user, Password=operator_password(engine.secret_access_key), Permanent=True)
    pool.admin_add_user_to_group(**user, GroupName=_GROUP)


# Outputs with AWS addresses; the engine's addresses have the same names in camelCase.
_ON_AWS = ("ApiUrl", "ConsoleUrl", "SocketUrl", "TokenUrl", "SignInUrl")
_QUEUE_HOST = re.compile(r"^http://[^/]+/")


def describe(engine: Engine) -> dict[str, str]:
    """Describe the deployed stack, for commands and tests."""
    outputs = _outputs(engine)
    for name in _ON_AWS:
        outputs.pop(name, None)
    for name, value in outputs.items():
        if name.endswith(("QueueUrl", "DlqUrl")):  # its port may be an earlier engine's
            outputs[name] = _QUEUE_HOST.sub(f"{engine.url}/", value)
    pool = session(engine).client("cognito-idp", endpoint_url=engine.url)
    console = {}
    if "ConsoleClientId" in outputs:
        console = {"consoleUrl": engine.console_url, "apiDocsUrl": engine.api_docs_url}
    return (
        outputs
        | console
        | _addresses(engine.url)
        | _clients_of(pool, outputs)
        | {
            "accessKeyId": engine.access_key_id,
            "secretAccessKey": engine.secret_access_key,
            "endpointUrl": engine.url,
            "region": REGION,
            "stackName": NAME,
        }
    )


def describe_named(deployed: Stack) -> dict[str, str]:
    """Describe a named stack (`STACK=name`), with the same keys where they exist.

    It is on AWS, or on an engine that `AWS_ENDPOINT_URL` names, whose addresses differ from its outputs.

    Raises:
        MissingOutputError: an output is missing.
    """
    pool = deployed.client("cognito-idp")
    endpoint: str = pool.meta.endpoint_url
    addresses = {
        "apiUrl": deployed.output("ApiUrl"),
        "socketUrl": deployed.output("SocketUrl"),
        "tokenUrl": deployed.output("TokenUrl"),
        "signInUrl": deployed.output("SignInUrl"),
    }
    if endpoint.startswith("http://127.0.0.1:"):
        addresses = _addresses(endpoint)
    return (
        dict(deployed.outputs)
        | addresses
        | _clients_of(pool, deployed.outputs)
        | {"region": pool.meta.region_name, "stackName": deployed.name, "named": "true"}
    )


def _addresses(engine_url: str) -> dict[str, str]:
    """The addresses of a stack on an engine, which has one address for all pools and APIs."""
    return {
        "apiUrl": engine_url + API_PATH,
        "docsUrl": f"{engine_url}{DOCS_PATH}/",
        "socketUrl": engine_url.replace("http:", "ws:", 1) + SOCKET_PATH,
        "tokenUrl": f"{engine_url}/oauth2/token",  # it finds the pool by the client's id
        "signInUrl": f"{engine_url}/oauth2/authorize",
    }


def _clients_of(pool: Any, outputs: Mapping[str, str]) -> dict[str, str]:
    """The app clients' values that must not be outputs, or that customers need to sign in."""
    services, customers = (
        pool.describe_user_pool_client(UserPoolId=outputs["UserPoolId"], ClientId=outputs[client])[
            "UserPoolClient"
        ]
        for client in ("ServiceClientId", "CustomerClientId")
    )
    return {
        "serviceClientSecret": services["ClientSecret"],
        "signInCallbackUrl": customers["CallbackURLs"][0],
    }


def _outputs(engine: Engine) -> dict[str, str]:
    aws = session(engine).client("cloudformation", endpoint_url=engine.url)
    (stack,) = aws.describe_stacks(StackName=NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def write(description: dict[str, str], to: Path = DESCRIPTION) -> None:
    """Write the description atomically, readable by its owner only."""
    write_private(to, description)
