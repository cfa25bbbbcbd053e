"""The SAM CLI, as a developer types it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from local.engine import REGION, ROOT, free_port
from tests.sam_local.services import Services, read

# Separate from builds for other interpreters, which may run at the same time.
BUILD = ROOT / ".local/build/sam-local/build"  # sam keeps its own state one folder above
_CONFIG = ("--config-file", str(ROOT / "samconfig.toml"))  # sam's default is beside the built template
_START_SECONDS = 60


class Sam:
    """The SAM CLI, on the template built for AWS."""

    def __init__(self, services: Services, directory: Path) -> None:
        variables = directory / "variables.json"
        variables.write_text(json.dumps({"Parameters": services.variables()}))
        self._endpoint = services.endpoint
        self._environment = _environment() | services.credentials | {"AWS_ENDPOINT_URL": services.endpoint}
        self._options = (
            *_CONFIG,
            *("--template", f"{BUILD}/template.yaml"),
            *("--env-vars", str(variables)),
            "--skip-pull-image",  # it is present, but sam would check the registry for a newer one each time
            *("--layer-cache-basedir", f"{ROOT}/.local/cache/sam-layers"),
        )
        self._log = directory / "start-api.log"

    def invoke(self, function: str, event: str) -> dict[str, Any]:
        """The function's result for an event file."""
        finished = run(
            ["sam", "local", "invoke", function, "--event", event, *self._options], env=self._environment
        )
        output = f"{finished.stdout}\n{finished.stderr}"
        # It exits with 0 even if the handler raised: only its output shows that.
        assert finished.returncode == 0, output
        assert finished.stdout.strip(), output
        answer = read(finished.stdout)
        assert "errorMessage" not in answer, output
        return answer

    @contextlib.contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """The API as `sam local start-api` serves it."""
        port = free_port()
        with self._log.open("wb") as log:
            server = subprocess.Popen(
                ["sam", "local", "start-api", "--port", str(port), *self._options],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(server, port)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                yield client
        finally:
            server.terminate()  # TERM: it ignores INT when it runs in the background
            server.wait(timeout=30)
            self._remove_containers()

    def _wait(self, server: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sam local start-api does not start:\n{self._log.read_text()}")
            time.sleep(0.1)

    def _remove_containers(self) -> None:
        """Remove its leftover containers, and no others: only ours have this endpoint."""
        for container in run(["docker", "ps", "--all", "--quiet", "--no-trunc"]).stdout.split():
            if f"AWS_ENDPOINT_URL={self._endpoint}" in run(["docker", "inspect", container]).stdout:
                run(["docker", "rm", "--force", container])


def validate() -> subprocess.CompletedProcess[str]:
    """`sam validate --lint`."""
    return run(["sam", "validate", "--lint", *_CONFIG], _environment())


def build() -> subprocess.CompletedProcess[str]:
    """`sam build` as for AWS: for the template's Runtime."""
    return run(
        ["sam", "build", *_CONFIG, "--build-dir", str(BUILD), "--cache-dir", ".local/cache/sam-local"],
        _environment(),
    )


def run(
    command: Sequence[str], env: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout's root to its end."""
    return subprocess.run(
        command, cwd=ROOT, env=env, timeout=timeout, capture_output=True, text=True, check=False
    )


def _environment() -> dict[str, str]:
    """The caller's environment, without variables that could reach an AWS account or change the build."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and name != "LAYER_PYTHON"
    }
    return kept | {
        "PATH": f"{ROOT / '.local/bin'}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_MAX_ATTEMPTS": "1",  # sam calls STS for its identity, and would wait ten seconds for a response
        "SAM_CLI_TELEMETRY": "0",
    }
