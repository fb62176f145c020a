"""What a tracker is told of each round, and the file of it."""

import json

import numpy as np
import pytest

from flwr_resam import Resam, RoundReport, parse_rule
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.server import checkpoint as saving
from flwr_resam.server.ledger import LEDGER, read_ledger
from flwr_resam.server.rounds import ROUNDS, model_hash, read_rounds
from tests.support import content, record


def run(federation, rounds=3, resume=False, evaluate=None, **changes):
    generator = np.random.default_rng(0)

    def reply(message, i):
        values = generator.normal(size=3).astype(np.float32)
        return content(record(w=values if i else np.full(3, np.nan, np.float32)), key="momentum")

    strategy = Resam(num_malicious_nodes=1, fraction_evaluate=0.0, **changes)
    model = record(w=np.zeros(3, np.float32))
    return strategy.start(federation(reply, 5), model, rounds, resume=resume, evaluate_fn=evaluate)


def test_a_tracker_gets_what_the_ledger_and_the_metrics_have(federation):
    seen = []
    result = run(federation, on_round=seen.append, evaluate=lambda number, arrays: {"accuracy": number / 10})
    assert [report.round for report in seen] == [1, 2, 3]
    for report in seen:
        assert report.train == dict(result.train_metrics_clientapp[report.round])
        assert report.server == {"accuracy": report.round / 10}
        assert report.numbers()["train/n-rejected"] == 1
        status = [line.status for line in report.nodes]
        assert sorted(status) == ["rejected"] + ["valid"] * 4
        assert "NaN" in next(line.reason for line in report.nodes if line.status == "rejected")
        assert report.seconds > 0.0


def test_a_tracker_that_fails_does_not_end_the_run(federation, caplog):
    def broken(report):
        raise ConnectionError("no such host")

    assert len(run(federation, on_round=broken).train_metrics_clientapp) == 3
    assert caplog.text.count("`on_round` raised ConnectionError") == 3


def test_what_is_no_function_is_refused_before_the_run():
    with pytest.raises(TypeError, match="`on_round` must be callable"):
        Resam(num_malicious_nodes=1, on_round="wandb")


def test_the_file_goes_on_where_a_run_is_resumed_and_keeps_runs_apart(federation, tmp_path):
    changes = {"output_dir": tmp_path, "checkpoint_every": 2}
    run(federation, 3, **changes)
    run(federation, 5, resume=True, **changes)
    assert [report.round for report in read_rounds(tmp_path)] == [1, 2, 3, 4, 5]
    for checkpoint in tmp_path.glob("*.safetensors"):
        checkpoint.unlink()
    for checkpoint in tmp_path.glob("checkpoint*"):
        checkpoint.unlink()
    run(federation, 2, **changes)
    last = read_rounds(tmp_path)
    assert ([report.round for report in last], {report.run for report in last}) == ([1, 2], {2})
    assert len((tmp_path / ROUNDS).read_text().splitlines()) == 7


def test_a_ledger_that_was_removed_takes_no_run_from_the_rounds(federation, tmp_path):
    for _ in range(3):
        run(federation, 2, output_dir=tmp_path)
    before = (tmp_path / ROUNDS).read_text()
    (tmp_path / LEDGER).unlink()
    run(federation, 1, output_dir=tmp_path)
    assert (tmp_path / ROUNDS).read_text().startswith(before)
    assert {report.run for report in read_rounds(tmp_path)} == {4}
    assert {line.run for line in read_ledger(tmp_path)} == {4}


def test_what_is_not_finite_is_text_that_no_one_takes_for_a_number(federation, tmp_path):
    run(federation, 1, output_dir=tmp_path, evaluate=lambda number, arrays: {"loss": float("nan")})
    line = (tmp_path / ROUNDS).read_text()
    assert json.loads(line, parse_constant=pytest.fail)["server"] == {"loss": "nan"}
    assert "server/loss" not in read_rounds(tmp_path)[0].numbers()


@pytest.mark.parametrize("wrong", [
    {"round": 0}, {"round": 1.5}, {"round": "1"}, {"round": 10**400}, {"run": 0}, {"run": "x"}, {"train": []},
    {"seconds": "x"}, {"seconds": float("nan")}, {"model": 1},
])
def test_a_line_that_is_no_round_is_named(tmp_path, wrong):
    (tmp_path / ROUNDS).write_text(json.dumps({"round": 1, **wrong}) + "\n")
    with pytest.raises(ValueError, match="line 1"):
        read_rounds(tmp_path)


def test_what_a_newer_version_adds_to_a_round_is_passed_over(tmp_path):
    (tmp_path / ROUNDS).write_text('{"round": 1, "site": "north"}\n')
    assert read_rounds(tmp_path) == [RoundReport(1)]


def test_numbers_are_finite_single_numbers():
    train = {"a": 1, "b": [1.0], "c": float("inf"), "d": "x", "e": 10**400}
    report = RoundReport(1, train=train, evaluate={"a": 0.5})
    assert report.numbers() == {"train/a": 1, "evaluate/a": 0.5}


class Recording(GridWrapper):
    """Keeps the instructions and the replies of each round, as an auditor's tap does."""

    def __init__(self, grid):
        super().__init__(grid)
        self.rounds = []

    def send_and_receive(self, messages, *, timeout=None):
        asked = list(messages)
        replies = list(self._grid.send_and_receive(asked, timeout=timeout))
        self.rounds.append((asked, replies))
        return replies


@pytest.mark.parametrize("rule", ["nnm | cwtm", "mda", "krum", "gm"])
def test_an_auditor_comes_to_the_same_model(federation, tmp_path, rule):
    generator, models = np.random.default_rng(0), []

    def reply(message, i):
        return content(record(w=generator.normal(size=50).astype(np.float32)), key="momentum")

    settings = {"num_malicious_nodes": 1, "fraction_evaluate": 0.0, "aggregator": parse_rule(rule),
                "reproducible": True, "learning_rate": 0.5, "weight_decay": 0.01}
    grid = Recording(federation(reply, 7))
    Resam(**settings, output_dir=tmp_path).start(
        grid, record(w=np.zeros(50, np.float32)), 3,
        evaluate_fn=lambda number, arrays: models.append(arrays.copy()),
    )
    hashes = [report.model for report in read_rounds(tmp_path)]
    assert hashes == [model_hash(model) for model in models[1:]]
    assert len(set(hashes)) == 3
    for number, (asked, replies) in enumerate(grid.rounds, start=1):
        auditor = Resam(**settings)
        auditor._resam_run.sent(models[number - 1], asked, auditor.settings)
        model, _ = auditor.aggregate_train(number, replies)
        assert model_hash(model) == hashes[number - 1]
        liar = Resam(**settings | {"learning_rate": 0.4})
        liar._resam_run.sent(models[number - 1], asked, liar.settings)
        assert model_hash(liar.aggregate_train(number, replies)[0]) != hashes[number - 1]


def test_a_model_hash_tells_names_dtypes_and_shapes_apart():
    zeros = np.zeros(4, np.float32)
    same = [record(w=zeros), record(v=zeros), record(w=zeros.view(np.int32)), record(w=zeros.reshape(2, 2)),
            record(w=zeros[:2], v=zeros[2:])]
    assert len({model_hash(each) for each in same}) == len(same)
    assert model_hash(record(w=zeros)) == model_hash(record(w=zeros.copy()))


def test_a_kill_after_a_checkpoint_loses_no_line_and_an_empty_resume_no_run(federation, tmp_path, monkeypatch):
    def start(rounds, resume):
        grid = federation(lambda message, i: content(record(w=np.ones(2)), key="momentum"), 3)
        strategy = Resam(1, fraction_evaluate=0.0, output_dir=tmp_path, checkpoint_every=3)
        return strategy.start(grid, record(w=np.zeros(2)), rounds, resume=resume)

    start(2, False)  # over before its first checkpoint
    save = saving.save

    def killed(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        start(5, True)
    monkeypatch.undo()
    start(5, True)
    written = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [(line.get("run", 1), line["round"]) for line in written] == [
        (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5),
    ]
