"""What a training run will do, worked out and checked before anything starts. Needs neither torch nor a GPU."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any, Literal

from qsql import results
from qsql._core import QsqlError, __version__, database_file
from qsql.config import Config, load_config, nearest
from qsql.machine import free_disk, visible_gpus
from qsql.outputs import is_same, refuse_inputs
from qsql.shapes import OBJECT
from qsql.train import environment
from qsql.train.arguments import known_arguments, known_templates, require_sound
from qsql.train.curves import CURVES
from qsql.train.dataset import CHARACTERS_PER_TOKEN, Part, read_parts
from qsql.train.memory import KNOWN_SHAPES, Shape, Training, checkpoint_bytes, estimate, row_budget
from qsql.train.sharding import (
    cannot_generate,
    layers_gathered,
    loses_optimizer_state,
    needs_plain_checkpointing,
    shards,
)
from qsql.training_log import EXECUTION_LOG, STEP_LOG, TRAINER_LOG, TRAINER_STATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.machine import Gpu

Select = Literal["config", "loss", "execution"]
Attention = Literal["auto", "masked", "varlen"]
CONFIG_FILE, LOG = "train.yaml", "train.log"
DEFAULTS = {
    "cutoff_len": 2048,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3.0,
    "finetuning_type": "lora",
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 500,
    "lora_rank": 8,
}
"""Of LLaMA-Factory, where the plan needs to know them."""
ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Models whose forward pass is known to keep examples of a row apart by position ids and to take `logits_to_keep`."""


@dataclass(frozen=True)
class Options:
    """What `qsql train` adds to LLaMA-Factory's configuration, from its command line."""

    select: Select = "config"
    database_dir: Path | None = None
    tables: Path | None = None
    validation_sample: int = 200
    padding_free: bool | None = None
    """Whether examples of a batch are concatenated; None: wherever there is something to gain."""
    attention: Attention = "auto"
    compile_layers: bool = False
    checkpoint_above: int | None = None
    """Tokens of a batch above which activations are recomputed; None: what the GPU's memory asks for."""
    layers_together: int = 4
    """Layers that FSDP 2 gathers at once."""
    resume: bool = False
    trust_remote_code: bool = False
    """Whether the model may run code that comes with it."""


@dataclass(frozen=True)
class Plan:
    """A checked run."""

    config: Config
    options: Options
    run_directory: Path
    train: list[Part]
    validation: list[Part]
    shape: Shape | None
    memory: dict[str, int]
    """Estimate by part in bytes; empty if the shape is not known."""
    row_budget: dict[str, int]
    """What decides when activations are recomputed: `static_bytes` and `bytes_per_token`."""
    padding_free: bool
    gpus: list[Gpu]
    versions: dict[str, str | None]
    steps: int
    examples_per_step: int
    checkpoint_size: int
    disk_needed: int
    disk_free: int
    resume_from: Path | None
    remarks: list[str]
    """What is no error, but should be known."""

    def problems(self) -> list[str]:
        """What will probably stop the run, each with a hint after the line break."""
        found = []
        if not self.gpus and not self.config.values.get("use_cpu"):
            found.append("there is no GPU\nhint: set use_cpu=true to train on the CPU")
        elif self.config.values.get("fsdp") and len(self.gpus) < 2:
            found.append(
                "FSDP divides a model among several GPUs, which this run does not have\n"
                "hint: leave out `fsdp`, or make more of them visible with CUDA_VISIBLE_DEVICES"
            )
        total, memory = sum(self.memory.values()), min((gpu.memory for gpu in self.gpus), default=0)
        if self.gpus and total > memory:
            found.append(
                f"the run needs about {gib(total)}, the GPU has {gib(memory)}\n"
                "hint: see configs/train/qwen3_4b_lora.yaml, or divide it over more GPUs with configs/fsdp"
            )
        if self.disk_needed > self.disk_free:
            found.append(
                f"checkpoints need about {gib(self.disk_needed)}, `{self.run_directory}` has "
                f"{gib(self.disk_free)} free\n"
                "hint: set save_total_limit=1 or save_only_model=true, or choose another output_dir"
            )
        return found


def gib(size: float) -> str:
    """Write a size in bytes as GiB, or MiB below a tenth of one."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"


def make_plan(path: Path, overrides: Sequence[str] = (), options: Options | None = None) -> Plan:
    """Resolve a configuration and check whatever can be checked before the start.

    Raises:
        QsqlError: For a key, a data set, a template, a model or a combination of them that cannot work.
    """
    options = options or Options()
    config = load_config(path, overrides, known_arguments(), "LLaMA-Factory arguments")
    values = {**DEFAULTS, **config.values}
    if values.get("do_train") is not True or values.get("stage") != "sft":
        raise QsqlError(f"`{path}` is no fine-tuning\nhint: set `stage: sft` and `do_train: true`")
    for key in ("model_name_or_path", "output_dir", "template", "dataset"):
        if not values.get(key):
            raise QsqlError(f"`{path}` has no `{key}`\nhint: add it to the file, or as {key}=...")
    _check_template(config)
    _check_origin(config, options)
    require_sound(config)
    options = _with_selection(config, options)
    if needs_plain_checkpointing(values) and "use_reentrant_gc" not in values:
        config.values["use_reentrant_gc"] = False
        config.origins["use_reentrant_gc"] = "FSDP 2"
    values = {**DEFAULTS, **config.values}
    remarks: list[str] = []
    model = environment.local_model(str(values["model_name_or_path"]))
    shape = _shape(config, model, remarks)
    train, validation = read_parts(config, "dataset"), read_parts(config, "eval_dataset")
    _check_selection(config, options, validation)
    padding_free = _padding_free(values, options, model)
    gpus = [] if values.get("use_cpu") else visible_gpus()
    run_directory = Path(str(values["output_dir"]))
    _require_place(run_directory, path, values, model)
    resume_from = _checkpoint(run_directory, values, resume=options.resume)
    training = _training(values, train, shape, len(gpus) or 1, options, padding_free=padding_free)
    examples = _trained_examples(values, train)
    per_step = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * (len(gpus) or 1)
    steps = int(values.get("max_steps") or -1)
    if steps <= 0:
        steps = -(-int(values["num_train_epochs"] * (-(-examples // per_step)) * 1000) // 1000)
    if resume_from is not None:
        _check_resumed(run_directory, values, steps)
    size = checkpoint_bytes(shape, training, only_model=bool(values.get("save_only_model"))) if shape else 0
    return Plan(
        config=config,
        options=options,
        run_directory=run_directory,
        train=train,
        validation=validation,
        shape=shape,
        memory=estimate(shape, training) if shape else {},
        row_budget=row_budget(shape, training) if shape else {},
        padding_free=padding_free,
        gpus=gpus,
        versions=environment.installed_versions(deepspeed=bool(values.get("deepspeed"))),
        steps=steps,
        examples_per_step=per_step,
        checkpoint_size=size,
        disk_needed=_disk(values, size, steps, shape, training),
        disk_free=free_disk(run_directory),
        resume_from=resume_from,
        remarks=remarks,
    )


def write_plan(plan: Plan, argv: Sequence[str]) -> Path:
    """Write the resolved configuration and `run.json` into the run directory.

    Returns:
        The configuration.

    Raises:
        QsqlError: If they cannot be written.
    """
    from qsql.config import dump_config  # noqa: PLC0415 - loads YAML

    directory = plan.run_directory
    results.make_run_directory(directory)
    if plan.resume_from is None and plan.config.values.get("overwrite_output_dir"):
        results.clear_run(directory, (), {"training"})
    path = directory / CONFIG_FILE
    values = dict(plan.config.values)
    if plan.resume_from is not None:
        values["resume_from_checkpoint"] = str(plan.resume_from)
    try:
        path.write_text(dump_config(values), encoding="utf-8")
    except OSError as error:
        raise results.unwritable(path, error) from None
    results.write_record(directory, "training", record(plan, argv))
    return path


def record(plan: Plan, argv: Sequence[str]) -> dict[str, Any]:
    """Everything needed to do the run again, and what the worker has to know."""
    options = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(plan.options).items()}
    return {
        "argv": list(argv),
        "config": plan.config.values,
        "options": {**options, "padding_free": plan.padding_free, "row_budget": plan.row_budget},
        "data": {
            part.name: {
                "path": str(part.path),
                "sha256": part.sha256,
                "verified": part.verified,
                "examples": len(part.examples),
            }
            for part in [*plan.train, *plan.validation]
        },
        "memory_estimate": plan.memory,
        "steps": plan.steps,
        "examples_per_step": plan.examples_per_step,
        "gpus": [gpu.name for gpu in plan.gpus],
        "versions": {"qsql": __version__, **plan.versions},
        "resumed_from": str(plan.resume_from) if plan.resume_from else None,
    }


def _check_template(config: Config) -> None:
    template, names = str(config.values["template"]), known_templates()
    if template not in names:
        guess = nearest(template, names)
        hint = f"did you mean `{guess}`?" if guess else "qwen3_nothink and smollm2 are among those that it has"
        raise QsqlError(f"{config.place('template')}: LLaMA-Factory has no template `{template}`\nhint: {hint}")


def _check_origin(config: Config, options: Options) -> None:
    """See that nothing but what is checked here is trained on, and that no file lets a model run code of its own."""
    if config.values.get("tokenized_path"):
        raise QsqlError(
            f"{config.place('tokenized_path')}: LLaMA-Factory would train on what lies in `tokenized_path`, whatever "
            "the data set is\nhint: leave it out"
        )
    if config.values.get("trust_remote_code") and not options.trust_remote_code:
        raise QsqlError(
            f"{config.place('trust_remote_code')}: `trust_remote_code` would run code that comes with the model\n"
            "hint: read that code, and if you trust it, say so on the command line: `--trust-remote-code`"
        )
    config.values["trust_remote_code"] = options.trust_remote_code
    config.origins.setdefault("trust_remote_code", "option --trust-remote-code")


def _with_selection(config: Config, options: Options) -> Options:
    """Put the choice of the best checkpoint into the configuration."""
    if options.select == "config":
        return options
    config.values["load_best_model_at_end"] = True
    config.values["metric_for_best_model"] = "eval_execution" if options.select == "execution" else "eval_loss"
    config.values["greater_is_better"] = options.select == "execution"
    for key in ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"):
        config.origins[key] = f"option --select {options.select}"
    return options


def _check_selection(config: Config, options: Options, validation: list[Part]) -> None:
    values = {**DEFAULTS, **config.values}
    if not values.get("load_best_model_at_end"):
        return
    place = config.place("load_best_model_at_end")
    if not validation and not values.get("val_size"):
        raise QsqlError(f"{place}: the best checkpoint cannot be found without examples\nhint: set `eval_dataset`")
    if values["eval_strategy"] == "no" or values["save_strategy"] not in {values["eval_strategy"], "best"}:
        raise QsqlError(
            f"{place}: it needs each saved checkpoint evaluated; eval_strategy is {values['eval_strategy']}, "
            f"save_strategy {values['save_strategy']}\nhint: set both to steps or both to epoch"
        )
    if values["eval_strategy"] == values["save_strategy"] == "steps":
        evaluate, save = values.get("eval_steps") or values.get("logging_steps", 500), values["save_steps"]
        if evaluate >= 1 and save % evaluate:
            raise QsqlError(
                f"{place}: save_steps ({save}) is no multiple of eval_steps ({evaluate})\nhint: make them equal"
            )
    if options.select == "execution":
        _check_execution(values, options, validation)
    elif values.get("metric_for_best_model") == "eval_execution":
        raise QsqlError(
            f"{config.place('metric_for_best_model')}: execution accuracy is measured on request\n"
            "hint: add `--select execution --db DIR`"
        )


def _check_execution(values: dict[str, Any], options: Options, validation: list[Part]) -> None:
    if not validation:
        raise QsqlError("`--select execution` generates for validation examples\nhint: set `eval_dataset`")
    if options.database_dir is None or not options.database_dir.is_dir():
        raise QsqlError(
            "`--select execution` runs the queries of the validation sample\n"
            "hint: name the folder of <db_id>/<db_id>.sqlite with `--db`"
        )
    if values.get("eval_on_each_dataset"):
        raise QsqlError(
            "`--select execution` draws one sample from all of `eval_dataset`\nhint: leave out `eval_on_each_dataset`"
        )
    if reason := cannot_generate(values):
        raise QsqlError(
            f"`--select execution` generates with the model in training, and {reason}\n"
            "hint: use `--select loss`, and compare the saved checkpoints with `qsql generate` and `qsql eval`"
        )
    for part in validation:
        for number, example in enumerate(part.examples, 1):
            if not isinstance(example.get("db_id"), str):
                raise QsqlError(
                    f"`{part.path}` entry {number} has no `db_id`, so its SQL cannot be run\n"
                    "hint: prepare the data with `qsql data prepare`, or use `--select loss`"
                )
            try:
                file = Path(database_file(options.database_dir, example["db_id"]))
            except QsqlError as error:
                raise QsqlError(f"`{part.path}` entry {number}: {error}") from None
            if not file.is_file():
                raise QsqlError(
                    f"`{part.path}` entry {number} asks about `{example['db_id']}`, and there is no `{file}`\n"
                    "hint: name another `--db`, or prepare the data with another `--seed`"
                )


def _shape(config: Config, model: Path | None, remarks: list[str]) -> Shape | None:
    name = str(config.values["model_name_or_path"])
    if model is None:
        looks_local = name.startswith((".", "/", "~")) or name.count("/") != 1
        if looks_local:
            raise QsqlError(
                f"{config.place('model_name_or_path')}: there is no folder `{name}`\n"
                "hint: give a folder with config.json, tokenizer and weights, or a name on the Hugging Face Hub"
            )
        offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true"}
        remarks.append(
            f"`{name}` is not on this machine; "
            + (
                "HF_HUB_OFFLINE is set, so the run cannot load it"
                if offline
                else "it will be downloaded when the run starts"
            )
        )
        return KNOWN_SHAPES.get(name)
    path = model / "config.json"
    if not path.is_file():
        raise QsqlError(f"`{model}` is no model: it has no config.json\nhint: give the folder of a checkpoint")
    if not any((model / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise QsqlError(f"`{model}` has no tokenizer\nhint: copy tokenizer.json and tokenizer_config.json there")
    if not any(model.glob("*.safetensors")) and not any(model.glob("*.bin")):
        raise QsqlError(f"`{model}` has no weights\nhint: copy the *.safetensors files there")
    shape = Shape.from_config(_model_config(path))
    if shape is None:
        remarks.append(f"memory is not estimated: `{path}` is of a kind of model that qsql does not know")
    return shape


def _model_config(path: Path) -> dict[str, Any]:
    # transformers writes limits as Infinity.
    return dict(results.read_json(path, OBJECT, allow_nan=True))


def _trained_examples(values: dict[str, Any], train: list[Part]) -> int:
    """How many examples an epoch has. LLaMA-Factory takes `max_samples` of each data set, and `val_size` of all."""
    most = values.get("max_samples")
    examples = sum(min(len(part.examples), int(most) if most else len(part.examples)) for part in train)
    held_out = float(values.get("val_size") or 0)
    return examples - (int(held_out) if held_out > 1 else math.ceil(examples * held_out))


def _padding_free(values: dict[str, Any], options: Options, model: Path | None) -> bool:
    """Whether the examples of a batch are concatenated instead of padded."""
    obstacles = [
        key
        for key in ("packing", "neat_packing", "use_dft_loss", "use_eaft_loss", "use_asft_loss", "train_on_prompt")
        if values.get(key)
    ]
    obstacles += [key for key in ("label_smoothing_factor", "streaming") if values.get(key)]
    # There, one process makes the batches of all.
    accelerator = values.get("accelerator_config")
    obstacles += ["dispatch_batches"] if isinstance(accelerator, dict) and accelerator.get("dispatch_batches") else []
    if options.padding_free and obstacles:
        raise QsqlError(f"`--padding-free` does not go together with `{obstacles[0]}`\nhint: leave one of them out")
    if options.padding_free is not None:
        return options.padding_free
    known = model is None or _model_config(model / "config.json").get("model_type") in ARCHITECTURES
    return values["per_device_train_batch_size"] > 1 and not obstacles and known


def _training(
    values: dict[str, Any],
    train: list[Part],
    shape: Shape | None,
    gpus: int,
    options: Options,
    *,
    padding_free: bool,
) -> Training:
    batch, cutoff = values["per_device_train_batch_size"], values["cutoff_len"]
    lengths = [length for part in train for length in part.lengths(cutoff)]
    answers = [len(str(e[part.response])) / CHARACTERS_PER_TOKEN + 4 for part in train for e in part.examples]
    if padding_free:
        # A row of `batch` random examples; three standard deviations cover all but one in some hundred.
        tokens = min(batch * max(lengths), int(batch * mean(lengths) + 3 * batch**0.5 * pstdev(lengths)))
        trained = int(batch * mean(answers) + 3 * batch**0.5 * pstdev(answers))
    else:
        tokens = trained = cutoff if values.get("packing") else batch * max(lengths)
    adapter = values["finetuning_type"] == "lora"
    bits = values.get("quantization_bit")
    mixed = bool(values.get("bf16") or values.get("fp16"))
    pure = bool(values.get("pure_bf16"))
    weight = bits / 8 + 0.06 if bits else 2 if (adapter and mixed) or pure else 4
    rank = values["lora_rank"]
    return Training(
        tokens=tokens,
        trained_tokens=trained,
        mixed=mixed and not pure,
        weight_bytes=weight,
        state_bytes=4 if pure else 8,
        trained_weights=_adapter_weights(shape, rank) if adapter and shape else None,
        checkpointed=not values.get("disable_gradient_checkpointing", False),
        compiled=options.compile_layers,
        accumulates=values["gradient_accumulation_steps"] > 1,
        gpus=gpus,
        shards=shards(values),
        layers_gathered=layers_gathered(values, options.layers_together),
    )


def _adapter_weights(shape: Shape, rank: int) -> int:
    """Weights of a LoRA adapter on all linear layers."""
    queries, keys = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    sides = 2 * (shape.hidden + queries) + 2 * (shape.hidden + keys) + 3 * (shape.hidden + shape.intermediate)
    return shape.layers * rank * sides


def _disk(values: dict[str, Any], size: int, steps: int, shape: Shape | None, training: Training) -> int:
    if shape is None:
        return 0
    final = checkpoint_bytes(shape, training, only_model=True)
    if values["save_strategy"] == "no":
        return final
    interval = values["save_steps"] if values["save_strategy"] == "steps" else max(1, steps // 4)
    count = max(1, int(steps // interval) if interval >= 1 else int(1 / interval))
    limit = values.get("save_total_limit")
    # A new checkpoint is written before the oldest goes, and the best one is kept beside the last.
    kept = min(count, int(limit) + 1 + bool(values.get("load_best_model_at_end"))) if limit else count
    return kept * size + final


def _require_place(run_directory: Path, config: Path, values: dict[str, Any], model: Path | None) -> None:
    """See that a run may be written to a directory; see `qsql.outputs` for what may be replaced."""
    for known in (model, Path(str(values.get("dataset_dir", "data")))):
        if known is not None and known.exists() and is_same(run_directory, known):
            raise QsqlError(
                f"output_dir is `{run_directory}`, which is read, and would be written over\n"
                "hint: choose another output_dir"
            )
    names = (CONFIG_FILE, LOG, EXECUTION_LOG, STEP_LOG, TRAINER_LOG, CURVES)
    own: dict[str, Any] = {}
    try:
        own = results.require_own(run_directory, names, "training", "overwrite_output_dir=true")
    except QsqlError:
        if not values.get("overwrite_output_dir"):
            raise
    if not own:
        refuse_inputs(run_directory / CONFIG_FILE, [config])


def _checkpoint(run_directory: Path, values: dict[str, Any], *, resume: bool) -> Path | None:
    """Find the checkpoint to go on from; without `resume`, see to it that no earlier run is in the way."""
    checkpoints = [path for path in run_directory.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]
    # The state is written last, so a checkpoint without it was cut off.
    found = sorted(
        (path for path in checkpoints if _is_whole(path / TRAINER_STATE)),
        key=lambda folder: int(folder.name.rpartition("-")[2]),
    )
    cut_off = [path for path in checkpoints if path not in found]
    # LLaMA-Factory would go on from it, and fail.
    remedy = f"delete `{cut_off[-1]}`, which was cut off" if cut_off else ""
    if not resume:
        finished = any(run_directory.glob("*.safetensors"))
        if (found or finished) and not values.get("overwrite_output_dir"):
            raise QsqlError(
                f"`{run_directory}` holds an earlier run\n"
                "hint: `--resume` goes on from its last checkpoint; else choose another output_dir"
            )
        if cut_off and not values.get("overwrite_output_dir"):
            raise QsqlError(
                f"`{run_directory}` holds an earlier run without a whole checkpoint\n"
                f"hint: {remedy}, or choose another output_dir"
            )
        return None
    if not found:
        hint = f"{remedy}, and leave out `--resume`" if cut_off else "leave out `--resume`"
        raise QsqlError(f"`{run_directory}` has no checkpoint to go on from\nhint: {hint}")
    if loses_optimizer_state(values):
        raise QsqlError(
            "with FSDP 2, checkpoints in shards do not give the optimizer its state back\n"
            "hint: start anew, with state_dict_type FULL_STATE_DICT in fsdp_config"
        )
    if values.get("save_only_model"):
        raise QsqlError("checkpoints with save_only_model=true cannot be resumed\nhint: start anew without `--resume`")
    return found[-1]


def _check_resumed(run_directory: Path, values: dict[str, Any], steps: int) -> None:
    """See that the run can go on as it began: the best checkpoint so far is known by one metric only."""
    earlier = results.run_record(run_directory).get("training", {})
    if earlier.get("outcome", {}).get("steps") == steps:
        raise QsqlError(
            f"the run in `{run_directory}` has ended, at step {steps:,}\n"
            "hint: leave it as it is; for more steps set num_train_epochs or max_steps higher"
        )
    before, now = (found.get("metric_for_best_model") for found in (earlier.get("config", {}), values))
    if earlier and before != now:
        raise QsqlError(
            f"the run in `{run_directory}` chooses its best checkpoint by {before or 'nothing'}, and now it is to be "
            f"{now or 'nothing'}\nhint: resume with the same `--select` and the same configuration"
        )


def _is_whole(state: Path) -> bool:
    try:
        results.read_json(state, OBJECT, allow_nan=True)
    except QsqlError:
        return False
    return True
