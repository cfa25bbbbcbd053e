"""Which functions a change of a file reaches: those that load it, by the imports in the source.

The use cases are wired in `bootstrap`, whose functions import what they need when they are called. So of that
module only those count that a Lambda function calls; of all others, all imports do.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

FUNCTIONS, LAYER = "functions/", "layers/order_capture/"
_PACKAGE = "order_capture"
_LAZY = f"{_PACKAGE}.bootstrap"

# Sources, of which there are two hundred. To parse all of them takes a second, and one of them has changed.
_REMEMBERED = 1000


def reached(changed: Iterable[str], sources: Mapping[str, str]) -> set[str]:
    """The functions that a change of these files reaches.

    Args:
        changed: paths from the root of the checkout; of files that are gone, too.
        sources: every module of functions and layer, by its path.

    Raises:
        SyntaxError: one of the sources is no Python.
    """
    changed = set(changed)
    found = {function for path in changed if (function := _function(path))}
    in_layer = [path for path in changed if path.startswith(LAYER)]
    modules = {_module(path) for path in in_layer}
    # What is no module may be read by any of them.
    everything = any(not path.endswith(".py") for path in in_layer)
    layer = {_module(path): text for path, text in sources.items() if path.startswith(LAYER)}
    for path, text in sources.items():
        if (function := _function(path)) and (modules & _loaded(text, layer) or everything):
            found.add(function)
    return found


def _function(path: str) -> str | None:
    """The function whose own code a file is; None if it is of the layer."""
    return path.split("/")[1] if path.startswith(FUNCTIONS) else None


def _module(path: str) -> str:
    parts = path.removeprefix(LAYER).removesuffix(".py").split("/")
    return ".".join([_PACKAGE, *parts]).removesuffix(".__init__")


def _loaded(source: str, layer: Mapping[str, str]) -> set[str]:
    """All that a source loads of the layer, directly or not. Some of the names are of no module.

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
    """A dotted name, and the packages that are loaded with it."""
    while name:
        yield name
        name = name.rpartition(".")[0]


@lru_cache(_REMEMBERED)
def _imported(source: str) -> Collection[str]:
    """What a module imports, here or there, and names by way of what it imports: `package.module.name`."""
    return _dotted(_running(ast.parse(source)))


@lru_cache(1)
def _definitions(source: str) -> Mapping[str, Collection[str]]:
    """What each function of the lazy module imports, and which of the others it names; by "", the rest."""
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
    """The nodes of a tree, without those that only a type checker reads."""
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
