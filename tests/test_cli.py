"""`flwr-resam` as a practitioner types it."""

import platform
import re
import socket
from importlib.metadata import version
from unittest import mock

import pytest
from typer.testing import CliRunner

from flwr_resam.aggregators import AGGREGATORS, Median
from flwr_resam.attacks import ATTACKS
from flwr_resam.cli import app
from flwr_resam.cost import seconds


def run(*words, columns="200", **environment):
    return CliRunner().invoke(app, list(words), env={"COLUMNS": columns, **environment})


def test_rules_are_sorted_by_what_they_promise():
    result = run("rules", "--n", "25", "--f", "5", "--dim", "1e6")
    assert result.exit_code == 0
    lines = [line.split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    lines = [line for line in lines if line[2].strip()]  # the others are arguments
    names = [line[1].strip().split("(")[0] for line in lines]
    assert sorted(names) == sorted(AGGREGATORS)
    order = [names.index(name) for name in ("cwtm", "mda", "multikrum", "gm", "krum", "mean")]
    assert order == sorted(order)
    table = dict(zip(names, lines, strict=True))
    cells = [cell.strip() for cell in table["mda"][2:-1]]
    assert cells[:4] == ["n > 2f", "0.5", "4.659", "O(n^2 d + n^2 log n)"]
    assert 0.0 < float(cells[4].replace("<", "")) < 1e3
    assert [cell.strip() for cell in table["cwtm"][3:5]] == ["0.3979", "0.3333"]
    assert [cell.strip() for cell in table["rge"][3:5]] == ["-", "-"]
    assert [cell.strip() for cell in table["mean"][3:5]] == ["none", "none"]
    said = " ".join(result.stdout.split())
    assert "none: no bound exists" in said
    assert "f / (n - f) = 0.25, or a kappa below f / (n - 2f) = 0.333" in said
    assert "With `nnm` in front lambda is 0.5 (1 + lambda), kappa 2 (1 + kappa), or less." in said


def test_each_rule_says_what_it_costs_in_terms_that_have_a_value():
    result = run("rules", "--n", "15", "--f", "5", "--dim", "1e4")
    rows = [line.split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    times = {row[1].strip(): row[-2].strip() for row in rows if row[2].strip()}
    admitted = [name for name in times if name != "bulyan"]  # which 15 rows are too few for
    assert [name for name in admitted if times[name] in ("", "-")] == []
    assert seconds("O(n^2 d)", 100, 0, 10**6, {}) > 1e-3  # ten billion products
    with pytest.raises(ValueError, match=r"`speed` has no value"):
        seconds("O(n d + speed)", 15, 5, 100, {})
    with pytest.raises(ValueError, match="is no product"):
        seconds("O(n / d)", 15, 5, 100, {})


def test_rules_with_a_proven_lambda_fit_one_screen():
    result = run("rules", "--n", "25", "--f", "5", columns="80")
    names = [line.split("│")[1].strip() for line in result.stdout.splitlines()[:24] if "│" in line]
    assert {"mda", "gm", "krum*", "cwtm", "meamed", "cwmed"} <= set(names)


def test_rules_that_do_not_admit_so_many_faults_come_last():
    result = run("rules", "--n", "4", "--f", "2")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if " mda " in line)
    assert "f <= 1" in line
    assert "No rule tolerates f >= n / 2" in result.stdout


def test_an_audit_without_an_honest_majority_shows_that_no_lambda_is_above_the_floor():
    result = run("audit", "mean", "--n", "4", "--f", "2", "--trials", "50")
    row = next(line for line in result.stdout.splitlines() if " mean " in line).split("│")
    assert [cell.strip() for cell in row[6:8]] == ["none", "inf"]


def test_a_narrow_terminal_breaks_no_name():
    result = run("rules", "--n", "15", "--f", "5", columns="80")
    cells = [line.split("│")[1].strip() for line in result.stdout.splitlines() if "│" in line]
    assert set(AGGREGATORS) <= {cell.split("(")[0] for cell in cells}
    assert {"trusted=...)", "rounds=...)"} <= set(cells)


@pytest.mark.parametrize(("n", "f"), [("15", "8"), ("4", "2")])
def test_half_of_the_nodes_are_more_than_any_rule_tolerates(n, f):
    result = run("rules", "--n", n, "--f", f)
    assert result.exit_code == 0
    assert "No rule tolerates f >= n / 2" in result.stdout
    assert "No rule has a lambda below" not in result.stdout


@pytest.mark.parametrize("dim", ["1e18", "1e300"])
def test_rules_take_any_number_of_coordinates(dim):
    assert run("rules", "--n", "15", "--f", "5", "--dim", dim).exit_code == 0


def test_rules_without_faults():
    result = run("rules", "--n", "4", "--f", "0")
    line = next(line for line in result.stdout.splitlines() if " mean " in line).split("│")
    assert [cell.strip() for cell in line[3:5]] == ["0", "0"]


def test_rules_are_explained():
    said = " ".join(run("rules", "--n", "4", "--f", "1", "--explain").stdout.split())
    assert "nearest" in said
    assert all(name in said for name in AGGREGATORS)


def test_an_audit_shows_observed_proven_and_floor():
    words = ("audit", "cwtm", "--n", "3", "--f", "1", "--trials", "400")
    for criterion, bound in (("lambda", 0.5), ("kappa", 1.0)):
        result = run(*words, "--criterion", criterion)
        assert result.exit_code == 0
        assert criterion in result.stdout.splitlines()[0]
        row = next(line for line in result.stdout.splitlines() if "cwtm" in line).split("│")
        dim, observed, proven, floor = (float(cell) for cell in row[4:8])
        assert dim == 3
        assert 0.9 * bound < observed <= proven == floor == bound
    assert " 1 " in run(*words, "--dim", "1").stdout.split("cwtm")[1].split("│", 4)[3]


@pytest.mark.parametrize("claimed", [0.4, None, float("inf")])
def test_an_audit_of_a_rule_that_loses_its_numbers_fails(claimed, monkeypatch):
    class Loses(Median):
        def columns(self, block, f):
            return block[0] * float("nan")

        def coefficient(self, n, f, d):
            return claimed

    monkeypatch.setitem(AGGREGATORS._own, "cwmed", Loses)
    result = run("audit", "cwmed", "--n", "5", "--f", "1", "--trials", "50")
    assert result.exit_code == 1
    assert "of finite rows came a vector that is not" in result.stderr
    assert "│ inf " in result.stdout


def test_an_audit_shows_how_far_it_is_to_a_person_alone():
    words = ("audit", "cwtm", "--n", "3", "--f", "1", "--trials", "50")
    result = run(*words, TTY_COMPATIBLE="1", TERM="xterm")
    assert "searching" in result.stderr
    assert "100%" in result.stderr
    assert "searching" not in result.stdout
    assert run(*words, TTY_COMPATIBLE="0", TERM="xterm").stderr == ""


def test_help_says_what_each_argument_is():
    assert "RULE is a rule or chain by name" in run("audit", "--help").stdout
    assert "Few are best" in run("audit", "--help").stdout
    assert "FOLDER is the `output_dir` of a run" in run("report", "--help").stdout


@pytest.mark.parametrize("rule", ["mda", "mean", "cwtm", "cge"])
def test_rounding_is_no_breach_of_what_is_proven(rule):
    assert run("audit", rule, "--n", "8", "--f", "0", "--trials", "100").exit_code == 0


@pytest.mark.parametrize(
    "line", ["[1]", '{"round": 1}', "{", '{"round": 0, "node": 1, "status": "valid"}', "\x00"]
)
def test_a_damaged_ledger_is_named_with_its_line(tmp_path, line):
    good = '{"round": 1, "node": 2, "status": "valid"}\n'
    (tmp_path / "ledger.jsonl").write_text(f"{good}{line}\n{good}")
    result = run("report", str(tmp_path))
    assert result.exit_code == 2
    assert f"line 2 of `{tmp_path / 'ledger.jsonl'}`" in result.stderr


@pytest.mark.parametrize(("status", "code"), [("valid", 0), ("silent", 3)])
def test_a_report_that_can_not_be_drawn_says_why_and_is_one_all_the_same(tmp_path, status, code):
    (tmp_path / "ledger.jsonl").write_text(f'{{"round": 1, "node": 2, "status": "{status}"}}\n')
    (tmp_path / "nodes.png").mkdir()  # no file can be written there, as in a folder that may only be read
    result = run("report", str(tmp_path))
    assert result.exit_code == code
    last = result.stdout.splitlines()[-1]
    assert last.startswith("No picture: ")
    assert "nodes.png" in last


def test_a_port_that_is_taken_is_said_with_a_cure(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("watch", str(tmp_path), "--port", str(port))
    assert result.exit_code == 2
    assert f"`--port` must be free to listen on. Found {port} (" in result.stderr
    assert "Give another one, or 0 for any" in result.stderr


def test_an_audit_of_a_chain_shows_what_is_proven_of_it():
    for chain, proven in (("nnm | cwtm", "0.6768"), ("bucketing | cwtm", "-")):
        shown = run("audit", chain, "--n", "5", "--f", "1", "--trials", "50").stdout
        row = next(line for line in shown.splitlines() if chain in line).split("│")
        assert row[6].strip() == proven


def test_attacks_say_who_can_do_them():
    result = run("attacks")
    assert result.exit_code == 0
    for name in ATTACKS:
        assert name in result.stdout
    assert "omniscient" in result.stdout
    assert "mu - z sigma" in result.stdout
    for words in ("`rounds` rounds ago", "every `every` rounds", "row is `value`,"):
        assert words in result.stdout


def test_attacks_name_those_of_clients_too():
    from clients.byzantine import ALL_ATTACKS

    said = run("attacks").stdout
    assert set(re.findall(r"[a-z-]+", said)) >= set(ALL_ATTACKS)
    assert "malformed(kind=...)" in said
    assert "clients/byzantine" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rules --n 3 --f 3", "`f` must be below n"),
        ("rules --n 0 --f 0", "`n` must be a whole number, at least 1"),
        ("rules --n 3 --f -1", "`f` must be at least 0"),
        ("rules --n 3 --f 1 --dim 0.5", "`dim` must be a whole number"),
        ("rules --n 3 --f 1 --dim nan", "`dim` must be a whole number"),
        ("rules --n 3 --f 1 --dim inf", "`dim` must be a whole number"),
        ("audit mad --n 3 --f 1", "Did you mean `mda`?"),
        ("audit mda --n 4 --f 2", "`f` must satisfy n > 2f for `mda`"),
        ("audit mda --n 4 --f 1 --trials 0", "`trials` must be"),
        ("audit mda --n 4 --f 1 --seed -1", "`seed` must be"),
        ("audit mda --n 4 --f 1 --dim -1", "`dim` must be"),
        ("audit mda --n 4 --f 1 --criterion mu", "'mu' is not one of"),
        ("audit mda --n 0 --f 0", "`n` must be a whole number, at least 1"),
        ("audit cwtm --n 8 --f 3 --dim 1e13", "`dim` must be at most 1e8 / n^2 = 1.56e+06 in a"),
        ("audit cwtm --n 8 --f 3 --dim 1e18", "Found n = 8, dim = 1e+18. Search over few"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(words, message):
    result = run(*words.split())
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_options_are_named():
    result = run("rules", "--n", "3")
    assert result.exit_code == 2
    assert "--f" in result.stderr


def test_a_sample_names_the_least_n_and_f_and_what_it_costs():
    result = run("sample", "--nodes", "600", "--byzantine", "60", "--rounds", "300", "--failure", "1e-3")
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if line.startswith("│")]
    assert rows[0] == ["19", "9", "0.47", "0.9", "0.00066"]
    assert rows[-1] == ["600", "60", "0.10", "0.111", "0"]
    assert "Resam(9, fraction_train=0.0317, min_train_nodes=19, min_available_nodes=600)" in result.stdout


def test_a_sample_of_ones_own_size_and_its_odds():
    given = ("sample", "--nodes", "100", "--byzantine", "20", "--rounds", "300", "--n", "10")
    row = next(line for line in run(*given).stdout.splitlines() if line.startswith("│"))
    assert [cell.strip() for cell in row.split("│")[1:5]] == ["10", "8", "0.80", "no rule: f >= n / 2"]
    assert "with probability 0.9996" in run(*given, "--f", "4").stdout


def test_half_of_the_nodes_can_not_be_sampled_around():
    result = run("sample", "--nodes", "100", "--byzantine", "50", "--rounds", "300")
    assert result.exit_code == 2
    assert "50 of 100. No rule tolerates half of the nodes" in result.stderr


def test_doctor_prints_what_a_bug_report_needs():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with mock.patch.dict("flwr_resam.doctor.PORTS", {port: "the test's"}, clear=True), \
                mock.patch.dict("os.environ", {"OMP_NUM_THREADS": "1"}):
            done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    found = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert found["flwr"] == version("flwr")
    assert found["Python"].startswith(platform.python_version())
    assert found[f"port {port}"] == "the test's: something listens"
    assert found["OMP_NUM_THREADS"] == "1"
    assert {"system", "cores", "GPU", "clock", "numpy", "plugins"} <= set(found)
