"""What generates in place of a model in training: the model itself, or a whole copy of it in bfloat16."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from qsql._core import QsqlError
from qsql.engines.decoding import use_grouped_attention

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def ready_to_generate(model: Any) -> Iterator[Any]:
    """Lend what generates in place of a model in training.

    On a GPU checkpoints are used in bfloat16, and casting float32 weights again for each token takes most of the time.
    So there it is a copy in bfloat16, if memory has room for it and all weights are trained; else the model itself,
    under autocast if its weights are float32. A model that FSDP 2 divides among processes is always copied, by all of
    them at the same time.

    Raises:
        QsqlError: If it has to be copied, and there is no room.
    """
    on_gpu = model.device.type == "cuda"
    divided = any(isinstance(weights, DTensor) for weights in model.parameters())
    if not divided and (not on_gpu or model.dtype != torch.float32):
        yield model
        return
    if not divided and (hasattr(model, "peft_config") or not _has_room(model)):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            yield model
        return
    if on_gpu:
        torch.cuda.empty_cache()
    try:
        copied = copy_whole(model, torch.bfloat16 if on_gpu else model.dtype)
    except torch.OutOfMemoryError:
        raise QsqlError(
            "there is no room on the GPU for a whole copy of the model, which `--select execution` generates with\n"
            "hint: use `--select loss`, and compare the saved checkpoints with `qsql generate` and `qsql eval`"
        ) from None
    yield copied
    del copied
    if on_gpu:
        torch.cuda.empty_cache()


def _has_room(model: Any) -> bool:
    """Whether a copy fits, and as much again for keys and values."""
    size = 2 * sum(weights.numel() for weights in model.parameters())
    free, _ = torch.cuda.mem_get_info(model.device)
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return bool(free >= 2 * size)


def copy_whole(model: Any, dtype: torch.dtype) -> Any:
    """Copy a model of transformers, with the attention that generates fastest.

    Weights that processes have divided are put together one after the other, so that never all of them are there in the
    type of the model.
    """
    # Code that came with the model runs here only if it runs already.
    trusted = type(model).__module__.startswith("transformers_modules")
    with torch.device(model.device):
        copied = AutoModelForCausalLM.from_config(
            copy.deepcopy(model.config), dtype=dtype, attn_implementation="sdpa", trust_remote_code=trusted
        )
    weights = model.state_dict()
    places = copied.state_dict()
    if places.keys() != weights.keys():
        raise ValueError(f"the copy differs in {sorted(places.keys() ^ weights.keys())[:3]}")
    for name, place in places.items():
        values = weights[name]
        place.copy_(values.full_tensor() if isinstance(values, DTensor) else values)
    copied.generation_config = model.generation_config
    use_grouped_attention(copied)
    return copied.eval()
