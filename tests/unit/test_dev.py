"""`make dev`: which functions a saved file affects, the code they get, and when it takes effect."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from local.dev import Checkout, Fault, Others, SmokeTests
from local.dev_imports import reached
from local.engine_checkout import Code, Replacements, replacing
from tests.unit.test_loading import LOADS

ROOT = Path(__file__).parents[2]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for top in ("functions", "layers/order_capture")
    for path in (ROOT / top).rglob("*.py")
}
ALL = set(LOADS)


class TestWhichFunctionsAChangeReaches:
    def test_whatever_a_function_loads_reaches_it(self) -> None:
        """Modules loaded lazily are listed in test_loading.py: no change of these may be missed."""
        for module in set().union(*LOADS.values()):
            path = f"layers/order_capture/{module.replace('.', '/')}.py"
            assert path in SOURCES
            loading = {function for function, modules in LOADS.items() if module in modules}
            assert loading <= reached([path], SOURCES), module

    def test_its_own_code_reaches_one_function(self) -> None:
        assert reached(["functions/order_api/app.py"], SOURCES) == {"order_api"}
        assert reached(["functions/console/files/index.html"], SOURCES) == {"console"}

    def test_a_use_case_reaches_those_who_call_it(self) -> None:
        use_cases = "layers/order_capture/application"
        assert reached([f"{use_cases}/orders/ship_orders.py"], SOURCES) == {"ship_order"}
        assert reached([f"{use_cases}/ledger/adjust_balance.py"], SOURCES) == {"account_api", "stock_api"}

    def test_an_adapter_reaches_those_whose_use_cases_are_built_with_it(self) -> None:
        adapter = "layers/order_capture/adapters/webhook_client.py"
        assert reached([adapter], SOURCES) == {"webhook_sender"}

    def test_what_wires_the_use_cases_reaches_all_that_have_one(self) -> None:
        without = {"console", "smoke_test", "socket_authorizer"}
        assert reached(["layers/order_capture/bootstrap.py"], SOURCES) == ALL - without

    def test_the_packages_root_and_what_is_no_module_reach_all(self) -> None:
        assert reached(["layers/order_capture/__init__.py"], SOURCES) == ALL
        assert reached(["layers/order_capture/data.json"], SOURCES) == ALL

    def test_a_module_that_is_gone_reaches_those_who_still_import_it(self) -> None:
        gone = "layers/order_capture/entrypoints/authorizer.py"
        left = {path: text for path, text in SOURCES.items() if path != gone}
        assert reached([gone], left) == {"socket_authorizer"}

    def test_what_only_a_type_checker_imports_is_not_loaded(self) -> None:
        sources = {
            "functions/one/app.py": dedent(
                """
                from typing import TYPE_CHECKING
                if TYPE_CHECKING:
                    from order_capture.domain.order import Order
                """
            ),
            "layers/order_capture/domain/order.py": "",
        }
        assert reached(["layers/order_capture/domain/order.py"], sources) == set()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with two functions, one of which uses the layer."""
    for name, text in {
        "functions/one/app.py": "from order_capture.domain import money\n",
        "functions/two/app.py": "",
        "layers/order_capture/domain/money.py": "LIMIT = 1\n",
    }.items():
        (tmp_path / "checkout" / name).parent.mkdir(parents=True)
        (tmp_path / "checkout" / name).write_text(text)
    return tmp_path / "checkout"


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Checkout:
    made = Checkout(root, tmp_path / "copies")
    assert made.reload().functions == {"one", "two"}
    return made


def limit_of(code: Code) -> str:
    """What a function with this code finds in the layer, in a separate process."""
    program = "from order_capture.domain.money import LIMIT; print(LIMIT)"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {code.layer + '/python'!r}); {program}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class TestWhatFunctionsAreGiven:
    def test_a_saved_module_for_those_that_load_it(self, root: Path, checkout: Checkout) -> None:
        before = dict(checkout.codes)
        (root / "layers/order_capture/domain/money.py").write_text("LIMIT = 22\n")
        reload = checkout.reload()
        assert reload.changed == {"layers/order_capture/domain/money.py"}
        assert reload.functions == {"one"}
        assert limit_of(checkout.codes["one"]) == "22"
        assert checkout.codes["two"] == before["two"], "a process of it can go on"
        assert limit_of(before["one"]) == "1", "who is still running finds what it was started with"

    def test_nothing_new_where_a_file_was_saved_with_nothing_changed_in_the_tree(
        self, checkout: Checkout
    ) -> None:
        assert not checkout.reload().changed

    def test_what_they_had_while_a_file_is_no_python(self, root: Path, checkout: Checkout) -> None:
        before = dict(checkout.codes)
        (root / "functions/two/app.py").write_text("VALUE = 2\n")
        (root / "layers/order_capture/domain/money.py").write_text("LIMIT = 2\nLIMIT = = 3\n")
        broken = checkout.reload()
        assert broken.faults == (Fault("layers/order_capture/domain/money.py", 2, "invalid syntax"),)
        assert checkout.codes == before
        # when it is fixed, files saved meanwhile are included
        (root / "layers/order_capture/domain/money.py").write_text("LIMIT = 33\n")
        assert checkout.reload().functions == {"one", "two"}
        assert limit_of(checkout.codes["one"]) == "33"
        assert (Path(checkout.codes["two"].function) / "app.py").read_text() == "VALUE = 2\n"

    def test_no_module_that_was_deleted(self, root: Path, checkout: Checkout) -> None:
        (root / "layers/order_capture/domain/money.py").unlink()
        assert checkout.reload().functions == {"one"}
        assert not list(Path(checkout.codes["one"].layer).rglob("money*"))

    def test_what_editors_and_python_leave_beside_the_sources_counts_for_nothing(
        self, root: Path, checkout: Checkout
    ) -> None:
        (root / "functions/two/.app.py.swp").write_text("")
        (root / "functions/two/__pycache__").mkdir()
        (root / "functions/two/__pycache__/app.cpython-313.pyc").write_bytes(b"")
        assert not checkout.reload().changed


class TestWhenItCounts:
    CODE = Code(1, "/functions/one", "/layer")

    def test_as_long_as_make_dev_runs(self, tmp_path: Path) -> None:
        engine = Replacements(tmp_path)
        assert engine.of("deployed-one") is None
        with replacing(tmp_path) as replace:
            replace({"deployed-one": self.CODE})
            assert engine.of("deployed-one") == self.CODE
            assert engine.of("deployed-two") is None
            replace({"deployed-one": Code(2, "/functions/one", "/layer")})
            assert engine.of("deployed-one") == Code(2, "/functions/one", "/layer")
        assert engine.of("deployed-one") is None

    def test_not_when_make_dev_was_killed(self, tmp_path: Path) -> None:
        engine = Replacements(tmp_path)
        program = f"""
            import time
            from pathlib import Path
            from local.engine_checkout import Code, replacing
            with replacing(Path({str(tmp_path)!r})) as replace:
                replace({{"deployed-one": Code(1, "/functions/one", "/layer")}})
                print("ready", flush=True)
                time.sleep(60)
        """
        with subprocess.Popen(
            [sys.executable, "-c", dedent(program)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert engine.of("deployed-one") == self.CODE
            process.kill()
        assert engine.of("deployed-one") is None


class TestWhatIsSaid:
    def test_a_changed_template_takes_a_deployment(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "template.yaml").write_text("")
        others = Others(tmp_path)
        others.look()
        assert capsys.readouterr().out == ""
        (tmp_path / "template.yaml").write_text("Resources: {}")
        others.look()
        others.look()
        (line,) = capsys.readouterr().out.splitlines()
        assert line == "! template.yaml needs a deployment: `./deploy.sh --env local`, or `make run`"

    def test_a_function_that_fails_when_it_is_imported(self, capsys: pytest.CaptureFixture[str]) -> None:
        SmokeTests(_Lambda(), {"one": "deployed-one", "two": "deployed-two"}).of(
            {"one", "two", "not_deployed"}
        )
        deadline, printed = time.monotonic() + 60, ""
        while not printed.endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
            printed += capsys.readouterr().out
        assert printed == "✗ one fails: no 'Orders' in layers/order_capture/domain/order.py\n"


class _Lambda:
    """In which one function can't be imported."""

    def invoke(self, *, FunctionName: str, Qualifier: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        assert (Qualifier, Payload) == ("live", b'{"smokeTest": true}')
        if FunctionName == "deployed-two":
            return {"Payload": io.BytesIO(b'{"statusCode": 404}')}
        reason = "no 'Orders' in /home/.local/engine/tmp/dev/3/layer/python/order_capture/domain/order.py"
        body = f'{{"errorMessage": "{reason}"}}'.encode()
        return {"FunctionError": "Unhandled", "Payload": io.BytesIO(body)}
