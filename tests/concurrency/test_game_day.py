"""One real breakage of `make game-day`: without its fix the game day fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from local import stack as stacks
from local.breakages import BREAKAGES
from local.engine import fresh
from local.game_day import play_all, prepare

# The only one that does not wait for an alarm.
(TAMPERED,) = (each for each in BREAKAGES if each.name == "tampered-books")


@pytest.mark.full  # minutes: the audit ignores history younger than one
@pytest.mark.timeout(600)
def test_a_breakage_is_seen_and_only_its_cure_cures_it(tmp_path: Path) -> None:
    with fresh() as engine:
        description = stacks.deploy(engine, tmp_path / "deploy.log")
        game = prepare(engine, description)
        # WHEN the books are tampered with, and nothing is done
        (left,) = play_all(game, [replace(TAMPERED, cure=[])])
        # THEN that is detected, and the game day fails
        assert left.seen is not None
        assert "make audit still shows" in left.problem
        # AND the runbook's steps fix it
        (cured,) = play_all(game, [replace(TAMPERED, inject=lambda _: None)])
        assert cured.problem == ""
        assert cured.cured is not None
