"""Attention within each example of a row of several, by the bounds of the examples that come with the row.

On a GPU it is torch's flash attention for sequences of any lengths ("varlen"). On a CPU the examples take turns, which
is several times as fast there as one attention over the whole row with a mask.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from qsql._core import QsqlError

if TYPE_CHECKING:
    from collections.abc import Callable

ROW_ATTENTION = "qsql_row"
"""The name under which transformers finds it."""


def can_attend(config: Any) -> bool:
    """Whether this attention is all that a model does: no dropout, and each token attends to all before it."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return not getattr(config, "attention_dropout", 0.0) and kinds == {"full_attention"}


def use_row_attention(model: torch.nn.Module, kind: Literal["varlen", "looped"]) -> None:
    """Have a model of transformers attend within each example of a row."""
    attend_row = make_varlen_attention() if kind == "varlen" else attend_one_by_one

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attend; shapes as in transformers: (1, heads, tokens, size) to (1, tokens, heads, size).

        Rows that are not concatenated (evaluation, generation) go to `sdpa_attention_forward`.
        """
        bounds = kwargs.get("cu_seq_lens_q")
        if bounds is not None:
            return attend_row(query, key, value, bounds, kwargs["max_length_q"], scaling), None
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain

    AttentionInterface.register(ROW_ATTENTION, attend)
    AttentionMaskInterface.register(ROW_ATTENTION, sdpa_mask)
    model.set_attn_implementation(ROW_ATTENTION)
    model.register_forward_pre_hook(without_mask, with_kwargs=True)


def make_varlen_attention() -> Callable[..., torch.Tensor]:
    """Build attention for rows on `torch.nn.attention.varlen`.

    What the installed torch calls its arguments is found out here, once, so that compiled layers need not.
    """
    from torch.nn.attention import varlen  # noqa: PLC0415 - since torch 2.10

    parameters = inspect.signature(varlen.varlen_attn).parameters
    # torch 2.10 has `is_causal`, later ones a window; not all of them take fewer keys than queries.
    settings: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in parameters else {"is_causal": True}
    fewer_keys, takes_scale = "enable_gqa" in parameters, "scale" in parameters
    if fewer_keys:
        settings["enable_gqa"] = True

    def attend_row(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bounds: torch.Tensor,
        longest: int,
        scaling: float | None,
    ) -> torch.Tensor:
        scale = {}
        if scaling is not None and abs(scaling - query.shape[-1] ** -0.5) > 1e-9:
            if not takes_scale:
                raise QsqlError("this torch scales attention in one way only\nhint: use `--attention masked`")
            scale = {"scale": scaling}
        if not fewer_keys:
            groups = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        # Norms and rotations give float32 under autocast, which casts for SDPA but not for this kernel.
        rows = [tensor.to(value.dtype).squeeze(0).transpose(0, 1) for tensor in (query, key, value)]
        output: torch.Tensor = varlen.varlen_attn(*rows, bounds, bounds, longest, longest, **settings, **scale)
        return output.unsqueeze(0)

    return attend_row


def attend_one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    """Attend to one example after the other. On a GPU the CPU would wait in each layer for the bounds."""
    del longest
    lengths = bounds.diff().tolist()
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [
        torch.nn.functional.scaled_dot_product_attention(*part, is_causal=True, scale=scaling, enable_gqa=True)
        for part in parts
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous()


def without_mask(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give concatenated rows a mask of four dimensions that says nothing.

    transformers takes such a mask as it is. Without one it looks whether the positions are those of several examples,
    and the CPU waits for the GPU to say so in each batch.
    """
    del module
    if kwargs.get("cu_seq_lens_q") is not None and kwargs.get("attention_mask") is None:
        kwargs["attention_mask"] = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=kwargs["input_ids"].device)
    return args, kwargs
