"""ArrayRecord <-> flat row, from the server's own record: names, shapes, dtypes, offsets.

The server's record is the only authority: what a reply claims about itself is compared with
this, never believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from ..errors import IN_RANGE, out_of_range, requirement
from .buffers import buffer_names
from .npy import pack, read_header, write_header

MOMENTUM_KEY = "momentum"
"""The ArrayRecord of a reply that holds a momentum; any other name says: these are weights."""


@dataclass(frozen=True)
class Entry:
    """One named array of the model.

    Attributes
    ----------
    name, shape, dtype
        As in the server's record.
    offset : int or None
        Where its coordinates start in the flat row; None for integers, booleans and arrays that
        hold an infinity, which are counters, masks and the like rather than parameters, and keep
        the server's value.
    buffer : bool
        Whether it holds statistics of the data, such as a batch norm's running variance.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    buffer: bool = False

    @cached_property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def headers(self) -> tuple[bytes, bytes]:
        """The bytes before the payload, in C and in Fortran order."""
        return (
            write_header(self.dtype, self.shape, False),
            write_header(self.dtype, self.shape, True),
        )

    def locate(self, data: bytes) -> tuple[int, bool]:
        """Where the payload starts and whether it is in Fortran order; the payload stays unread.

        Raises
        ------
        ValueError
            If ``data`` is not an npy file of exactly this shape, dtype and length.
        """
        start, fortran = self._header(data)
        expected = self.size * self.dtype.itemsize
        if len(data) - start != expected:
            raise ValueError(f"`{self.name}` holds {len(data) - start} bytes, not {expected}")
        return start, fortran

    def view(self, data: bytes) -> NDArray[Any]:
        """The elements in ``data`` as a 1-d array in C order: a view, a copy only if Fortran.

        Raises
        ------
        ValueError
            If ``data`` is not an npy file of exactly this shape, dtype and length.
        """
        start, fortran = self.locate(data)
        if self.size == 0:
            return np.empty(0, self.dtype)
        flat = np.frombuffer(data, self.dtype, offset=start)
        return flat.reshape(self.shape[::-1]).T.reshape(-1) if fortran else flat

    def _header(self, data: bytes) -> tuple[int, bool]:
        for header, fortran in zip(self.headers, (False, True), strict=True):
            if data.startswith(header):
                return len(header), fortran
        # Another NumPy, or another library, may write and pad its headers differently.
        try:
            found = read_header(data)
        except ValueError as error:
            raise ValueError(f"`{self.name}` is {error}") from None
        if found.shape != self.shape or found.descr != self.dtype.str:
            raise ValueError(
                f"`{self.name}` is {found.descr} {_shape(found.shape)} "
                f"instead of {self.dtype.str} {self.shape}"
            )
        return found.start, found.fortran


@dataclass(frozen=True)
class Layout:
    """The entries of a model, in the order of the server's record.

    Examples
    --------
    >>> import numpy as np
    >>> record = ArrayRecord({"w": Array(np.zeros((2, 3), np.float32)), "n": Array(np.array(7))})
    >>> Layout.of(record).size
    6
    """

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, record: ArrayRecord, buffers: Collection[str] | None = None) -> Layout:
        """Read the layout of the server's own record: in a row, buffers come last.

        Parameters
        ----------
        record : ArrayRecord
            The model.
        buffers : collection of str, optional
            Which of its arrays are buffers; see `buffer_names`.

        Raises
        ------
        ValueError
            If an array is not real floating-point, integer or boolean, or none is a
            floating-point parameter.
        """
        named = buffer_names(record, buffers)
        entries = [_entry(name, array, name in named) for name, array in record.items()]
        offset = 0
        for last in (False, True):
            for index, entry in enumerate(entries):
                if entry.offset is not None and entry.buffer == last:
                    entries[index] = replace(entry, offset=offset)
                    offset += entry.size
        layout = cls(tuple(entries))
        if layout.learnt == 0:
            raise requirement(
                "initial_arrays", "hold floating-point parameters", f"{len(entries)} array(s), "
                "none floating-point with elements", "Give the model's parameters to `start`",
            )
        return layout

    @property
    def constants(self) -> list[str]:
        """The floating-point arrays that are no parameters, since they hold an infinity."""
        return [e.name for e in self.entries if e.offset is None and e.dtype.kind == "f"]

    def is_of(self, record: ArrayRecord) -> bool:
        """Whether a record has the names, shapes and dtypes of this one, in whatever order."""
        return {e.name: (e.shape, str(e.dtype)) for e in self.entries} == {
            name: (tuple(array.shape), array.dtype) for name, array in record.items()
        }

    @cached_property
    def parameters(self) -> tuple[Entry, ...]:
        """The floating-point entries in the order of the flat row, buffers last."""
        floating = [entry for entry in self.entries if entry.offset is not None]
        return tuple(sorted(floating, key=lambda entry: entry.buffer))

    @cached_property
    def size(self) -> int:
        """d, the number of coordinates of the flat row."""
        return sum(entry.size for entry in self.parameters)

    @cached_property
    def learnt(self) -> int:
        """How many coordinates are parameters; the rest of the flat row belongs to buffers."""
        return sum(entry.size for entry in self.parameters if not entry.buffer)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """A dtype that holds every parameter's: the one of the flat row."""
        return np.result_type(*(entry.dtype for entry in self.parameters))

    def views(self, record: ArrayRecord) -> list[NDArray[Any]]:
        """The parameters of ``record`` as 1-d arrays, in order; zero-copy where possible."""
        return [entry.view(record[entry.name].data) for entry in self.parameters]

    def flat(self, record: ArrayRecord) -> NDArray[Any]:
        """The parameters of ``record`` as one (d,) vector: a copy."""
        return np.concatenate(self.views(record))

    @cached_property
    def fingerprint(self) -> str:
        """A short text that two layouts share if they are the same."""
        entries = [
            (e.name, e.shape, e.dtype.str, e.buffer, e.offset is None) for e in self.entries
        ]
        digest = hashlib.sha256(repr(entries).encode()).hexdigest()[:12]
        return f"{len(entries)} arrays, {self.size} parameters, {digest}"

    def check_finite(self, record: ArrayRecord) -> None:
        """Raise for a model with a NaN, an infinity or a float64 number beyond the range."""
        for entry, values in zip(self.parameters, self.views(record), strict=True):
            if (wrong := out_of_range(values)) is not None:
                raise requirement(
                    "initial_arrays", IN_RANGE, f"{wrong} in `{entry.name}`",
                    "Initialise the model anew",
                )

    def record(self, vector: NDArray[Any], integers: ArrayRecord) -> ArrayRecord:
        """Cut a flat (d,) vector into a record; integer entries are taken from ``integers``."""
        arrays: dict[str, Array] = {}
        for entry in self.entries:
            if entry.offset is None:
                arrays[entry.name] = integers[entry.name]
                continue
            part = vector[entry.offset : entry.offset + entry.size]
            arrays[entry.name] = pack(fitting(part, entry.dtype).reshape(entry.shape))
        return ArrayRecord(arrays)


def same_shapes(one: ArrayRecord, other: ArrayRecord) -> bool:
    """Whether two records hold arrays of the same names and shapes, in whatever order."""
    first, second = (
        {name: tuple(array.shape) for name, array in record.items()} for record in (one, other)
    )
    return first == second


def is_kept(array: Array) -> bool:
    """Whether the server keeps its own whatever nodes send: a counter, or a mask of infinities."""
    return _entry("", array, False).offset is None


def is_model(record: ArrayRecord) -> bool:
    """Whether it is one that can be aggregated."""
    try:
        Layout.of(record)
    except ValueError:
        return False
    return True


def _entry(name: str, array: Array, buffer: bool) -> Entry:
    """One array of the server's record; a floating-point one gets its offset later."""
    try:
        header = read_header(array.data)
    except ValueError as error:
        raise requirement(
            "initial_arrays", "hold NumPy arrays as Flower's `Array(ndarray)` makes them",
            f"`{name}`: {error}", "Build the record from arrays or from a state_dict",
        ) from error
    dtype = np.dtype(header.descr)
    floating = np.issubdtype(dtype, np.floating)
    if not floating and dtype.kind not in "iub":
        raise requirement(
            "initial_arrays", "hold real or integer arrays",
            f"`{name}` of dtype {array.dtype}", "Convert it to float32",
        )
    constant = floating and _is_constant(np.frombuffer(array.data, dtype, offset=header.start))
    return Entry(name, header.shape, dtype, 0 if floating and not constant else None, buffer)


def _is_constant(values: NDArray[Any]) -> bool:
    """Whether it can be no parameter: an attention mask has infinities, a broken array has NaN."""
    top, bottom = values.max(initial=0.0), values.min(initial=0.0)
    return bool(np.isinf(top) or np.isinf(bottom)) and not np.isnan(top + abs(bottom))


def _shape(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= 8 else f"of {len(shape)} dimensions"


def fitting(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round to ``dtype`` without overflowing to infinity."""
    if values.dtype == dtype:
        return values
    limit = np.finfo(dtype).max
    return np.asarray(np.clip(values, -limit, limit).astype(dtype))
