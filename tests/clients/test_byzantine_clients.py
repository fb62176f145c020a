"""What one device does alone: chosen by config, in the right place among the mods, survived."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.bad_replies import Verdict
from clients.byzantine import (
    ALL_ATTACKS,
    BYZANTINE_CLIENTS,
    byzantine_mod,
    malformed,
    misconduct_of,
    planned,
)
from clients.byzantine.malformed import KINDS, Malformed
from flwr_resam import InProcessGrid, Resam, momentum_mod, parse_rule
from flwr_resam.attacks import ATTACKS, SignFlip
from simulations.experiment import Experiment
from simulations.in_process import run_in_process

N = 7
SENT = [kind for kind in KINDS if kind != "silence"]
ROWS = [kind for kind in SENT if KINDS[kind].verdict is Verdict.ROW]
START = np.arange(6.0, dtype=np.float32).reshape(2, 3)


def model():
    return ArrayRecord({"w": Array(START), "b": Array(np.zeros(2, np.float32)),
                        "n": Array(np.array(3, np.int64))})


def app_with(*mods, step=lambda number: 1.0):
    """A ClientApp that adds ``step`` to every weight it gets, with these mods."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message, context):
        (arrays,) = message.content.array_records.values()
        number = next(iter(message.content.config_records.values()))["server-round"]
        record = ArrayRecord({
            name: Array(array.numpy() + np.float32(step(number)))
            if array.dtype == "float32" else array
            for name, array in arrays.items()
        })
        for name in list(arrays):
            arrays.pop(name)
        metrics = MetricRecord({"num-examples": 10, "train-loss": 0.5})
        return Message(RecordDict({"arrays": record, "metrics": metrics}), reply_to=message)

    return app


def only_on(partition, mod):
    """The mod on one node, and nothing on the others."""

    def chosen(message, context, call_next):
        if context.node_config["partition-id"] != partition:
            return call_next(message, context)
        return mod(message, context, call_next)

    return chosen


def train(app, rounds=1, rule="mean", f=1, timeout=3600.0):
    strategy = Resam(f, parse_rule(rule), min_available_nodes=N, fraction_evaluate=0.0)
    grid = InProcessGrid(app, N)
    result = strategy.start(grid, model(), num_rounds=rounds, timeout=timeout)
    return result, (result.arrays["w"].numpy() - START)


@pytest.mark.parametrize("kind", SENT)
def test_every_malformed_reply_is_survived(kind):
    app = app_with(only_on(3, byzantine_mod(f"malformed(kind={kind})")))
    result, moved = train(app, rounds=2, rule="cwtm")
    np.testing.assert_allclose(moved, 2.0, rtol=1e-6)
    for metrics in result.train_metrics_clientapp.values():
        assert metrics["n-rejected"] == (kind not in ROWS)
        assert metrics["n-valid"] == N - metrics["n-rejected"]


def test_a_silence_is_silence():
    silent = byzantine_mod("malformed(kind=silence, seconds=0.6)")
    result, moved = train(app_with(only_on(3, silent)), timeout=0.5)
    np.testing.assert_allclose(moved, 1.0)
    assert result.train_metrics_clientapp[1]["n-silent"] == 1


def test_a_long_silence_is_refused_in_process_where_it_would_be_waited_for():
    experiment = Experiment.default({"attack": "malformed(kind=silence)"})
    with pytest.raises(ValueError, match=r"at most 60 s in process.*Found 7200 s. Give it fewer"):
        run_in_process(experiment)


def test_malformed_takes_all_kinds_in_turn():
    app = app_with(only_on(3, byzantine_mod("malformed")))
    result, moved = train(app, rounds=len(SENT), rule="cwtm")
    np.testing.assert_allclose(moved, len(SENT), rtol=1e-5)
    accepted = [m["n-rejected"] for m in result.train_metrics_clientapp.values()].count(0)
    assert accepted == len(ROWS)


def test_a_mod_before_momentum_attacks_the_momentum_and_after_it_the_update():
    """u = -1 in round 1 and -2 in round 2, flipped from round 2 on, beta = 1/2.

    What is sent is m / (1 - beta^k): twice m in round 1, four thirds of it in round 2.
    """
    flip = byzantine_mod("sign-flip when(start=2)")
    honest_1, honest_2 = 1.0, (0.5 * 0.5 + 0.5 * 2.0) / 0.75
    flipped_momentum = -honest_2
    flipped_update = (0.5 * 0.5 + 0.5 * -2.0) / 0.75
    for mods, sent in (
        ([only_on(3, flip), momentum_mod(0.5)], flipped_momentum),
        ([momentum_mod(0.5), only_on(3, flip)], flipped_update),
    ):
        _, moved = train(app_with(*mods, step=float), rounds=2)
        expected = honest_1 + (6 * honest_2 + sent) / 7
        np.testing.assert_allclose(moved, expected, rtol=1e-5)


def test_the_experiments_client_attacks_the_momentum(monkeypatch):
    """One honest momentum and its negative cancel in a mean of two, to the last bit."""
    settings = {"num-nodes": 2, "num-malicious-nodes": 1, "aggregator": "mean", "num-rounds": 3}
    from clients import training

    same = {"partition": 0}
    original = training.generator
    monkeypatch.setattr(
        training, "generator",
        lambda seed, purpose, **where: original(seed, purpose, **{**where, **same}),
    )
    outcome = run_in_process(Experiment.default({**settings, "attack": "sign-flip"}))
    assert len({evaluation.loss for evaluation in outcome.evaluations}) == 1


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("sign-flip", [-1, -2, -3, -4]),
        ("zero", [0, 0, 0, 0]),
        ("replay(rounds=2)", [1, 1, 1, 2]),
        ("straggler(every=3)", [1, 1, 1, 4]),
        ("huge(value=70)", [-70, -70, -70, -70]),
        ("sign-flip when(start=2, every=2)", [1, -2, 3, -4]),
    ],
)
def test_each_devices_vector_is_what_its_attack_says(text, sent):
    app = app_with(only_on(3, byzantine_mod(text)), step=float)
    strategy = Resam(1, parse_rule("mean"), min_available_nodes=N, fraction_evaluate=0.0)
    seen = []
    strategy.start(
        InProcessGrid(app, N), model(), num_rounds=4,
        evaluate_fn=lambda number, arrays: seen.append(float(arrays["w"].numpy()[0, 0])),
    )
    steps = 7.0 * np.diff(seen) - 6.0 * np.arange(1.0, 5.0)
    np.testing.assert_allclose(steps, sent, atol=1e-3)


def test_noise_and_non_finite_are_withstood_and_noise_is_repeatable():
    for text in ("gaussian(std=1e+4)", "non-finite", "huge"):
        _, moved = train(app_with(only_on(3, byzantine_mod(text))), rule="mda")
        np.testing.assert_allclose(moved, 1.0, rtol=1e-6)
    noise = [
        train(app_with(only_on(3, byzantine_mod("gaussian", seed=seed))))[1] for seed in (1, 1, 2)
    ]
    assert np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise[0], noise[2])
    assert np.abs(noise[0]).max() > 1.0


def context_of(node_config=None, **run_config):
    experiment = Experiment.default({key.replace("_", "-"): v for key, v in run_config.items()})
    return Context(1, 9, node_config or {}, RecordDict(), experiment.run_config())


def test_a_node_is_byzantine_by_the_runs_attack_or_by_its_own_config():
    settings = {"attack": "2 sign-flip + malformed", "num_nodes": 10, "num_malicious_nodes": 3}
    byzantine = [
        misconduct_of(context_of({"partition-id": i}, **settings)) is not None for i in range(10)
    ]
    assert byzantine == [False] * 7 + [True] * 3
    own = {"partition-id": 0, "byzantine": "malformed(kind=truncated npy)"}
    assert misconduct_of(context_of(own, attack="none")) is not None
    assert misconduct_of(context_of({"partition-id": 14}, attack="alie")) is None
    with pytest.raises(ValueError, match="Did you mean `sign-flip`"):
        misconduct_of(context_of({"byzantine": "sign-flp"}))
    with pytest.raises(ValueError, match="`alie` is no Byzantine client"):
        misconduct_of(context_of({"byzantine": "alie"}))
    with pytest.raises(ValueError, match="`byzantine` must be one attack for one device"):
        misconduct_of(context_of({"byzantine": "zero + huge"}))


def test_flowers_command_line_hands_such_a_config_through():
    from flwr.common.config import parse_config_args

    text = "malformed(kind=truncated npy) when(start=3)"
    given = parse_config_args([f'byzantine="{text}" partition-id=4'])
    assert given == {"byzantine": text, "partition-id": 4}
    byzantine_mod(text)


def test_the_last_partitions_are_shared_out_in_order():
    plans = planned("2 alie(z=1.5) when(start=5) + foe + 1 huge", 10, 5)
    assert [(plan.what.name, list(where)) for plan, where in plans] == [
        ("alie", [5, 6]), ("foe", [7, 8]), ("huge", [9])
    ]


def test_what_a_device_does_alone_are_the_attacks_that_say_so_and_three_more():
    alone = {name for name, attack in ATTACKS.items() if attack.knowledge == "alone"}
    assert set(BYZANTINE_CLIENTS) == alone | {"label-flip", "backdoor", "malformed"}
    assert all(ALL_ATTACKS[name].name == name for name in ALL_ATTACKS)
    assert ALL_ATTACKS["sign-flip"] is SignFlip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("malformed(kind=truncate)", "Did you mean `truncated npy`"),
        ("label-flip", "must be something that a mod can do"),
        ("backdoor", "must be something that a mod can do"),
        ("label-flip(source=1)", "`source` must be given with another class as `target`, or neither"),
        ("label-flip(source=1, target=1)", "with another class"),
        ("backdoor(share=0)", "`share` must be above 0"),
        ("backdoor(target=-1)", "`target` must be"),
        ("malformed(seconds=-1)", "`seconds` must be at least 0"),
        ("gaussian(std=much)", r"`std`.* must be of type float.*Found 'much'"),
        ("replay(rounds=1.5)", "must be of type int"),
        ("sign-flip when(begin=3)", "`when` has no argument `begin`"),
        ("sign-flip when", r"sign-flip when"),
        ("sign-flip then(start=3)", "can't be read as an attack"),
        ("sign-flip when(probability=2)", "at most 1"),
    ],
)
def test_a_wrong_config_is_one_clear_sentence(text, message):
    if text == "sign-flip when":
        byzantine_mod(text)  # every round, spelled out
        return
    with pytest.raises(ValueError, match=message):
        byzantine_mod(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": "3 alie + 3 foe"}, "num-malicious-nodes = 5 nodes"),
        ({"attack": "5 alie + foe"}, "at least one for each attack"),
        ({"attack": "alie + foe"}, "of each attack but one"),
        ({"attack": "foe(epsilon=big)"}, "must be of type float"),
        ({"attack": "malformed(kind=odd)"}, "is no kind of malformed reply"),
        ({"attack": "label-flp"}, "Did you mean `label-flip`"),
        ({"attack": "foe when(every=0)"}, "`every` must be a whole number, at least 1"),
        ({"attack": "mimic(row=99)"}, r"`row` must be in 0 \.\. 9"),
        ({"attack": "mimic", "num-nodes": 2, "num-malicious-nodes": 1, "aggregator": "mean"},
         "at least 2 row"),
        ({"attack": "huge", "num-malicious-nodes": 0}, "at least 1 for attack"),
    ],
)
def test_a_wrong_attack_is_said_before_training(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment.default(changes)


@pytest.mark.parametrize("attack", sorted(ALL_ATTACKS))
def test_every_attack_runs_in_an_experiment_and_changes_the_model(attack):
    settings = {"num-rounds": 2, "num-nodes": 7, "num-malicious-nodes": 3, "aggregator": "cwtm"}
    attacked = run_in_process(Experiment.default({**settings, "attack": attack}))
    honest = run_in_process(Experiment.default({**settings, "attack": "none"}))
    assert attacked.digest != honest.digest
    assert len(attacked.evaluations) == 3


def test_several_attacks_and_schedules_in_one_experiment():
    settings = {"num-rounds": 4, "num-nodes": 9, "num-malicious-nodes": 4, "aggregator": "cwtm"}
    attack = "alie when(start=3) + 1 malformed(kind=truncated npy) + 2 sign-flip when(every=2)"
    mixed = run_in_process(Experiment.default({**settings, "attack": attack}))
    again = run_in_process(Experiment.default({**settings, "attack": attack}))
    assert mixed.digest == again.digest


def test_malformed_reads_its_kind():
    assert Malformed("wrong shape").kind == "wrong shape"
    with pytest.raises(ValueError, match=r"no kind of malformed reply\. Kinds of malformed reply: "):
        Malformed("")


def test_a_former_name_of_a_kind_is_an_error_with_the_new_one():
    with pytest.raises(ValueError, match=r"`kind` must .* Found `truncated`, as it was called "
                                         r"before\. Write malformed\(kind=truncated npy\)"):
        byzantine_mod("malformed(kind=truncated)")
    for former, name in malformed._RENAMED.items():
        assert former not in KINDS
        assert name in KINDS
