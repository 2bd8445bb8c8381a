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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import yaml

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


def load_config(path: Path, overrides: Sequence[str], known: Mapping[str, Key], what: str = "configuration") -> Config:
    """Read a YAML file, put `key=value` overrides over it, and check names and types.

    Args:
        path: The file, a mapping of keys to values.
        overrides: Such as `learning_rate=1e-5`; what stands behind `=` is YAML.
        known: All keys with what they take.
        what: Whose keys they are, for messages.

    Raises:
        QsqlError: For a file that cannot be read, a key that is unknown or there twice, or a value of another type.
    """
    import yaml  # noqa: PLC0415 - importing qsql loads no YAML

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    node: yaml.Node | None
    for key, node, line in _entries(path):
        place = f"`{path}` line {line}"
        if key in values:
            raise QsqlError(f"{place}: `{key}` is there twice\nhint: keep one of them")
        _require_known(key, place, known, what)
        values[key], origins[key] = _value(key, node, known[key], place), place
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise QsqlError(f"`{override}` is no override\nhint: overrides are key=value, such as learning_rate=1e-5")
        place = f"override `{override}`"
        _require_known(key, place, known, what)
        try:
            node = yaml.compose(text, Loader=_loader())
        except yaml.YAMLError as error:
            raise QsqlError(f"{place} is not YAML: {_problem(error)}\nhint: put the value in quotes") from None
        values[key], origins[key] = _value(key, node, known[key], place), place
    return Config(values, origins)


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Find what `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.5)), None)


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

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=_loader())
    except OSError as error:
        raise QsqlError(f"cannot read `{path}`: {error.strerror}\nhint: check the path") from None
    except UnicodeDecodeError:
        raise QsqlError(f"`{path}` is not valid UTF-8\nhint: convert the file, for instance with `iconv`") from None
    except yaml.YAMLError as error:
        raise QsqlError(f"`{path}` is not YAML: {_problem(error)}\nhint: each line is `key: value`") from None
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise QsqlError(f"`{path}` is not a mapping\nhint: each line is `key: value`")
    entries: list[tuple[str, yaml.Node, int]] = [
        (str(key.value), value, key.start_mark.line + 1) for key, value in root.value
    ]
    return entries


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _require_known(key: str, place: str, known: Mapping[str, Key], what: str) -> None:
    if key not in known:
        guess = nearest(key, list(known))
        hint = f"did you mean `{guess}`?" if guess else "the keys are listed in the documentation"
        raise QsqlError(f"{place}: `{key}` is no key of the {what}\nhint: {hint}")


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
            raise QsqlError(f"{place}: `{key}` cannot be read: {error}\nhint: put the value in quotes") from None
    if value is None:
        return None
    kind = type(value).__name__
    if kind not in accepted.kinds:
        if kind in {"bool", "int", "float"} and "str" in accepted.kinds:
            value = text
        elif kind != "int" or "float" not in accepted.kinds:
            found = f"`{text}`" if text else f"a {kind}"
            raise QsqlError(f"{place}: `{key}` is {found}\nhint: it takes {_describe(accepted)}")
    if accepted.choices and isinstance(value, str) and value not in accepted.choices:
        guess = nearest(value, accepted.choices)
        hint = f"did you mean `{guess}`? it" if guess else "it"
        raise QsqlError(f"{place}: `{key}` is `{value}`\nhint: {hint} takes {_describe(accepted)}")
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
