"""The engine that runs a model with transformers: in batches of similar length, as large as memory allows."""

from __future__ import annotations

import time
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.engines import Completion, EngineSettings
from qsql.engines.model import ChatTokenizer, origin_options, unloadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsql.engines import Batch, Decoding, Request

CPU_TOKENS = 16_384
"""Tokens of a batch where there is no GPU whose memory could be asked."""
MEMORY_SHARE = 0.7
"""Share of the free memory of a GPU that keys and values may take."""
CONTINUOUS_ROWS = 4096
"""Requests that go to `generate_batch` at a time."""


class TransformersEngine:
    """Completes prompts on one device.

    Args:
        settings: How it runs.
        device: Like `cuda:0` or `cpu`, where the model is.
        tokenizer: That of the model.
        model: A causal language model of transformers, not in training mode.
    """

    def __init__(self, settings: EngineSettings, device: str, tokenizer: ChatTokenizer, model: Any) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._device = device
        self._model: Any = model
        self._stops = tokenizer.stop_tokens(model.generation_config)
        self._room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._budget: int | None = settings.batch_tokens
        self._retreats = 0

    @classmethod
    def load(cls, settings: EngineSettings, device: str, tokenizer: ChatTokenizer | None = None) -> TransformersEngine:
        """Load the model of the settings.

        Raises:
            QsqlError: If it cannot be loaded, lacks weights, or does not fit.
        """
        import torch
        import transformers
        from safetensors import SafetensorError

        from qsql.engines.decoding import use_grouped_attention

        tokenizer = tokenizer or ChatTokenizer.load(settings)
        name = settings.dtype if settings.dtype != "auto" else "float32" if device == "cpu" else "bfloat16"
        # Bars of our own show how far things are.
        transformers.utils.logging.disable_progress_bar()
        try:
            model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
                tokenizer.model,
                dtype=getattr(torch, name),
                output_loading_info=True,
                weights_only=True,
                **origin_options(settings),
            )
            model = model.to(device).eval()
        except torch.OutOfMemoryError:
            raise QsqlError(
                f"`{tokenizer.model}` does not fit into the memory of {device}\n"
                "hint: use a smaller model, another device, or --dtype bfloat16"
            ) from None
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError) as error:
            raise unloadable(tokenizer.model, error) from None
        if lacking := sorted(loaded["missing_keys"]):
            raise QsqlError(
                f"`{tokenizer.model}` lacks weights: {', '.join(lacking[:3])}{', ...' if lacking[3:] else ''}\n"
                "hint: see that its files are whole; random weights in their place would answer nonsense"
            )
        use_grouped_attention(model)
        return cls(settings, device, tokenizer, model)

    @classmethod
    def around(cls, model: Any, tokenizer: Any) -> TransformersEngine:
        """Take a model that is loaded already, such as one in training, as it is.

        Raises:
            QsqlError: If the tokenizer has no chat template.
        """
        chat = ChatTokenizer(str(model.config.name_or_path), model.config, tokenizer)
        return cls(EngineSettings(), str(model.device), chat, model)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
        """Complete requests, the longest prompts first, so that memory is short at once or not at all.

        Raises:
            QsqlError: If memory does not even suffice for one.
        """
        prompts = self._tokenizer.encode([request.prompt for request in requests])
        fitting = [position for position, prompt in enumerate(prompts) if self._fits(prompt, decoding)]
        if len(fitting) < len(prompts):
            cut = [Completion("", 0, "prompt_too_long", 0.0)] * decoding.samples
            kept = set(fitting)
            yield [(position, cut) for position in range(len(prompts)) if position not in kept]
        if self._settings.batching == "continuous":
            yield from self._continuous(prompts, fitting, decoding)
            return
        waiting = sorted(fitting, key=lambda position: -len(prompts[position]))
        while waiting:
            size = self._batch_size([len(prompts[position]) for position in waiting], decoding)
            batch = waiting[:size]
            started = time.perf_counter()
            keys = [requests[position].key for position in batch]
            ids = self._decode([prompts[position] for position in batch], keys, decoding)
            if ids is None:
                self._retreat(batch, prompts, requests, decoding)
                continue
            del waiting[:size]
            completions = self._completions(ids, time.perf_counter() - started)
            samples = decoding.samples
            yield [
                (position, completions[number * samples : (number + 1) * samples])
                for number, position in enumerate(batch)
            ]

    def describe(self) -> dict[str, Any]:
        """What the completions depend on."""
        import torch
        import transformers

        is_gpu = self._device.startswith("cuda")
        return {
            "model": str(self._tokenizer.model),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "chat_template_sha256": self._tokenizer.template_hash(),
            "stop_tokens": self._stops,
            "device": torch.cuda.get_device_name(self._device) if is_gpu else self._device,
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def memory(self) -> dict[str, Any]:
        """Most memory of the GPU so far, in bytes, and how often a batch was too large for it."""
        import torch

        peak = torch.cuda.max_memory_allocated(self._device) if self._device.startswith("cuda") else None
        return {"peak_bytes": peak, "out_of_memory": self._retreats}

    def close(self) -> None:
        """Let go of the model."""
        import torch

        self._model = None
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _fits(self, prompt: list[int], decoding: Decoding) -> bool:
        return bool(prompt) and (self._room is None or len(prompt) + decoding.max_new_tokens <= self._room)

    def _decode(self, prompts: list[list[int]], keys: list[str], decoding: Decoding) -> list[list[int]] | None:
        """Complete one batch; None if memory does not suffice for it."""
        import torch

        from qsql.engines.decoding import decode

        try:
            ids: list[list[int]] = decode(
                self._model, prompts, keys, decoding, self._stops, self._tokenizer.pad_token()
            )
        except torch.OutOfMemoryError:
            # What the batch held is freed behind this handler, when the traceback goes.
            return None
        return ids

    def _retreat(
        self, batch: list[int], prompts: list[list[int]], requests: Sequence[Request], decoding: Decoding
    ) -> None:
        """Make batches half as large."""
        import torch

        if len(batch) == 1:
            raise QsqlError(
                f"the memory of {self._device} does not suffice for question `{requests[batch[0]].key}` alone "
                f"({len(prompts[batch[0]])} tokens, {decoding.samples} samples)\n"
                "hint: fewer samples or max_new_tokens, a smaller model, or --dtype bfloat16"
            )
        self._retreats += 1
        longest = len(prompts[batch[0]]) + decoding.max_new_tokens
        self._budget = max(1, len(batch) // 2) * decoding.samples * longest
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _batch_size(self, lengths: list[int], decoding: Decoding) -> int:
        """How many of the waiting prompts, longest first, make the next batch."""
        if self._budget is None:
            self._budget = self._token_budget(decoding)
        most = min(self._budget // (lengths[0] + decoding.max_new_tokens), self._settings.batch_rows)
        return max(1, most // decoding.samples)

    def _token_budget(self, decoding: Decoding) -> int:
        """Tokens of a batch that memory has room for, by the size of their keys and values."""
        import torch

        if not self._device.startswith("cuda"):
            return CPU_TOKENS
        config = self._model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        of_token = 2 * config.num_hidden_layers * heads * width * self._model.dtype.itemsize
        # The logits of a row and their probabilities, in float32, spread over the tokens that a row has at least.
        of_token += 16 * config.vocab_size // decoding.max_new_tokens
        free, _ = torch.cuda.mem_get_info(self._device)
        free += torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return max(1, int(MEMORY_SHARE * free / of_token))

    def _completions(self, ids: Sequence[Sequence[int]], seconds: float) -> list[Completion]:
        texts = self._tokenizer.decode(ids)
        share = seconds / max(1, len(ids))
        stops = set(self._stops)
        return [
            Completion(text, len(one), "stop" if one and one[-1] in stops else "length", share)
            for text, one in zip(texts, ids, strict=True)
        ]

    def _continuous(self, prompts: list[list[int]], fitting: list[int], decoding: Decoding) -> Iterator[Batch]:
        """Complete prompts with transformers' continuous batching, which chooses its own batches."""
        import torch
        import transformers

        if not hasattr(self._model, "generate_batch"):
            raise QsqlError(
                f"transformers {transformers.__version__} has no continuous batching\n"
                "hint: leave `batching` at `sorted`"
            )
        if decoding.temperature > 0:
            # Its random numbers depend on what else is in a batch, so no run could be done again.
            raise QsqlError("continuous batching is greedy here\nhint: sample with `batching` at `sorted`")
        config = transformers.GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            eos_token_id=self._stops,
            pad_token_id=self._tokenizer.pad_token(),
        )
        self._model.set_attn_implementation("sdpa")
        for start in range(0, len(fitting), CONTINUOUS_ROWS):
            batch = fitting[start : start + CONTINUOUS_ROWS]
            started = time.perf_counter()
            # Its threads know nothing of an inference mode here.
            with torch.no_grad():
                found = self._model.generate_batch(
                    inputs=[prompts[position] for position in batch], generation_config=config, progress_bar=False
                )
            outputs = [output for output in found.values() if output.error is None]
            if len(outputs) < len(batch):
                errors = {output.error for output in found.values()} - {None}
                raise QsqlError(
                    f"continuous batching answered {len(outputs)} of {len(batch)} questions: "
                    f"{'; '.join(map(str, errors))}\n"
                    "hint: leave `batching` at `sorted`"
                )
            completions = self._completions(
                [list(one.generated_tokens) for one in outputs], time.perf_counter() - started
            )
            yield [(position, [one]) for position, one in zip(batch, completions, strict=True)]
