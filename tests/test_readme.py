"""What the README says is what commands wrote."""

import json
import re

import pytest

from benchmarks.summary import read as costs
from benchmarks.summary import summary as summary_of_rules
from flwr_resam.attacks import ATTACKS
from simulations.experiment import PROJECT
from simulations.robustness import Cell, markdown, summary
from simulations.sweep.evidence import draw
from simulations.sweep.store import read_runs
from simulations.sweep.tuning import TRIALS, choose, read_choice

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PLAIN = " ".join(README.split())


def test_it_is_read_in_two_minutes():
    assert len(README.split()) <= 900


def robustness():
    found = json.loads((PROJECT / "docs" / "robustness" / "robustness.json").read_text())
    assert found["settings"]["engine"] == "ray"
    return [Cell(**cell) for cell in found["cells"]]


def test_the_robustness_tables_are_those_of_the_committed_figures():
    cells = robustness()
    written = (PROJECT / "docs" / "robustness" / "robustness.md").read_text(encoding="utf-8")
    assert written == f"{summary(cells)}\n{markdown(cells)}"


def test_the_runs_that_outlive_bad_replies_are_counted():
    row = next(line for line in summary(robustness()).splitlines() if "goes on to its end" in line)
    ours, *theirs = (int(cell) for cell in row.strip("|").split("|")[1:])
    kinds = int(re.search(r"of (\d+) kinds", summary(robustness()))[1])
    assert f"Of {kinds} kinds of odd or broken reply" in PLAIN
    assert ours == kinds
    assert f"{min(theirs)} to {max(theirs)}" in PLAIN


def test_what_rules_cost_is_that_of_the_committed_figures():
    results = PROJECT / "benchmarks" / "results"
    written = (results / "summary.md").read_text(encoding="utf-8")
    assert written == summary_of_rules(costs())
    rows = written.split("\n\n")[0].splitlines()[2:]
    times = {row.split("`")[1]: float(row.rstrip(" |").rsplit("|", 1)[1]) for row in rows}
    assert times.pop("mean") == 0.8
    assert "the mean a fifth more" in PLAIN
    assert "n = 25, d = 1,000,000, f = 5" in written.splitlines()[0]
    assert f"rules took {min(times.values()):.1f} to {max(times.values()):.0f} times less time" in PLAIN


def test_what_a_server_app_holds_is_that_of_the_committed_figures():
    page = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")
    page, memory = " ".join(page.split()), [
        json.loads((PROJECT / "benchmarks" / "results" / f"serverapp-n{n}-100MB.json").read_text())["rows in memory"]
        for n in (6, 12, 25)
    ]
    peaks, models = ([one[key] for one in memory] for key in ("mib-at-peak", "models-a-row-above-before"))
    assert "{:,} MiB for 6 nodes, {:,} for 12 and {:,} for 25".format(*peaks) in page
    assert "{:.2f}, {:.2f} and {:.2f} models a node".format(*models) in page
    crowd = json.loads((PROJECT / "benchmarks" / "results" / "crowd.json").read_text())["rules"]
    times = [crowd[rule]["cpu-seconds-a-round"] for rule in ("cwtm", "mda")]
    assert "{:.1f} s of processor time a round with `cwtm`, {:.1f} s with `mda`".format(*times) in page


EVIDENCE = sorted((PROJECT / "docs" / "evidence").glob("*/results.jsonl*"))


@pytest.mark.parametrize("results", EVIDENCE, ids=lambda path: path.parent.name)
def test_the_figures_and_tables_of_the_evidence_are_drawn_from_its_results(results, tmp_path):
    folder = results.parent
    runs = list(read_runs(folder).values())
    assert not [run.config for run in runs if run.error]
    drawn = {path.name: path for path in draw(runs, tmp_path)}
    there = {path.name: path for path in folder.iterdir() if path.suffix in (".md", ".png")}
    assert drawn.keys() == there.keys()
    for name, path in drawn.items():
        if path.suffix == ".md":
            assert path.read_text(encoding="utf-8") == there[name].read_text(encoding="utf-8")
    assert all(path.stat().st_size < 1_000_000 for path in folder.rglob("*"))
    choice = read_choice(folder)
    if choice is not None:
        trials = list(read_runs(folder / TRIALS).values())
        assert choose(trials) == choice
        for config in (run.config for run in runs):
            assert config["learning-rate"] == choice.rate(config["aggregator"], config["beta"])


def least_under_attack(name):
    """By rule and beta: the control, and the last column of a table of the evidence."""
    table = (PROJECT / "docs" / "evidence" / name).read_text(encoding="utf-8").split("\n\n")[1]
    rows = [cells_of(line) for line in table.splitlines()]
    none, least = rows[0].index("none"), rows[0].index("least under attack")
    return {
        (row[0], row[1]): (float(row[none].split()[0]), float(row[least].removeprefix("≤ ")))
        for row in rows[2:]
    }


def under_attacks(name, rule, beta):
    """The accuracy under each attack of a table of the evidence, in the order of its columns."""
    table = (PROJECT / "docs" / "evidence" / name).read_text(encoding="utf-8").split("\n\n")[1]
    head, _, *rows = [cells_of(line) for line in table.splitlines()]
    row = next(row for row in rows if row[:2] == [rule, beta])
    return [float(cell.split()[0]) for cell in row[head.index("none") + 1 : -1]]


def attacks_of(name):
    """The attacks of such a table, in the order of its columns."""
    table = (PROJECT / "docs" / "evidence" / name).read_text(encoding="utf-8").split("\n\n")[1]
    head = cells_of(table.splitlines()[0])
    return [cell.strip("`") for cell in head[head.index("none") + 1 : -1]]


def cells_of(line):
    """The cells of a line of a Markdown table."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def line_of(rule, cells):
    """A line of such a table that begins with a rule."""
    name = rule.replace("|", "\\|")
    return f"| `{name}` | {' | '.join(cells)} |"


EVIDENCE_PAGE = (PROJECT / "docs" / "evidence" / "index.md").read_text(encoding="utf-8")
CHOOSING = " ".join((PROJECT / "docs" / "choosing.md").read_text(encoding="utf-8").split())


def least_table(name):
    """The least accuracies of each rule, alone and over momentums, with f = 5 and with f = 7."""
    tables = [least_under_attack(f"{name}/{name}-f{f}-table.md") for f in (5, 7)]
    lines = ["| rule | f = 5, alone | over momentums | f = 7, alone | over momentums |", "|---|---|---|---|---|"]
    for rule in dict.fromkeys(rule for rule, _ in tables[0]):
        found = [table.get((rule, beta)) for table in tables for beta in ("0", "0.9")]
        cells = ["no run: n < 2f + 3" if one is None else f"{one[1]:.1f}" for one in found]
        lines.append(line_of(rule, cells))
    return "\n".join(lines)


def test_what_is_said_of_the_digits_is_what_their_tables_say():
    five, seven = (least_under_attack(f"digits/digits-f{f}-table.md") for f in (5, 7))
    rule = "nnm | cwtm"
    mean, alone, ours = seven["mean", "0.9"][1], seven[rule, "0"][1], seven[rule, "0.9"][1]
    assert f"ends at {alone:.1f} % alone, and at {ours:.1f} % over momentums; the mean at {mean:.1f} %" in PLAIN
    assert least_table("digits") in EVIDENCE_PAGE
    page = " ".join(EVIDENCE_PAGE.split())
    robust = [rule for rule, beta in seven if beta == "0" and rule not in ("mean", "cc(radius=1.0)")]
    falls = [five[rule, "0.9"][0] - five[rule, "0.9"][1] for rule in robust if rule != "krum*"]
    assert f"at most {max(falls):.1f} points below" in page
    assert max(five["krum*", "0.9"][1], five["cc(radius=1.0)", "0.9"][1]) < 60.0
    assert f"none ends above {max(seven[rule, '0'][1] for rule in robust):.1f} %" in page
    assert max(robust, key=lambda rule: seven[rule, "0.9"][1]) == "nnm | cwtm"
    for table in (five, seven):
        named = ", ".join(f"`{rule}` {table[rule, '0.9'][1]:.1f} %" for rule in ("mda", "cwtm", "gm"))
        assert f"{named} and `nnm | cwtm` {table['nnm | cwtm', '0.9'][1]:.1f} %" in CHOOSING
    assert f"takes `mda` to {seven['mda', '0.9'][1]:.1f} %" in page
    kept = f"keeps `mda` at {seven['mda', '0.99'][1]:.1f} % and `gm` at {seven['gm', '0.99'][1]:.1f} %"
    assert kept in page
    columns = attacks_of("digits/digits-f7-table.md")
    knowing = {name for name, attack in ATTACKS.items() if attack.knowledge == "knows the rule"}
    others = {
        rule: {
            attack: accuracy
            for attack, accuracy in zip(columns, under_attacks("digits/digits-f7-table.md", rule, "0.9"), strict=True)
            if attack not in knowing
        }
        for rule in ("mda", "nnm | cwtm", "cwtm", "cwmed")
    }
    assert len(columns) == 15
    assert "fifteen attacks, of which four know the rule" in page
    said = f"which the worst of the eleven others leaves {min(others['mda'].values()):.1f} %"
    assert said in page
    assert len(others["mda"]) == 11
    assert f"loses as much to the others ({min(others['nnm | cwtm'].values()):.1f} %)" in page
    for rule in ("cwtm", "cwmed"):
        assert min(others[rule], key=others[rule].get) == "min-max"
        assert min(others[rule].values()) < seven[rule, "0.9"][1] + 0.05
    mean = dict(zip(columns, under_attacks("digits/digits-f7-table.md", "mean", "0.9"), strict=True))
    lost = seven["mean", "0.9"][0] - mean["label-flip"]
    assert f"and loses {lost:.0f} points under `label-flip`" in page
    above = [sum(
        more > usual for (rule, beta) in table if beta == "0.99"
        for more, usual in zip(*(under_attacks(name, rule, b) for b in ("0.99", "0.9")), strict=True)
    ) for table, name in ((five, "digits/digits-f5-table.md"), (seven, "digits/digits-f7-table.md"))]
    assert "ends above 0.9 in {} of 75 runs under attack with 5 liars. With 7 it does in {} of 75".format(*above) in page


def test_what_is_said_of_mnist_is_what_its_tables_say():
    assert least_table("mnist-mlp") in EVIDENCE_PAGE
    page = " ".join(EVIDENCE_PAGE.split())
    rules = ["mda", "cwtm", "gm", "krum*", "nnm | cwtm"]
    tables = [least_under_attack(f"mnist-mlp/mnist-mlp-f{f}-table.md") for f in (5, 7)]
    ends = [[table[rule, beta][1] for rule in rules] for table in tables for beta in ("0.9", "0")]
    said = "between {:.1f} and {:.1f} % with beta = 0.9 where f = 5, and between {:.1f} and {:.1f} % without momentum"
    assert said.format(*bounds(ends[0]), *bounds(ends[1])) in page
    said = "where f = 7, between {:.1f} and {:.1f} %, and between {:.1f} and {:.1f} %."
    assert said.format(*bounds(ends[2]), *bounds(ends[3])) in page
    for table in tables:
        assert all(table[rule, "0.99"][0] <= table[rule, "0.9"][0] - 3.9 for rule in (*rules, "mean"))
    found = tables[1]
    optimised = {rule: under_attacks("mnist-mlp/mnist-mlp-f7-table.md", rule, "0")[-1] for rule in rules}
    for rule, own in optimised.items():
        assert own - found[rule, "0"][1] <= (0.0 if rule in ("mda", "cwtm", "nnm | cwtm") else 1.0)
    gains = [found[rule, "0.9"][1] - found[rule, "0"][1] for rule in ("nnm | cwtm", "mda")]
    said = "`nnm | cwtm` alone stands 7 liars at {:.1f} %; momentum adds {:.1f} points to that, where it adds {:.1f} to `mda`"
    assert said.format(found["nnm | cwtm", "0"][1], *gains) in page
    words = [f"`{rule}` {found[rule, '0.9'][1]:.1f} %" for rule in ("nnm | cwtm", "mda", "cwtm", "gm")]
    text = ", ".join(words[:3]) + f", {words[3]} and the mean {found['mean', '0.9'][1]:.1f} %"
    assert text in CHOOSING


def test_what_is_said_of_the_convolutional_network_is_what_its_table_says():
    found = least_under_attack("mnist-cnn/mnist-cnn-f5-table.md")
    page = " ".join(EVIDENCE_PAGE.split())
    alone, ours = found["mda", "0"], found["mda", "0.9"]
    assert f"`mda` ends at {alone[1]} % alone and at {ours[1]} % over momentums, {ours[0] - ours[1]:.1f} points below" in page
    assert f"`cwtm` at {found['cwtm', '0'][1]} and {found['cwtm', '0.9'][1]} %" in page
    assert f"The mean ends at {found['mean', '0'][1]} and {found['mean', '0.9'][1]} %" in page


def test_what_is_said_of_fashion_is_what_its_table_says():
    name = "fashion-cnn/fashion-mnist-mnist-cnn-f5-table.md"
    found = least_under_attack(name)
    page = " ".join(EVIDENCE_PAGE.split())
    alone, ours = found["mda", "0"], found["mda", "0.9"]
    said = f"leaves `mda` {alone[1]} % alone and {ours[1]} % over momentums, {ours[0] - ours[1]:.1f} points below"
    assert said in page
    assert f"`cwtm` {found['cwtm', '0'][1]} and {found['cwtm', '0.9'][1]} %" in page
    assert f"The mean ends at {found['mean', '0'][1]} and {found['mean', '0.9'][1]} %" in page
    small = [under_attacks(name, rule, "0.9")[1] for rule in ("mean", "mda", "cwtm")]
    assert "{} % to {} and {}: a rule takes".format(*small) in page


def test_what_is_said_of_cifar_is_what_its_table_says():
    name = "cifar-cnn-short/cifar10-jpeg-cifar-cnn-f5-table.md"
    page, columns = " ".join(EVIDENCE_PAGE.split()), attacks_of(name)
    mda, mean = (
        [dict(zip(columns, under_attacks(name, rule, beta), strict=True)) for beta in ("0", "0.9")]
        for rule in ("mda", "mean")
    )
    alone, ours = (least_under_attack(name)["mda", beta][0] for beta in ("0", "0.9"))
    foe, alie = ([end[attack] for end in mda] for attack in ("foe(epsilon=0.1)", "alie(z=1.0)"))
    assert f"`mda` ends at {alone} % alone and at {ours} % over momentums" in page
    assert "under `foe(epsilon=0.1)` at {} and {} %.".format(*foe) in page
    assert "it ends at chance both ways, {} and {} %.".format(*alie) in page
    assert mean[0]["alie(z=1.0)"] < 11
    assert f"over momentums the mean keeps {mean[1]['alie(z=1.0)']} %" in page


DIFFERENT = "mnist-mlp-heterogeneous/mnist-mlp-f3-partition"


def table_of_different_data():
    """Accuracy with nobody attacking and under the worst attack, for two ways to share out the data."""
    tables = [least_under_attack(f"{DIFFERENT}-{how}-table.md") for how in ("dirichlet-alpha-0.1", "sorted")]
    lines = ["| rule | Dirichlet: none | worst | by label: none | worst |", "|---|---|---|---|---|"]
    for rule in dict.fromkeys(rule for rule, _ in tables[0]):
        cells = [f"{value:.1f}" for table in tables for value in table[rule, "0.9"]]
        lines.append(line_of(rule, cells))
    return "\n".join(lines)


def test_what_is_said_of_mnist_with_data_that_differ_is_what_its_tables_say():
    assert table_of_different_data() in EVIDENCE_PAGE
    dirichlet, sorted_ = (
        least_under_attack(f"{DIFFERENT}-{how}-table.md") for how in ("dirichlet-alpha-0.1", "sorted")
    )
    for rule in ("cwtm", "gm", "mda"):
        for table in (dirichlet, sorted_):
            assert table[f"nnm | {rule}", "0.9"][1] > table[rule, "0.9"][1]
    said = "`mda` and `gm` ended {:.0f} and {:.0f} points lower"
    costs = [sorted_[rule, "0.9"][0] - sorted_[f"nnm | {rule}", "0.9"][0] for rule in ("mda", "gm")]
    assert said.format(*costs) in CHOOSING
    said = "`cwtm` from {} to {} %, `gm` from {} to {}, `mda` from {} to {}"
    ends = [sorted_[name, "0.9"][1] for rule in ("cwtm", "gm", "mda") for name in (rule, f"nnm | {rule}")]
    assert said.format(*ends) in CHOOSING


def test_what_is_said_of_data_that_differ_is_what_the_map_says():
    table = (EVIDENCE[0].parents[1] / "digits-f-heterogeneity" / "digits-worst-table.md").read_text(encoding="utf-8")
    found = {}
    for line in table.splitlines()[4:]:
        partition, rule, *cells = cells_of(line)
        similarity = re.search(r"[\d.]+", partition)[0]
        for f, cell in zip((1, 3, 5, 7), cells, strict=True):
            found[similarity, rule, f] = 0.0 if cell == "fails alone" else float(cell)
    page = " ".join(EVIDENCE_PAGE.split())
    assert f"every rule keeps {min(v for (_, _, f), v in found.items() if f == 1)} % or more" in page
    for rule in ("cwtm", "mda", "gm"):
        alone, behind = found["0.0", rule, 3], found["0.0", f"nnm | {rule}", 3]
        assert f"`{rule}` {alone} and {behind} %" in page
    assert f"the best is {max(v for (s, _, f), v in found.items() if (s, f) == ('0.0', 5))} %" in page


def bounds(values):
    return min(values), max(values)


def test_every_file_that_the_readme_names_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README.replace("\n", " "))
    assert len(links) > 10
    for link in links:
        assert (PROJECT / link.strip()).exists(), link
