"""Shapes of JSON values, so that a file of another shape is refused where it is read, by the name of what is wrong."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value, and where in it."""

    text: str
    """Such as "is a list of 2, not a text"."""
    path: tuple[str | int, ...] = ()
    """Keys and positions that lead there, outermost first; positions from 0."""

    def within(self, step: str | int) -> Fault:
        """The same fault, seen from the value that holds this one under `step`."""
        return replace(self, path=(step, *self.path))

    def __str__(self) -> str:
        steps = (f"[{step}]" if isinstance(step, int) else f".{one_line(step, 60)}" for step in self.path)
        place = "".join(steps).removeprefix(".")
        return f"`{place}` {self.text}" if place else f"it {self.text}"


class Shape(Protocol):
    """What a value may be."""

    @property
    def name(self) -> str:
        """What to call such a value, such as "a text"."""

    def fault(self, value: Any) -> Fault | None:
        """Find the first thing that is wrong with a value; None if it fits."""


@dataclass(frozen=True)
class Kind:
    """A value of certain types. `bool` is a type of its own here, and no number."""

    name: str
    types: tuple[type, ...]

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        return None if type(value) in self.types else _other(value, self)


@dataclass(frozen=True)
class FileName:
    """A text that may name a file here."""

    name: str = "the name of a file"

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        try:
            return None if isinstance(value, str) and b"\0" not in os.fsencode(value) else _other(value, self)
        except UnicodeEncodeError:
            return _other(value, self)


@dataclass(frozen=True)
class OneOf:
    """One of some texts."""

    texts: tuple[str, ...]

    @property
    def name(self) -> str:
        """See `Shape`."""
        return f"one of {', '.join(self.texts)}"

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        return None if isinstance(value, str) and value in self.texts else _other(value, self)


@dataclass(frozen=True)
class Nullable:
    """A value that may be null."""

    shape: Shape

    @property
    def name(self) -> str:
        """See `Shape`."""
        return f"{self.shape.name} or null"

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        found = None if value is None else self.shape.fault(value)
        # What is wrong within the value has nothing to do with null.
        return _other(value, self) if found is not None and not found.path else found


@dataclass(frozen=True)
class ListOf:
    """A list of values of one shape; of a certain length, if that is given."""

    item: Shape
    length: int | None = None

    @property
    def name(self) -> str:
        """See `Shape`."""
        return "a list" if self.length is None else f"a list of {self.length}"

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        if not isinstance(value, list) or self.length not in {None, len(value)}:
            return _other(value, self)
        faults = ((at, self.item.fault(item)) for at, item in enumerate(value))
        return next((found.within(at) for at, found in faults if found), None)


@dataclass(frozen=True)
class MapOf:
    """An object whose values have one shape, under any keys."""

    item: Shape
    name: str = "an object"

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        if not isinstance(value, dict):
            return _other(value, self)
        faults = ((key, self.item.fault(item)) for key, item in value.items())
        return next((found.within(key) for key, found in faults if found), None)


@dataclass(frozen=True)
class Record:
    """An object with certain keys. It may have others, which later versions write."""

    keys: Mapping[str, Shape]
    optional: Mapping[str, Shape] = field(default_factory=dict)
    name: str = "an object"

    def fault(self, value: Any) -> Fault | None:
        """See `Shape`."""
        if not isinstance(value, dict):
            return _other(value, self)
        for key in self.keys:
            if key not in value:
                return Fault("is missing", (key,))
        known = ((key, shape) for key, shape in {**self.keys, **self.optional}.items() if key in value)
        faults = ((key, shape.fault(value[key])) for key, shape in known)
        return next((found.within(key) for key, found in faults if found), None)


ANY = Kind("a value", (dict, list, str, int, float, bool, type(None)))
TEXT = Kind("a text", (str,))
INTEGER = Kind("an integer", (int,))
NUMBER = Kind("a number", (int, float))
FLAG = Kind("true or false", (bool,))
OBJECT = Kind("an object", (dict,))


def _other(value: Any, shape: Shape) -> Fault:
    return Fault(f"is {_describe(value)}, not {shape.name}")


def _describe(value: Any) -> str:
    """Say what a value is, without what it holds unless that is short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return f"the number {value}" if math.isfinite(value) and abs(value) < 10**15 else "a number"
    if isinstance(value, str):
        return f"the text `{one_line(value)}`" if len(value) <= 20 else "a text"
    return f"a list of {len(value)}" if isinstance(value, list) else "an object"
