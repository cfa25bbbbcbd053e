"""CloudFormation's input: template.yaml and the contract, translated by SAM, with conditions resolved.

Linters check the template's source. What AWS refuses may show only in its translation, and only
for some values of the parameters: so it is translated for every combination that the conditions use.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.support.template import ROOT, Template, load_template

Choice = dict[str, str]  # a value for each parameter that a condition uses

# Parameters whose values SAM itself reads: each value has its own translation.
READ_BY_SAM = ("TrafficShifting",)

# Free-text parameters: empty, and not empty.
SAMPLES = {
    "AllowedOrigin": ["", "https://shop.example.com"],
    "AlarmEmail": ["", "on-call@example.com"],
    "ApiDomainName": ["", "api.example.com"],
    "SocketDomainName": ["", "socket.example.com"],
    "DomainCertificateArn": [
        "",
        "arn:aws:acm:eu-west-1:123456789012:certificate/0f0e0d0c-0b0a-4908-8706-050403020100",
    ],
    "HostedZoneId": ["", "Z0123456789ABCDEFGHIJ"],
    "IntakeConcurrency": ["0", "300"],
    "BackupRetentionDays": ["0", "90"],
}
# The local engine has no CodeDeploy.
NEVER_TOGETHER = {"Platform": "local", "TrafficShifting": "true"}
# The environment of the SAM command line, which `make setup` makes.
SAM_PYTHON = ROOT / ".local/venv/sam/bin/python"
# Uploaded by `sam deploy`; a translation does not read it.
_UPLOADED = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


# ----------------------------------------------------------------------------------------------- translating
def translate(template: Template, values: Mapping[str, str] | None = None, now: float = 0) -> Template:
    """SAM's translation of the template for these parameters, with unresolved conditions."""
    whole = _with_includes(template)
    for resource in whole["Resources"].values():
        if resource["Type"] in _UPLOADED:
            resource["Properties"][_UPLOADED[resource["Type"]]] = "s3://artifacts/package.zip"
    requested = {"template": whole, "values": dict(values or {}), "now": now}
    ran = subprocess.run(
        [SAM_PYTHON, Path(__file__).with_name("sam_translate.py")],
        input=json.dumps(requested),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    translated: Template = json.loads(ran.stdout)
    return translated


def _with_includes(value: Any) -> Any:
    match value:
        case {"Fn::Transform": {"Name": "AWS::Include", "Parameters": {"Location": str(location)}}}:
            return deepcopy(_included(location))
        case dict():
            return {key: _with_includes(inner) for key, inner in value.items()}
        case list():
            return [_with_includes(inner) for inner in value]
    return value


@cache
def _included(location: str) -> Any:
    return yaml.safe_load((ROOT / location).read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------------- choosing parameters
def choices(template: Template) -> list[Choice]:
    """Every combination of values of the parameters that the template's conditions use.

    There is one for each outcome of all conditions: the others have the same translation.
    """
    conditions = template["Conditions"]
    requested = set(re.findall(r"'Ref': '(\w+)'", str(conditions)))
    names = [name for name in template["Parameters"] if name in requested]
    values = [_values_of(template, name) for name in names]
    different: dict[tuple[object, ...], Choice] = {}
    for combination in itertools.product(*values):
        choice = dict(zip(names, combination, strict=True))
        if {*NEVER_TOGETHER.items()} - {*choice.items()}:
            outcomes = [holds(name, conditions, choice) for name in conditions]
            different.setdefault((*outcomes, *(choice[name] for name in READ_BY_SAM)), choice)
    return [*different.values()]


def default_values(template: Template) -> Choice:
    """Each parameter's default."""
    return {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}


def other_values(template: Template) -> Choice:
    """For each parameter a value that is not its default."""
    return {name: _another_value(template, name) for name in template["Parameters"]}


def _values_of(template: Template, name: str) -> list[str]:
    return SAMPLES.get(name) or [str(value) for value in template["Parameters"][name]["AllowedValues"]]


def parameters_that_sam_reads(template: Template) -> list[str]:
    """The parameters whose value SAM itself resolves: each value has its own translation."""
    others = other_values(template)
    as_it_is = translate(template)
    unexpected = {name: value for name, value in others.items() if name not in READ_BY_SAM}
    if translate(template, unexpected) == as_it_is:  # all at once, since hardly any is one
        others = {name: others[name] for name in READ_BY_SAM}
    return [name for name, value in others.items() if translate(template, {name: value}) != as_it_is]


def _another_value(template: Template, name: str) -> str:
    parameter = template["Parameters"][name]
    values = SAMPLES.get(name) or parameter.get("AllowedValues") or [parameter.get("MinValue", "another")]
    return str(next((value for value in values if value != parameter["Default"]), "another"))


# --------------------------------------------------------------------------------------- deciding conditions
def decided_for_all(template: Template) -> Iterator[tuple[Choice, Template]]:
    """The translated template for each choice of parameters, with conditions, Fn::If and values resolved.

    A part is created once for each outcome of its conditions: equal parts are the same object.
    """
    every = choices(template)
    for read in {tuple(choice[name] for name in READ_BY_SAM): None for choice in every}:
        values = dict(zip(READ_BY_SAM, read, strict=True))
        of_these = [choice for choice in every if choice | values == choice]
        with unchanging():
            yield from _decided(translate(template, values), of_these)


def _decided(translated: Template, choices_of_it: Sequence[Choice]) -> Iterator[tuple[Choice, Template]]:
    texts = {
        (section, name): json.dumps(part)
        for section in ("Resources", "Outputs")
        for name, part in translated[section].items()
    }
    keys = (*translated["Conditions"], *choices_of_it[0])
    asked_for = {part: [key for key in keys if key in text] for part, text in texts.items()}
    worked_out: dict[tuple[str, ...], Any] = {}
    for choice in choices_of_it:
        outcomes = {name: holds(name, translated["Conditions"], choice) for name in translated["Conditions"]}
        decided = {key: value for key, value in translated.items() if key not in ("Conditions", "Rules")}
        for section in ("Resources", "Outputs"):
            decided[section] = {}
            for name, part in translated[section].items():
                if not outcomes.get(part.get("Condition"), True):
                    continue
                known = outcomes | choice
                requested = [f"{key}={known[key]}" for key in asked_for[section, name]]
                if (section, name, *requested) not in worked_out:
                    whole = {key: value for key, value in part.items() if key != "Condition"}
                    worked_out[section, name, *requested] = _decide(whole, outcomes, choice)
                decided[section][name] = worked_out[section, name, *requested]
        parts = [*decided["Resources"].values(), *decided["Outputs"].values()]
        used = {name for part in parts for name in named_by(part)}
        decided["Parameters"] = {
            name: value for name, value in translated["Parameters"].items() if name in used
        }
        yield choice, decided


def holds(condition: Any, conditions: Mapping[str, Any], choice: Choice) -> bool:
    """Whether a condition, given by name or literally, is true."""
    match condition:
        case str(name) | {"Condition": str(name)}:
            return holds(conditions[name], conditions, choice)
        case {"Fn::Equals": [one, other]}:
            return _operand(one, choice) == _operand(other, choice)
        case {"Fn::Not": [inner]}:
            return not holds(inner, conditions, choice)
        case {"Fn::And": inner}:
            return all(holds(each, conditions, choice) for each in inner)
        case {"Fn::Or": inner}:
            return any(holds(each, conditions, choice) for each in inner)
    raise ValueError(f"a condition of another form than this knows: {condition}")


def _operand(value: Any, choice: Choice) -> str:
    return choice[value["Ref"]] if isinstance(value, dict) else str(value)


def put_in(template: Template, values: Choice) -> Template:
    """A template, translated or not, with these parameter values and its conditions resolved.

    AWS::LanguageExtensions does so before SAM reads the template, but for parameters that are NoEcho.
    """
    shown = {
        name: value for name, value in values.items() if not template["Parameters"][name].get("NoEcho", False)
    }
    outcomes = {name: holds(name, template["Conditions"], values) for name in template["Conditions"]}
    whole = _with_includes(template)
    result = {**whole, "Globals": _decide(whole.get("Globals", {}), outcomes, shown)}
    for section in ("Resources", "Outputs"):
        result[section] = {
            name: _decide({key: inner for key, inner in part.items() if key != "Condition"}, outcomes, shown)
            for name, part in whole[section].items()
            if outcomes.get(part.get("Condition"), True)
        }
    return result


_NOTHING = object()


def _decide(value: Any, outcomes: Mapping[str, bool], choice: Choice) -> Any:
    match value:
        case {"Fn::If": [str(condition), then, otherwise]}:
            return _decide(then if outcomes[condition] else otherwise, outcomes, choice)
        case {"Ref": "AWS::NoValue"}:
            return _NOTHING
        case {"Ref": str(name)} if name in choice:
            return choice[name]
        case {"Fn::Sub": str(text)}:
            filled = re.sub(r"\$\{(\w+)\}", lambda match: choice.get(match[1], match[0]), text)
            return {"Fn::Sub": filled} if "${" in filled else filled
        case dict():
            decided = {key: _decide(inner, outcomes, choice) for key, inner in value.items()}
            return {key: inner for key, inner in decided.items() if inner is not _NOTHING}
        case list():
            return [inner for each in value if (inner := _decide(each, outcomes, choice)) is not _NOTHING]
    return value


@cache
def decided() -> list[tuple[Choice, Template]]:
    """template.yaml of this repository, translated, for every choice of parameters."""
    return list(decided_for_all(load_template()))


# ------------------------------------------------------------------------------------------------- references
def covering(templates: Sequence[tuple[Choice, Template]]) -> list[tuple[Choice, Template]]:
    """A subset of the templates for a linter, with the new parts of each.

    It covers each part in each of its forms, with everything that it names present and absent: a linter
    checks the existence and the type of what a part names. Chosen greedily: always the template with the most
    uncovered parts.
    """
    forms = [_forms(template) for _, template in templates]
    chosen = []
    while any(forms):
        best = max(range(len(forms)), key=lambda index: len(forms[index]))
        choice, template = templates[best]
        chosen.append((choice, _cut_to(template, {name for name, _, _ in forms[best]})))
        seen = forms[best]
        forms = [each - seen for each in forms]
    return chosen


def _parts(template: Template) -> dict[str, Any]:
    """Resources and outputs by their names, which may be the same."""
    outputs = {f"{_OUTPUT}{name}": output for name, output in template["Outputs"].items()}
    return {**template["Resources"], **outputs}


_OUTPUT = "output "


def _cut_to(template: Template, names: set[str]) -> Template:
    """A template of only these parts and all that they name."""
    parts, kept, waiting = _parts(template), set[str](), {*names}
    while waiting:
        kept |= waiting
        named = [parts.get(name, {}) for name in waiting]
        waiting = {other for part in named for other in (*referred_to(part), *depends_on(part))} - kept
    # A function's version names it, and not the other way round; without one SnapStart is a finding.
    kept |= {
        name
        for name, part in template["Resources"].items()
        if part["Type"] == "AWS::Lambda::Version" and kept & {*referred_to(part)}
    }
    cut = {
        "Parameters": {name: part for name, part in template["Parameters"].items() if name in kept},
        "Resources": {name: part for name, part in template["Resources"].items() if name in kept},
        "Outputs": {name: part for name, part in template["Outputs"].items() if _OUTPUT + name in kept},
    }
    return {**template, **cut}


def _forms(template: Template) -> set[tuple[str, str, int]]:
    parts = _parts(template)
    # Equal parts are the same object.
    itself = {(name, "", id(part)) for name, part in parts.items()}
    named = {
        (name, other, int(other in parts))
        for name, part in parts.items()
        for other in {*named_by(part), *depends_on(part)}
    }
    return itself | named


def depends_on(part: Any) -> list[str]:
    """What a resource's DependsOn names, one or several."""
    names = part.get("DependsOn", [])
    return [names] if isinstance(names, str) else names


def referred_to(part: Any) -> Iterator[str]:
    """Each logical id, parameter or pseudo parameter that a part of a template names, besides DependsOn."""
    match part:
        case {"Ref": str(name)} if len(part) == 1:
            yield name
        case {"Fn::GetAtt": [str(name), *_]} if len(part) == 1:
            yield name
        case {"Fn::GetAtt": str(path)} if len(part) == 1:
            yield path.partition(".")[0]
        case {"Fn::Sub": str(text)} if len(part) == 1:
            yield from re.findall(r"\$\{([\w:]+)[.}]", text)
        case {"Fn::Sub": [str(text), dict(values)]} if len(part) == 1:
            yield from (name for name in re.findall(r"\$\{([\w:]+)[.}]", text) if name not in values)
            yield from referred_to(values)
        case dict():
            for inner in part.values():
                yield from referred_to(inner)
        case list():
            for inner in part:
                yield from referred_to(inner)


Part = dict[str, Any]
Value = TypeVar("Value")


def once_per_part(compute: Callable[[Part], Value]) -> Callable[[Part], Value]:
    """While `unchanging`, computes it once for parts that are the same object."""

    def computed(part: Part) -> Value:
        if _unchanging is None:
            return compute(part)
        key = (compute, id(part))
        if key not in _unchanging:
            _unchanging[key] = (part, compute(part))  # with the part, so that no other gets its id
        value: Value = _unchanging[key][1]
        return value

    return computed


@contextmanager
def unchanging() -> Iterator[None]:
    """For many templates that share their parts, and that do not change meanwhile."""
    global _unchanging
    _unchanging = {}
    try:
        yield
    finally:
        _unchanging = None


_unchanging: dict[tuple[Callable[[Part], Any], int], tuple[Part, Any]] | None = None


@once_per_part
def named_by(part: Part) -> frozenset[str]:
    """What a part names, besides DependsOn."""
    return frozenset(referred_to(part))


def dependencies(template: Template, name: str) -> set[str]:
    """The resources that CloudFormation creates before this one: all that it names."""
    resource = template["Resources"][name]
    named = {*depends_on(resource), *named_by(resource.get("Properties", {}))}
    return {other for other in named if other in template["Resources"]}


def created_before(template: Template, name: str) -> set[str]:
    """All resources that exist when CloudFormation creates this one."""
    before: set[str] = set()
    waiting = [name]
    while waiting:
        for each in dependencies(template, waiting.pop()) - before:
            before.add(each)
            waiting.append(each)
    return before
