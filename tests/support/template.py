"""Reads template.yaml as data, for the suites that check it or wire themselves up from it."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

Template = dict[str, Any]


class _Loader(yaml.SafeLoader):
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


@cache
def _read() -> Template:
    template: Template = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), Loader=_Loader)
    return template


def load_template() -> Template:
    """The template, the caller's to change, with intrinsics in their long form.

    `!Ref Api` is `{"Ref": "Api"}` and `!GetAtt Api.Arn` is `{"Fn::GetAtt": ["Api", "Arn"]}`.
    """
    return deepcopy(_read())


def on_aws(value: Any) -> Any:
    """A piece of the template with the condition OnAws decided: as it is anywhere but on the local engine."""
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
    """The properties of all functions, by logical id, with what they take from Globals."""
    shared = template["Globals"]["Function"]
    merged = {}
    for name, own in of_type(template, "AWS::Serverless::Function").items():
        variables = {**shared["Environment"]["Variables"], **own["Environment"]["Variables"]}
        merged[name] = {
            **shared,
            **own,
            "LoggingConfig": {**shared["LoggingConfig"], **own["LoggingConfig"]},
            "Environment": {"Variables": {key: v for key, v in variables.items() if not _is_unset(v)}},
        }
    return merged


def _is_unset(variable: Any) -> bool:
    """Whether a function does not see a variable, all parameters being at their defaults."""
    match variable:
        case {"Ref": "AWS::NoValue"} | {"Fn::If": ["AllowsOrigin", _, {"Ref": "AWS::NoValue"}]}:
            return True
        case {"Fn::If": ["OnAws", {"Ref": "AWS::NoValue"}, _]}:
            return True
    return False


def refers_to(value: Any) -> str | None:
    """The logical id that a Ref or a GetAtt is about."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return name
    return None


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """What a role's inline policies say, whatever the parameters are: without what a condition adds."""
    every = (each for policy in role.get("Policies", []) for each in policy["PolicyDocument"]["Statement"])
    return [statement for statement in every if "Fn::If" not in statement]
