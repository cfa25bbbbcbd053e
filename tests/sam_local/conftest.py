"""The SAM CLI's own way to run functions: in containers of the Lambda runtime's image, from `sam build`.

This needs a Docker engine and the image, and is skipped without them, in CI too. The functions use real
tables, a topic and queues in the embedded engine. Containers can't reach the host's loopback interface, so a
relay listens on the Docker bridge's address only, and forwards to the engine.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from local.bridge import bridge_address, relay
from local.engine import fresh
from tests.sam_local.sam import Sam, build, run
from tests.sam_local.services import Services, create_services

# The image that sam uses for the template's Runtime and Architecture.
IMAGE = "public.ecr.aws/lambda/python:3.13-x86_64"
_PULL_SECONDS = 240


@pytest.fixture(scope="session")
def bridge() -> str:
    """The host's address as containers see it. Skips if no container can run."""
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("sam local needs Docker, and it is not installed")
    if run([docker, "info"]).returncode != 0:
        pytest.skip("sam local needs Docker, and no Docker engine runs here")
    if run([docker, "image", "inspect", IMAGE]).returncode != 0:
        try:
            pulled = run([docker, "pull", "--quiet", IMAGE], timeout=_PULL_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{IMAGE} is not there, and could not be pulled in {_PULL_SECONDS} s")
        if pulled.returncode != 0:
            pytest.skip(f"{IMAGE} is not there, and cannot be pulled: {pulled.stderr.strip()}")
    found = bridge_address()
    if found is None:
        pytest.skip("the Docker engine runs elsewhere: this machine has no docker0 for containers to reach")
    return found


@pytest.fixture(scope="module")
def services(bridge: str) -> Iterator[Services]:
    with fresh(auth=False, other_hosts=[bridge]) as engine, relay(bridge, engine.port) as port:
        yield create_services(engine, f"http://{bridge}:{port}")


@pytest.fixture(scope="session")
def built() -> None:
    finished = build()
    assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="module")
def sam(services: Services, built: None, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    return Sam(services, tmp_path_factory.mktemp("sam-local"))
