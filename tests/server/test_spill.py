"""Rows in a file: the bits of rows in memory, for every rule, and honest errors."""

import errno
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from flwr_resam import InProcessGrid, Resam
from flwr_resam.aggregators import AGGREGATORS, Mean, TrimmedMean
from flwr_resam.parse import parse_rule
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rows.source import Segments
from flwr_resam.rows.spilled import SpilledRow
from flwr_resam.rows.updates import Updates
from flwr_resam.rule import Round
from flwr_resam.scratch import SLOT, Scratch, ScratchError
from flwr_resam.server import loop
from flwr_resam.server.intake import Intake
from tests.rules import ARGUMENTS, CHOSEN, make
from tests.support import record

N, F = 11, 2
GIVEN = ARGUMENTS | CHOSEN
REMEMBERING = {name for name in AGGREGATORS if make(name).keeps_vectors}


def segments(dtype, weights, d=150_000):
    """Rows in several arrays, as they lie in messages, some of them weights."""
    random = np.random.default_rng(1)
    cuts = [0, 7, SLOT // 4 + 3, d]
    rows = random.normal(size=(N + 1, d)).astype(dtype)

    def cut(row):
        return [row[a:b] for a, b in pairwise(cuts)]

    return [Segments(cut(row), cut(rows[-1]) if weights else None) for row in rows[:-1]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("weights", [False, True])
def test_a_row_in_a_file_is_read_as_the_row_in_memory(tmp_path, dtype, weights):
    rows = segments(dtype, weights)
    wide = np.result_type(dtype, np.float32)
    with Scratch(tmp_path) as scratch:
        for row in rows:
            spilled = SpilledRow(row, scratch)
            assert (spilled.size, spilled.dtype) == (row.size, wide)
            for start, stop in ((0, row.size), (5, 9), (SLOT // 4 - 1, SLOT // 4 + 70_000)):
                for out_dtype in {wide} if weights else {wide, np.dtype(np.float64)}:
                    found, expected = (np.empty(stop - start, out_dtype) for _ in range(2))
                    spilled.read(start, stop, found)
                    row.read(start, stop, expected)
                    np.testing.assert_array_equal(found, expected)


CASES = [(name, name) for name in AGGREGATORS] + [
    (f"{name} | cwtm", name) for name in PREAGGREGATORS
] + [("nnm | mda", "nnm"), ("bucketing | gm", "bucketing")]


@pytest.mark.parametrize(("chain", "name"), CASES)
def test_every_rule_finds_the_same_bits(tmp_path, chain, name):
    rows = segments(np.float32, weights=False)
    first, *rest = chain.split(" | ")
    text = " | ".join([f"{first}({GIVEN[first]})" if first in GIVEN else first, *rest])
    rule = parse_rule(text)

    def found(given):
        model = np.zeros(rows[0].size, np.float32)
        state, vectors = rule.start(), []
        for number in (1, 2):  # the second with what the rule remembers
            at = Round(number, tuple(range(N)), np.random.default_rng(number), lambda: model)
            done = rule.step(Updates(given), f=F, state=state, at=at)
            state = done.state
            vectors.append(done.vector)
        return vectors

    with Scratch(tmp_path) as scratch:
        spilled = found([SpilledRow(row, scratch) for row in rows])
    for left, right in zip(spilled, found(rows), strict=True):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


# ------------------------------------------------------------------------- a strategy's rounds

app = ClientApp()


@app.train()
def noise(message, context):
    random = np.random.default_rng(int(context.node_config["partition-id"]))
    arrays = {
        key: values.numpy() + random.normal(size=values.shape).astype(np.float32)
        for key, values in message.content["arrays"].items()
    }
    return Message(RecordDict({"arrays": record(**arrays)}), reply_to=message)


def model(size=200_000):
    random = np.random.default_rng(9)
    return record(**{
        "w": random.normal(size=(size,)).astype(np.float32),
        "b.running_var": np.ones(40, np.float32),
    })


def train(nodes=7, rounds=2, **changes):
    arguments = {
        "num_malicious_nodes": 2, "aggregator": TrimmedMean(), "min_available_nodes": nodes,
        "fraction_evaluate": 0.0, "seed": 0,
    }
    kind = changes.pop("kind", Resam)
    strategy = kind(**{**arguments, **changes})
    return strategy, strategy.start(InProcessGrid(app, nodes), model(), num_rounds=rounds)


@pytest.mark.parametrize("rule", ["cwtm", "nnm | mda", "gm", "cc(radius=1.0)", "rge"])
def test_a_training_with_rows_in_a_file_is_the_same_training(tmp_path, rule):
    folder = tmp_path / "rows"
    folder.mkdir()
    changes = {"aggregator": parse_rule(rule), "output_dir": None}
    _, there = train(spill=folder, **changes)
    _, here = train(**changes)
    for name in here.arrays:
        assert there.arrays[name].data == here.arrays[name].data
    assert there.train_metrics_clientapp == here.train_metrics_clientapp
    assert list(folder.iterdir()) == []


def test_the_ledger_is_the_same(tmp_path):
    for name in ("here", "there"):
        train(output_dir=tmp_path / name, spill=tmp_path if name == "there" else None)
    ledgers = [(tmp_path / name / "ledger.jsonl").read_text() for name in ("here", "there")]
    assert ledgers[0].count("\n") == 14
    strip = [[line.split('"run"')[0] for line in text.splitlines()] for text in ledgers]
    assert [len(lines) for lines in strip] == [14, 14]


def test_a_strategy_of_ones_own_gets_the_replies_once_and_not_in_a_list(tmp_path):
    class Own(Resam):
        def aggregate_train(self, server_round, replies):
            self.given = type(replies).__name__
            return super().aggregate_train(server_round, replies)

    Own.__module__ = "elsewhere"
    listed, expected = train(kind=Own)
    streamed, found = train(kind=Own, spill=tmp_path)
    assert (listed.given, streamed.given) == ("list", "generator")
    assert found.arrays["w"].data == expected.arrays["w"].data


def test_memory_does_not_grow_with_the_nodes(tmp_path):
    size = 1_000_000

    def peak(nodes, spill):
        random = np.random.default_rng(9)
        arrays = record(w=random.normal(size=(size,)).astype(np.float32))
        strategy = Resam(
            num_malicious_nodes=1, aggregator=TrimmedMean(), min_available_nodes=nodes,
            fraction_evaluate=0.0, spill=spill,
        )
        grid = InProcessGrid(app, nodes)
        tracemalloc.start()
        strategy.start(grid, arrays, num_rounds=1)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest / (4 * size)

    few, many = peak(4, tmp_path), peak(20, tmp_path)
    assert many < few + 1.0
    assert peak(20, None) > many + 10.0  # else the above shows nothing


def test_the_file_is_closed_after_a_round_and_after_an_error(tmp_path, monkeypatch):
    made = []

    class Noted(Scratch):
        def __init__(self, folder):
            super().__init__(folder)
            made.append(self)

    monkeypatch.setattr(loop, "Scratch", Noted)
    train(spill=tmp_path)
    assert len(made) == 2
    monkeypatch.setattr(Intake, "take_all", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(spill=tmp_path)
    assert len(made) == 3
    assert all(each._file.closed for each in made)


@pytest.mark.parametrize("at", [1, 3, 20])
def test_a_disk_that_fills_while_rows_are_admitted_ends_the_run(tmp_path, monkeypatch, at):
    count = [0]
    write = Scratch._write

    def full(self, place, data):
        count[0] += 1
        if count[0] == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, place, data)

    monkeypatch.setattr(Scratch, "_write", full)
    with pytest.raises(ScratchError, match=r"`spill` keeps in .*No space left on device"):
        train(spill=tmp_path)


def test_a_disk_that_can_not_be_read_ends_the_run(tmp_path, monkeypatch):
    def broken(self, place, out):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Scratch, "_read", broken)
    with pytest.raises(ScratchError, match=r"can't read rows"):
        train(spill=tmp_path)


def test_too_little_room_is_said_before_a_node_is_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(InProcessGrid, "push_messages", lambda *_: asked.append(1))

    def none_left(self, size, what):
        assert (size, what) == ((7 + 2 + 1) * 4 * 200_040, "7 rows")
        raise ValueError("no room")

    monkeypatch.setattr(Scratch, "check_room", none_left)
    with pytest.raises(ValueError, match="no room"):
        train(spill=tmp_path)
    assert asked == []


def test_the_folder_is_checked_at_construction(tmp_path):
    for folder, error, what in (
        (tmp_path / "missing", ValueError, "`spill` must be a folder"),
        (3, TypeError, "`spill` must be a path or None"),
    ):
        with pytest.raises(error, match=what):
            Resam(num_malicious_nodes=0, aggregator=Mean(), spill=folder)
    assert Resam(num_malicious_nodes=0, spill=str(tmp_path)).spill == tmp_path
    assert Resam(num_malicious_nodes=0, spill="").spill is None


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_rules_that_keep_a_vector_a_node_are_those_that_say_so(name):
    rule, n, d = make(name), 11, 500
    rows = np.ones((n, d), np.float32)  # of nodes that none is dropped of
    state = None
    for number in (1, 2):
        at = Round(number, tuple(range(n)), np.random.default_rng(number), lambda: np.zeros(d), root=rows[0])
        state = rule.step(rows, f=2, state=state, at=at).state
    numbers = sum(np.size(leaf) for leaf in leaves(state))
    assert (numbers >= n * d) == (name in REMEMBERING)
    assert name in REMEMBERING or numbers <= 2 * d


def leaves(state):
    """All arrays and numbers of a rule's memory."""
    if isinstance(state, dict):
        state = tuple(state.values())
    if isinstance(state, tuple | list):
        return [leaf for each in state for leaf in leaves(each)]
    return [state]


def test_what_holds_all_rows_in_memory_all_the_same_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`device` must be None with `spill`"):
        Resam(num_malicious_nodes=0, spill=tmp_path, device="cpu")
    for name in REMEMBERING:
        for rule in (make(name), make("clipping") | make(name)):
            with pytest.raises(ValueError, match=f"keeps a vector a node in memory. Found `{name}`"):
                Resam(num_malicious_nodes=1, aggregator=rule, spill=tmp_path)
