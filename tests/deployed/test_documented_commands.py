"""Every operator's command that a page shows, run by make, as it is shown, on the deployed stack.

What else the pages show is run by the suite or the script that `tests/unit/test_docs.py` names.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from local import stack
from local.engine import Engine
from tests.deployed.shop import TIMEOUT, StackClient
from tests.support.pages import OPERATED, PRESENT, ROOT, make_commands
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("the commands change clients and delete a customer")

# What a command needs where a page only names it.
_NEEDED = {
    "erase-customer": "CUSTOMER=alice DRY_RUN=1",
    "export-customer": "CUSTOMER=alice",
    "redrive": "QUEUE=report DRY_RUN=1",
    "republish-events": "SINCE=2h DRY_RUN=1",
}
# What this stack can't do, and the error that says so. tests/operations has the commands' own tests.
_REFUSED = {
    r"clients .*(ROTATE|RETIRE)=": "UserPoolClientSecret",  # the local engine knows one secret of a client
    r"close-books": "OrderRetentionDays is 0: everything is kept",
    r"logs FUNCTION=smoke_test": "FUNCTION=smoke_test is not a function",  # it is deployed to AWS only
    r"reconcile": "No restore of order-capture-local was started here",
}


def commands_by_page() -> dict[str, list[str]]:
    """The commands of each page, in their order, each under the first page that shows it."""
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for page in PRESENT:
        for shown in make_commands(page):
            command = shown.partition(" #")[0].strip()
            name, _, variables = command.partition(" ")
            if name in OPERATED and command not in seen:
                seen.add(command)
                found.setdefault(str(page.relative_to(ROOT)), []).append(
                    f"{name} {variables or _NEEDED.get(name, '')}"
                )
    return found


COMMANDS = commands_by_page()


def test_no_page_is_overlooked() -> None:
    assert {
        "docs/how-to/runbook.md",
        "docs/how-to/get-a-token.md",
        "docs/how-to/retention.md",
    } <= COMMANDS.keys()


@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands_of_a_page_do_what_they_are_for(
    shop: StackClient, engine: Engine, tmp_path: Path, page: str
) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    order_id = shop.place(alice, {pen: 1}, "1.00")
    shop.ended(order_id)
    shop.come_to_rest()
    for command in COMMANDS[page]:
        name, *arguments = shlex.split(command)
        values = dict(each.split("=", 1) for each in arguments) | {"STACK": stack.NAME}
        given = {"alice": alice, "…": alice, "<id>": order_id, "id id": order_id}
        values = {variable: given.get(value, value) for variable, value in values.items()}
        if name == "export-customer":
            values["OUTPUT"] = str(tmp_path / "output")
        # when
        done = subprocess.run(
            ["make", "--silent", name, *(f"{variable}={value}" for variable, value in values.items())],
            cwd=ROOT,
            env=engine.environment(),
            capture_output=True,
            text=True,
            timeout=4 * TIMEOUT,
            check=False,
        )
        # then
        printed = f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in printed
        refusal = next((error for like, error in _REFUSED.items() if re.match(like, command)), None)
        if refusal:
            assert done.returncode == 2, printed
            assert refusal in done.stderr
        elif name == "status" and done.returncode:  # other tests leave dead letters
            assert "dead letter" in done.stdout, printed
        else:
            assert done.returncode == 0, printed
