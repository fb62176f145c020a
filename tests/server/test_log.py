"""What a run says in the log, of its settings, its rounds and its nodes."""

from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict

from flwr_resam import InProcessGrid, QuorumLostError, Resam, parse_rule
from flwr_resam.sampling_odds import sampling_failure
from flwr_resam.server.gate import Rejection
from flwr_resam.server.log import (
    log_assumed,
    log_beta,
    log_constants,
    log_limits,
    log_metrics,
    log_round,
    log_sample,
    log_settings,
    log_sunk,
    quorum_lost,
)
from flwr_resam.server.settings import Settings
from flwr_resam.wire.layout import Layout
from flwr_resam.wire.replies import Stray
from tests.support import content, record


@pytest.fixture
def said(caplog):
    """What was logged since the last look, with the level where it is no INFO."""
    caplog.set_level("INFO", logger="flwr")

    def look():
        lines = [
            each.getMessage().strip() if each.levelname == "INFO"
            else f"{each.levelname} {each.getMessage().strip()}"
            for each in caplog.records
        ]
        caplog.clear()
        return lines

    return look


def came(valid=0, rejections=(), strays=(), proven=0, momentums=None):
    """What the nodes sent in a round."""
    return SimpleNamespace(
        valid=valid, rejections=list(rejections), strays=list(strays), proven=proven,
        momentums=valid if momentums is None else momentums,
    )


def test_the_settings_are_all_there(said, tmp_path):
    log_settings(
        Settings(
            2, parse_rule("nnm | cwmed"), learning_rate=0.5, weight_decay=0.25,
            output_dir=tmp_path, fraction_train=0.5, min_train_nodes=7, min_evaluate_nodes=8,
            min_available_nodes=9, device="cpu",
        ),
        "model", "options",
    )
    text = "\n".join(said())
    for line in (
        "Aggregator: nnm | cwmed", "Malicious nodes tolerated: 2", "Learning rate: 0.5",
        "Weight decay: 0.25", f"Output folder: {tmp_path}", "Device: cpu",
        "Fraction: train (0.50) | evaluate (1.00)", "Minimum nodes: train (7) | evaluate (8)",
        "Minimum available nodes: 9", "ArrayRecord key: 'model'", "ConfigRecord key: 'options'",
    ):
        assert f"── {line}\n" in f"{text}\n"


def test_what_was_not_set_is_said_as_what_it_means(said):
    log_settings(Settings(2, learning_rate=lambda number: 1.0), "arrays", "config")
    text = "\n".join(said())
    for line in ("Learning rate: scheduled", "Output folder: none", "Device: NumPy"):
        assert f"── {line}\n" in text


@pytest.mark.parametrize(
    ("on_engine", "seed", "fraction", "told"),
    [
        (True, 3, 0.5, True), (False, 3, 0.5, False), (True, None, 0.5, False),
        (True, 3, 1.0, False), (True, 0, 0.5, True),
    ],
)
def test_a_seed_that_an_engine_makes_void_is_told(monkeypatch, said, on_engine, seed, fraction, told):
    monkeypatch.setattr("flwr_resam.server.log.on_engine", lambda grid: on_engine)
    log_limits(Settings(1, seed=seed, fraction_train=fraction), None, ours=True)
    assert ["draws new node ids in every run" in line for line in said()] == [True] * told


def test_another_loop_than_ones_own_is_told(said):
    log_limits(Settings(1), None, ours=False)
    (line,) = said()
    assert line.startswith("WARNING Another loop than that of `Resam.start` runs this strategy")


def test_a_good_round_is_one_line(said):
    log_round(came(valid=7), 7, 2, Settings(2))
    assert said() == ["aggregate_train: 7 valid, 0 rejected, 0 silent of 7 nodes; f = 2"]


def test_a_round_says_who_sent_what(said):
    rejections = [Rejection(4, "a NaN in `w`"), Rejection(5, "out of memory", proven=False)]
    log_round(
        came(valid=6, rejections=rejections, strays=[Stray(3, "late")], proven=1, momentums=4),
        11, 2, Settings(2),
    )
    assert said() == [
        "aggregate_train: 6 valid, 2 rejected, 3 silent of 11 nodes; f = 2",
        "> 2 of the replies hold weights, and no momentum: is momentum_mod in the ClientApp's mods?",
        "WARNING > Rejected node 4: a NaN in `w`",
        "WARNING > Rejected node 5: out of memory",
        "WARNING > Ignored a message of node 3: late",
    ]


@pytest.mark.parametrize(("count", "more"), [(19, None), (20, None), (21, 1), (45, 25)])
def test_twenty_nodes_are_named_and_the_rest_is_counted(said, count, more):
    rejections = [Rejection(node, "wrong", proven=False) for node in range(count)]
    log_round(came(valid=90, rejections=rejections), 90 + count, 0, Settings(0))
    _, *named = said()
    expected = [f"WARNING > Rejected node {node}: wrong" for node in range(min(count, 20))]
    assert named == expected + [f"WARNING > and {more} more"] * (more is not None)


@pytest.mark.parametrize(
    ("proven", "expected", "cure"),
    [
        (2, 9, None),
        (3, 7, "raise it"),
        (3, 6, "no rule stands so many"),
    ],
)
def test_more_malformed_replies_than_faults_are_an_error_with_its_cure(said, proven, expected, cure):
    log_round(came(valid=expected - proven, proven=proven), expected, 2, Settings(2))
    _, *rest = said()
    assert rest == [
        f"ERROR > 3 malformed replies, more than num_malicious_nodes = 2: {cure}; "
        "where nodes fail alike, mend their ClientApp"
    ] * (cure is not None)


def test_a_round_without_a_quorum_is_an_error(said):
    log_round(came(valid=4), 9, None, Settings(3))
    assert said() == [
        "aggregate_train: 4 valid, 0 rejected, 5 silent of 9 nodes; no quorum",
        "ERROR > `mda` can't tolerate 3 faults with what came",
    ]


@pytest.mark.parametrize(
    ("f", "malformed", "liars"), [(5, 0, 0), (4, 0, 1), (4, 1, 0), (3, 0, 2), (None, 0, 0)]
)
def test_what_a_round_assumes_of_the_silent_is_told(said, f, malformed, liars):
    log_assumed(f, malformed, Settings(5))
    lines = said()
    assert len(lines) == (liars > 0)
    for line in lines:
        assert line.startswith(
            f"WARNING > f = {f}, not 5, is safe only if at least {liars} of the nodes"
        )


def test_arrays_that_are_kept_are_named_and_others_not(said):
    mask = np.array([0.0, -np.inf], np.float32)
    log_constants(Layout.of(record(w=np.ones(2), mask=mask, other=mask)))
    assert said() == ["WARNING Kept as they are, since they hold an infinity: mask, other"]
    log_constants(Layout.of(record(w=np.ones(2))))
    assert said() == []


def test_an_array_that_goes_below_zero_is_named_once_a_run(said):
    before, after = record(v=np.ones(2), w=np.ones(2)), record(v=-np.ones(2), w=np.ones(2))
    told = set()
    for _ in range(2):
        log_sunk(Layout.of(before), before, after, told)
    (line,) = said()
    assert line.startswith("WARNING > `v` was positive and is below zero now.")
    assert told == {"v"}


def test_metrics_are_a_line_of_bounded_length(said):
    log_metrics("Training", MetricRecord({"loss": 0.5}))
    log_metrics("Training", "a" * 2000)
    log_metrics("Training", "a" * 2001)
    assert said() == [
        "└──> Training: {'loss': 0.5}",
        f"└──> Training: {'a' * 2000}",
        f"└──> Training: {'a' * 2000}... (2001 characters)",
    ]


def test_a_run_that_is_given_up_says_why_and_shows_one_reply():
    rejections = [Rejection(4, "a NaN in `w`"), Rejection(5, "an infinity in `w`")]
    lost = quorum_lost(3, rejections, Settings(2), asked=6, missing=0, valid=4)
    assert isinstance(lost, QuorumLostError)
    assert lost.rejections == tuple(rejections)
    text = str(lost)
    assert text.startswith(
        "3 round(s) in a row had too few valid replies for `mda` with num_malicious_nodes = 2."
    )
    assert (
        "In the last round 6 nodes were asked; 4 gave a row, 2 were rejected (node 4: a NaN in `w`), 0 were silent. "
        "See the log above; mend the ClientApp of the nodes that were rejected, or ask more nodes." in text
    )


def test_a_run_that_lost_its_nodes_is_not_told_to_mend_its_app_or_to_tolerate_less():
    silent = str(quorum_lost(3, [], Settings(2), asked=6, missing=0, valid=2))
    assert "6 nodes were asked; 2 gave a row, 0 were rejected, 4 were silent." in silent
    assert "look at the silent nodes and their network, and at `timeout`, or ask more nodes." in silent
    gone = str(quorum_lost(3, [], Settings(2), asked=0, missing=5, valid=0))
    assert "0 of the 5 nodes that have to be asked were connected; 0 gave a row" in gone
    assert "start the nodes that are gone, and look at their network, or ask more nodes." in gone
    resumed = str(quorum_lost(3, [], Settings(2), asked=0, missing=0, valid=0))
    assert "In the last round" not in resumed
    for text in (silent, gone, resumed):
        assert "ClientApp" not in text
        assert "lower" not in text


def test_a_run_says_its_rounds_and_what_they_gave(said, federation):
    grid = federation(
        lambda message, i: content(record(w=np.ones(2)), key="momentum", loss=0.5), 3
    )
    assert isinstance(grid, InProcessGrid)
    strategy = Resam(1, min_available_nodes=3, fraction_evaluate=0.0)
    strategy.start(
        grid, record(w=np.zeros(2)), num_rounds=2,
        evaluate_fn=lambda number, arrays: MetricRecord({"round": number}) if number else None,
    )
    lines = said()
    assert "Starting Resam: rounds 1 to 2" in lines
    assert lines.count("configure_train: Sampled 3 nodes (out of 3)") == 2
    assert [line for line in lines if line.startswith("[ROUND")] == ["[ROUND 1/2]", "[ROUND 2/2]"]
    assert sum(line.startswith("└──> Training: {") and "'loss': 0.5" in line for line in lines) == 2
    served = [line for line in lines if "Evaluation at the server" in line]
    assert served == [f"└──> Evaluation at the server: {{'round': {number}}}" for number in (1, 2)]
    assert lines[-1].startswith("2 round(s) in ")


def test_a_reply_of_too_many_metrics_is_told(said, federation):
    flood = RecordDict({
        "momentum": record(w=np.ones(2)),
        "metrics": MetricRecord({str(number): 0 for number in range(1001)}),
    })
    grid = federation(lambda message, i: flood, 3)
    strategy = Resam(1, min_available_nodes=3, fraction_evaluate=0.0)
    strategy.start(grid, record(w=np.zeros(2)), num_rounds=1)
    assert "WARNING > Node 2 sent too many metrics: dropped" in said()


def test_a_sample_says_how_many_byzantine_nodes_it_stands(said):
    log_sample(Settings(5, fraction_train=0.1), nodes=600, asked=11, rounds=300)
    assert said() == [
        "WARNING Each round asks 11 of 600 nodes: the liars among them stay within f = 5 in all 300 rounds "
        "with probability 0.999 if at most 29 of all nodes are Byzantine (flwr-resam sample)"
    ]
    assert sampling_failure(600, 29, 11, 5, 300) <= 1e-3 < sampling_failure(600, 30, 11, 5, 300)
    log_sample(Settings(5, fraction_train=0.1), nodes=600, asked=11, rounds=0)
    assert "in one round" in said()[0]


@pytest.mark.parametrize(("f", "asked"), [(0, 5), (2, 10), (2, 0)])
def test_where_no_sample_is_drawn_or_nobody_tolerated_nothing_is_said_of_it(said, f, asked):
    log_sample(Settings(f), nodes=10, asked=asked, rounds=5)
    assert said() == []


@pytest.mark.parametrize(("beta", "share", "rounds", "told"), [
    (0.9, 1.0, 9, "num_rounds = 9 is below 1 / (1 - beta) = 10"), (0.9, 1.0, 11, None), (0.0, 0.01, 5, None),
    (None, 0.01, 5, None), (0.9, 0.01, 0, None), (0.9, 0.01, 300, "asked in about 3 of 300 rounds"),
    (0.9, 0.5, 300, None), (0.99, 0.5, 300, "asked in about 150 of 300 rounds"),
])
def test_momentum_that_can_not_be_one_is_told(said, beta, share, rounds, told):
    log_beta(beta, share=share, rounds=rounds)
    lines = said()
    assert bool(lines) == (told is not None)
    assert told is None or told in lines[0]
