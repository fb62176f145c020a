"""A long run: memory and time stay flat."""

import pytest

from clients.byzantine import BYZANTINE_CLIENTS
from flwr_resam.attacks import ATTACKS
from flwr_resam.server.ledger import read_ledger
from simulations.soak import soak


@pytest.mark.slow
def test_two_hundred_rounds_under_every_attack_stay_flat(tmp_path):
    found = soak(200, tmp_path)
    adversaries = {f"{name} (adversary)" for name in ATTACKS if name not in found.left_out}
    assert set(found.turns) == adversaries | {f"{name} (client)" for name in BYZANTINE_CLIENTS}
    assert found.growth_kib_per_round < 32.0
    assert found.slowdown < 2.0
    assert found.accuracy > 0.6
    assert max(line.round for line in read_ledger(tmp_path)) == 200
    assert (tmp_path / "soak.json").exists()
