"""Greedy generation with a model in hand, for the validation sample; the one place where training generates."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Completion:
    """What a model answers to a prompt."""

    text: str
    finished: bool
    """Whether it ended by itself."""


def chat_tokens(tokenizer: Any, prompt: str) -> list[int]:
    """Tokens of a prompt in the chat template of the tokenizer, up to where the answer begins."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def generate_greedily(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int = 256, tokens_per_batch: int = 32768
) -> list[Completion]:
    """Answer prompts with the likeliest tokens, in batches of prompts of similar length.

    Args:
        model: A causal language model of transformers; its mode (training or not) is kept.
        tokenizer: Its tokenizer, with a chat template.
        prompts: Contents of the user's turn.
        max_new_tokens: Where an answer is cut off.
        tokens_per_batch: Bound on prompts times their length, answers included.

    Returns:
        The answers in the order of the prompts.
    """
    encoded = [chat_tokens(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: -len(encoded[index]))
    stops = _stop_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0]
    completions: list[Completion | None] = [None] * len(prompts)
    training = model.training
    model.eval()
    precision = (
        torch.autocast(model.device.type, dtype=torch.bfloat16)
        if model.device.type == "cuda" and next(model.parameters()).dtype == torch.float32
        else nullcontext()
    )
    try:
        while order:
            width = len(encoded[order[0]])
            size = max(1, tokens_per_batch // (width + max_new_tokens))
            batch, order = order[:size], order[size:]
            rows = [[pad] * (width - len(encoded[index])) + encoded[index] for index in batch]
            mask = [[0] * (width - len(encoded[index])) + [1] * len(encoded[index]) for index in batch]
            with torch.inference_mode(), precision:
                output = model.generate(
                    input_ids=torch.tensor(rows, device=model.device),
                    attention_mask=torch.tensor(mask, device=model.device),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    use_cache=True,
                    eos_token_id=stops,
                    pad_token_id=pad,
                )
            for index, row in zip(batch, output[:, width:].tolist(), strict=True):
                end = next((position for position, token in enumerate(row) if token in stops), None)
                text = tokenizer.decode(row[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
                completions[index] = Completion(text, finished=end is not None)
    finally:
        model.train(training)
    return [completion for completion in completions if completion is not None]


def _stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer, by the tokenizer and by the model."""
    configured = model.generation_config.eos_token_id
    found = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    return list(dict.fromkeys(token for token in found if token is not None))
