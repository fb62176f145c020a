"""What docs/flower.md says of beta is what was measured."""

import json
import statistics
from itertools import product

from benchmarks import momentum
from simulations.experiment import PROJECT

RUNS = json.loads(momentum.FILE.read_text(encoding="utf-8"))["runs"]


def test_the_tables_are_those_of_the_committed_figures():
    assert momentum.summary(RUNS) in (PROJECT / "docs" / "flower.md").read_text(encoding="utf-8")
    assert momentum.FILE.with_suffix(".md").read_text(encoding="utf-8") == momentum.markdown(RUNS)
    assert len(momentum.complete(RUNS)) >= 2


def test_momentum_over_local_epochs_gains_a_point_nowhere_and_costs_several_at_first():
    for case in product(momentum.PARTITIONS, momentum.ATTACKS, momentum.ROUNDS, (0.5, 0.9)):
        assert statistics.fmean(momentum.gains(RUNS, *case)) < 1.0, case
    first = [
        statistics.fmean(momentum.gains(RUNS, partition, attack, 3, 0.9))
        for partition, attack in product(momentum.PARTITIONS, momentum.ATTACKS)
    ]
    assert statistics.fmean(first) < -3
    assert max(first) < 0


def test_the_mean_falls_where_the_rules_stand():
    fallen = [RUNS[momentum.Cell(app, "iid", "foe(epsilon=10.0)", "FedAvg").key(0)][-1]
              for app in momentum.complete(RUNS)]
    stands = [RUNS[momentum.Cell(app, "iid", "foe(epsilon=10.0)", "mda, beta = 0").key(0)][-1]
              for app in momentum.complete(RUNS)]
    assert max(fallen) < 0.2
    assert min(stands) > 0.9
