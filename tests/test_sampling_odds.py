"""The odds of sampling, against every sample there is and against draws."""

import itertools
import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from benchmarks import sampling
from flwr_resam.aggregators import Bulyan
from flwr_resam.sampling_odds import (
    _tail,
    _tail_in_floats,
    least_f,
    least_sample,
    most_byzantine,
    sampling_failure,
)
from simulations.experiment import PROJECT

SMALL = [(nodes, byzantine, n) for nodes in range(1, 9) for byzantine in range(nodes + 1) for n in range(1, nodes + 1)]


@pytest.mark.parametrize(("nodes", "byzantine", "n"), SMALL)
def test_one_round_is_the_count_of_all_samples(nodes, byzantine, n):
    liars = [sum(node < byzantine for node in each) for each in itertools.combinations(range(nodes), n)]
    for f in range(n + 1):
        share = sum(x > f for x in liars) / len(liars)
        assert sampling_failure(nodes, byzantine, n, f) == pytest.approx(share, rel=1e-14, abs=1e-300)
        run = 1 - (1 - share) ** 3
        assert sampling_failure(nodes, byzantine, n, f, rounds=3) == pytest.approx(run, rel=1e-12, abs=1e-15)
        assert _tail_in_floats(nodes, byzantine, n, f) == pytest.approx(share, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("nodes", "byzantine", "rounds", "failure"), [
    (12, 2, 5, 0.2), (15, 4, 20, 0.05), (30, 3, 100, 1e-3), (20, 9, 10, 0.5), (9, 0, 10, 0.1),
])
def test_the_least_sample_is_the_first_that_holds(nodes, byzantine, rounds, failure):
    def holds(n, f):
        return sampling_failure(nodes, byzantine, n, f, rounds) <= failure

    n, f = next(
        (n, f) for n in range(1, nodes + 1) for f in range(n) if 2 * f < n and holds(n, f)
    )
    found = least_sample(nodes, byzantine, rounds, failure)
    assert (found.n, found.f) == (n, f)
    assert found.failure == sampling_failure(nodes, byzantine, n, f, rounds)
    for size in range(1, nodes + 1):
        own = least_f(nodes, byzantine, size, rounds, failure)
        assert holds(size, own.f)
        assert own.f == 0 or not holds(size, own.f - 1)


def test_the_most_byzantine_nodes_are_the_last_that_hold():
    for n, f in [(5, 1), (11, 5), (7, 0), (40, 4)]:
        most = most_byzantine(40, n, f, rounds=50, failure=0.01)
        assert sampling_failure(40, most, n, f, 50) <= 0.01
        assert most == 40 or sampling_failure(40, most + 1, n, f, 50) > 0.01


def test_a_simulation_fails_as_often():
    generator = np.random.default_rng(0)
    liars = generator.hypergeometric(20, 80, 10, size=(4000, 12))
    share = (liars > 4).any(axis=1).mean()
    expected = sampling_failure(100, 20, 10, 4, rounds=12)
    assert 0.2 < expected < 0.3
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize(("nodes", "byzantine", "n", "f"), [
    (600, 60, 19, 9), (10_000, 4900, 501, 250), (100_000, 20_000, 2000, 300), (1000, 999, 500, 100),
])
def test_floats_are_near_what_is_exact(nodes, byzantine, n, f):
    exact = float(_tail(nodes, byzantine, n, f))
    assert _tail_in_floats(nodes, byzantine, n, f) == pytest.approx(exact, rel=1e-8)


def test_a_rule_that_needs_more_is_asked_more():
    sample = least_sample(600, 60, 300, 1e-3, Bulyan().admits)
    assert (sample.n, sample.f) == (91, 22)
    with pytest.raises(ValueError, match=r"`byzantine` must be so few.*30 of 100"):
        least_sample(100, 30, 10, 1e-3, Bulyan().admits)


@pytest.mark.parametrize(("wrong", "told"), [
    ({"nodes": 0}, "`nodes` must be a whole number"), ({"nodes": 2_000_000}, "at most 1,000,000"),
    ({"byzantine": 101}, "`byzantine` must be at most the number of nodes"),
    ({"byzantine": 50}, "be so few"), ({"rounds": 0}, "`rounds` must be"), ({"failure": 0.0}, "`failure` must be"),
    ({"failure": 1.0}, "`failure` must be"), ({"byzantine": 2.5}, "`byzantine` must be a whole"),
])
def test_what_can_not_be_is_told(wrong, told):
    with pytest.raises(ValueError, match=told):
        least_sample(**{"nodes": 100, "byzantine": 20, "rounds": 300, "failure": 1e-3, **wrong})


def test_more_than_there_are_can_not_be_asked():
    with pytest.raises(ValueError, match="`n` must be at most the number of nodes"):
        sampling_failure(10, 2, 11, 3)


def test_what_choosing_says_of_rare_asking_is_what_was_measured():
    text = (PROJECT / "docs" / "choosing.md").read_text(encoding="utf-8")
    runs = sampling.read()
    ways = {
        "one gradient": sampling.Way(0.0, 600), "momentum, beta = 0.9": sampling.Way(0.9, 600),
        "ten local steps, beta = 0": sampling.Way(0.0, 600, local_steps=10),
    }
    seen = 0
    for label, way in ways.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        columns = [("mda", ""), ("mda", "arc"), ("nnm | cwtm", "")]
        for cell, (rule, before) in zip(cells, columns, strict=True):
            if cell == "not run":
                continue
            shown = []
            for attack in ("foe(epsilon=0.1)", "alie(z=1.5)"):
                found = [
                    run.accuracy for run in runs
                    if (run.rule, run.attack, run.way) == (rule, attack, replace(way, before=before))
                ]
                assert len(found) == 3
                shown.append(f"{100 * fmean(found):.0f}")
            assert cell == ", ".join(shown)
            seen += 1
    assert seen == 7


@pytest.mark.parametrize("failure", [1e-3, 0.1, 0.7])
def test_what_is_left_out_of_the_search_is_never_the_least(failure):
    for nodes in range(1, 14):
        for byzantine in range(nodes + 1):
            safe = next((
                n for n in range(1, nodes + 1)
                if sampling_failure(nodes, byzantine, n, (n - 1) // 2, 20) <= failure
            ), None)
            if safe is None:
                with pytest.raises(ValueError, match="be so few that the rule tolerates them"):
                    least_sample(nodes, byzantine, 20, failure)
            else:
                assert least_sample(nodes, byzantine, 20, failure).n == safe


def test_next_to_half_of_a_million_are_searched_at_once():
    found = least_sample(1_000_000, 499_999, rounds=1000)
    assert (found.n, found.f) == (999_999, 499_999)
