"""What the engines that load a model share: where it is, its tokenizer, its chat template, where its turns end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.directories import hub_token, keep_token_from_mirrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.engines import EngineSettings

_ANSWER = "SELECT 1"


def is_local(model: str) -> bool:
    """Whether a model is a folder, or meant to be one, rather than a name on the hub."""
    return Path(model).exists() or model.startswith(("/", "./", "../", "~")) or model.count("/") > 1


def check_model(model: str) -> None:
    """See that a model that is meant to be a folder is one.

    Raises:
        QsqlError: If it is not.
    """
    if not is_local(model):
        return
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise QsqlError(f"there is no model folder `{model}`\nhint: give the folder that holds its `config.json`")
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        hint = (
            "it is an adapter: merge it into its model first, for instance with `llamafactory-cli export`"
            if adapter
            else "give the folder that holds `config.json`, the weights and the tokenizer"
        )
        raise QsqlError(f"`{model}` is no model: it has no `config.json`\nhint: {hint}")


def sample_seed(seed: int, key: str, number: int = 0) -> int:
    """Seed of one sample of one request. It depends on nothing else, so a resumed run draws the same."""
    digest = hashlib.sha256(f"{seed}\0{key}\0{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class ChatTokenizer:
    """The tokenizer of a model with its chat template: prompts in, token ids out, and back.

    Args:
        model: Its name, for messages.
        config: The model's configuration.
        tokenizer: The tokenizer of transformers.
        system: Text of a system turn; by default what the template does without one.

    Raises:
        QsqlError: If it has no chat template.
    """

    def __init__(self, model: str, config: Any, tokenizer: Any, system: str | None = None) -> None:
        self.model = model
        self.config = config
        self._tokenizer = tokenizer
        if tokenizer.chat_template is None:
            raise QsqlError(
                f"the tokenizer of `{model}` has no chat template\n"
                "hint: use an instruction-tuned or fine-tuned model, or put a `chat_template.jinja` into its folder"
            )
        self._system = [{"role": "system", "content": system}] if system else []

    @classmethod
    def load(cls, settings: EngineSettings) -> ChatTokenizer:
        """Load the tokenizer of the settings' model.

        Raises:
            QsqlError: If it cannot be loaded, or has no chat template. The weights are not touched.
        """
        keep_token_from_mirrors()
        from transformers import AutoConfig, AutoTokenizer

        model = settings.model_name()
        check_model(model)
        origin = origin_options(settings)
        try:
            config = AutoConfig.from_pretrained(model, **origin)
            tokenizer = AutoTokenizer.from_pretrained(model, **origin)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise unloadable(model, error) from None
        attention = getattr(config, "_attn_implementation", None)
        if "/" in str(attention) and not settings.trust_remote_code:
            raise QsqlError(f"`{model}` wants code from the hub, the kernel `{attention}`\n{TRUST}")
        return cls(model, config, tokenizer, settings.system)

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as the user's turn, up to where the model's turn begins."""
        texts = [self._render(prompt) for prompt in prompts]
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return ids

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of token ids, without special tokens and with every space as it is."""
        texts: list[str] = self._tokenizer.batch_decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def stop_tokens(self, generation_config: Any = None) -> list[int]:
        """Ids that end a completion: those of the model, of the tokenizer, and what the template ends a turn with."""
        stops: set[int] = set()
        for source in (generation_config, self.config, self._tokenizer):
            ids = getattr(source, "eos_token_id", None)
            stops.update(ids if isinstance(ids, list | tuple) else [ids] if ids is not None else [])
        if (end := self._end_of_turn()) is not None:
            stops.add(end)
        return sorted(stops)

    def pad_token(self) -> int:
        """Id to fill up short prompts with; masked, so any will do."""
        pad = self._tokenizer.pad_token_id
        return 0 if pad is None else int(pad)

    def template_hash(self) -> str:
        """SHA-256 of the chat template."""
        return hashlib.sha256(str(self._tokenizer.chat_template).encode()).hexdigest()

    def _render(self, prompt: str, *, answer: str | None = None) -> str:
        messages = [*self._system, {"role": "user", "content": prompt}]
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer is None)
        return text

    def _end_of_turn(self) -> int | None:
        """The special token behind an answer, by the template; a base model's own end is often another."""
        _, found, behind = self._render("question", answer=_ANSWER).rpartition(_ANSWER)
        ids = self._tokenizer(behind, add_special_tokens=False)["input_ids"] if found else []
        return next((one for one in ids if one in self._tokenizer.all_special_ids or one in self._added()), None)

    def _added(self) -> set[int]:
        """Ids of added tokens. Some tokenizers do not count the ends of turns among the special ones."""
        return set(self._tokenizer.get_added_vocab().values())


TRUST = "hint: read that code, and if you trust it, give `--trust-remote-code`"


def origin_options(settings: EngineSettings) -> dict[str, Any]:
    """What every loader of transformers is told: whether code may come along, and who gets the user's token.

    Without it transformers asks on standard input whether it may run the code.
    """
    return {"trust_remote_code": settings.trust_remote_code, "token": hub_token()}


def unloadable(model: str, error: Exception) -> QsqlError:
    """The error for a model that transformers cannot load."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if "trust_remote_code" in str(error):
        return QsqlError(f"`{model}` cannot be loaded without running code that comes with it\n{TRUST}")
    if is_local(model):
        hint = "see that its files are whole, and that this version of transformers knows its architecture"
    else:
        hint = "check the name and the connection to the hub (HF_ENDPOINT, HF_TOKEN), or give a local folder"
    return QsqlError(f"cannot load `{model}`: {reason}\nhint: {hint}")


def fingerprint(model: str | None) -> str | None:
    """Tell the files of a local model from those of another; None for a model that is elsewhere.

    Weights are taken by their size and their first and last MiB, which training changes, since all of a large model
    takes as long to read as to load.
    """
    folder = Path(model or "").expanduser()
    if not model or not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in {".json", ".jinja", ".safetensors", ".bin", ".model", ".txt"}:
            with file.open("rb") as content:
                digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                digest.update(content.read(1 << 20))
                content.seek(max(0, file.stat().st_size - (1 << 20)))
                digest.update(content.read())
    return digest.hexdigest()
