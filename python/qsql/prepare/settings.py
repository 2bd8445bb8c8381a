"""What to prepare and how, from a configuration file, the command line, or code."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.config import Config, Key, load_config, nearest
from qsql.prepare.rows import STAGES
from qsql.prepare.sources import SourceOptions
from qsql.prepare.tokens import TEMPLATE_TOKENS
from qsql.schema_text import SchemaStyle

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Settings:
    """How a data set is prepared. Each field is a key of the configuration file."""

    sources: list[str] = field(default_factory=list)
    """Folders of Spider or BIRD, files, and names of data sets on the hub."""
    exclude: list[str] = field(default_factory=list)
    """Evaluation files whose databases, schemas and questions must not be in the data."""
    tables: str | None = None
    """`tables.json` with the schemas of sources that have only a `db_id`."""
    db: str | None = None
    """Folder of `<db_id>/<db_id>.sqlite`, for schemas and for the stage `execution`."""
    split: str = "train"
    """Split of data sets on the hub."""
    revision: str | None = None
    """Revision of data sets on the hub."""
    endpoint: str | None = None
    """Address of the hub or of a mirror."""
    evidence: bool = True
    """Append BIRD's evidence to the question."""
    keys: bool = False
    """Write primary and foreign keys into schemas that are not given as text."""
    values: int = 0
    """Write so many example values of each column into schemas, where there are databases."""
    skip: list[str] = field(default_factory=list)
    """Stages that are left out."""
    keep_empty_results: bool = False
    """Keep queries that return nothing on the real database."""
    max_steps: int = 200_000_000
    """SQLite instructions for one query on the real database."""
    near_duplicate_likeness: float = 0.9
    """Jaccard index of letter triples from which a question is a near duplicate."""
    schema_likeness: float = 0.75
    """Jaccard index of columns from which a schema is one of an evaluation set."""
    tokenizer: str | None = None
    """Folder with a `tokenizer.json`, or name of a model on the hub; without one the stage `length` is left out."""
    cutoff: int = 2048
    """Most tokens of prompt and answer together, with the chat template."""
    template_tokens: int = TEMPLATE_TOKENS
    """How many of them are the chat template's."""
    validation: float = 0.05
    """Share of the schemas that is held out for validation."""
    seed: int = 0
    """Draws the schemas that are held out."""

    def __post_init__(self) -> None:
        for name in self.skip:
            if name not in STAGES:
                guess = nearest(name, list(STAGES))
                hint = f"did you mean `{guess}`? the stages" if guess else "the stages"
                raise QsqlError(f"there is no stage `{name}`\nhint: {hint} are {', '.join(STAGES)}")
        for name in ("near_duplicate_likeness", "schema_likeness"):
            if not 0 < getattr(self, name) <= 1:
                raise QsqlError(f"`{name}` is {getattr(self, name)}\nhint: a likeness is above 0 and at most 1")
        if not 0 <= self.validation < 1:
            raise QsqlError(f"`validation` is {self.validation}\nhint: it is a share, from 0 to below 1")
        for name in ("cutoff", "max_steps"):
            if getattr(self, name) < 1:
                raise QsqlError(f"`{name}` is {getattr(self, name)}\nhint: it is 1 or more")
        if self.values < 0:
            raise QsqlError(f"`values` is {self.values}\nhint: it is 0 or more")

    @property
    def source_options(self) -> SourceOptions:
        """How sources are read."""
        return SourceOptions(
            style=SchemaStyle(keys=self.keys, values=self.values),
            evidence=self.evidence,
            tables=None if self.tables is None else Path(self.tables),
            databases=None if self.db is None else Path(self.db),
            split=self.split,
            revision=self.revision,
            endpoint=self.endpoint,
        )

    @property
    def stages(self) -> list[str]:
        """The stages that run, in their order."""
        off = set(self.skip)
        if self.tokenizer is None:
            off.add("length")
        if not self.exclude:
            off.add("leakage")
        return [stage for stage in STAGES if stage not in off]


def _key(annotation: str) -> Key:
    kinds = {
        "bool": {"bool"},
        "int": {"int"},
        "float": {"float", "int"},
        "str": {"str"},
        "str | None": {"str", "null"},
        "list[str]": {"list"},
    }
    return Key(frozenset(kinds[annotation]))


KEYS = {item.name: _key(str(item.type)) for item in fields(Settings)}


def load_settings(path: Path | None, overrides: Sequence[str] = (), **options: Any) -> Settings:
    """Read settings from a file and put options over them that are not None.

    Raises:
        QsqlError: If the file cannot be read, has unknown keys, or a value makes no sense.
    """
    config = Config({}) if path is None else load_config(path, overrides, KEYS, "data preparation")
    given = {name: value for name, value in options.items() if value is not None and value != []}
    # A key without a value means the default.
    values = {name: value for name, value in config.values.items() if value is not None}
    for name in ("sources", "exclude", "skip"):
        if not all(isinstance(item, str) for item in values.get(name, [])):
            raise QsqlError(
                f"{config.place(name)}: `{name}` is not a list of texts\nhint: write one on each line behind `-`"
            )
    return Settings(**{**values, **given})
