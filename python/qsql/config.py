"""Configuration files: YAML and `key=value` overrides, checked against the keys that are known.

Knows nothing of what the keys mean. Numbers are read as OmegaConf reads them, so that a file means the same here and to
tools that use it: `5e-6` is a number, not text. Every problem is a `QsqlError` that names the file and the line.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.files import read_text
from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import yaml

LONGEST_NAME = 100
"""Characters of a name for which another one is suggested."""
DEEPEST = 50
"""Lists and mappings within each other."""
MOST_NODES = 10_000
"""Values, with those that aliases stand for: a few lines of them can stand for billions."""
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
      |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
      |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
      |[-+]?\.(?:inf|Inf|INF)
      |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Key:
    """What a key takes."""

    kinds: frozenset[str]
    """Of `bool`, `int`, `float`, `str`, `list`, `dict` and `null`."""
    choices: tuple[str, ...] = ()
    """The texts it takes, if not all."""


@dataclass(frozen=True)
class Config:
    """Checked values with the places they come from."""

    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)
    """For each key, where its value stands, such as "`a.yaml` line 3"."""

    def place(self, key: str) -> str:
        """Say where the value of `key` stands, for messages."""
        return self.origins.get(key, "the defaults")


def load_config(
    path: Path | None, overrides: Sequence[str], known: Mapping[str, Key], what: str = "configuration"
) -> Config:
    """Read a YAML file, put `key=value` overrides over it, and check names and types.

    Args:
        path: The file, a mapping of keys to values; None where there are overrides alone.
        overrides: Such as `learning_rate=1e-5`; what stands behind `=` is YAML.
        known: All keys with what they take.
        what: Whose keys they are, for messages.

    Raises:
        QsqlError: For a file that cannot be read, a key that is unknown or there twice, or a value of another type.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, node, line in _entries(path) if path is not None else ():
        place = f"`{path}` line {line}"
        if key in values:
            raise QsqlError(f"{place}: `{key}` is there twice\nhint: keep one of them")
        _require_known(key, place, known, what)
        values[key], origins[key] = _value(key, node, known[key], place), place
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise QsqlError(
                f"`{one_line(override, 100)}` is no override\nhint: overrides are key=value, such as learning_rate=1e-5"
            )
        place = f"override `{one_line(override, 100)}`"
        _require_known(key, place, known, what)
        composed = _compose(text, place, "put the value in quotes")
        values[key], origins[key] = _value(key, composed, known[key], place), place
    return Config(values, origins)


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Find what `name` was probably meant to be."""
    # Comparing takes time by the square; nobody means a name with one that long.
    short = [other for other in names if len(other) <= LONGEST_NAME]
    if len(name) > LONGEST_NAME:
        return None
    return next(iter(difflib.get_close_matches(name, short, n=1, cutoff=0.5)), None)


def dump_config(values: Mapping[str, Any]) -> str:
    """Write values as YAML that `load_config` and OmegaConf read back as they are."""
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        pass

    def write_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
        text = repr(value)
        # YAML 1.1 takes an exponent without a period for text.
        if "e" in text and "." not in text:
            text = text.replace("e", ".0e")
        return dumper.represent_scalar("tag:yaml.org,2002:float", text)

    Dumper.add_representer(float, write_float)
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _loader() -> type[yaml.SafeLoader]:
    import yaml  # noqa: PLC0415

    class Loader(yaml.SafeLoader):
        pass

    resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if not tag.endswith((":float", ":timestamp"))]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.yaml_implicit_resolvers = resolvers
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Loader


def _entries(path: Path) -> list[tuple[str, yaml.Node, int]]:
    import yaml  # noqa: PLC0415

    root = _compose(read_text(path), f"`{path}`", "each line is `key: value`")
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise QsqlError(f"`{path}` is not a mapping\nhint: each line is `key: value`")
    entries: list[tuple[str, yaml.Node, int]] = []
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise QsqlError(f"`{path}` line {line}: a key is a list or a mapping\nhint: each line is `key: value`")
        entries.append((str(key.value), value, line))
    return entries


def _compose(text: str, place: str, hint: str) -> yaml.Node | None:
    """Parse YAML, and see that what its aliases stand for is not out of all proportion."""
    import yaml  # noqa: PLC0415

    try:
        root: yaml.Node | None = yaml.compose(text, Loader=_loader())
    except yaml.YAMLError as error:
        raise QsqlError(f"{place} is not YAML: {_problem(error)}\nhint: {hint}") from None
    except RecursionError:
        raise QsqlError(f"{place} is nested too deeply\nhint: {hint}") from None
    level = [] if root is None else [root]
    nodes = 0
    for _ in range(DEEPEST):
        nodes += len(level)
        if nodes > MOST_NODES:
            raise QsqlError(f"{place} has more than {MOST_NODES:,} values, aliases written out\nhint: {hint}")
        level = [child for node in level for child in _children(node)]
        if not level:
            return root
    raise QsqlError(f"{place} is nested more than {DEEPEST} deep\nhint: {hint}")


def _children(node: yaml.Node) -> list[yaml.Node]:
    import yaml  # noqa: PLC0415

    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _require_known(key: str, place: str, known: Mapping[str, Key], what: str) -> None:
    if key not in known:
        guess = nearest(key, list(known))
        hint = f"did you mean `{guess}`?" if guess else "the keys are listed in the documentation"
        raise QsqlError(f"{place}: `{one_line(key, 60)}` is no key of the {what}\nhint: {hint}")


def _value(key: str, node: yaml.Node | None, accepted: Key, place: str) -> Any:
    """Read one value as the key wants it, since `no` is text for one key and false for another."""
    import yaml  # noqa: PLC0415

    if node is None:
        value, text = None, ""
    else:
        text = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
        try:
            value = _construct(node)
        except (yaml.YAMLError, ValueError) as error:
            message = one_line(str(error), 200)
            raise QsqlError(f"{place}: `{key}` cannot be read: {message}\nhint: put the value in quotes") from None
    if value is None:
        return None
    kind = type(value).__name__
    if kind not in accepted.kinds:
        if kind in {"bool", "int", "float"} and "str" in accepted.kinds:
            value = text
        elif kind != "int" or "float" not in accepted.kinds:
            found = f"`{one_line(text, 60)}`" if text else f"a {kind}"
            raise QsqlError(f"{place}: `{key}` is {found}\nhint: it takes {_describe(accepted)}")
    if accepted.choices and isinstance(value, str) and value not in accepted.choices:
        guess = nearest(value, accepted.choices)
        hint = f"did you mean `{guess}`? it" if guess else "it"
        raise QsqlError(f"{place}: `{key}` is `{one_line(value, 60)}`\nhint: {hint} takes {_describe(accepted)}")
    return value


def _construct(node: yaml.Node) -> Any:
    loader = _loader()("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _describe(accepted: Key) -> str:
    names = {"bool": "true or false", "int": "an integer", "float": "a number", "str": "text", "list": "a list"}
    names |= {"dict": "a mapping"}
    kinds = [names[kind] for kind in ("bool", "int", "float", "str", "list", "dict") if kind in accepted.kinds]
    if accepted.choices:
        kinds = [kind for kind in kinds if kind != "text"] + [", ".join(accepted.choices)]
    return " or ".join(kinds)
