"""A process of `test_several_processes.py`: trains a small model that FSDP divides, through accelerate, on the CPU.

`torchrun --nproc-per-node=N tests/ml/fsdp_worker.py OUT.json` trains it in each of the ways of `WAYS`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from qsql.train.fsdp import Fsdp2
from qsql.train.inference_copy import ready_to_generate
from qsql.train.padding_free import concatenate

WAYS = {
    "one by one": {"together": 1},
    "groups": {"together": 2},
    "groups, kept": {"together": 2, "reshard": False},
    "groups, recomputed": {"together": 2, "recomputed": True},
    "all at once": {"together": 8},
    "one by one in bfloat16": {"together": 1, "mixed": True},
    "groups in bfloat16": {"together": 2, "mixed": True},
    "one by one, AdamW": {"together": 1, "adam": True},
    "groups, AdamW": {"together": 2, "adam": True},
}
"""How the layers are divided; one by one is what accelerate does by itself."""
STEPS = 4


def make_model() -> Qwen3ForCausalLM:
    """Make a model of five layers, the same each time."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).train()


def make_steps() -> list[list[list[int]]]:
    """Token ids of the examples of each step, the same ones."""
    generator = torch.Generator().manual_seed(0)
    return [[torch.randint(0, 64, (length,), generator=generator).tolist() for length in (9, 4, 7, 6)]] * STEPS


def loss_of(model: torch.nn.Module, examples: list[list[int]], trained: int) -> torch.Tensor:
    """The loss of examples in one row, over the tokens that all processes train."""
    return model(
        **concatenate([{"input_ids": ids, "labels": ids} for ids in examples]), num_items_in_batch=trained
    ).loss


def sums_of(weights: dict[str, torch.Tensor]) -> dict[str, float]:
    """A number for each tensor that tells whether it is as it should be."""
    return {name: values.double().abs().sum().item() for name, values in weights.items()}


def make_optimizer(model: torch.nn.Module, *, adam: bool) -> torch.optim.Optimizer:
    """Make what shows whether gradients are as large as they should be, or what models are really trained with."""
    weights = model.parameters()
    return torch.optim.AdamW(weights, lr=0.01, fused=True) if adam else torch.optim.SGD(weights, lr=0.5)


def train(
    *, together: int, reshard: bool = True, recomputed: bool = False, mixed: bool = False, adam: bool = False
) -> dict[str, Any]:
    """Train the model in one way."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if mixed else "no")
    # accelerate offers FSDP on accelerators only, though PyTorch has it on the CPU too.
    PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=reshard,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Qwen3DecoderLayer"],
        state_dict_type="FULL_STATE_DICT",
        mixed_precision_policy="bf16" if mixed else None,
    )
    model = make_model()
    if recomputed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    callback = Fsdp2(together)
    callback.on_init_end(None, None, None, model=model)
    divided = {isinstance(weight, DTensor) for weight in model.parameters()}
    optimizer = make_optimizer(model, adam=adam)
    model, optimizer = accelerator.prepare(model, optimizer)
    callback.on_train_begin(None, None, None, optimizer=optimizer)
    groups = {id(found) for module in model.modules() if (found := group_of(module)) is not None}
    rank, ranks = accelerator.process_index, accelerator.num_processes
    losses, copied, rounded, lent = [], [], [], []
    for examples in make_steps():
        loss = loss_of(model, examples[rank::ranks], sum(len(ids) - 1 for ids in examples)) * ranks
        rounded.append(torch.equal(loss, loss.to(torch.bfloat16).to(loss.dtype)))
        accelerator.backward(loss)
        with mock.patch.object(torch, "_fused_adamw_", wraps=torch._fused_adamw_) as adamw:
            optimizer.step()
        stepped_on = {isinstance(weight, DTensor) for call in adamw.call_args_list for weight in call.args[0]}
        optimizer.zero_grad()
        losses.append(accelerator.reduce(loss.detach(), "mean").item())
        model.eval()
        with torch.no_grad():
            # As in an evaluation, which leaves weights gathered that are kept until a backward pass.
            loss_of(model, examples, 1)
        callback.on_evaluate(None, None, None, model=model)
        with torch.no_grad(), ready_to_generate(model) as ready:
            lent.append(ready is model)
            # Each process alone, with an input of its own.
            logits = ready(input_ids=torch.arange(3 + rank)[None]).logits
            copied.append(logits[0, :3].double().abs().sum().item())
        model.train()
    state = [optimizer.state[weight] for weight in model.parameters()] if adam else []
    weights = accelerator.get_state_dict(model)
    with torch.no_grad():
        loss_of(model.eval(), examples, 1)
    callback.on_evaluate(None, None, None, model=model)
    # As the best checkpoint is loaded after the last evaluation.
    whole = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, {name: 2 * values for name, values in weights.items()}, options=whole)
    return {
        "divided": sorted(divided),
        "losses": losses,
        "rounded": rounded,
        "copied": copied,
        "lent": lent,
        "sums": sums_of(weights),
        "state divided": sorted({isinstance(of_weight["exp_avg"], DTensor) for of_weight in state}),
        "stepped on divided": sorted(stepped_on),
        "loaded": sums_of(accelerator.get_state_dict(model)),
        "groups": len(groups),
    }


def main() -> None:
    torch.distributed.init_process_group("gloo")
    trained = {name: train(**way) for name, way in WAYS.items()}
    if torch.distributed.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(trained))
    torch.distributed.destroy_process_group()


def group_of(module: torch.nn.Module) -> object | None:
    """What FSDP gathers together with the module's own weights, if it divides it."""
    from torch.distributed.fsdp import FSDPModule  # noqa: PLC0415

    return module._get_fsdp_state()._fsdp_param_group if isinstance(module, FSDPModule) else None


if __name__ == "__main__":
    main()
