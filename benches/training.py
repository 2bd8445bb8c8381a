"""Time the card's recipe and the fast one on one model and one data set, through `qsql train`.

    python benches/training.py --data FOLDER --tokenizer FOLDER --out results.json [--variants card fast] [--steps 30]
    python benches/training.py --gpus 2 --data FOLDER --tokenizer FOLDER --out results.json
    python benches/training.py --shape tiny --out results.json     # on a CPU, in two minutes, to see that it works

The model has the exact shape of Qwen3-4B and random weights, so losses say nothing about quality; what counts is that
both recipes have the same. Each variant is a run of its own, without checkpoints and evaluation. The first steps are
left out of the times. FLOPs are 6 a weight and real token, padding and recomputation not counted.

Losses are those of each step, and to log one the CPU waits for the GPU. `--logging-steps 10` measures the times as they
are with the recipes, which log every tenth; losses are then means of ten.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from qsql.train.memory import GIB, QWEN3_4B, Shape

ROOT = Path(__file__).resolve().parent.parent
CARD, FAST = (ROOT / "configs" / "train" / f"{name}.yaml" for name in ("qwen3_4b_sft", "qwen3_4b_sft_fast"))
WARM_UP = 5
"""Steps that are not timed: memory is allocated and kernels are chosen or compiled."""
PEAK_FLOPS = 989e12
"""Of an H100 or H200 in bf16, dense."""
ALONE = [
    "save_strategy=no",
    "eval_strategy=no",
    "load_best_model_at_end=false",
    "metric_for_best_model=loss",
]
TINY = Shape(64, 128, 2, 4, 2, 16, 2048, tied=True, head_norms=True)


def fsdp(file: str) -> list[str]:
    """Arguments that divide a model with FSDP 2."""
    config = ROOT / "configs" / "fsdp" / file
    return ["fsdp=full_shard auto_wrap", f"fsdp_config={config}", "use_reentrant_gc=false"]


FSDP, SHARD_GRAD_OP = fsdp("qwen3.json"), fsdp("qwen3_shard_grad_op.json")
ZERO_2, ZERO_3 = ([f"deepspeed={ROOT / 'configs' / 'deepspeed' / f'zero{stage}.json'}"] for stage in (2, 3))
HALF = "per_device_train_batch_size=4"
TWO_ROWS = "gradient_accumulation_steps=2"
ROW_OF_16 = "per_device_train_batch_size=16"


@dataclass(frozen=True)
class Variant:
    """A way to train."""

    config: Path
    arguments: tuple[str, ...] = ()
    gpus: int = 1


VARIANTS = {
    "card": Variant(CARD),
    "fast": Variant(FAST),
    "fast, masked": Variant(FAST, ("--attention", "masked")),
    "fast, compiled": Variant(FAST, ("--compile",)),
    "padded": Variant(FAST, ("--padded",)),
    "one GPU, 16": Variant(FAST, (TWO_ROWS,)),
    "one GPU, 16 in one row": Variant(FAST, (ROW_OF_16,)),
    "one GPU, 32": Variant(FAST, (ROW_OF_16, TWO_ROWS)),
    "two GPUs, 32, shard_grad_op": Variant(FAST, (ROW_OF_16, *SHARD_GRAD_OP), gpus=2),
    "two GPUs, 16, shard_grad_op, single layers": Variant(FAST, (*SHARD_GRAD_OP, "--layers-together=1"), gpus=2),
    "one GPU, 16, compiled": Variant(FAST, (TWO_ROWS, "--compile")),
    "one GPU, 16 in one row, compiled": Variant(FAST, (ROW_OF_16, "--compile")),
    "two GPUs, 8": Variant(FAST, (HALF, *FSDP), gpus=2),
    "two GPUs, 8, shard_grad_op": Variant(FAST, (HALF, *SHARD_GRAD_OP), gpus=2),
    "two GPUs, 8, shard_grad_op, compiled": Variant(FAST, (HALF, *SHARD_GRAD_OP, "--compile"), gpus=2),
    "two GPUs, 8, ZeRO-2": Variant(FAST, (HALF, *ZERO_2), gpus=2),
    "two GPUs, 8, no shards": Variant(FAST, (HALF,), gpus=2),
    "two GPUs, 16": Variant(FAST, tuple(FSDP), gpus=2),
    "two GPUs, 16, compiled": Variant(FAST, (*FSDP, "--compile"), gpus=2),
    "two GPUs, 16, shard_grad_op": Variant(FAST, tuple(SHARD_GRAD_OP), gpus=2),
    "two GPUs, 16, shard_grad_op, compiled": Variant(FAST, (*SHARD_GRAD_OP, "--compile"), gpus=2),
    "two GPUs, 16, ZeRO-2": Variant(FAST, tuple(ZERO_2), gpus=2),
    "two GPUs, 16, ZeRO-2, compiled": Variant(FAST, (*ZERO_2, "--compile"), gpus=2),
    "two GPUs, 16, ZeRO-3": Variant(FAST, tuple(ZERO_3), gpus=2),
    "two GPUs, 16, no shards": Variant(FAST, gpus=2),
    "two GPUs, 16, no shards, compiled": Variant(FAST, ("--compile",), gpus=2),
}


def make_model(shape: Shape, folder: Path, tokenizer: Path) -> None:
    """Write a Qwen3 of a shape with random weights in bf16, made on the GPU where there is one."""
    import torch  # noqa: PLC0415 - heavy
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    vocabulary = AutoTokenizer.from_pretrained(tokenizer)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    vocabulary.save_pretrained(folder)


def write_model(shape: str, folder: Path, tokenizer: Path) -> None:
    """Make a model in a process of its own, so that this one holds nothing on the GPU."""
    started = time.perf_counter()
    code = "import sys; sys.path.insert(0, sys.argv[1]); import training; from pathlib import Path; "
    code += "shape = training.TINY if sys.argv[2] == 'tiny' else training.QWEN3_4B; "
    code += "training.make_model(shape, Path(sys.argv[3]), Path(sys.argv[4]))"
    places = [str(Path(__file__).parent), shape, str(folder), str(tokenizer)]
    subprocess.run([sys.executable, "-c", code, *places], check=True)
    print(f"model written in {time.perf_counter() - started:.0f} s", flush=True)


def measure(name: str, settings: argparse.Namespace, model: Path, work: Path) -> dict[str, Any]:
    """Run a variant; returns its figures, or why there are none."""
    variant = VARIANTS[name]
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    values = [f"model_name_or_path={model}", f"dataset_dir={settings.data}", f"output_dir={out}"]
    values += [f"max_steps={settings.steps}", f"logging_steps={settings.logging_steps}", *ALONE, *variant.arguments]
    if settings.shape == "tiny":
        values += ["use_cpu=true", "bf16=false", "dataloader_num_workers=0"]
        values += ["learning_rate=5e-3", "warmup_steps=3"]
    command = [sys.executable, "-m", "qsql", "train", str(variant.config), *values]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(visible[: variant.gpus])}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    figures: dict[str, Any] = {
        "command": " ".join(["qsql", "train", str(variant.config), *variant.arguments]).replace(f"{ROOT}/", ""),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "gpus": variant.gpus,
    }
    measured = out / "steps.jsonl"
    entries = [json.loads(line) for line in measured.read_text().splitlines()] if measured.is_file() else []
    log = out / "train.log"
    logged = log.read_text(errors="replace") if log.is_file() else ""
    figures["plugin"] = [line for line in logged.splitlines() if line.startswith("qsql: ")][:2]
    timed = [entry for entry in entries if entry["step"] >= WARM_UP]
    if done.returncode != 0 or len(timed) < 2:
        figures["error"] = done.stderr[-1500:]
        figures["log"] = logged[-6000:]
        return figures
    figures["losses"] = [entry["loss"] for entry in entries]
    figures["gradient_norms"] = [entry.get("gradient_norm") for entry in entries]
    first, last = timed[0], timed[-1]
    steps, seconds, tokens = (last[key] - first[key] for key in ("step", "seconds", "tokens"))
    of_steps = [
        round((after["seconds"] - before["seconds"]) / (after["step"] - before["step"]), 4)
        for before, after in itertools.pairwise(timed)
    ]
    examples = json.loads((out / "run.json").read_text())["training"]["examples_per_step"]
    shape = TINY if settings.shape == "tiny" else QWEN3_4B
    figures |= {
        "examples_per_step": examples,
        "seconds_per_step": seconds / steps,
        "median_seconds_per_step": statistics.median(of_steps),
        "seconds_of_steps": of_steps,
        "examples_per_second": examples * steps / seconds,
        "tokens_per_second": tokens / seconds,
        "model_flops_utilisation": 6 * shape.parameters * tokens / seconds / (settings.peak_flops * variant.gpus),
        "allocated_gib": last.get("allocated_bytes", 0) / GIB,
        "reserved_gib": last.get("reserved_bytes", 0) / GIB,
    }
    return figures


def largest_difference(values: list[float], expected: list[float]) -> float:
    """Largest relative difference of two series, over the steps that both have."""
    return max(abs(value - other) / abs(other) for value, other in zip(values, expected, strict=False))


def compare(figures: dict[str, dict[str, Any]]) -> None:
    """Put the first variant that worked beside the others."""
    reference = next((row for row in figures.values() if "losses" in row), None)
    for row in figures.values():
        if reference is None or "losses" not in row:
            continue
        row["times_as_fast"] = row["examples_per_second"] / reference["examples_per_second"]
        if row["examples_per_step"] == reference["examples_per_step"]:
            row["loss_difference"] = largest_difference(row["losses"], reference["losses"])
            if None not in row["gradient_norms"] + reference["gradient_norms"]:
                row["gradient_difference"] = largest_difference(row["gradient_norms"], reference["gradient_norms"])


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Write the figures as a Markdown table."""
    head = ["variant", "s/step", "median", "examples/s", "x", "real tokens/s", "MFU", "peak GiB", "reserved GiB"]
    head += ["largest loss difference"]
    rows = [head, ["---"] * len(head)]
    for name, row in figures.items():
        if "error" in row:
            rows.append([name, "failed", *[""] * (len(head) - 2)])
            continue
        difference = f"{100 * row['loss_difference']:.4f}%" if "loss_difference" in row else ""
        rows.append(
            [
                name,
                f"{row['seconds_per_step']:.3f}",
                f"{row['median_seconds_per_step']:.3f}",
                f"{row['examples_per_second']:.1f}",
                f"{row['times_as_fast']:.2f}",
                f"{row['tokens_per_second']:,.0f}",
                f"{100 * row['model_flops_utilisation']:.1f}%",
                f"{row['allocated_gib']:.1f}",
                f"{row['reserved_gib']:.1f}",
                difference,
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    import torch  # noqa: PLC0415 - heavy

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    packages = ("torch", "transformers", "accelerate", "llamafactory")
    return {"gpus": gpus, "versions": {name: importlib.metadata.version(name) for name in packages}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("qwen3-4b", "tiny"), default="qwen3-4b")
    parser.add_argument("--data", type=Path, help="prepared data set; by default the tiny one")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer; by default the tiny one")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="to measure; others in --out stay")
    parser.add_argument("--gpus", type=int, choices=(1, 2), default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--logging-steps", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, help="folder for models and runs, of 30 GB for Qwen3-4B; a model there is used again"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peak-flops", type=float, default=PEAK_FLOPS)
    settings = parser.parse_args()
    alone = ["card", "fast", "fast, compiled"]
    together = ["one GPU, 32", "two GPUs, 32, shard_grad_op", "one GPU, 16", "two GPUs, 16, shard_grad_op"]
    together += ["one GPU, 16, compiled", "two GPUs, 16, shard_grad_op, compiled"]
    names = settings.variants or (together if settings.gpus == 2 else alone)
    work = settings.work or Path(mkdtemp(prefix="qsql-training-"))
    work.mkdir(parents=True, exist_ok=True)
    if settings.shape == "tiny":
        subprocess.run([sys.executable, ROOT / "benches" / "tiny_training.py", work / "tiny"], check=True)
    elif settings.data is None or settings.tokenizer is None:
        parser.error("--data and --tokenizer are needed for Qwen3-4B")
    settings.data = (settings.data or work / "tiny" / "data").resolve()
    model = work / f"model-{settings.shape}"
    tokenizer = settings.tokenizer or work / "tiny" / "model"
    if not (model / "tokenizer_config.json").is_file():
        write_model(settings.shape, model, tokenizer)
    about = {"machine": machine(), "steps": settings.steps, "logging_steps": settings.logging_steps}
    about |= {"timed_from_step": -(-WARM_UP // settings.logging_steps) * settings.logging_steps}
    figures: dict[str, dict[str, Any]] = {}
    if settings.out.exists():
        earlier = json.loads(settings.out.read_text(encoding="utf-8"))
        # Figures of another machine are nothing to compare with.
        figures = earlier["variants"] if all(earlier.get(key) == value for key, value in about.items()) else {}
    for name in names:
        figures[name] = measure(name, settings, model, work)
        compare(figures)
        # After each variant, so that a run that is cut off leaves what it has.
        settings.out.write_text(json.dumps({**about, "variants": figures}, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {figures[name].get('error') or figures[name]['plugin']}", flush=True)
        print(table(figures), flush=True)
    shutil.rmtree(work / "run", ignore_errors=True)
    if settings.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
