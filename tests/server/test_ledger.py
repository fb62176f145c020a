"""The ledger and its report: who did what, so that a person sees whom to look at."""

import json
import sys
from types import SimpleNamespace

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
from flwr_resam.rows.source import Segments
from flwr_resam.rule import Aggregate, Aggregator
from flwr_resam.server.gate import Rejection
from flwr_resam.server.ledger import LEDGER, Ledger, Line, read_ledger, round_lines
from flwr_resam.wire.replies import Stray
from tests.support import content, record

N = 9
FAR, MALFORMED, SILENT = 2, 3, 4  # the node ids of partitions 0, 1 and 2


class Deaf(GridWrapper):
    """Loses what one node says, and delivers one message twice under an old id."""

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        return [reply for reply in replies if reply.metadata.src_node_id != SILENT]


def run(folder, federation, aggregator, rounds=4, resume=False, **changes):
    generator = np.random.default_rng(0)

    def reply(message, i):
        if i == 1:
            return RecordDict()
        shift = 1e3 if i == 0 else 0.0
        values = generator.normal(size=3).astype(np.float32) + np.float32(shift)
        return content(record(w=values), key="momentum")

    strategy = Resam(
        num_malicious_nodes=2, aggregator=aggregator, min_available_nodes=N,
        fraction_evaluate=0.0, output_dir=folder, **changes,
    )
    grid, model = Deaf(federation(reply, N)), record(w=np.zeros(3, np.float32))
    strategy.start(grid, model, rounds, resume=resume)


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


def test_a_torn_line_is_left_out(tmp_path, federation):
    run(tmp_path, federation, MDA(), rounds=1)
    with (tmp_path / LEDGER).open("a", encoding="utf-8") as file:
        file.write('{"round": 2, "no')
    assert len(read_ledger(tmp_path)) == N


def test_the_ledger_of_an_earlier_run_is_never_overwritten(tmp_path, federation):
    run(tmp_path, federation, MDA(), rounds=2)
    before = (tmp_path / LEDGER).read_text()
    run(tmp_path, federation, MDA(), rounds=1)
    after = (tmp_path / LEDGER).read_text()
    assert after.startswith(before)
    assert {line.round for line in read_ledger(tmp_path)} == {1}  # of the last run
    assert {json.loads(line)["run"] for line in after[len(before):].splitlines()} == {2}
    # There is no checkpoint, so that a resumed run begins anew: it is another one.
    run(tmp_path, federation, MDA(), rounds=1, resume=True)
    last = (tmp_path / LEDGER).read_text()
    assert last.startswith(after)
    assert {json.loads(line)["run"] for line in last[len(after):].splitlines()} == {3}


def test_a_folder_has_one_run_at_a_time(tmp_path, federation):
    first = Ledger(tmp_path)
    with pytest.raises(ValueError, match="be the folder of one run at a time"):
        run(tmp_path, federation, MDA(), rounds=1)
    first.close()
    run(tmp_path, federation, MDA(), rounds=1)
    Ledger(tmp_path).close()  # a run that is over has let go of it


def test_node_ids_are_text_since_they_are_more_than_a_float_holds(tmp_path):
    node = 2**64 - 59
    ledger = Ledger(tmp_path)
    ledger.begin(0, resume=False)
    ledger.add([Line(1, node, "silent")])
    ledger.close()
    (line,) = (tmp_path / LEDGER).read_text().splitlines()
    assert json.loads(line)["node"] == str(node)
    assert read_ledger(tmp_path) == [Line(1, node, "silent")]


def test_a_full_disk_ends_the_ledger_and_neither_the_checkpoints_nor_the_run(
    tmp_path, federation, monkeypatch, caplog
):
    written = []

    def full(self, *arguments, **keywords):
        if self.name == LEDGER and arguments[:1] == ("a",):
            written.append(self)
            raise OSError(28, "No space left on device")
        return whole(self, *arguments, **keywords)

    def no_room(folder, checkpoint):
        raise OSError(28, "No space left on device")

    whole = type(tmp_path).open
    monkeypatch.setattr(type(tmp_path), "open", full)
    monkeypatch.setattr("flwr_resam.server.checkpoint.save", no_room)
    run(tmp_path, federation, MDA(), rounds=4, checkpoint_every=1)
    assert len(written) == 1  # it was tried once
    errors = [each.message for each in caplog.records if each.levelname == "ERROR"]
    assert [text.split(":")[0] for text in errors] == [
        "The ledger ends here, and the run goes on",
        *[
            f"No checkpoint after round {number}; the run goes on, and tries again when the next is due"
            for number in range(1, 5)
        ],
    ]


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


def test_weights_that_are_no_numbers_are_left_out_and_the_run_can_be_resumed(tmp_path, federation):
    class Odd(Aggregator):
        name = "odd"

        def _step(self, updates, f, state, at):
            weights = np.full(updates.n, 0.25)
            weights[:3] = np.nan, np.inf, 1e200
            return Aggregate(updates.combine(np.full(updates.n, 1 / updates.n)), weights)

    run(tmp_path, federation, Odd(), rounds=2)
    weights = [line.weight for line in read_ledger(tmp_path) if line.status == "valid"]
    assert weights.count(None) == 2 * 3
    assert weights.count(0.25) == len(weights) - 6
    run(tmp_path, federation, Odd(), rounds=3, resume=True)


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
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 3
    assert "often silent" in " ".join(done.stdout.split())
    assert "pip install matplotlib" in done.stdout


def test_the_report_fits_80_columns_and_names_whole_ids(tmp_path, monkeypatch):
    ids = [2**63 - 7, 2**62 + 5, 11]
    lines = [
        {"round": number, "node": str(node), "status": "valid", "weight": float(node == 11), "distance": 2.0}
        for number in (1, 2) for node in ids
    ]
    (tmp_path / LEDGER).write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    table = done.stdout.split("Picture")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert all(f"{str(node)[-4:]} is {node}" in table for node in ids[:2])


def test_nodes_that_send_the_same_row_are_remarked(tmp_path, federation):
    generator = np.random.default_rng(0)

    def reply(message, i):
        values = generator.normal(size=3).astype(np.float32)
        return content(record(w=values if i > 1 else np.full(3, 0.5, np.float32)), key="momentum")

    strategy = Resam(num_malicious_nodes=2, aggregator=TrimmedMean(), fraction_evaluate=0.0, output_dir=tmp_path)
    strategy.start(federation(reply, 7), record(w=np.zeros(3, np.float32)), 3)
    found = {conduct.node: conduct for conduct in conducts(read_ledger(tmp_path))}
    same = {node for node, conduct in found.items() if conduct.remarks == ["sends the same as another node"]}
    assert same == {FAR, MALFORMED}
    assert all(found[node].twins == 3 for node in same)


def test_a_folder_of_runs_names_three_of_them(tmp_path):
    for attack in ("none", "foe", "alie", "zero"):
        (tmp_path / attack).mkdir()
        (tmp_path / attack / LEDGER).write_text('{"round": 1, "node": 2, "status": "silent"}\n')
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    named = ", ".join(f"`{tmp_path / attack}`" for attack in ("alie", "foe", "none"))
    assert f"Give the folder of one run, such as {named}." in done.stderr


@pytest.mark.parametrize(
    ("wrong", "good"),
    [
        ({"round": 0}, {"round": 1}), ({"node": "-1"}, {"node": "0"}),
        ({"status": "odd"}, {"status": "unasked"}), ({"node": "x"}, {}), ({"node": 3.5}, {"node": 3}),
        ({"round": 1.5}, {}), ({"round": "1"}, {}), ({"round": True}, {}), ({"round": 2**53 + 1}, {"round": 2**53}),
        ({"weight": "x"}, {"weight": 0.5}), ({"weight": float("nan")}, {"weight": None}), ({"weight": [1]}, {}),
        ({"weight": 10**400}, {"weight": 1}), ({"weight": 1e300}, {}), ({"distance": float("inf")}, {"distance": 1e300}),
        ({"reason": 5}, {"reason": "late"}), ({"run": 1.0}, {"run": 1}), ({"run": 0}, {}), ({"twin": 2.0}, {"twin": "2"}),
    ],
)
def test_a_line_that_is_none_of_a_ledger_is_refused(tmp_path, wrong, good):
    line = {"round": 2, "node": "3", "status": "silent"}
    last = json.dumps(line) + "\n"
    (tmp_path / LEDGER).write_text(json.dumps({**line, **good}) + "\n" + last)
    assert len(read_ledger(tmp_path)) == 2
    (tmp_path / LEDGER).write_text(json.dumps({**line, **wrong}) + "\n" + last)
    with pytest.raises(ValueError, match="one node in one round"):
        read_ledger(tmp_path)


def test_what_a_newer_version_adds_to_a_line_is_passed_over(tmp_path):
    (tmp_path / LEDGER).write_text('{"round": 1, "node": "3", "status": "silent", "site": "north"}\n')
    assert read_ledger(tmp_path) == [Line(1, 3, "silent")]


def lines_of(ledger_folder):
    text = (ledger_folder / LEDGER).read_text().splitlines()
    return [(line.get("run", 1), line["round"]) for line in map(json.loads, text)]


def test_a_resumed_run_goes_on_behind_the_rounds_that_are_done(tmp_path, caplog):
    def go(done, resume, *rounds):
        ledger = Ledger(tmp_path)
        ledger.begin(done, resume=resume)
        for number in rounds:
            ledger.add([Line(number, 2, "silent")])
        ledger.close()

    go(0, False, 1, 2)
    go(0, False, 1, 2, 3)
    go(3, True, 4)
    assert lines_of(tmp_path) == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert not (tmp_path / "ledger-1.jsonl").exists()
    assert "goes on after round" not in caplog.text
    go(2, True, 3)  # the checkpoint was of an earlier round: what came after it is done again
    assert lines_of(tmp_path) == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    assert "The ledger goes on after round 2; what it held before is in" in caplog.text
    assert (tmp_path / "ledger-1.jsonl").read_text().count("\n") == 6
    assert [line.round for line in read_ledger(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_can_not_be_written_is_one_sentence(tmp_path, federation, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"`output_dir` must be a folder that can be written\. Found `.*file"):
        run(tmp_path / where, federation, MDA(), rounds=1)


@pytest.mark.parametrize("fails", ["shutil.copyfile", "os.replace"])
def test_a_full_disk_keeps_a_run_from_resuming_and_leaves_nothing_new(tmp_path, monkeypatch, fails):
    def full(source, target):
        if fails == "shutil.copyfile":
            target.write_text("cut o")
        raise OSError(28, "No space left on device")

    ledger = Ledger(tmp_path)
    ledger.begin(0, resume=False)
    ledger.add([Line(1, 2, "silent"), Line(2, 2, "silent")])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(fails, full)
    with pytest.raises(ValueError, match=r"be a folder that can be written\. Found `.* \(No space left"):
        ledger.begin(1, resume=True)
    ledger.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def lines_for(rows, weights, vector):
    held = {node: Segments([np.array([value])], None) for node, value in rows.items()}
    intake = SimpleNamespace(
        rows=held, asked=(7, 8, 9), strays=[Stray(5, "late")],
        rejections=[Rejection(9, "a NaN in `w`")],
    )
    return round_lines(4, intake, Aggregate(np.array([vector]), weights, None))


def test_distances_are_in_units_of_their_median_and_none_where_that_is_zero():
    found = lines_for({7: 1.0, 8: 5.0}, np.array([0.25, 0.75]), 2.0)
    assert found == [
        Line(4, 7, "valid", None, 0.25, 0.5), Line(4, 8, "valid", None, 0.75, 1.5),
        Line(4, 9, "rejected", "a NaN in `w`"), Line(4, 5, "unasked", "late"),
    ]
    found = lines_for({7: 1.0, 8: 1.0}, None, 1.0)
    assert found[:2] == [Line(4, 7, "valid"), Line(4, 8, "valid")]


def test_the_folder_of_a_run_may_be_deep(tmp_path):
    Ledger(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("rounds", [1, 2, 3, 40])
def test_the_picture_ticks_whole_rounds(tmp_path, monkeypatch, rounds):
    from matplotlib.figure import Figure

    from flwr_resam.report import draw

    shown = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, path: (shown.append(self), savefig(self, path)))
    lines = [Line(each, node, "valid", None, 0.5, 1.0) for each in range(1, rounds + 1) for node in (1, 2)]
    draw(lines, [1, 2], tmp_path / "nodes.png")
    (axes,) = shown[0].axes
    ticks = [tick for tick in axes.get_xticks() if 0.5 <= tick <= rounds + 0.5]
    assert ticks
    assert all(tick == int(tick) for tick in ticks)
