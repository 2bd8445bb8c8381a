"""The engine that runs vLLM in this process, with its own batching."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.children import safe_path
from qsql.directories import keep_token_from_mirrors
from qsql.engines import Completion, need
from qsql.engines.model import check_model, sample_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsql.engines import Batch, Decoding, EngineSettings, Request

BATCH = 1024
"""Requests handed over at a time; what is finished is handed on, so a run that is stopped loses one at most."""


class VllmEngine:
    """Completes prompts with vLLM's `LLM`, which gets `settings.engine_options` as they are."""

    def __init__(self, settings: EngineSettings) -> None:
        need("vllm", "vllm")
        model = settings.model_name()
        check_model(model)
        keep_token_from_mirrors()
        import vllm

        self._settings = settings
        try:
            # It starts processes of its own.
            with safe_path():
                self._llm = vllm.LLM(
                    model=model,
                    dtype=settings.dtype,
                    trust_remote_code=settings.trust_remote_code,
                    **settings.engine_options,
                )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise QsqlError(f"vLLM cannot load `{model}`: {error}\nhint: see vLLM's messages above") from error
        if getattr(self._llm.get_tokenizer(), "chat_template", None) is None:
            raise QsqlError(
                f"the tokenizer of `{model}` has no chat template\nhint: use an instruction-tuned model, or add one"
            )

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
        """Complete requests, in the order in which they come."""
        import vllm

        system = [{"role": "system", "content": self._settings.system}] if self._settings.system else []
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            started = time.perf_counter()
            outputs = self._llm.chat(
                [[*system, {"role": "user", "content": request.prompt}] for request in batch],
                [
                    vllm.SamplingParams(
                        n=decoding.samples,
                        temperature=decoding.temperature,
                        top_p=decoding.top_p,
                        max_tokens=decoding.max_new_tokens,
                        seed=sample_seed(decoding.seed, request.key) if decoding.temperature > 0 else None,
                    )
                    for request in batch
                ],
                use_tqdm=False,
            )
            share = (time.perf_counter() - started) / (len(batch) * decoding.samples)
            yield [
                (
                    start + offset,
                    [Completion(one.text, len(one.token_ids), str(one.finish_reason), share) for one in output.outputs],
                )
                for offset, output in enumerate(outputs)
            ]

    def describe(self) -> dict[str, Any]:
        """The version of vLLM."""
        import vllm

        return {"versions": {"vllm": vllm.__version__}}

    def close(self) -> None:
        """Let go of the model."""
        del self._llm
