"""What a rule is: aggregators (n, d) -> (d,), pre-aggregators (n, d) -> (n', d), and chains.

A rule file holds mathematics only and is one of two kinds. A *weight rule* sees the rows through
their n x n geometry and returns n weights; a *coordinate rule* maps each column to a number.
f belongs to the threat model, not to the rule, so it is an argument of the call. What a rule
remembers from round to round is a value that goes in and comes out of `step`.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from numpy.typing import NDArray

from .criteria import kappa_from_lambda, lambda_from_kappa, least
from .errors import checked_f, requirement
from .rows.geometry import Geometry
from .rows.shaped import form, shaped
from .rows.threads import one_blas_thread
from .rows.updates import Array, Updates
from .spelling import Named, name_of

__all__ = [
    "Aggregate",
    "Aggregator",
    "Chain",
    "CoordinateRule",
    "PreAggregator",
    "Round",
    "Rule",
    "WeightRule",
    "checked_f",
]

_REAL = ("real floating", "integral")


@dataclass(frozen=True)
class Aggregate:
    """What came of one round.

    Attributes
    ----------
    vector : (d,) array
        The aggregate, in the library, dtype and device of the rows.
    weights : (n,) float64 or None
        The weight of each row in the vector; None where it differs from coordinate to
        coordinate.
    state : object
        What the next round's `step` takes; None for rules without memory. Dicts with string
        keys, tuples, numbers and arrays, and nothing else, so that it can be stored.
    note : str or None
        What whoever runs the rule should know of this round, in one sentence.
    """

    vector: Array
    weights: NDArray[np.float64] | None = None
    state: Any = None
    note: str | None = None


class Rule(Named, ABC):
    """What aggregators and pre-aggregators share: a name, parameters, and a need on n and f."""

    def admits(self, n: int, f: int) -> bool:
        """Whether the rule is defined for n rows of which f are faulty; n > 2f by default."""
        return n > 2 * f

    need: ClassVar[str] = "n > 2f"

    def __init_subclass__(cls, **given: Any) -> None:
        """Let no class say the need of another whose `admits` it has replaced."""
        super().__init_subclass__(**given)
        if "admits" in vars(cls) and "need" not in vars(cls):
            cls.need = "its `admits(n, f)`"

    def check(self, n: int, f: int) -> None:
        """Raise a ValueError that says what is needed unless the rule admits n and f."""
        f = checked_f(f)
        if not self.admits(n, f):
            raise requirement(
                "f", f"satisfy {self.need} for `{self}`", f"n = {n}, f = {f}",
                "Lower `num_malicious_nodes` or ask more nodes",
            )


class Aggregator(Rule):
    """A rule (n, d) -> (d,).

    ``follows_nodes`` says that the rule remembers single nodes, so that every row it is given
    must be one node's. ``keeps_vectors`` says that it remembers a vector of the model's size for
    each of them, so that n of them must fit in memory.
    """

    follows_nodes: ClassVar[bool] = False
    keeps_vectors: ClassVar[bool] = False

    @property
    def needs_root(self) -> bool:
        """Whether the rule compares the rows with one of the server's own, `Round.root`."""
        return False

    def __call__(self, updates: Array | Updates, *, f: int, reproducible: bool = False) -> Array:
        """Aggregate n rows once, without memory.

        Parameters
        ----------
        updates : (n, d) array or Updates
            Finite real numbers, at most 1e140 in float64; float32 and float64 keep their
            dtype, the rest is taken as float32 (float16) or float64 (integers). Not modified.
        f : int
            How many of the rows may be arbitrary.
        reproducible : bool (default: False)
            The same bits on every processor, for rules that take no eigenvectors and
            rows of NumPy: see `Updates`, which is made with it where it is what is given.

        Returns
        -------
        (d,) array
            In the library and on the device of ``updates``.

        Raises
        ------
        ValueError, TypeError
            If n and f do not meet the rule's need, or the input is malformed or out of range.
        """
        rows = updates if isinstance(updates, Updates) else (
            Updates(updates, reproducible=reproducible)
        )
        return self.step(rows, f=f, state=self.start()).vector

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda for n rows, f faults and d coordinates: how resilient the averaging is.

        With it, ``||F(x) - mean(x_S)|| <= lambda max_{i, j in S} ||x_i - x_j||`` for every S of
        n - f rows. None where none is proven, infinity where none exists.
        """
        return None

    def kappa(self, n: int, f: int, d: int) -> float | None:
        """Kappa for n rows, f faults and d coordinates: how robust the averaging is.

        With it, ``||F(x) - mu||^2 <= kappa / |S| sum_{i in S} ||x_i - mu||^2``, mu = mean(x_S), for
        every S of n - f rows. None where none is proven, infinity where none exists; what lambda
        says of it unless a rule has its own.
        """
        value = self.coefficient(n, f, d)
        return None if value is None else kappa_from_lambda(value, n, f)

    def start(self) -> Any:
        """The state before the first round.

        A state is None or a dict with string keys of numbers, arrays and tuples, and of such
        dicts, so that it can be stored.
        """
        return None

    def step(
        self,
        updates: Array | Updates,
        *,
        f: int,
        state: Any = None,
        at: Round | None = None,
    ) -> Aggregate:
        """Aggregate one round's rows; ``state`` is what the last round's step returned.

        BLAS has one thread meanwhile: where other processes want the cores, its threads wait for
        each other ten times as long as they work. Large products are cut up by `in_order`.
        """
        rows = updates if isinstance(updates, Updates) else Updates(updates)
        self.check(rows.n, f)
        if at is not None and at.nodes and len(at.nodes) != rows.n:
            raise requirement(
                "at", "name the node of each row", f"{len(at.nodes)} nodes for {rows.n} rows",
                "Write Round(nodes=...) with as many, or leave them out",
            )
        with one_blas_thread:
            done = self._step(rows, operator.index(f), state, at or Round())
        return _checked(self, done, rows)

    @abstractmethod
    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate: ...

    def __or__(self, other: object) -> Any:
        if isinstance(other, Rule):
            raise TypeError(
                f"`{self} | {other}`: an aggregator ends a chain, since it leaves one vector. "
                f"Put pre-aggregators to its left, as in `nnm | {name_of(type(self))}`."
            )
        return NotImplemented


class WeightRule(Aggregator):
    """An aggregator that gives each row a weight, deciding on the rows' geometry."""

    @abstractmethod
    def weights(self, geometry: Geometry, f: int) -> NDArray[np.float64]:
        """The (n,) weights."""

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        weights = _weights(self, updates, self.weights(updates.geometry(), f))
        return Aggregate(updates.combine(weights), weights)


class CoordinateRule(Aggregator):
    """An aggregator that treats each coordinate by itself."""

    @abstractmethod
    def columns(self, block: Array, f: int) -> Array:
        """Map an (n, width) block, float32 or float64, to its (width,) result."""

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        return Aggregate(updates.map_coordinates(lambda block: _columns(self, block, f)))


class PreAggregator(Rule):
    """A rule (n, d) -> (n', d), given by an (n', n) mixing matrix.

    ``pre | pre`` and ``pre | aggregator`` compose, left to right. ``keeps_nodes`` says that row
    i that leaves still stands for the node of row i that entered.
    """

    keeps_nodes: ClassVar[bool] = True

    @abstractmethod
    def mixing(self, geometry: Geometry, f: int, at: Round) -> NDArray[np.float64]:
        """The (n', n) weights; a row's weight that is missing to one lies on the origin."""

    def rows_out(self, n: int, f: int) -> int:
        """How many rows leave for n that enter."""
        return n

    def coefficient(self, inner: float, n: int, f: int) -> float | None:
        """Lambda of this stage, given n rows, before a rule of lambda ``inner``; None: unproven."""
        return None

    def kappa(self, inner: float, n: int, f: int) -> float | None:
        """Kappa of this stage, given n rows, before a rule of kappa ``inner``; None: unproven."""
        return None

    def __call__(self, updates: Array, *, f: int, at: Round | None = None) -> Array:
        """Return the (n', d) mixed rows as an array, to look at; chains never build it."""
        rows = Updates(updates)
        self.check(rows.n, f)
        mixing = _mixing(self, rows, operator.index(f), at or Round())
        mixed = [rows.combine(weights) for weights in mixing]
        return array_namespace(mixed[0]).stack(mixed)

    def __or__(self, other: object) -> Chain:
        if isinstance(other, Chain):
            return Chain((self, *other.before), other.last)
        if isinstance(other, PreAggregator | Aggregator):
            return Chain((self,), other)
        return NotImplemented


@dataclass(frozen=True)
class Chain(Aggregator):
    """Pre-aggregators and, at the right end, an aggregator.

    While the right end is a pre-aggregator still, the chain is unfinished: it composes
    further but does not aggregate.
    """

    before: tuple[PreAggregator, ...]
    last: Aggregator | PreAggregator
    name: ClassVar[str] = "chain"

    def __post_init__(self) -> None:
        """Refuse a rule that remembers nodes behind a stage that mixes them up."""
        if isinstance(self.last, Aggregator) and self.last.follows_nodes:
            for stage in self.before:
                if not stage.keeps_nodes:
                    raise requirement(
                        "aggregator", "be given one row a node, since it remembers nodes",
                        f"`{self}`", f"Leave `{name_of(type(stage))}` out, or end the chain in "
                        "another rule",
                    )

    def __or__(self, other: object) -> Chain:
        """Add a stage at the right."""
        if isinstance(self.last, PreAggregator):
            rest = self.last.__or__(other)
            return Chain((*self.before, *rest.before), rest.last)
        return super().__or__(other)  # type: ignore[no-any-return]

    def check(self, n: int, f: int) -> None:
        """Check each stage's need against the number of rows that reaches it."""
        for stage in self.before:
            stage.check(n, f)
            n = stage.rows_out(n, f)
        self.last.check(n, f)

    def admits(self, n: int, f: int) -> bool:
        """Whether every stage admits the rows that reach it."""
        for stage in self.before:
            if not stage.admits(n, f):
                return False
            n = stage.rows_out(n, f)
        return self.last.admits(n, f)

    @property
    def needs_root(self) -> bool:
        """Whether the aggregator at the right end does."""
        return self._aggregator().needs_root

    def start(self) -> Any:
        """The state of the aggregator at the right end."""
        return self._aggregator().start()

    def coefficient(self, n: int, f: int, d: int) -> float | None:
        """Lambda: what the stages make of that of the last, or what kappa says."""
        kappa = self._carried("kappa", n, f, d)
        implied = None if kappa is None else lambda_from_kappa(kappa, n, f)
        return least(self._carried("coefficient", n, f, d), implied)

    def kappa(self, n: int, f: int, d: int) -> float | None:
        """Kappa: what the stages make of that of the last, or what lambda says."""
        value = self._carried("coefficient", n, f, d)
        implied = None if value is None else kappa_from_lambda(value, n, f)
        return least(self._carried("kappa", n, f, d), implied)

    def _carried(self, criterion: str, n: int, f: int, d: int) -> float | None:
        counts = [n]
        for stage in self.before:
            counts.append(stage.rows_out(counts[-1], f))
        value: float | None = getattr(self._aggregator(), criterion)(counts[-1], f, d)
        for stage, rows in zip(self.before[::-1], counts[-2::-1], strict=True):
            # That a rule alone has none says nothing of the chain.
            if value is None or value == float("inf"):
                return None
            value = getattr(stage, criterion)(value, rows, f)
        return value

    def _aggregator(self) -> Aggregator:
        if isinstance(self.last, PreAggregator):
            raise requirement(
                "aggregator", "end with a rule that leaves one vector", f"`{self}`",
                f"Add one at the right, as in `{self} | mda`",
            )
        return self.last

    def _step(self, updates: Updates, f: int, state: Any, at: Round) -> Aggregate:
        rule = self._aggregator()
        mixed = updates
        together = None
        for stage in self.before:
            mixing = _mixing(stage, mixed, f, at)
            mixed = mixed.mix(mixing)
            together = mixing if together is None else mixing @ together
        own = all(stage.keeps_nodes for stage in self.before)
        inner = replace(at, nodes=at.nodes if own else ())
        done = rule.step(mixed, f=f, state=state, at=inner)
        weights = None if done.weights is None or together is None else done.weights @ together
        return Aggregate(done.vector, weights, done.state, done.note)

    def __str__(self) -> str:
        """The stages, joined by a bar."""
        return " | ".join(str(stage) for stage in (*self.before, self.last))



@dataclass(frozen=True)
class Round:
    """What a rule may know of the round besides the rows.

    Attributes
    ----------
    number : int
        The server round, from 1.
    nodes : tuple of int
        The node behind each row; empty where unknown. Rules that remember single workers
        keep their memory under these.
    generator : numpy Generator
        Every random choice of the round is drawn from it.
    model : callable or None
        Returns the (d,) model that the rows were computed at. Only a rule that compares rows
        with the way that the model went calls it.
    asked : tuple of int
        The nodes that were to send a row, in the order asked; empty where unknown.
    root : (d,) array or None
        The server's own row, where it has one; for a rule that needs it.
    """

    number: int = 1
    nodes: tuple[int, ...] = ()
    generator: np.random.Generator | None = None
    model: Callable[[], Array] | None = None
    asked: tuple[int, ...] = ()
    root: Array | None = None

    def random(self) -> np.random.Generator:
        """The round's generator; without one, a fixed one for each round number."""
        return self.generator or np.random.default_rng(self.number)


def _checked(rule: Aggregator, done: object, rows: Updates) -> Aggregate:
    """What a rule's `_step` returned, or a TypeError for what is no aggregate of these rows."""
    if not isinstance(done, Aggregate):
        raise requirement(
            "_step", f"return an Aggregate in `{rule}`", type(done).__name__,
            "Write `return Aggregate(vector)`", error=TypeError,
        )
    if tuple(getattr(done.vector, "shape", ())) != (rows.d,):
        raise requirement(
            "vector", f"be an array of shape ({rows.d},) in `{rule}`", form(done.vector),
            "Give one number a coordinate", error=TypeError,
        )
    if done.weights is None:
        return done
    weights = _weights(rule, rows, done.weights)
    return done if weights is done.weights else replace(done, weights=weights)


def _weights(rule: Aggregator, rows: Updates, given: object) -> NDArray[np.float64]:
    """The weights that a rule gave to these rows, as float64."""
    return shaped(
        "weights", given, (rows.n,), of=rule,
        cure="Give one weight for each of the `geometry.n` rows",
    ).astype(np.float64, copy=False)


def _mixing(stage: PreAggregator, rows: Updates, f: int, at: Round) -> NDArray[np.float64]:
    """The matrix of a pre-aggregator for these rows, as float64."""
    return shaped(
        "mixing", stage.mixing(rows.geometry(), f, at), (stage.rows_out(rows.n, f), rows.n),
        of=stage, cure="Give each row that leaves `geometry.n` weights, and let `rows_out` say "
        "how many leave",
    ).astype(np.float64, copy=False)


def _columns(rule: CoordinateRule, block: Array, f: int) -> Array:
    """What a rule made of a block; assigned as it is, it would be broadcast to the coordinates."""
    found, xp = rule.columns(block, f), array_namespace(block)
    fits = is_array_api_obj(found) and array_namespace(found) is xp
    if not fits or found.shape != (block.shape[1],) or not xp.isdtype(found.dtype, _REAL):
        raise requirement(
            "columns", f"return real numbers of shape ({block.shape[1]},) in `{rule}`, in the "
            "library of the block", form(found), "Reduce the block along axis 0",
            error=TypeError,
        )
    return found
