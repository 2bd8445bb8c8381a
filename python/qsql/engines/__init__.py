"""Engines: what turns prompts into completions, behind one small protocol.

An engine knows prompts and texts; it knows nothing of schemas, SQL or files. The packages that it needs are imported
when it is made, so that this package imports in no time.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from qsql._core import QsqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = ("transformers", "vllm", "openai", "gold")
EXTRAS = {"transformers": "generate", "vllm": "vllm", "openai": "openai"}
"""The extra of the package that brings what an engine imports."""


MOST_REQUESTS = 1024
"""At a time; each has a thread of its own."""
MOST_RETRIES = 1000
LONGEST_TIMEOUT = 1e6
"""Seconds."""


@dataclass(frozen=True)
class Request:
    """One prompt to complete."""

    key: str
    """Names it in messages, and together with the seed decides its samples; unique within a call."""
    prompt: str
    """The user's turn. The chat template, where the model has one, is the engine's business."""
    answer: str | None = None
    """What the gold engine echoes; no other looks at it."""


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    """0 takes the likeliest token at every step."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that together have this probability."""
    samples: int = 1
    """Completions for each request."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, sound, rule in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", self.temperature >= 0, "0 (greedy) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("samples", self.samples >= 1, "at least 1"),
        ):
            if not sound:
                raise QsqlError(f"{name} is {getattr(self, name)}\nhint: it must be {rule}")
        if self.samples > 1 and self.temperature == 0:
            raise QsqlError(
                f"{self.samples} samples at temperature 0 are all the same\nhint: set a temperature, like 0.7"
            )


@dataclass(frozen=True)
class Completion:
    """What an engine answered."""

    text: str
    tokens: int
    """Generated tokens, with the one that ended it."""
    finish_reason: str
    """`stop`: it ended by itself. `length`: it was cut at `max_new_tokens`. `prompt_too_long`: the model has no room
    for the prompt, and the text is empty. A server may have reasons of its own."""
    seconds: float
    """Its share of the time of its batch, so that all of them sum up; from a server, the time of its request."""


Batch = list[tuple[int, list[Completion]]]
"""Positions of requests, with `Decoding.samples` completions each."""


class Engine(Protocol):
    """What turns prompts into completions."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
        """Complete requests, batch by batch, in any order; each request comes once.

        Raises:
            QsqlError: If the engine cannot go on. What came before stays valid.
        """

    def describe(self) -> dict[str, Any]:
        """What the completions depend on, as JSON: the model, its precision, its template, versions."""

    def close(self) -> None:
        """Give back what it holds: memory, child processes, connections."""


@dataclass(frozen=True)
class EngineSettings:
    """Which engine, and how it runs. Settings of other engines are ignored by an engine."""

    engine: str = "transformers"
    model: str | None = None
    """Local folder or name on the hub; the model's name at a server."""
    system: str | None = None
    """Text of a system turn before the prompt; by default what the chat template does without one."""
    dtype: str = "auto"
    """`auto` (bfloat16 on a GPU, else float32), `bfloat16`, `float16` or `float32`."""
    batch_tokens: int | None = None
    """Tokens of a batch, room for its completions included; by default what memory has room for."""
    batch_rows: int = 4096
    """Most sequences of a batch."""
    devices: tuple[str, ...] = ()
    """Devices to spread over, one process each, like `cuda:0`; by default every GPU, else the CPU."""
    batching: str = "sorted"
    """`sorted`: batches of similar length, finished rows drop out. `continuous`: transformers' `generate_batch`."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, with `/v1`."""
    concurrency: int = 16
    """Requests to a server at a time."""
    retries: int = 6
    """Further attempts after a request to a server failed."""
    request_timeout: float = 120.0
    """Seconds until a request to a server counts as failed."""
    trust_remote_code: bool = False
    """Whether a model may run code that comes with it."""
    engine_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments, as they are: of vLLM's `LLM`, or of the body of requests to a server."""

    def __post_init__(self) -> None:
        if "trust_remote_code" in self.engine_options:
            raise QsqlError(
                "`trust_remote_code` in `engine_options` would run code that comes with the model\n"
                "hint: read that code, and if you trust it, say so on the command line: `--trust-remote-code`"
            )
        for name, sound, rule in (
            ("batch_tokens", self.batch_tokens is None or self.batch_tokens >= 1, "at least 1"),
            ("batch_rows", self.batch_rows >= 1, "at least 1"),
            ("concurrency", 1 <= self.concurrency <= MOST_REQUESTS, f"1 to {MOST_REQUESTS}"),
            ("retries", 0 <= self.retries <= MOST_RETRIES, f"0 to {MOST_RETRIES}"),
            (
                "request_timeout",
                0 < self.request_timeout <= LONGEST_TIMEOUT,
                f"above 0 and at most {LONGEST_TIMEOUT:g}",
            ),
        ):
            if not sound:
                raise QsqlError(f"{name} is {getattr(self, name)}\nhint: it must be {rule}")

    def model_name(self) -> str:
        """The model, which this engine needs.

        Raises:
            QsqlError: If there is none.
        """
        if not self.model:
            raise QsqlError(f"the engine `{self.engine}` needs a model\nhint: name one with `--model`")
        return self.model

    def record(self) -> dict[str, Any]:
        """All settings, as JSON."""
        return {**asdict(self), "devices": list(self.devices)}


def make_engine(settings: EngineSettings) -> Engine:
    """Make an engine: load its model, or see that its server answers.

    Raises:
        QsqlError: If there is no such engine, a package or the model is missing, or a setting makes no sense.
    """
    if settings.engine not in NAMES:
        raise QsqlError(f"there is no engine `{settings.engine}`\nhint: the engines are {', '.join(NAMES)}")
    if settings.engine == "gold":
        from qsql.engines.gold import GoldEngine

        return GoldEngine()
    if settings.engine == "openai":
        from qsql.engines.openai import OpenAIEngine

        return OpenAIEngine(settings)
    if settings.engine == "vllm":
        from qsql.engines.vllm import VllmEngine

        return VllmEngine(settings)
    from qsql.engines.devices import make_transformers_engine

    return make_transformers_engine(settings)


def need(engine: str, *packages: str) -> None:
    """See that the packages of an engine are there, before anything slow happens.

    Raises:
        QsqlError: If one is missing, with the line that installs it.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise QsqlError(
            f"the engine `{engine}` needs {', '.join(f'`{package}`' for package in missing)}, not installed here\n"
            f"hint: pip install 'qsql-lab[{EXTRAS[engine]}]'"
        )
