"""The ledger and its report: who did what, so that a person sees whom to look at."""

import json
import sys

import numpy as np
import pytest
from flwr.app import RecordDict
from rich.console import Console
from typer.testing import CliRunner

from flwr_resam import QuorumLostError, Resam
from flwr_resam.aggregators import MDA, TrimmedMean
from flwr_resam.cli import app
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.report import PICTURE, conducts, report
from flwr_resam.server.ledger import LEDGER, Line, read_ledger
from tests.support import content, record

N = 9
FAR, MALFORMED, SILENT = 2, 3, 4  # the node ids of partitions 0, 1 and 2


class Deaf(GridWrapper):
    """Loses what one node says, and delivers one message twice under an old id."""

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        return [reply for reply in replies if reply.metadata.src_node_id != SILENT]


def run(folder, federation, aggregator, rounds=4):
    generator = np.random.default_rng(0)

    def reply(message, i):
        if i == 1:
            return RecordDict()
        shift = 1e3 if i == 0 else 0.0
        values = generator.normal(size=3).astype(np.float32) + np.float32(shift)
        return content(record(w=values), key="momentum")

    strategy = Resam(
        num_malicious_nodes=2, aggregator=aggregator, min_available_nodes=N,
        fraction_evaluate=0.0, output_dir=folder,
    )
    strategy.start(Deaf(federation(reply, N)), record(w=np.zeros(3, np.float32)), rounds)


def text_of(folder):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    report(folder, console)
    console.file.close()
    return console.export_text()


@pytest.mark.parametrize("rule", [MDA(), TrimmedMean()])
def test_each_node_has_a_line_a_round(tmp_path, federation, rule):
    run(tmp_path, federation, rule)
    lines = read_ledger(tmp_path)
    assert len(lines) == 4 * N
    for number in range(1, 5):
        of = {line.node: line for line in lines if line.round == number}
        assert of[MALFORMED].status == "rejected"
        assert of[MALFORMED].reason == "0 array records instead of one"
        assert of[SILENT].status == "silent"
        honest = [of[node] for node in range(5, 11)]
        assert all(line.status == "valid" for line in [*honest, of[FAR]])
        assert of[FAR].distance > 100
        assert np.median([line.distance for line in [*honest, of[FAR]]]) == pytest.approx(1.0)
        if rule == MDA():
            assert of[FAR].weight == 0.0
            assert sum(line.weight for line in honest) == pytest.approx(1.0)
        else:
            assert all(line.weight is None for line in honest)


@pytest.mark.parametrize("rule", [MDA(), TrimmedMean()])
def test_the_report_puts_first_whom_to_look_at(tmp_path, federation, rule):
    run(tmp_path, federation, rule)
    rows = conducts(read_ledger(tmp_path))
    assert {row.node for row in rows[:3]} == {FAR, MALFORMED, SILENT}
    assert all(row.remarks for row in rows[:3])
    assert not any(row.remarks for row in rows[3:])
    text = text_of(tmp_path)
    assert "replies rejected (0 array records instead of one)" in text
    assert "far from the others" in text
    assert "often silent" in text
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("said", ["[/red]", "[bold]mine[/bold]", "\\[x", "\x1b[31mred"])
def test_what_a_node_says_does_not_format_the_report(tmp_path, federation, said):
    def reply(message, i):
        if i == 0:
            raise RuntimeError(said)
        return content(record(w=np.ones(3, np.float32) * i), key="momentum")

    strategy = Resam(
        num_malicious_nodes=1, min_available_nodes=7, fraction_evaluate=0.0, output_dir=tmp_path
    )
    strategy.start(federation(reply, 7), record(w=np.zeros(3, np.float32)), 1)
    assert f"RuntimeError: {said}".replace("\x1b", " ") in text_of(tmp_path)


def test_the_picture_is_red_grey_and_blue_where_it_should_be(tmp_path, federation):
    from matplotlib.image import imread

    run(tmp_path, federation, MDA())
    text_of(tmp_path)
    pixels = imread(tmp_path / PICTURE)[..., :3].reshape(-1, 3)

    def share(colour):
        return np.isclose(pixels, colour, atol=0.02).all(axis=1).mean()

    assert 0.05 < share((0.84, 0.15, 0.12)) < 0.2
    assert 0.05 < share((0.6, 0.6, 0.6)) < 0.2
    assert share((0.03, 0.32, 0.61)) > 0.3


def test_a_new_run_starts_a_new_ledger_and_a_torn_line_is_left_out(tmp_path, federation):
    run(tmp_path, federation, MDA())
    run(tmp_path, federation, MDA(), rounds=1)
    assert len(read_ledger(tmp_path)) == N
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"round": 2, "no')
    assert len(read_ledger(tmp_path)) == N


def test_every_line_is_plain_json_even_for_giants(tmp_path, federation):
    huge = np.array([1e140, -1e140, 1.0])
    grid = federation(
        lambda message, i: content(record(w=huge if i == 0 else np.ones(3) * i), key="momentum"), 7
    )
    strategy = Resam(
        num_malicious_nodes=1, min_available_nodes=7, fraction_evaluate=0.0, output_dir=tmp_path
    )
    strategy.start(grid, record(w=np.zeros(3)), num_rounds=1)

    def refuse(name):
        raise AssertionError(name)

    for line in (tmp_path / LEDGER).read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    assert all(line.distance >= 0 for line in read_ledger(tmp_path))


def test_thousands_of_rounds_fit_in_one_picture(tmp_path):
    from flwr_resam.report import draw

    lines = [Line(t, node, "valid", None, 0.2, 1.0) for t in range(1, 1502) for node in range(5)]
    draw(lines, list(range(5)), tmp_path / "long.png")
    assert (tmp_path / "long.png").stat().st_size < 300_000


def test_a_skipped_round_is_in_the_ledger_too(tmp_path, federation):
    strategy = Resam(
        num_malicious_nodes=1, min_available_nodes=4, fraction_evaluate=0.0, output_dir=tmp_path
    )
    with pytest.raises(QuorumLostError):
        strategy.start(federation(lambda m, i: RecordDict(), 4), record(w=np.zeros(3)), 2)
    assert [line.status for line in read_ledger(tmp_path)] == ["rejected"] * 8
    assert len(conducts(read_ledger(tmp_path))) == 4


def test_the_command_says_what_is_missing(tmp_path, monkeypatch):
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert "must hold a ledger.jsonl" in " ".join(done.stderr.split())
    assert "Give the `output_dir` of a strategy" in done.stderr
    (tmp_path / LEDGER).write_text('{"round": 1, "node": 2, "status": "silent"}\n')
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        report(tmp_path, Console(quiet=True))


def test_a_folder_of_runs_names_three_of_them(tmp_path):
    for attack in ("none", "foe", "alie", "zero"):
        (tmp_path / attack).mkdir()
        (tmp_path / attack / LEDGER).write_text('{"round": 1, "node": 2, "status": "silent"}\n')
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    named = ", ".join(f"`{tmp_path / attack}`" for attack in ("alie", "foe", "none"))
    assert f"Give the folder of one run, such as {named}." in done.stderr
