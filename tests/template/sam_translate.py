"""Translates a template as AWS does, for translation.py: JSON in, JSON out.

A program of its own: it runs in the environment of the SAM command line, since SAM's library pins pydantic
lower than the functions do.
"""

from __future__ import annotations

import json
import logging
import sys
from unittest import mock

from samtranslator.translator.transform import transform


class NoManagedPolicies:
    """SAM asks AWS for the ARNs of managed policies by their names; the template names none."""

    def load(self) -> dict[str, str]:
        """None."""
        return {}


def main() -> None:
    """Translate the template that is read, with its parameters' values, as at the time that comes with it."""
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
