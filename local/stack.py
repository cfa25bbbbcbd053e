"""The local stack, deployed with the same deploy.sh that operators use."""

import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from local.engine import PYTHON, REGION, ROOT, Engine, ending_with_us, find, write_private
from local.engine_guard import API_PATH, DOCS_PATH, SOCKET_PATH
from local.lock import exclusive
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import DESCRIPTION, isolated_session

_SETTINGS = tomllib.loads((ROOT / "samconfig.toml").read_text())["local"]["global"]["parameters"]
NAME: str = _SETTINGS["stack_name"]


class DeployError(CommandError):
    """The stack could not be deployed; the message has the end of deploy.sh's output."""


def session(of: Mapping[str, str] | Engine | None = None) -> boto3.Session:
    """A boto3 session with an engine's credentials, isolated from the user's own AWS settings.

    Args:
        of: an engine, or the description of one (`describe`); by default the one of this checkout.
    """
    if of is None:
        of = find()
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
        `apiUrl`, `socketUrl`, `docsUrl`, `endpointUrl`, `region`, `stackName`, the addresses for tokens, the
        engine's credentials, and the stack's outputs by name, except those that are for AWS only.

    Raises:
        DeployError: deploy.sh failed.
    """
    # The dependency layer is built for the engine's interpreter, which runs the functions.
    environment = engine.environment() | {"LAYER_PYTHON": str(PYTHON)}
    environment["PATH"] = f"{ROOT / '.local/bin'}{os.pathsep}{environment['PATH']}"
    log.parent.mkdir(parents=True, exist_ok=True)
    # The build's directories are the checkout's, so a test run and `make run` take turns.
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
    return describe(engine)


# Outputs with addresses of AWS; the engine's have the same names in camel case.
_ON_AWS = ("ApiUrl", "SocketUrl", "TokenUrl", "SignInUrl")
_QUEUE_HOST = re.compile(r"^http://[^/]+/")


def describe(engine: Engine) -> dict[str, str]:
    """Describe the deployed stack, for commands and tests."""
    aws = session(engine)
    stack = aws.client("cloudformation", endpoint_url=engine.url).describe_stacks(StackName=NAME)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    for name in _ON_AWS:
        outputs.pop(name, None)
    for name, value in outputs.items():
        if name.endswith(("QueueUrl", "DlqUrl")):  # its port may be that of an earlier engine
            outputs[name] = _QUEUE_HOST.sub(f"{engine.url}/", value)
    pool = aws.client("cognito-idp", endpoint_url=engine.url)
    services, customers = (
        pool.describe_user_pool_client(UserPoolId=outputs["UserPoolId"], ClientId=outputs[client])[
            "UserPoolClient"
        ]
        for client in ("ServiceClientId", "CustomerClientId")
    )
    return outputs | {
        "accessKeyId": engine.access_key_id,
        "secretAccessKey": engine.secret_access_key,
        "apiUrl": engine.url + API_PATH,
        "docsUrl": engine.url + DOCS_PATH,
        "socketUrl": f"ws://127.0.0.1:{engine.port}{SOCKET_PATH}",
        # The engine has one address for all pools, and finds the pool by the client's id.
        "tokenUrl": f"{engine.url}/oauth2/token",
        "signInUrl": f"{engine.url}/oauth2/authorize",
        "serviceClientSecret": services["ClientSecret"],
        "signInCallbackUrl": customers["CallbackURLs"][0],
        "endpointUrl": engine.url,
        "region": REGION,
        "stackName": NAME,
    }


def write(description: dict[str, str], to: Path = DESCRIPTION) -> None:
    """Write the description atomically, readable by its owner only."""
    write_private(to, description)
