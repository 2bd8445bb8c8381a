"""The decoding of one batch: prompts in, token ids out. Needs torch and transformers, so it is imported late.

What makes it fast with plain transformers: keys and values are written in place, finished rows drop out of the batch
along with the padding that only they needed, the samples of a prompt share its prefill, and heads that share keys are
not copied. What makes it exact: nothing of this changes what a row attends to, and every sample has random numbers of
its own.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from qsql.engines.model import sample_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.engines import Decoding

ATTENTION = "qsql_grouped_sdpa"
PREFILL_TOKENS = 65_536
"""Tokens of the prompts that go through the model at a time; longer batches go in columns."""
STEPS_PER_LOOK = 8
"""Steps between two looks at which rows are finished. A look waits for the device."""
KEPT_ROWS = 0.85
"""Share of unfinished rows below which the finished ones drop out. Dropping them copies the keys and values."""
ATTENTION_KERNELS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""All but cuDNN's, which plans anew for each length of the keys: tens of milliseconds in each layer's first call of a
step, since each step makes the keys longer. On Hopper, torch would take it first."""
NUCLEUS = 256
"""Likeliest tokens among which top-p looks first; only where they do not suffice, all are sorted."""


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer of full attention, with room for all that may come, so that nothing is copied.

    Args:
        room: Positions to have room for.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self._room = room
        self._length = 0
        # Keys and values with their room, of which `keys` and `values` are the part that is used.
        self._all: tuple[torch.Tensor, torch.Tensor]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append to keys and values, and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            rows, heads, _, width = key_states.shape
            self._all = (
                key_states.new_empty((rows, heads, self._room, width)),
                value_states.new_empty((*value_states.shape[:2], self._room, value_states.shape[-1])),
            )
        end = self._length + key_states.shape[-2]
        for states, room in zip((key_states, value_states), self._all, strict=True):
            room[:, :, self._length : end] = states
        self._use(*self._all, end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows."""
        keys, values = self._all
        self._use(keys[indices], values[indices], self._length)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        keys, values = self._all
        self._use(keys.repeat_interleave(repeats, dim=0), values.repeat_interleave(repeats, dim=0), self._length)

    def drop_left(self, positions: int) -> None:
        """Forget the first positions. Their memory is free when rows are selected the next time."""
        keys, values = self._all
        self._use(keys[:, :, positions:], values[:, :, positions:], self._length - positions)

    def _use(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        self._all, self._length = (keys, values), length
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]


def grouped_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' `sdpa` does; with one query position, without a copy of keys and values for each head.

    Heads that share keys become query positions of one head, which see the same positions.
    """
    rows, heads, positions, width = query.shape
    groups = heads // key.shape[1]
    plain = positions > 1 or groups == 1 or attention_mask is None or attention_mask.shape[1] != 1
    if plain or kwargs.get("position_bias") is not None or kwargs.get("dropout"):
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return attended, None
    assert attention_mask is not None  # noqa: S101 - for the type checker; `plain` says it
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.view(rows, key.shape[1], groups, width),
        key,
        value,
        attn_mask=attention_mask.expand(-1, -1, groups, -1),
        scale=scaling,
    )
    return attended.reshape(rows, heads, 1, value.shape[-1]).transpose(1, 2).contiguous(), None


def use_grouped_attention(model: Any) -> None:
    """Let a model that attends by `sdpa` do so by `grouped_sdpa`."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():  # noqa: SLF001
        AttentionInterface.register(ATTENTION, grouped_sdpa)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)


def new_cache(config: Any, room: int) -> DynamicCache:
    """Make a cache for a model, whose layers of full attention have room for so many positions."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class Rows:
    """The rows of a batch that are not finished, and what the model has seen of them.

    Args:
        model: A causal language model of transformers.
        prompts: Token ids of each prompt.
        pad: Id that fills up short prompts on the left.
        samples: Rows for each prompt.
        steps: Most tokens of a completion.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int, samples: int, steps: int) -> None:
        self._model = model
        width = max(map(len, prompts))
        self._cache = new_cache(model.config, width + steps)
        device = model.device
        ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self._mask = torch.arange(width, device=device)[None] >= width - lengths[:, None]
        self._positions = lengths
        positions = (self._mask.long().cumsum(-1) - 1).clamp(min=0)
        columns = max(1, PREFILL_TOKENS // len(prompts))
        for start in range(0, width, columns):
            end = min(width, start + columns)
            logits = self._forward(ids[:, start:end], positions[:, start:end], self._mask[:, :end])
        self.logits = logits
        """Of the next token of each row, in float32."""
        if samples > 1:
            self._cache.batch_repeat_interleave(samples)
            self._mask = self._mask.repeat_interleave(samples, dim=0)
            self._positions = self._positions.repeat_interleave(samples, dim=0)
            self.logits = self.logits.repeat_interleave(samples, dim=0)

    def append(self, tokens: torch.Tensor) -> None:
        """Go on by one token for each row; afterwards `logits` are those of the next."""
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(tokens), 1))], dim=-1)
        self.logits = self._forward(tokens[:, None], self._positions[:, None], self._mask)
        self._positions = self._positions + 1

    def keep(self, indices: torch.Tensor) -> None:
        """Let all rows but these drop out, with the padding that none of these needs."""
        self._cache.batch_select_indices(indices)
        self._mask, self._positions = self._mask[indices], self._positions[indices]
        self.logits = self.logits[indices]
        if all(isinstance(layer, RoomyLayer) for layer in self._cache.layers):
            padding = int(self._mask.any(0).long().argmax())
            if padding:
                self._mask = self._mask[:, padding:]
                for layer in self._cache.layers:
                    layer.drop_left(padding)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits


@torch.inference_mode()
@sdpa_kernel(list(ATTENTION_KERNELS))
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[str],
    decoding: Decoding,
    stops: Sequence[int],
    pad: int,
) -> list[list[int]]:
    """Complete a batch of prompts.

    Args:
        model: A causal language model of transformers.
        prompts: Token ids of each prompt.
        keys: Names of the prompts, which decide their random numbers.
        decoding: How tokens are chosen.
        stops: Ids that end a completion.
        pad: Id to fill up with.

    Returns:
        Ids of each completion with the one that ended it; all completions of the first prompt, then of the second, ...

    Raises:
        torch.OutOfMemoryError: If the batch is too large for the device.
    """
    rows = Rows(model, prompts, pad, decoding.samples, decoding.max_new_tokens)
    count, device = len(prompts) * decoding.samples, rows.logits.device
    ends = torch.tensor(list(stops), device=device)
    chosen = torch.full((count, decoding.max_new_tokens), -1, dtype=torch.long, device=device)
    numbers = _random_numbers(keys, decoding).to(device) if decoding.temperature > 0 else None
    alive = torch.arange(count, device=device)
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    for step in range(decoding.max_new_tokens):
        if numbers is None:
            tokens = rows.logits.argmax(-1)
        else:
            tokens = sample(rows.logits, decoding.temperature, decoding.top_p, numbers[alive, step])
        chosen[alive, step] = torch.where(finished, -1, tokens)
        finished |= torch.isin(tokens, ends)
        if step + 1 == decoding.max_new_tokens:
            break
        if step % STEPS_PER_LOOK == STEPS_PER_LOOK - 1 or count == 1:
            left = (~finished).nonzero().squeeze(-1)
            if not len(left):
                break
            if len(left) < KEPT_ROWS * len(alive):
                rows.keep(left)
                tokens, alive, finished = tokens[left], alive[left], finished[left]
        rows.append(tokens)
    return [[token for token in row if token >= 0] for row in chosen.tolist()]


def sample(logits: torch.Tensor, temperature: float, top_p: float, numbers: torch.Tensor) -> torch.Tensor:
    """Choose a token for each row, by its random number.

    Args:
        logits: Shape (rows, vocabulary).
        temperature: Above 0.
        top_p: The likeliest tokens that together have this probability are chosen from.
        numbers: Shape (rows,), uniform in [0, 1).

    Returns:
        Token ids of shape (rows,).
    """
    probabilities = torch.softmax(logits / temperature, dim=-1)
    if top_p >= 1:
        sums = probabilities.cumsum(-1)
        return (
            torch.searchsorted(sums, (numbers * sums[:, -1])[:, None], right=True)
            .squeeze(-1)
            .clamp(max=logits.shape[-1] - 1)
        )
    likeliest, ids = probabilities.topk(min(NUCLEUS, logits.shape[-1]), dim=-1)
    sums = likeliest.cumsum(-1)
    if not bool((sums[:, -1] >= top_p).all()):
        likeliest, ids = probabilities.sort(dim=-1, descending=True)
        sums = likeliest.cumsum(-1)
    # A token belongs to the nucleus if those before it do not reach `top_p`.
    size = (sums - likeliest < top_p).sum(-1, keepdim=True)
    total = sums.gather(-1, size - 1)
    place = torch.searchsorted(sums, numbers[:, None] * total, right=True)
    return ids.gather(-1, torch.minimum(place, size - 1)).squeeze(-1)


def _random_numbers(keys: Sequence[str], decoding: Decoding) -> torch.Tensor:
    """One number for each step of each sample, the same in whatever batch it is drawn."""
    rows = []
    for key in keys:
        for number in range(decoding.samples):
            source = random.Random(sample_seed(decoding.seed, key, number))  # noqa: S311 - no secret
            rows.append([source.random() for _ in range(decoding.max_new_tokens)])
    return torch.tensor(rows, dtype=torch.float32)
