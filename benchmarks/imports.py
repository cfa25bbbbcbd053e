"""What a function's start costs over a bare interpreter: the part of a cold start that is ours.

Each function is fully imported, under the settings that template.yaml gives it, and creates its clients as it
does on AWS. It is compared with plain imports of boto3 and pydantic with the same clients, without Powertools
and with it.

Fresh processes run in turns, so that a drift of the machine affects all of them alike. The least CPU time of
each counts: CPU is nearly all of an import, and other load on the machine can only add to it.
The code is what `make run` deploys, byte-compiled, on the engine's interpreter.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.engine import PYTHON
from tests.support.template import functions, load_template

ROUNDS = 11
BUDGET = 1.15
"""Maximum start time of a function, relative to plain imports of boto3, pydantic and Powertools."""

BARE = "pass"
# Imports names from it: `import pydantic` alone loads almost nothing.
PLAIN = "import boto3; from pydantic import BaseModel, Field, TypeAdapter"
POWERTOOLS = f"""{PLAIN}
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.utilities import data_classes"""
WITH_CLIENTS = "; [boto3.client(name, region_name='us-east-1') for name in {!r}]"


@dataclass(frozen=True)
class StartTime:
    """Milliseconds of CPU over a bare interpreter, for a function and for the plain imports."""

    function: str
    milliseconds: float
    plain: float
    powertools: float

    @property
    def share(self) -> float:
        """Relative to plain imports of boto3, pydantic and Powertools."""
        return self.milliseconds / self.powertools

    @property
    def fits(self) -> bool:
        """Whether the function keeps within the budget."""
        return self.share <= BUDGET


def measure(build: Path) -> list[StartTime]:
    """Start every function of the build in `build`."""
    settings = {name: _settings(function) for name, function in functions(load_template()).items()}
    clients = {name: _clients(each) for name, each in settings.items()}
    programs = {(name, "import app"): settings[name] for name in settings}
    programs |= {("", _with(base, made)): {} for made in {*clients.values()} for base in (PLAIN, POWERTOOLS)}
    programs[("", BARE)] = {}
    times: dict[tuple[str, str], list[float]] = {program: [] for program in programs}
    for _ in range(ROUNDS):
        for (name, program), environment in programs.items():
            times[name, program].append(_run(build, name, program, environment))
    bare = min(times["", BARE])
    over_bare = {program: (min(each) - bare) * 1000 for program, each in times.items()}
    return [
        StartTime(
            name,
            over_bare[name, "import app"],
            *(over_bare["", _with(base, clients[name])] for base in (PLAIN, POWERTOOLS)),
        )
        for name in settings
    ]


def _settings(function: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a function, with placeholder addresses, which do not affect its start."""
    variables = function["Environment"]["Variables"]
    named = {"LOG_LEVEL": "INFO", "AWS_LAMBDA_FUNCTION_NAME": "function"}
    return dict.fromkeys(variables, "https://somewhere/else") | named


def _clients(settings: Iterable[str]) -> tuple[str, ...]:
    kinds = {"_TABLE": "dynamodb", "_TOPIC_ARN": "sns", "_QUEUE_URL": "sqs"}
    used = [name for name in settings if name != "DEAD_LETTER_QUEUE_URL"]  # adapters.aws_clients
    names = {service for end, service in kinds.items() for name in used if name.endswith(end)}
    return tuple(sorted(names))


def _with(base: str, clients: tuple[str, ...]) -> str:
    return base + WITH_CLIENTS.format(clients)


def _run(build: Path, function: str, program: str, environment: dict[str, str]) -> float:
    layers = ("OrderCaptureLayer", "DependenciesLayer", "TokensLayer")
    path = [build / function, *(build / layer / "python" for layer in layers)]
    process = subprocess.Popen(
        [PYTHON, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            **environment,
        },
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{function} could not be imported")
    return usage.ru_utime + usage.ru_stime
