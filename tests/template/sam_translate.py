"""Translates a template as AWS does, for translation.py: JSON in, JSON out.

A separate program: it runs in the environment of the SAM command line, since SAM's library pins pydantic
lower than the functions do.
"""

from __future__ import annotations

import json
import logging
import sys
from unittest import mock

from samtranslator.translator.transform import transform


class NoManagedPolicies:
    """SAM looks up the ARNs of managed policies by name on AWS; the template names none."""

    def load(self) -> dict[str, str]:
        """None."""
        return {}


def main() -> None:
    """Translate the template from the input, with its parameters' values and the time given there."""
    requested = json.load(sys.stdin)
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of toggles that only AWS has
    with (
        # for AlwaysDeploy
        mock.patch("samtranslator.model.apigateway.time.time", return_value=requested["now"]),
        mock.patch.dict("os.environ", AWS_DEFAULT_REGION="us-east-1"),
    ):
        json.dump(transform(requested["template"], requested["values"], NoManagedPolicies()), sys.stdout)


if __name__ == "__main__":
    main()
