"""How a configuration divides a model among GPUs, with FSDP or DeepSpeed, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qsql import files, results
from qsql.shapes import INTEGER, OBJECT, Record, Shape

_DEEPSPEED = Record({}, {"zero_optimization": Record({}, {"stage": INTEGER})})


def fsdp_config(values: dict[str, Any]) -> dict[str, Any]:
    """Read what a configuration says of FSDP; empty if it says nothing.

    Raises:
        QsqlError: If it names a file that cannot be read.
    """
    found = _document(values.get("fsdp_config"), OBJECT)
    # transformers takes each key with and without this.
    return {key.removeprefix("fsdp_"): value for key, value in found.items()}


def shards(values: dict[str, Any]) -> tuple[str, ...]:
    """Of `weights`, `gradients` and `optimizer`, what the GPUs divide among them."""
    if values.get("fsdp"):
        return ("weights", "gradients", "optimizer")
    stage: int = _document(values.get("deepspeed"), _DEEPSPEED).get("zero_optimization", {}).get("stage", 0)
    return ("optimizer", "gradients", "weights")[: max(0, stage)]


def layers_gathered(values: dict[str, Any], layers_together: int) -> int | None:
    """How many layers a GPU holds whole at once where weights are divided; None if it comes to hold all."""
    if not values.get("fsdp"):
        return 2
    config = fsdp_config(values)
    whole = "shard_grad_op" in str(values["fsdp"]) or str(config.get("reshard_after_forward", True)).lower() == "false"
    # The next ones come while these are at work.
    return None if whole else 2 * (layers_together if _is_second(config) else 1)


def cannot_generate(values: dict[str, Any]) -> str | None:
    """Why no process can have the whole model to generate with; None if each can."""
    if values.get("fsdp"):
        if not _is_second(fsdp_config(values)):
            return "only FSDP 2 lets it be copied whole (`version: 2` in fsdp_config)"
        if "offload" in str(values["fsdp"]):
            return "its weights are not on the GPUs"
        if values["finetuning_type"] == "lora":
            return "an adapter that FSDP divides cannot be copied"
    elif "weights" in shards(values):
        return "DeepSpeed divides its weights"
    return None


def needs_plain_checkpointing(values: dict[str, Any]) -> bool:
    """Whether activations must not be recomputed the reentrant way, which FSDP 2 fails in with torch 2.11 at least."""
    return bool(values.get("fsdp")) and _is_second(fsdp_config(values))


def loses_optimizer_state(values: dict[str, Any]) -> bool:
    """Whether a resumed run would begin with an empty optimizer: accelerate loads shards into one without state."""
    if not values.get("fsdp"):
        return False
    config = fsdp_config(values)
    return _is_second(config) and config.get("state_dict_type") == "SHARDED_STATE_DICT"


def _is_second(config: dict[str, Any]) -> bool:
    return str(config.get("version", 1)) == "2"


def _document(named: object, shape: Shape) -> dict[str, Any]:
    """The settings themselves, or the file that has them."""
    if not isinstance(named, dict):
        return dict(results.read_json(Path(str(named)), shape)) if named else {}
    files.require_shape(named, shape, "the configuration of FSDP or DeepSpeed", "see the files in configs/train")
    return named
