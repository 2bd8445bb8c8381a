"""The settings of a generation, and how a configuration spells them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from qsql._core import QsqlError
from qsql.config import Config, Key
from qsql.engines import NAMES, Decoding, EngineSettings

SAMPLING = {"temperature": 0.7, "top_p": 0.95}
"""What several completions are drawn with unless told otherwise."""


@dataclass(frozen=True)
class Settings:
    """What to answer, with what, and how.

    Raises:
        QsqlError: If settings do not go together.
    """

    data: Path
    """See `qsql.generate.questions.read_questions`."""
    tables: Path | None = None
    db: Path | None = None
    split: str = "validation"
    limit: int | None = None
    """Answer only so many questions, from the first on."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    decoding: Decoding = field(default_factory=Decoding)
    repair: bool = False
    """Sample again where a prediction does not compile, and take the most common query that does."""
    repair_samples: int = 8
    repair_temperature: float = SAMPLING["temperature"]
    repair_top_p: float = SAMPLING["top_p"]
    self_consistency: int | None = None
    """Draw so many completions of every question, and take the query whose result is the most common."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise QsqlError(f"limit is {self.limit}\nhint: it must be at least 1")
        if self.self_consistency is not None:
            if self.self_consistency < 2:
                raise QsqlError(f"self_consistency is {self.self_consistency}\nhint: a vote needs 2 samples at least")
            if self.db is None:
                raise QsqlError(
                    "self-consistency compares results, but there are no databases to run on\n"
                    "hint: give `--db` with the folder of the databases"
                )
            if self.repair:
                raise QsqlError(
                    "repair and self-consistency are two ways to choose among samples\nhint: leave one of them out"
                )
        if self.repair:
            self.repair_decoding()

    def repair_decoding(self) -> Decoding:
        """How the samples of a repair are drawn."""
        own = self.decoding
        return Decoding(own.max_new_tokens, self.repair_temperature, self.repair_top_p, self.repair_samples, own.seed)

    def record(self) -> dict[str, Any]:
        """All settings by the names that a configuration has for them, as JSON."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in {"engine", "decoding"}}
        own = {key: str(value) if isinstance(value, Path) else value for key, value in own.items()}
        return {**own, **self.engine.record(), **asdict(self.decoding)}


def _keys(*kinds: str, choices: tuple[str, ...] = ()) -> Key:
    return Key(frozenset({*kinds, "null"}), choices)


KEYS: dict[str, Key] = {
    **dict.fromkeys(("data", "tables", "db", "split", "out"), _keys("str")),
    "limit": _keys("int"),
    "engine": _keys("str", choices=NAMES),
    **dict.fromkeys(("model", "system", "base_url"), _keys("str")),
    "dtype": _keys("str", choices=("auto", "bfloat16", "float16", "float32")),
    "batching": _keys("str", choices=("sorted", "continuous")),
    **dict.fromkeys(("batch_tokens", "batch_rows", "concurrency", "retries"), _keys("int")),
    "request_timeout": _keys("float", "int"),
    "devices": _keys("list"),
    "engine_options": _keys("dict"),
    **dict.fromkeys(("max_new_tokens", "samples", "seed"), _keys("int")),
    **dict.fromkeys(("temperature", "top_p"), _keys("float", "int")),
    "repair": _keys("bool"),
    "repair_samples": _keys("int"),
    **dict.fromkeys(("repair_temperature", "repair_top_p"), _keys("float", "int")),
    "self_consistency": _keys("int"),
}
"""The keys of a configuration, with what they take."""


def settings_from(config: Config, *, trust_remote_code: bool = False) -> tuple[Settings, Path | None]:
    """Make settings of a configuration; also where the run directory shall be, if it says so.

    Args:
        config: Keys of `KEYS`.
        trust_remote_code: Whether a model may run code that comes with it, which is no key, so that no file can say so.

    Raises:
        QsqlError: If there are no questions, or settings do not go together.
    """
    values = {key: value for key, value in config.values.items() if value is not None}
    out = values.pop("out", None)
    if "data" not in values:
        raise QsqlError("there are no questions\nhint: name their file or data set with `--data`")
    samples = values.get("self_consistency") or values.get("samples", 1)
    if samples > 1:
        values = {**SAMPLING, **values, "samples": samples}
    if "devices" in values:
        values["devices"] = tuple(map(str, values["devices"]))
    engine = _take(values, EngineSettings)
    decoding = _take(values, Decoding)
    paths: dict[str, Any] = {key: Path(values.pop(key)) for key in ("data", "tables", "db") if key in values}
    settings = Settings(
        **paths,
        engine=EngineSettings(**engine, trust_remote_code=trust_remote_code),
        decoding=Decoding(**decoding),
        **values,
    )
    return settings, None if out is None else Path(out)


def _take(values: dict[str, Any], kind: type[EngineSettings | Decoding]) -> dict[str, Any]:
    return {item.name: values.pop(item.name) for item in fields(kind) if item.name in values}
