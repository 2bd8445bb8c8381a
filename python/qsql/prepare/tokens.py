"""How many tokens a model sees, counted by its real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qsql._core import QsqlError
from qsql.prepare.hub import fetch_tokenizer
from qsql.prepare.sources import HUB_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

TEMPLATE_TOKENS = 10
"""What the chat template of Qwen adds to prompt and answer: the marks of two turns and of the end."""
_BATCH = 512


class TokenCounter:
    """Counts tokens of prompts with their answers."""

    def __init__(self, name: str, template_tokens: int = TEMPLATE_TOKENS) -> None:
        """Load a tokenizer: a `tokenizer.json`, a folder that holds one, or the name of a model on the hub.

        Raises:
            QsqlError: If an extra is missing or there is no such tokenizer.
        """
        try:
            from tokenizers import Tokenizer  # noqa: PLC0415 - needs an extra
        except ImportError:
            raise QsqlError("counting tokens needs tokenizers\nhint: pip install 'qsql-lab[data]'") from None
        path = Path(name)
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file() and HUB_NAME.fullmatch(name):
            file = fetch_tokenizer(name)
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001 - the library raises plain exceptions
            raise QsqlError(
                f"no tokenizer `{name}`: {error}\n"
                "hint: give a folder with a tokenizer.json or the name of a model on the hub, or no `--tokenizer`"
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template_tokens = template_tokens

    def count(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Count the tokens of each prompt and answer together, with those of the chat template."""
        counts: list[int] = []
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            prompts = self._tokenizer.encode_batch_fast([prompt for prompt, _ in batch], add_special_tokens=False)
            answers = self._tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)
            counts += [
                len(prompt) + len(text) + self._template_tokens for prompt, text in zip(prompts, answers, strict=True)
            ]
        return counts
