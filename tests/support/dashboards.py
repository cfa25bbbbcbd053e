"""dashboard.yaml as it is deployed, with the template's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from tests.support.template import ROOT


def body(names: Mapping[str, str]) -> str:
    """The dashboard's body.

    Args:
        names: the values for `Fn::Sub` that are not the logical id: `AWS::StackName`, parameters.
    """
    text, _variables = yaml.safe_load((ROOT / "dashboard.yaml").read_text(encoding="utf-8"))["Fn::Sub"]

    def put_in(match: re.Match[str]) -> str:
        name = match[1]
        if name == "Pages":  # as on the local engine
            return ""
        if name.endswith("Alarm.Arn"):
            stack = names["AWS::StackName"]
            return f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{stack}-{name.removesuffix('.Arn')}-1A2B"
        return names.get(name, name.removesuffix(".QueueName"))

    return re.sub(r"\$\{([\w:.]+)\}", put_in, text).replace("${!", "${")
