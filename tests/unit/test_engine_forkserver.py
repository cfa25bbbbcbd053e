"""Processes of functions, forked from one that has imported their common dependencies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import engine_forkserver
from local.engine_forkserver import ForkedProcess, ForkServer, brings_preloaded

pytestmark = pytest.mark.skipif(
    not engine_forkserver.IS_SUPPORTED, reason="functions are forked on Linux only"
)

SECONDS = 60  # timeout on a busy machine


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with a dependency that is imported ahead, and with our code, which is not."""
    layer = tmp_path_factory.mktemp("layer")
    (layer / "python/simplejson").mkdir(parents=True)
    (layer / "python/simplejson/__init__.py").write_text("import os\nimported_by = os.getpid()\n")
    (layer / "python/ours.py").write_text(
        "import os\nimported_by = os.getpid()\nsetting = os.environ['SETTING']\n"
    )
    return layer


@pytest.fixture(scope="module")
def server(layer: Path) -> Iterator[ForkServer]:
    server = ForkServer(sys.executable, [str(layer)])
    yield server
    server.stop()


class Program:
    """Starts programs in a separate directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, server: ForkServer, source: str, **environment: str) -> ForkedProcess:
        """Start a process with this source."""
        program = self.directory / "_worker.py"
        program.write_text(source)
        return server.fork(str(program), str(self.directory), environment)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_a_process_has_its_own_environment_directory_and_streams(
    program: Program, server: ForkServer
) -> None:
    # given
    os.environ["OF_THE_ENGINE"] = "1"
    # when
    process = program.run(
        server,
        "import os, sys\n"
        "print(sys.stdin.readline().strip(), sorted(os.environ), os.getcwd())\n"
        "print('a line of its log: é', file=sys.stderr)\n",
        SETTING="x",
    )
    process.stdin.write("asked\n")
    # then
    assert process.stdout.readline() == f"asked ['SETTING'] {program.directory}\n"
    assert process.stderr.readline() == "a line of its log: é\n"
    assert process.wait(SECONDS) == 0


def test_dependencies_are_imported_ahead_and_our_own_code_is_not(
    program: Program, server: ForkServer, layer: Path
) -> None:
    """Our code reads its settings when it is imported: each process must have those of its function."""
    source = (
        f"import sys; sys.path.insert(0, {str(layer / 'python')!r})\n"
        "import json, os, simplejson, ours\n"
        "print(json.dumps([os.getpid(), simplejson.imported_by, ours.imported_by, ours.setting]))\n"
    )
    for setting in ("first", "second"):
        process = program.run(server, source, SETTING=setting)
        pid, dependency, own, read = json.loads(process.stdout.readline())
        assert (pid, own, read) == (process.pid, process.pid, setting)
        assert dependency != pid


def test_the_models_of_services_are_parsed_ahead_once(program: Program, server: ForkServer) -> None:
    """A client may change its copy of a model: a second session must not see that."""
    process = program.run(
        server,
        "import boto3\n"
        "def model():\n"
        "    session = boto3.Session('-', '-', region_name='us-east-1')\n"
        "    return session._session.get_component('data_loader').load_service_model('sqs', 'service-2')\n"
        "first = model(); first['metadata']['changed'] = True\n"
        "second = model()\n"
        "print('changed' in second['metadata'], first['operations'].keys() == second['operations'].keys())\n",
    )
    assert process.stdout.readline() == "False True\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [("import sys; sys.exit(3)", 3), ("1 / 0", 1), ("import os; os.kill(os.getpid(), 9)", -9)],
)
def test_how_a_process_has_ended_is_known(
    program: Program, server: ForkServer, source: str, code: int
) -> None:
    process = program.run(server, source)
    assert process.wait(SECONDS) == code
    assert process.poll() == code


def test_a_process_that_fails_says_why(program: Program, server: ForkServer) -> None:
    process = program.run(server, "import nothing_of_that_name")
    assert "nothing_of_that_name" in process.stderr.read()


def test_a_process_runs_until_it_is_asked_to_end(program: Program, server: ForkServer) -> None:
    # given
    process = program.run(server, "print('runs', flush=True)\nimport sys\nsys.stdin.read()\n")
    process.stdout.readline()
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    # when
    process.terminate()
    # then
    assert process.wait(SECONDS) == -signal.SIGTERM
    process.kill()  # which no longer matters


def test_one_process_does_not_hold_open_what_belongs_to_another(program: Program, server: ForkServer) -> None:
    """Otherwise a function would not see the end of its input, and its log would never end."""
    reading = program.run(server, "import sys\nsys.stdin.read()\n")
    other = program.run(server, "import sys\nsys.stdin.read()\n")
    reading.stdin.close()
    assert reading.wait(SECONDS) == 0
    assert reading.stderr.read() == ""
    assert other.poll() is None
    other.kill()


def test_credentials_are_not_left_on_disk(program: Program, server: ForkServer) -> None:
    program.run(server, "", AWS_SECRET_ACCESS_KEY="secret").wait(SECONDS)
    assert [each.name for each in program.directory.iterdir()] == ["_worker.py"]


def test_a_server_that_was_killed_forks_nothing_and_its_processes_count_as_killed(program: Program) -> None:
    # given
    server = ForkServer(sys.executable, [])
    process = program.run(server, "import sys\nsys.stdin.read()\n")
    killed = psutil.Process(process.pid).parent()
    assert killed
    # when
    killed.kill()
    # then
    assert process.wait(SECONDS) == -signal.SIGKILL
    killed.wait(SECONDS)
    with pytest.raises(OSError, match=r"."):
        program.run(server, "")
    assert not server.is_running()


def test_the_server_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    """Even if that is killed: then only the system closes its files."""
    # given
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom local.engine_forkserver import ForkServer\n"
            "server = ForkServer(sys.executable, [])\n"
            "print(server._process.pid, flush=True)\nsys.stdin.read()\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(engine_forkserver.__file__).parent.parent,
        text=True,
    )
    assert owner.stdout
    server = psutil.Process(int(owner.stdout.readline()))
    # when
    owner.kill()
    owner.communicate()
    # then
    server.wait(SECONDS)


@pytest.mark.parametrize(
    ("name", "brings"), [("pydantic", True), ("six.py", True), ("boto3", True), ("app.py", False)]
)
def test_what_brings_a_package_that_is_imported_ahead(tmp_path: Path, name: str, brings: bool) -> None:
    (tmp_path / name).touch()
    assert brings_preloaded(tmp_path) is brings


def test_a_directory_that_does_not_exist_brings_nothing(tmp_path: Path) -> None:
    assert not brings_preloaded(tmp_path / "python")
