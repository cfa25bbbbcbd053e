"""Reads template.yaml as data, for the suites that check it or take their wiring from it."""

from __future__ import annotations

import pickle
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

Template = dict[str, Any]

LANGUAGE_EXTENSIONS = "AWS::LanguageExtensions"


class _Loader(yaml.CSafeLoader):
    """YAML with CloudFormation's short tags, each read as its long form."""


def _intrinsic(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def parse(text: str) -> Template:
    """Parse a template, with intrinsics in their long form and loops unexpanded.

    `!Ref Api` is `{"Ref": "Api"}` and `!GetAtt Api.Arn` is `{"Fn::GetAtt": ["Api", "Arn"]}`.
    """
    template: Template = yaml.load(text, Loader=_Loader)
    return template


def expand(template: Template) -> Template:
    """The template with its loops expanded, as CloudFormation does it first (AWS::LanguageExtensions).

    Parameters and conditions are unchanged. cfn-lint's code expands the loops.
    """
    from cfnlint.template import Template as LintedTemplate  # slow, and most resources need no loops

    # Without the other transform: for it, cfn-lint would merge the Globals into the functions.
    linted = LintedTemplate(None, {**deepcopy(template), "Transform": LANGUAGE_EXTENSIONS}, ["us-east-1"])
    if problems := linted.transform():
        raise ValueError("; ".join(str(problem) for problem in problems))
    sections = {name: _with_literals(linted.template[name]) for name in ("Resources", "Outputs")}
    others = [name for name in template["Transform"] if name != LANGUAGE_EXTENSIONS]
    rest = {name: part for name, part in template.items() if name != "Mappings"}  # they are looked up
    return {**rest, **sections, "Transform": others}


def _with_literals(value: Any) -> Any:
    """Turn a Fn::Sub whose variables are all known into one without variables."""
    match value:
        case {"Fn::Sub": [str(text), dict(variables)]} if all(isinstance(v, str) for v in variables.values()):
            for name, literal in variables.items():
                text = text.replace(f"${{{name}}}", literal)
            return {"Fn::Sub": text} if "${" in text else text
        case dict():
            return {key: _with_literals(inner) for key, inner in value.items()}
        case list():
            return [_with_literals(inner) for inner in value]
    return value


@cache
def _read() -> bytes:
    """The pickled template: unpickling is the fastest way to copy it."""
    return pickle.dumps(expand(parse((ROOT / "template.yaml").read_text(encoding="utf-8"))))


def load_template() -> Template:
    """template.yaml with its loops expanded; the caller may change it."""
    template: Template = pickle.loads(_read())
    return template


def on_aws(value: Any) -> Any:
    """A part of the template with the condition OnAws resolved to true, as on AWS."""
    match value:
        case {"Fn::If": ["OnAws", then, _]}:
            return on_aws(then)
        case dict():
            return {key: on_aws(inner) for key, inner in value.items() if not _absent_on_aws(inner)}
        case list():
            return [on_aws(inner) for inner in value if not _absent_on_aws(inner)]
    return value


def _absent_on_aws(value: Any) -> bool:
    match value:
        case {"Fn::If": ["OnAws", {"Ref": "AWS::NoValue"}, _]}:
            return True
    return False


def of_type(template: Template, resource_type: str) -> dict[str, dict[str, Any]]:
    """The properties of all resources of a type, by logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == resource_type
    }


def functions(template: Template) -> dict[str, dict[str, Any]]:
    """The properties of all functions, by logical id, including those from Globals."""
    shared = template["Globals"]["Function"]
    merged = {}
    for name, own in of_type(template, "AWS::Serverless::Function").items():
        variables = {**shared["Environment"]["Variables"], **own.get("Environment", {}).get("Variables", {})}
        merged[name] = {
            **shared,
            **own,
            "LoggingConfig": {**shared["LoggingConfig"], **own["LoggingConfig"]},
            "Environment": {"Variables": {key: v for key, v in variables.items() if not _is_unset(v)}},
        }
    return merged


def _is_unset(variable: Any) -> bool:
    """Whether a variable is unset for a function, with all parameters at their defaults."""
    match variable:
        case {"Ref": "AWS::NoValue"} | {"Fn::If": ["AllowsOrigin", _, {"Ref": "AWS::NoValue"}]}:
            return True
        case {"Fn::If": ["OnAws", {"Ref": "AWS::NoValue"}, _]}:
            return True
    return False


def refers_to(value: Any) -> str | None:
    """The logical id that a Ref or a GetAtt refers to."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return name
    return None


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a role's inline policies, without conditional ones."""
    every = (each for policy in role.get("Policies", []) for each in policy["PolicyDocument"]["Statement"])
    return [statement for statement in every if "Fn::If" not in statement]
