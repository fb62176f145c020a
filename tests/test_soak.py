"""A long run: memory and time stay flat."""

import pytest

from clients.byzantine import BYZANTINE_CLIENTS
from flwr_resam.attacks import ATTACKS
from flwr_resam.ledger import read_ledger
from simulations.soak import soak


@pytest.mark.slow
def test_some_hundred_rounds_under_every_attack_stay_flat(tmp_path):
    found = soak(400, tmp_path)
    assert set(found.turns) | set(found.left_out) == {*ATTACKS, *BYZANTINE_CLIENTS}
    assert found.growth_kib_per_round < 16.0
    assert found.slowdown < 1.5
    assert found.accuracy > 0.8
    assert max(line.round for line in read_ledger(tmp_path)) == 400
    assert (tmp_path / "soak.json").exists()
