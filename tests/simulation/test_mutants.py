"""The simulation has teeth: every safeguard that is taken out shows."""

from __future__ import annotations

import pytest

from tests.conftest import Say
from tests.simulation.mutants import MUTANTS, hunt
from tests.simulation.report import mutants_table
from tests.simulation.run import on_all_cores
from tests.support.profile import AMOUNTS, sample


@pytest.mark.proof
@pytest.mark.timeout(2400)
def test_every_mutant_is_caught(say: Say) -> None:
    chosen = sample(list(MUTANTS), AMOUNTS.mutants)
    caught = list(on_all_cores(hunt, chosen))

    say(f"Mutants: {len(caught)} of {len(MUTANTS)}")
    say(mutants_table(caught))
    assert len(caught) == len(chosen)
    assert len(MUTANTS) >= 20
    assert not [each.name for each in caught if each.broken is None]
