"""Which functions a changed file affects: those that load it, by the imports in the source.

The use cases are wired in `bootstrap`, whose functions import what they need when they are called. So in that
module only the functions that a Lambda function calls count; in all others, all imports count.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

FUNCTIONS, LAYER = "functions/", "layers/order_capture/"
_PACKAGE = "order_capture"
_LAZY = f"{_PACKAGE}.bootstrap"

# There are two hundred sources. Parsing all of them takes a second, and one of them has changed.
_REMEMBERED = 1000


def reached(changed: Iterable[str], sources: Mapping[str, str]) -> set[str]:
    """The functions that a change of these files affects.

    Args:
        changed: paths from the root of the checkout, including deleted files.
        sources: every module of functions and layer, by its path.

    Raises:
        SyntaxError: one of the sources is not valid Python.
    """
    changed = set(changed)
    found = {function for path in changed if (function := _function(path))}
    in_layer = [path for path in changed if path.startswith(LAYER)]
    modules = {_module(path) for path in in_layer}
    # Any function may read a file that is not a module.
    everything = any(not path.endswith(".py") for path in in_layer)
    layer = {_module(path): text for path, text in sources.items() if path.startswith(LAYER)}
    for path, text in sources.items():
        if (function := _function(path)) and (modules & _loaded(text, layer) or everything):
            found.add(function)
    return found


def _function(path: str) -> str | None:
    """The function that a file belongs to; None for the layer."""
    return path.split("/")[1] if path.startswith(FUNCTIONS) else None


def _module(path: str) -> str:
    parts = path.removeprefix(LAYER).removesuffix(".py").split("/")
    return ".".join([_PACKAGE, *parts]).removesuffix(".__init__")


def _loaded(source: str, layer: Mapping[str, str]) -> set[str]:
    """All names that a source loads from the layer, directly or indirectly. Some are not modules.

    Args:
        source: the module.
        layer: the layer's modules, by their names.
    """
    waiting, found = [*_imported(source)], set[str]()
    while waiting:
        for name in _with_packages(waiting.pop()):
            if name in found:
                continue
            found.add(name)
            module, _, definition = name.rpartition(".")
            if name in layer and name != _LAZY:
                waiting += _imported(layer[name])
            elif name in layer:
                waiting += _definitions(layer[name])[""]
            elif module == _LAZY and module in layer:
                waiting += _definitions(layer[module]).get(definition, ())
    return found


def _with_packages(name: str) -> Iterator[str]:
    """A dotted name, and the packages loaded with it."""
    while name:
        yield name
        name = name.rpartition(".")[0]


@lru_cache(_REMEMBERED)
def _imported(source: str) -> Collection[str]:
    """What a module imports anywhere, and the names that it uses from its imports: `package.module.name`."""
    return _dotted(_running(ast.parse(source)))


@lru_cache(1)
def _definitions(source: str) -> Mapping[str, Collection[str]]:
    """Each function's imports in the lazy module, and the functions that it names; "" has the rest."""
    functions, rest = {}, []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            functions[statement.name] = [*_running(statement)]
        else:
            rest += [*_running(statement)]
    found = {"": _dotted(rest)}
    for name, nodes in functions.items():
        named = {node.id for node in nodes if isinstance(node, ast.Name)}
        found[name] = _dotted(nodes) | {f"{_LAZY}.{each}" for each in named & functions.keys()}
    return found


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree, without type-checking blocks."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if not (
            isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        ):
            yield node
            waiting += ast.iter_child_nodes(node)


def _dotted(nodes: Iterable[ast.AST]) -> set[str]:
    nodes = [*nodes]
    imported: dict[str, str] = {}
    found = set()
    for node in nodes:
        match node:
            case ast.Import(names=names):
                found |= {each.name for each in names}
                imported |= {each.asname or each.name: each.name for each in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {f"{module}.{each.name}" for each in names}
                imported |= {each.asname or each.name: f"{module}.{each.name}" for each in names}
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in imported:
                found.add(f"{imported[name]}.{attribute}")
    return found
