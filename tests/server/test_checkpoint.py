"""Checkpoints: killed at any instant, a run goes on to the same bits; a bad file is named."""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import safetensors.numpy
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from safetensors import safe_open

from flwr_resam import (
    AdversarialGrid,
    CheckpointError,
    InProcessGrid,
    QuorumLostError,
    Resam,
    WorkerMomentum,
    parse_rule,
)
from flwr_resam.aggregators import Mean, TrimmedMean
from flwr_resam.attacks import Replay, SignFlip, Straggler, Zero
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.momentum import server_round_of
from flwr_resam.rule import Aggregate, WeightRule
from flwr_resam.server import checkpoint
from flwr_resam.server.checkpoint import list_checkpoints, load
from flwr_resam.server.encoding import decode, encode
from flwr_resam.server.ledger import LEDGER, read_ledger
from tests.support import record

N, D = 7, 20
START = {"w": np.arange(D, dtype=np.float32), "n": np.array(3)}


@dataclass(frozen=True)
class Trusting(WeightRule):
    """A rule with memory of each node and of its own last output."""

    name: ClassVar[str] = "trusting"

    def start(self):
        return {"seen": {}, "last": None, "notes": ("none", 0, 0.5)}

    def weights(self, geometry, f):
        raise NotImplementedError

    def _step(self, updates, f, state, at):
        seen = {**state["seen"]}
        noise = at.random().normal(size=updates.n)
        for node, extra in zip(at.nodes, noise, strict=True):
            seen[node] = 0.9 * seen.get(node, np.float64(1.0)) + 0.1 * extra**2
        weights = np.array([seen[node] for node in at.nodes])
        vector = updates.combine(weights / weights.sum())
        if state["last"] is not None:
            vector = vector + np.float32(0.1) * state["last"]
        notes = (state["notes"][0] + "x", at.number, 1 / at.number)
        return Aggregate(vector, None, {"seen": seen, "last": vector, "notes": notes})


def grid(pace=0.0):
    """Nodes whose gradients differ by round and partition; a round lasts ``pace`` or longer."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context):
        number = server_round_of(message)
        i = context.node_config["partition-id"]
        time.sleep(pace / N)
        generator = np.random.default_rng([number, i])
        gradient = generator.normal(size=D).astype(np.float32) + i
        worker = WorkerMomentum(0.9, context.state)
        reply = worker.step({"w": gradient, "n": np.array(0)}, server_round=number)
        return Message(RecordDict({"momentum": reply}), reply_to=message)

    return GridWrapper(InProcessGrid(app, N))


def strategy(folder, every=1, **changes):
    arguments = {
        "num_malicious_nodes": 2, "min_available_nodes": N, "fraction_evaluate": 0.0, "seed": 3,
        "aggregator": Trusting(), "learning_rate": 0.1, "weight_decay": 0.01,
        "output_dir": folder, "checkpoint_every": every,
    }
    return Resam(**{**arguments, **changes})


def train(folder, rounds, resume=False, every=1, pace=0.0, **changes):
    made = strategy(folder, every, **changes)
    return made.start(grid(pace), record(**START), num_rounds=rounds, resume=resume).arrays


def same(a, b):
    return {name: array.data for name, array in a.items()} == {
        name: array.data for name, array in b.items()
    }


def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path):
    whole = train(tmp_path / "whole", 20, every=7)
    train(tmp_path / "parts", 9, every=3)
    assert [path.name for path in list_checkpoints(tmp_path / "parts")] == [
        "checkpoint-00000009.safetensors", "checkpoint-00000006.safetensors",
    ]
    resumed = train(tmp_path / "parts", 20, resume=True, every=3)
    assert same(whole, resumed)
    assert (tmp_path / "whole" / LEDGER).read_text() == (tmp_path / "parts" / LEDGER).read_text()
    assert same(whole, train(tmp_path / "parts", 20, resume=True))  # nothing is left to do


MEMORIES = [
    "cc(radius=1.0)", "byzantine-sgd(deviation=9.0, diameter=9.0, rounds=8)", "monna(trusted=0)",
    "safeguard",
]


@pytest.mark.parametrize("name", MEMORIES)
def test_rules_with_memory_resume_too(tmp_path, name):
    rule = {"aggregator": parse_rule(name)}
    whole = train(tmp_path / "whole", 8, every=0, **rule)
    train(tmp_path / "parts", 5, **rule)
    assert load(list_checkpoints(tmp_path / "parts")[0]).rule_state is not None
    assert same(whole, train(tmp_path / "parts", 8, resume=True, **rule))


def test_without_the_workers_states_the_bits_would_differ(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", 20)
    train(tmp_path / "parts", 9)
    monkeypatch.setattr("flwr_resam.server.checkpoint.recall", lambda *arguments: False)
    assert not same(whole, train(tmp_path / "parts", 20, resume=True))


def killed_after(seconds, folder, rounds):
    """Train in a process that gets SIGKILL; True if it was done before that."""
    # Not forked from here: other tests leave threads behind, which a fork doesn't take along.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    arguments = {"resume": True, "every": 2, "pace": 0.01}
    child = processes.Process(target=train, args=(folder, rounds), kwargs=arguments)
    child.start()
    child.join(seconds)
    child.kill()
    child.join()
    code = child.exitcode
    child.close()
    assert code in (0, -signal.SIGKILL)
    return code == 0


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("seed", "rounds"), [(0, 40), *[pytest.param(s, 300, marks=pytest.mark.slow) for s in (1, 2)]]
)
def test_killed_at_any_instant_it_ends_in_the_same_bits(tmp_path, seed, rounds):
    whole = train(tmp_path / "whole", rounds, every=2)
    generator = random.Random(seed)
    deaths = 0
    while not killed_after(generator.uniform(0.0, 0.2 + deaths / 50), tmp_path / "parts", rounds):
        deaths += 1
    assert deaths >= 1
    assert same(whole, train(tmp_path / "parts", rounds, resume=True))
    # One that was killed before its first checkpoint began anew, and is another run in the folder.
    lines = [replace(line, run=1) for line in read_ledger(tmp_path / "parts")]
    assert lines == read_ledger(tmp_path / "whole")


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_dying_in_the_middle_of_a_save_leaves_the_last_one_whole(tmp_path, monkeypatch, call):
    whole = train(tmp_path / "whole", 8)
    train(tmp_path / "parts", 5)

    class Died(BaseException):
        pass

    def die(*arguments):
        raise Died

    with monkeypatch.context() as patch:
        if call == "write":
            original = safetensors.numpy.save
            patch.setattr(
                checkpoint.safetensors.numpy, "save",
                lambda *arguments: type("Half", (bytes,), {})(original(*arguments)[:100]),
            )
            patch.setattr(checkpoint.os, "fsync", die)
        else:
            patch.setattr(checkpoint.os, call, die)
        with pytest.raises(Died):
            train(tmp_path / "parts", 8, resume=True)
    assert load(list_checkpoints(tmp_path / "parts")[0]).round == 5
    assert same(whole, train(tmp_path / "parts", 8, resume=True))
    assert not list((tmp_path / "parts").glob("*.tmp"))


def _flip(data):
    middle = len(data) - 9
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
    "one bit": _flip,
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"hello",
    "foreign": lambda data: safetensors.numpy.save({"w": np.zeros(3)}),
    "metadata": lambda data: data.replace(b'\\"round\\": 6', b'\\"round\\": 7'),
    "a pickle": lambda data: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_a_damaged_checkpoint_is_an_error_that_names_the_good_one(tmp_path, kind):
    whole = train(tmp_path / "whole", 8)
    train(tmp_path / "parts", 6)
    newest, older = list_checkpoints(tmp_path / "parts")
    before = newest.read_bytes()
    newest.write_bytes(DAMAGE[kind](before))
    assert newest.read_bytes() != before
    with pytest.raises(CheckpointError, match=r"(?s)00000006.*older.*00000005.*is good"):
        train(tmp_path / "parts", 8, resume=True)
    assert newest.exists()
    newest.rename(tmp_path / "damaged")
    assert older.exists()
    assert same(whole, train(tmp_path / "parts", 8, resume=True))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"aggregator": Mean()}, "aggregator"),
        ({"num_malicious_nodes": 1}, "num_malicious_nodes"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"seed": 4}, "seed"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, changes, name):
    train(tmp_path, 3)
    with pytest.raises(CheckpointError, match=f"its `{name}` is"):
        train(tmp_path, 5, resume=True, **changes)


def test_a_resumed_run_may_have_another_learning_rate(tmp_path):
    train(tmp_path, 3)
    lower = train(tmp_path, 5, resume=True, learning_rate=0.05)
    assert not same(lower, train(tmp_path / "whole", 5))


def test_a_checkpoint_of_another_model_or_federation_is_refused(tmp_path):
    train(tmp_path, 3)
    with pytest.raises(CheckpointError, match="its `model` is 2 arrays, 20 parameters"):
        strategy(tmp_path).start(grid(), record(w=np.zeros(3)), num_rounds=5, resume=True)
    fewer = InProcessGrid(ClientApp(), N + 1)
    with pytest.raises(ValueError, match="have the nodes of the checkpoint"):
        strategy(tmp_path).start(fewer, record(**START), num_rounds=5, resume=True)


def test_a_new_run_does_not_write_over_an_old_ones_checkpoints(tmp_path):
    train(tmp_path, 3)
    with pytest.raises(ValueError, match="hold no checkpoints of an earlier run"):
        train(tmp_path, 3)
    train(tmp_path / "none", 3, resume=True)  # nothing to resume: it begins


def test_arguments_that_can_not_work_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`output_dir` must be given for checkpoints"):
        Resam(0, checkpoint_every=3)
    with pytest.raises(ValueError, match="`checkpoint_every` must be a whole number, at least 0"):
        Resam(0, checkpoint_every=-1, output_dir=tmp_path)
    with pytest.raises(ValueError, match="`output_dir` must be given to resume"):
        Resam(0, min_available_nodes=N).start(grid(), record(**START), resume=True)


def test_any_safetensors_reader_finds_the_model_by_name(tmp_path):
    arrays = train(tmp_path, 2, aggregator=TrimmedMean())
    with safe_open(list_checkpoints(tmp_path)[0], framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("arrays/w"), arrays["w"].numpy())
        assert json.loads(file.metadata()["content"])["round"] == 2


def test_plain_values_come_back_as_they_were():
    generator = np.random.default_rng(0)
    state = RecordDict({
        "a": ArrayRecord({
            "c": Array(generator.normal(size=(2, 3))), "f": Array(np.asfortranarray(np.eye(3))),
            "raw": Array("odd", (1,), "other", b"\x00\xff"),
        }),
        "c": ConfigRecord({"b": b"\x80", "t": "ü\ud800"[0], "l": [1, 2], "f": 0.1, "o": True}),
        "m": MetricRecord({"x": [0.1, float("inf")], "n": 2**62}),
    })
    value = {
        3: [1, 0.1, None, True, "x", float("-inf")], "3": (), (1, "a"): {},
        "arrays": [np.zeros((0, 4)), np.array(2.0), np.ones((2, 3), order="F"), np.float32(0.1),
                   np.arange(3)[::2], np.array([1], ">f8"), np.longdouble("0.1")],
        "state": state,
    }
    arrays = {}
    text = json.loads(json.dumps(encode(value, arrays)))
    back = decode(text, safetensors.numpy.load(safetensors.numpy.save(arrays)))
    assert repr(back) == repr(value)
    for one, other in zip(back["arrays"], value["arrays"], strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError, match="`state` must be made of"):
        encode({"x": object()}, {})


def test_a_torch_tensor_in_the_state_comes_back():
    torch = pytest.importorskip("torch")
    arrays = {}
    back = decode(encode(torch.arange(3.0), arrays), arrays)
    assert torch.equal(back, torch.arange(3.0))


@pytest.mark.parametrize("attack", [Replay(rounds=3), Straggler(every=4), SignFlip()])
def test_an_adversary_with_memory_resumes_too(tmp_path, attack):
    def run(folder, rounds, resume=False, attack=attack):
        generator = np.random.default_rng(0)
        drawn = generator.normal(size=(20, N, 3)).astype(np.float32)
        app = ClientApp()

        @app.train()
        def train(message, context):
            row = drawn[server_round_of(message), context.node_config["partition-id"]]
            return Message(RecordDict({"momentum": record(w=row)}), reply_to=message)

        strategy = Resam(
            2, Mean(), min_available_nodes=N, fraction_evaluate=0.0, seed=0, output_dir=folder,
            checkpoint_every=1,
        )
        grid = AdversarialGrid(InProcessGrid(app, N), attack, partitions=[5, 6])
        start = record(w=np.zeros(3, np.float32))
        return strategy.start(grid, start, rounds, resume=resume).arrays["w"].numpy()

    whole = run(tmp_path / "whole", 10)
    run(tmp_path / "parts", 5)
    np.testing.assert_array_equal(run(tmp_path / "parts", 10, resume=True), whole)
    run(tmp_path / "other", 5)
    run(tmp_path / "other", 10, resume=True, attack=Zero())  # other attacks just begin anew


def test_a_run_without_checkpoints_does_not_leave_others_beside_its_ledger(tmp_path):
    app = ClientApp()

    @app.train()
    def train(message, context):
        return Message(RecordDict({"momentum": record(w=np.ones(2))}), reply_to=message)

    def run(every):
        strategy = Resam(
            0, Mean(), min_available_nodes=2, fraction_evaluate=0.0, output_dir=tmp_path,
            checkpoint_every=every,
        )
        strategy.start(InProcessGrid(app, 2), record(w=np.zeros(2)), 2)

    run(1)
    before = (tmp_path / LEDGER).read_bytes()
    with pytest.raises(ValueError, match="hold no checkpoints of an earlier run"):
        run(0)
    assert (tmp_path / LEDGER).read_bytes() == before


def test_a_resumed_run_says_from_where_and_what_it_could_not_restore(tmp_path, caplog, monkeypatch):
    def said(resume=True):
        caplog.clear()
        caplog.set_level("INFO", logger="flwr")
        train(tmp_path, 2, resume=resume)
        return caplog.text

    assert f"No checkpoint in {tmp_path}: the run begins with round 1" in said()
    text = said()
    assert f"Resuming after round 2 from {tmp_path}" in text
    assert "No checkpoint in" not in text
    assert "begin anew" not in text
    assert "The checkpoint is of round 2, and num_rounds = 2: nothing is left to do" in text
    assert "Starting" not in text
    monkeypatch.setattr("flwr_resam.server.checkpoint.recall", lambda *arguments: False)
    assert "The nodes' momentums are not in the checkpoint: they begin anew" in said()


@pytest.mark.parametrize(("every", "rounds", "kept"), [(0, 3, []), (1, 3, [3, 2]), (3, 8, [6, 3])])
def test_the_two_newest_of_every_so_many_rounds_are_kept(tmp_path, every, rounds, kept):
    train(tmp_path, rounds, every=every)
    assert [load(path).round for path in list_checkpoints(tmp_path)] == kept


def test_a_disk_that_is_full_for_a_while_costs_the_checkpoints_of_that_while_only(tmp_path, monkeypatch, caplog):
    save, rounds = checkpoint.save, []

    def full_once(folder, found):
        rounds.append(found.round)
        if found.round == 2:
            raise OSError(28, "No space left on device")
        return save(folder, found)

    monkeypatch.setattr(checkpoint, "save", full_once)
    train(tmp_path, 4)
    assert rounds == [1, 2, 3, 4]
    assert [load(path).round for path in list_checkpoints(tmp_path)] == [4, 3]
    assert caplog.text.count("No checkpoint after round") == 1


def test_the_format_of_another_version_is_named(tmp_path):
    train(tmp_path, 1)
    (path,) = list_checkpoints(tmp_path)
    with safe_open(path, framework="numpy") as file:
        metadata = {**file.metadata(), "format": "flwr-resam-checkpoint-99"}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.numpy.save_file(arrays, path, metadata)
    wanted = "of the format flwr-resam-checkpoint-4. Found flwr-resam-checkpoint-99. Resume with the "
    with pytest.raises(CheckpointError, match=wanted):
        load(path)


def test_where_no_older_one_is_good_the_error_says_so(tmp_path):
    train(tmp_path, 2)
    for path in list_checkpoints(tmp_path):
        path.write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=r"00000002.*No older checkpoint in .* is good"):
        train(tmp_path, 3, resume=True)


def test_what_an_error_of_other_settings_says_to_do_can_be_done(tmp_path):
    train(tmp_path / "old", 2)
    with pytest.raises(CheckpointError) as told:
        train(tmp_path / "old", 3, resume=True, seed=4)
    assert "Resume with the settings of the checkpoint" in str(told.value)
    assert "a run that begins anew needs another folder" in str(told.value)
    assert "ithout `resume`" not in str(told.value)
    train(tmp_path / "old", 3, resume=True)
    train(tmp_path / "other", 3, seed=4)


def test_skipped_rounds_are_counted_over_a_resumption(tmp_path):
    """The first process skips two of the three rounds that may be skipped, the next one the third."""
    def start(rounds, resume):
        app = ClientApp()

        @app.train()
        def fail(message, context):
            if server_round_of(message) > 1:
                raise RuntimeError("down")
            row = np.ones(D, np.float32)
            return Message(RecordDict({"momentum": record(w=row, n=np.array(0))}), reply_to=message)

        made = strategy(tmp_path, max_skipped_rounds=3)
        return made.start(InProcessGrid(app, N), record(**START), num_rounds=rounds, resume=resume)

    start(3, False)
    assert load(list_checkpoints(tmp_path)[0]).skipped == 2
    with pytest.raises(QuorumLostError, match=r"3 round\(s\) in a row"):
        start(9, True)
