"""What is done otherwise with FSDP 2 than accelerate does it: less is done in Python, and losses are not rounded.

A layer of a small batch is done in a millisecond or two, and what FSDP does around it in Python takes as long: the GPUs
wait. For a group of layers it is done once. The optimizer steps on what a GPU holds of each weight, without asking for
each of some hundred weights how it is divided.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import torch
from accelerate.state import AcceleratorState, PartialState
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


def divide(
    model: nn.Module, layers: Sequence[nn.Module], layers_together: int, *, reshard: bool, upcast: bool, **options: Any
) -> int:
    """Divide a model with FSDP 2, its layers several at a time.

    The rest, embeddings above all, is a group of its own, which is not freed between forward and backward pass. It is
    divided here too, and not left to accelerate: for divided and undivided weights together transformers makes an
    optimizer that steps on them one by one, which takes as long as half a pass.

    Args:
        model: Not divided yet.
        layers: Its layers, in order.
        layers_together: How many consecutive layers are gathered and freed together.
        reshard: Whether layers are freed between forward and backward pass.
        upcast: Whether trained weights are to be float32, as mixed precision wants them.
        options: Of `fully_shard`.

    Returns:
        How many groups of layers there are.
    """
    starts = range(0, len(layers), layers_together)
    for start in starts:
        group = layers[start : start + layers_together]
        if upcast:
            _upcast(group)
        fully_shard(group, reshard_after_forward=reshard, **options)
    if upcast:
        _upcast([model])
    fully_shard(model, reshard_after_forward=False, **options)
    return len(starts)


def _upcast(modules: Sequence[nn.Module]) -> None:
    for parameter in itertools.chain.from_iterable(module.parameters() for module in modules):
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.to(torch.float32)


def step_on_shards(optimizer: torch.optim.Adam) -> None:
    """Have Adam or AdamW step on the local shards of divided weights.

    It works on each number by itself, so that the result is the same. Its state stays divided, for checkpoints.
    """
    # No public method hands out the lists that a step works on.
    collect = optimizer._init_group  # noqa: SLF001

    def collect_shards(group: dict[str, Any], *collected: list[torch.Tensor]) -> Any:
        has_complex = collect(group, *collected)
        for tensors in collected:
            tensors[:] = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
        return has_complex

    optimizer._init_group = collect_shards  # noqa: SLF001


class Fsdp2(TrainerCallback):  # type: ignore[misc]
    """Sees to this when there is a trainer and the model is not divided yet; does nothing without FSDP 2."""

    def __init__(self, layers_together: int) -> None:
        """Take how many layers make a group; 1 leaves the layers to accelerate."""
        self._layers_together = layers_together

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Change the settings that accelerate divides the model by, and divide it where that can be done."""
        del args, state, control
        accelerator = AcceleratorState()
        plugin = accelerator.fsdp_plugin
        if plugin is None or plugin.fsdp_version != 2:
            return
        if plugin.mixed_precision_policy is not None:
            # Else the loss is rounded to the type of the weights: checkpoints would tie that do not.
            plugin.mixed_precision_policy = dataclasses.replace(plugin.mixed_precision_policy, output_dtype=None)
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if self._layers_together == 1 or not _are_plain(model, layers, accelerator):
            return
        groups = divide(
            model,
            layers,
            self._layers_together,
            reshard=plugin.reshard_after_forward,
            upcast=accelerator.mixed_precision != "no",
            offload_policy=plugin.cpu_offload,
            mp_policy=plugin.mixed_precision_policy or MixedPrecisionPolicy(),
        )
        # accelerate leaves a model that is divided as it is, but looks for its layers by a name that has changed.
        plugin.auto_wrap_policy = None
        PartialState().print(f"qsql: FSDP gathers the layers in {groups} groups of up to {self._layers_together}")

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Keep a step of the optimizer from what DTensors cost."""
        del args, state, control
        # accelerate wraps what steps.
        inner = getattr(optimizer, "optimizer", optimizer)
        if isinstance(inner, torch.optim.Adam) and hasattr(inner, "_init_group"):
            step_on_shards(inner)

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Free what the last batch has left gathered.

        What is kept for a backward pass that does not come is no DTensor, and the weights of a checkpoint cannot be
        loaded into it.
        """
        del args, state, control
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def _are_plain(model: Any, layers: Sequence[nn.Module], accelerator: Any) -> bool:
    """Whether accelerate would divide just these layers, and in no special way."""
    plugin = accelerator.fsdp_plugin
    return not (
        plugin.auto_wrap_policy is not transformer_auto_wrap_policy
        or {type(layer).__name__ for layer in layers} != set(plugin.transformer_cls_names_to_wrap or ())
        # These have an order of their own, in which layers are wrapped, loaded or left out.
        or plugin.activation_checkpointing
        or plugin.cpu_ram_efficient_loading
        or plugin.ignored_modules
        or getattr(accelerator, "parallelism_config", None) is not None
        # Frozen and trained weights differ in type.
        or not all(parameter.requires_grad for parameter in model.parameters())
    )
