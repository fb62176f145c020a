"""A user's own rules and attacks, registered after everything is imported."""

import itertools
import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Optional, Union

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clients.byzantine import (
    ALL_ATTACKS,
    BYZANTINE_CLIENTS,
    CONDUCTS,
    byzantine_mod,
    on_device,
)
from clients.partitions import PARTITIONS
from flwr_resam import parse_attack, parse_rule
from flwr_resam.aggregators import AGGREGATORS, MDA, TrimmedMean
from flwr_resam.attacks import ATTACKS
from flwr_resam.attacks.attack import MemorylessAttack
from flwr_resam.cli import app
from flwr_resam.parse import RULES
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.registry import Registry, View
from flwr_resam.resilience import audit, largest_f
from flwr_resam.rule import CoordinateRule, PreAggregator
from simulations.experiment import PROJECT, Experiment
from simulations.in_process import run_in_process
from simulations.worst import candidates

REGISTRIES = {"aggregator": AGGREGATORS, "pre-aggregator": PREAGGREGATORS, "attack": ATTACKS}


@dataclass(frozen=True)
class Quantile(CoordinateRule):
    """A quantile of each coordinate. Complexity O(n d)."""

    q: float
    name: ClassVar[str] = "quantile"

    def __post_init__(self):
        if not 0.0 < self.q < 1.0:
            raise ValueError("`q` must be in (0, 1).")

    def columns(self, block, f):
        return np.quantile(block, self.q, axis=0).astype(block.dtype)


@dataclass(frozen=True)
class Halves(PreAggregator):
    """Each row is halved."""

    factor: float = 0.5
    name: ClassVar[str] = "halves"

    def mixing(self, geometry, f, at):
        return self.factor * np.eye(geometry.n)


@dataclass(frozen=True)
class Backwards(MemorylessAttack):
    """Minus `size` times the mean."""

    size: float = 3.0
    name: ClassVar[str] = "backwards"
    knowledge: ClassVar[str] = "alone"

    def rows(self, honest, count, at):
        return -self.size * honest.mean(axis=0, keepdims=True)


@dataclass(frozen=True)
class Sum(MemorylessAttack):
    """Minus the sum of all honest rows."""

    name: ClassVar[str] = "sum"

    def rows(self, honest, count, at):
        return -honest.sum(axis=0, keepdims=True)


@dataclass(frozen=True)
class Worded(Backwards):
    """An attack that takes a word."""

    word: str = "up"
    name: ClassVar[str] = "worded"


OWN = {Quantile: AGGREGATORS, Halves: PREAGGREGATORS, Backwards: ATTACKS, Sum: ATTACKS}


@pytest.fixture(autouse=True)
def _only_in_this_test(monkeypatch):
    for registry in (*REGISTRIES.values(), CONDUCTS):
        monkeypatch.setattr(registry, "_own", dict(registry))


@pytest.fixture
def own():
    for cls, registry in OWN.items():
        registry.register(cls)


@pytest.mark.parametrize("order", list(itertools.permutations(OWN)))
def test_a_users_own_are_read_by_name_whatever_the_order_they_came_in(order):
    before = list(RULES), list(ALL_ATTACKS)
    for cls in order:
        assert OWN[cls].register(cls) is cls
    assert str(parse_rule("halves | quantile(q=0.25)")) == "halves | quantile(q=0.25)"
    assert parse_rule("halves(factor=1) | mda") == Halves(1) | MDA()
    assert parse_attack("backwards(size=2)") == Backwards(2)
    assert str(Backwards(2.0)) == "backwards(size=2.0)"
    assert set(RULES) == {*before[0], "quantile", "halves"}
    assert set(ALL_ATTACKS) == {*before[1], "backwards", "sum"}
    assert "backwards" in BYZANTINE_CLIENTS
    assert "sum" not in BYZANTINE_CLIENTS


def test_without_a_registration_none_is_there():
    assert not {cls.name for cls in OWN} & {*RULES, *ALL_ATTACKS}
    with pytest.raises(ValueError, match="`quantile` is no rule"):
        parse_rule("quantile(q=0.25)")


@pytest.mark.usefixtures("own")
def test_the_commands_and_the_measures_know_a_users_own():
    for command, written in (
        (["rules", "--n", "9", "--f", "2"], "quantile"),
        (["attacks"], "backwards(size=3.0)"),
        (["audit", "halves | quantile(q=0.5)", "--n", "7", "--f", "2", "--trials", "50"],
         "halves | quantile(q=0.5)"),
    ):
        done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        assert written in done.stdout
    assert largest_f(parse_rule("quantile(q=0.5)"), 9) == 4
    found = audit(parse_rule("quantile(q=0.5)"), 5, 1, 1, trials=200, seed=0)
    assert 0.0 < found.ratio < 10.0


@pytest.mark.usefixtures("own")
def test_an_experiment_runs_a_users_own():
    settings = {
        "num-rounds": 2, "num-nodes": 7, "num-malicious-nodes": 2,
        "aggregator": "halves | quantile(q=0.5)",
    }
    digests = {
        attack: run_in_process(Experiment.default({**settings, "attack": attack})).digest
        for attack in ("none", "backwards", "sum", "backwards(size=1)")
    }
    assert len(set(digests.values())) == len(digests)
    experiment = Experiment.default({**settings, "attack": "1 backwards + sum"})
    assert [on_device(plan) for plan, _ in experiment.plans()] == [True, False]
    assert {"backwards", "sum"} <= set(candidates(experiment))
    byzantine_mod("backwards when(start=3)")
    with pytest.raises(ValueError, match="`sum` is no Byzantine client"):
        byzantine_mod("sum")


def defined(base=CoordinateRule, dataclassed=True, **members):
    methods = {"columns": lambda self, block, f: block[0]} if base is CoordinateRule else {}
    cls = type("Mine", (base,), {"__module__": "mine", **methods, **members})
    return dataclass(frozen=True)(cls) if dataclassed else cls


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (defined(name="mine", dataclassed=False),
         r"`Mine` must be a dataclass\. Found a plain class\. Write `@dataclass\(frozen=True\)`"),
        (defined(TrimmedMean, dataclassed=False, name="mine"), "`Mine` must be a dataclass"),
        (defined(), r"`Mine` must have a `name`\. Found none\. Write `name: ClassVar\[str\]"),
        (defined(name=3), r"have a `name`\. Found 3\."),
        (defined(name="mine", __annotations__={"name": str}), "Found `name` as an argument"),
        (defined(TrimmedMean), r"no other class has\. Found `cwtm`, which is flwr_resam\..*Trimm"),
        (defined(name="mda"), "which is flwr_resam.aggregators.mda.MDA. Choose another name"),
        (defined(name="nnm"), "which is flwr_resam.preaggregators.nnm.NNM"),
        (defined(name="My rule"), r"lower-case letters, .* Found 'My rule'"),
        (defined(name="a|b"), "lower-case letters"),
        (defined(name="2"), "a letter first"),
        (defined(name="none"), "none of true, false, none"),
        (defined(name=""), "lower-case letters"),
        (defined(name="mine", columns=CoordinateRule.columns),
         "must define all that CoordinateRule leaves open. Found no `columns`"),
        (Halves, r"`Halves` must be derived from Aggregator\. Found `class Halves\(PreAggregator\)`"
                 r"\. Derive it from flwr_resam\.rule\.Aggregator, or register it elsewhere"),
        (Backwards, "`Backwards` must be derived from Aggregator"),
        (MDA(), r"must be given a class\. Found MDA\(\)\. Give the class, MDA"),
        ("mda", "must be given a class. Found 'mda'"),
    ],
)
def test_what_cannot_be_registered_is_told_why(cls, message):
    before = dict(AGGREGATORS)
    with pytest.raises((TypeError, ValueError), match=message):
        AGGREGATORS.register(cls)
    assert dict(AGGREGATORS) == before


def test_a_name_is_one_conduct_or_attack():
    @dataclass(frozen=True)
    class Mine(Backwards):
        name: ClassVar[str] = "label-flip"

    with pytest.raises(ValueError, match=r"which is clients\.byzantine\.label_flip\.LabelFlip"):
        ATTACKS.register(Mine)
    again = Registry("attack", MemorylessAttack, [Mine])
    with pytest.raises(ValueError, match="two of the name `label-flip`"):
        View("attack", again, CONDUCTS)


def test_a_class_that_is_defined_again_takes_its_own_place():
    first, second = defined(name="mine"), defined(name="mine")
    AGGREGATORS.register(first)
    AGGREGATORS.register(first)
    AGGREGATORS.register(second)
    assert AGGREGATORS["mine"] is second
    other = defined(name="mine", __module__="elsewhere")
    with pytest.raises(ValueError, match=r"Found `mine`, which is mine\.Mine"):
        AGGREGATORS.register(other)


@pytest.mark.parametrize(("kind", "registry"), REGISTRIES.items())
def test_a_registry_is_a_mapping_and_says_what_an_unknown_name_may_have_meant(kind, registry):
    names = list(registry)
    assert len(names) == len(registry) == len(set(names))
    assert [cls.name for cls in registry.values()] == names
    assert dict(registry.items()) == {**registry}
    assert all(name in registry for name in names)
    assert registry.get("mdda") is None
    assert 3 not in registry
    for error in (KeyError, ValueError):
        with pytest.raises(error, match=f"`{names[0]}x` is no {kind}. Did you mean `{names[0]}`"):
            registry[f"{names[0]}x"]


def test_a_registry_knows_what_others_call_its_own():
    with pytest.raises(KeyError, match="Did you mean `cwtm`"):
        AGGREGATORS["Trimmed_Mean"]
    assert next(iter(PARTITIONS)) == "homogeneous"


def test_arguments_are_read_by_their_types_where_annotations_are_not_postponed():
    AGGREGATORS.register(Quantile)  # of this module, whose annotations are types
    with pytest.raises(ValueError, match=r"`q` must be of type float in `quantile\(...\)`"):
        parse_rule("quantile(q=much)")
    ATTACKS.register(Worded)
    assert parse_attack("worded(word=1e30)") == Worded(word="1e30")
    assert parse_attack("worded(word='none')") == Worded(word="none")
    assert parse_attack(str(Worded(word="1e30"))) == Worded(word="1e30")
    with pytest.raises(ValueError, match=r"`quantile` needs `q`: write `quantile\(q=\.\.\.\)`"):
        parse_rule("quantile")


def test_an_argument_is_one_of_the_words_or_kinds_that_its_type_names():
    @AGGREGATORS.register
    @dataclass(frozen=True)
    class Sided(CoordinateRule):
        side: Literal["low", "high", "1e3"]
        keep: Optional[int] = None  # noqa: UP045
        share: Union[float, None] = None  # noqa: UP007
        level: Literal[1, 2] = 1
        more: tuple[int, ...] = ()
        name: ClassVar[str] = "sided"

        def columns(self, block, f):
            return block[0]

    assert parse_rule("sided(side=high, keep=3, share=2, level=2)") == Sided("high", 3, 2, 2)
    assert parse_rule("sided(side=1e3, keep=none)") == Sided("1e3")
    for text, message in (
        ("sided(side=mid)", r"`side` must be of type .*Literal\['low', .* Write `sided\(side=low\)`"),
        ("sided(side=low, keep=2.5)", r"`keep` must be of type .*Found 2\.5"),
        ("sided(side=low, keep=few)", r"`keep` must be of type .*Found 'few'"),
        ("sided(side=low, keep=true)", r"`keep` must be of type .*Found True"),
        ("sided(side=low, share=much)", r"`share` must be of type .*Found 'much'"),
        ("sided(side=low, level=3)", r"`level` must be of type .*Found 3.* Write `sided\(level=1\)`"),
        ("sided(side=low, level=true)", r"`level` must be of type .*Found True"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_rule(text)


def test_the_examples_of_the_docs_run():
    text = (PROJECT / "docs" / "your-own.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)), {"__name__": "docs"})
    rule = parse_rule("winsorized(extra=1)")
    rows = np.array([[0.0], [1.0], [2.0], [30.0], [400.0]])
    assert rule(rows, f=0).tolist() == [(1 + 1 + 2 + 30 + 30) / 5]
    assert rule(rows, f=1).tolist() == [2.0]
    assert rule(torch.tensor(rows), f=1).tolist() == [2.0]
    assert parse_attack("backwards")(rows, 1) == pytest.approx(-3 * 433 / 5)
