"""The layers: imports point inwards, from the functions to the domain."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/order_capture"
MODULES = sorted(PACKAGE.rglob("*.py"))
HANDLERS = sorted((ROOT / "functions").glob("*/app.py"))

OURS = "order_capture"
# What each layer may import of the others. Entrypoints parse items and messages, so they know their formats;
# adapters know no entrypoint, and only bootstrap and the functions know which adapter is used.
ALLOWED = {
    "domain": {"domain"},
    "application": {"application", "domain"},
    "config": {"config"},
    "adapters": {"adapters", "application", "config", "domain"},
    "entrypoints": {"adapters", "application", "config", "domain", "entrypoints"},
    "bootstrap": {"adapters", "application", "config", "domain"},
}
MAX_HANDLER_LINES = 90  # seven routes; a handler only selects the use case, the rest belongs further in


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules, or their members, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"{path} has a relative import, which this test can't follow"
                yield from (f"{module}.{each.name}" for each in names)


def layer_of(name: str) -> str | None:
    """`domain`, `application`, …; None for what is not ours."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == OURS else None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_layer_knows_only_itself_and_those_further_in(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), set())

    outward = {name for name in imported(path) if (of := layer_of(name)) is not None and of not in allowed}

    assert not outward


@pytest.mark.parametrize("layer", ["domain", "application"])
def test_the_inner_layers_need_nothing_but_the_standard_library_and_messages_pydantic(layer: str) -> None:
    foreign = {
        (name_of(path), name.partition(".")[0])
        for path in (PACKAGE / layer).rglob("*.py")
        for name in imported(path)
        if layer_of(name) is None and name.partition(".")[0] not in sys.stdlib_module_names
    }

    defining_messages = {
        f"layers/order_capture/application/{name}.py" for name in ("messages", "models", "snapshots")
    }
    assert {module for module, _ in foreign} <= defining_messages
    assert {package for _, package in foreign} <= {"pydantic", "pydantic_core"}


@pytest.mark.parametrize("layer", ["domain", "application"])
def test_the_inner_layers_take_time_chance_and_settings_as_arguments(layer: str) -> None:
    outside = {"os", "random", "secrets", "socket", "subprocess", "time", "uuid"}
    # They may calculate with given times, but not read the clock.
    clocks = {"now", "today", "utcnow"}

    for path in (PACKAGE / layer).rglob("*.py"):
        assert not {name for name in imported(path) if name.partition(".")[0] in outside}, name_of(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not [c for c in called if isinstance(c, ast.Attribute) and c.attr in clocks], name_of(path)


def top_level(path: Path, kind: type[ast.ClassDef | ast.FunctionDef]) -> set[str]:
    """The names of the classes or functions of a module."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, kind)}


USE_CASES = [
    path
    for path in sorted((PACKAGE / "application").glob("*/*.py"))
    if path.stem != "ports" and top_level(path, ast.ClassDef)
]


@pytest.mark.parametrize("path", USE_CASES, ids=name_of)
def test_a_use_case_has_one_name_for_its_file_its_class_and_its_function_of_bootstrap(path: Path) -> None:
    assert path.stem.title().replace("_", "") in top_level(path, ast.ClassDef)
    assert path.stem in top_level(PACKAGE / "bootstrap.py", ast.FunctionDef)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_retry_counts_attempts(path: Path) -> None:
    """It also bounds them by the remaining time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ranges = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.For) and ast.unparse(node.iter).startswith("range(")
    ]

    assert path.stem == "retry" or not [
        node for node in ranges if "attempt" in ast.unparse(node.iter).lower()
    ]


@pytest.mark.parametrize("path", sorted((PACKAGE / "domain").glob("*.py")), ids=name_of)
def test_the_domain_knows_nothing_of_aws_and_its_limits(path: Path) -> None:
    services = re.compile(r"DynamoDB|\bS[NQ]S\b|\bLambda\b|boto|\bKB\b")

    assert not services.findall(path.read_text(encoding="utf-8"))


def test_every_module_is_in_a_layer() -> None:
    tops = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert tops == {*ALLOWED, "__init__"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_package_knows_no_function(path: Path) -> None:
    assert not {name for name in imported(path) if name.partition(".")[0] in {"functions", "tests", "app"}}


OPERATIONS = sorted((ROOT / "order_capture_ops").rglob("*.py"))
CONTRACTS = sorted((ROOT / "contracts").glob("*.py"))


@pytest.mark.parametrize("path", [*MODULES, *HANDLERS, *OPERATIONS, *CONTRACTS], ids=name_of)
def test_production_code_and_operators_commands_need_nothing_of_local_or_tests(path: Path) -> None:
    """They must work where the local engine, its tools and the tests are not installed."""
    assert not {name for name in imported(path) if name.partition(".")[0] in {"local", "tests", "benchmarks"}}


@pytest.mark.parametrize("path", [*MODULES, *HANDLERS, *OPERATIONS], ids=name_of)
def test_json_of_others_is_read_in_one_place_which_bounds_its_numbers(path: Path) -> None:
    """Any other parser accepts 1e100000000 as a number, and converting that to an integer hangs."""
    by_itself = {name.partition(".")[0] for name in imported(path)} & {"json", "simplejson", "orjson"}

    # The operators' commands write JSON, and read what is ours (where the local stack is, the functions'
    # logs, a plan of a restore) or AWS's (a template).
    assert not by_itself or name_of(path) in {
        "layers/order_capture/adapters/serializers/decimal_json.py",
        "order_capture_ops/__main__.py",
        "order_capture_ops/customer_data.py",
        "order_capture_ops/logs.py",
        "order_capture_ops/restore/__main__.py",
        "order_capture_ops/restore/tables.py",
        "order_capture_ops/stack.py",
    }


@pytest.mark.parametrize("path", HANDLERS, ids=name_of)
def test_a_handler_only_connects(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_HANDLER_LINES
    # Its only external import is Powertools' type of a handler's second argument.
    ours = ("aws_lambda_powertools.utilities.typing.LambdaContext",)
    assert all(
        layer_of(name) or name.partition(".")[0] in sys.stdlib_module_names or name in ours
        for name in imported(path)
    )
    decisions = (ast.If, ast.For, ast.While, ast.Try, ast.Match)
    assert not [node for node in ast.walk(tree) if isinstance(node, decisions)]


def test_there_are_handlers_to_look_at() -> None:
    assert len(HANDLERS) >= 9


def test_editors_find_every_import() -> None:
    """pyright's settings, which editors use, are right: otherwise each import is underlined."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    pyright = settings["pyright"]
    venv = ROOT / pyright["venvPath"] / pyright["venv"]
    places = [
        ROOT,
        *(ROOT / path for path in pyright["extraPaths"]),
        *venv.glob("lib/python3*/site-packages"),
    ]
    ignored = {ROOT / path for path in pyright["ignore"]}
    paths = [path for folder in pyright["include"] for path in (ROOT / folder).rglob("*.py")]

    missing = {
        f"{name_of(path)}: {top}"
        for path in paths
        if path not in ignored
        for name in imported(path)
        if (top := name.partition(".")[0]) not in sys.stdlib_module_names
        and PathFinder.find_spec(top, [str(place) for place in places]) is None
    }

    assert len(paths) > len(MODULES), "it looks at the whole tree"
    assert missing == set()
    mypy_path = {
        path.removeprefix("$MYPY_CONFIG_FILE_DIR").lstrip("/") for path in settings["mypy"]["mypy_path"]
    }
    assert mypy_path - {""} == {*pyright["extraPaths"]}, "mypy looks in the same places"
