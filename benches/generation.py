"""Measure generation on this machine, and write the figures as JSON.

    python benches/generation.py --model MODEL --data dev.json --tables tables.json --db database --suite suite \\
        --out figures [--parts speed ablation shape]
    python benches/generation.py --smoke --out figures          # a tiny model on the CPU, to see that it works

The parts:

speed       the model card's loop, one `model.generate` after the other, and our batches, on the same questions in one
            run and in the same precision; questions/s, tokens/s, and for how many questions the SQL is the same
same        for how many questions the SQL of batches is that of the card's loop, over all questions, in each precision,
            and how often the card's loop itself answers the same in both; several processes, so not timed
ablation    greedy, `--repair` and self-consistency of 8, each into a run directory that is then scored on the suite
shape       the shape of Qwen3-4B with random weights: tokens/s and memory of batched generation, on one GPU and on all

A part that fails leaves its error in the figures, and the others go on. `figures/generation.json` is written behind
each part.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import transformers

from qsql import demo
from qsql.engines import Completion, Decoding, EngineSettings, Request, make_engine
from qsql.evaluate import Settings as EvaluationSettings
from qsql.evaluate import evaluate
from qsql.generate import Settings, generate
from qsql.generate.questions import Question, read_questions
from qsql.prompt import extract_sql

PARTS = ("speed", "ablation", "same", "shape")
QWEN3_4B = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
}
TINY = {**QWEN3_4B, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def one_by_one(
    settings: EngineSettings, questions: list[Question], decoding: Decoding, seconds: float
) -> tuple[list[tuple[str, int]], float]:
    """Answer questions as the card does, until the time is up; completions with their tokens, and the seconds taken."""
    engine = make_engine(settings)
    model, tokenizer = engine._model, engine._tokenizer._tokenizer  # noqa: SLF001 - the same weights, loaded once
    stops = engine.describe()["stop_tokens"]
    # Attention as transformers has it, since the card knows no other.
    model.set_attn_implementation("sdpa")

    def answer(prompt: str) -> tuple[str, int]:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        with torch.inference_mode():
            ids = model.generate(
                **inputs,
                max_new_tokens=decoding.max_new_tokens,
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=stops[0],
            )
        new = ids[0, inputs["input_ids"].shape[1] :].tolist()
        return tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False), len(new)

    answer(questions[0].prompt)
    started = time.perf_counter()
    found = []
    for question in questions:
        found.append(answer(question.prompt))
        if time.perf_counter() - started > seconds:
            break
    spent = time.perf_counter() - started
    engine.close()
    return found, spent


def batched(
    settings: EngineSettings, questions: list[Question], decoding: Decoding
) -> tuple[list[Completion], dict[str, Any]]:
    """Answer questions in batches; also what it took. Loading is not counted, nor is a warm-up on a few questions."""
    engine = make_engine(settings)
    requests = [Request(question.id, question.prompt) for question in questions]
    for _ in engine.generate(requests[:8], Decoding(max_new_tokens=8)):
        pass
    found: dict[int, Completion] = {}
    batches = 0
    started = time.perf_counter()
    for batch in engine.generate(requests, decoding):
        batches += 1
        found.update((place, completions[0]) for place, completions in batch)
    seconds = time.perf_counter() - started
    figures = {**rates([one.tokens for one in found.values()], seconds), "batches": batches, **engine.memory()}
    engine.close()
    return [found[place] for place in range(len(questions))], figures


def rates(tokens: list[int], seconds: float) -> dict[str, Any]:
    """Questions and tokens a second."""
    return {
        "questions": len(tokens),
        "tokens": sum(tokens),
        "seconds": round(seconds, 3),
        "questions_per_second": round(len(tokens) / seconds, 3),
        "tokens_per_second": round(sum(tokens) / seconds, 1),
    }


def speed(options: argparse.Namespace, questions: list[Question]) -> dict[str, Any]:
    """The card's loop and ours, side by side, in each precision; and other ways to batch."""
    decoding = Decoding(options.max_new_tokens)
    figures: dict[str, Any] = {}
    for dtype in options.dtypes:
        settings = EngineSettings(model=options.model, dtype=dtype, devices=(options.device,))
        ours, figures_of_ours = batched(settings, questions, decoding)
        # Every so manieth question, so that the card's loop sees the same mixture in the time that it has.
        chosen = list(range(0, len(questions), max(1, len(questions) // options.card_questions)))
        card, seconds = one_by_one(settings, [questions[place] for place in chosen], decoding, options.card_seconds)
        pairs = [(ours[place].text, text) for place, (text, _) in zip(chosen, card, strict=False)]
        same = sum(extract_sql(mine) == extract_sql(theirs) for mine, theirs in pairs)
        figures_of_card = rates([tokens for _, tokens in card], seconds)
        figures[dtype] = {
            "card": figures_of_card,
            "batched": figures_of_ours,
            "times_as_fast": figures_of_ours["questions_per_second"] / figures_of_card["questions_per_second"],
            "same_sql": same / len(pairs),
            "compared": len(pairs),
            "different": [pair for pair in pairs if extract_sql(pair[0]) != extract_sql(pair[1])][:20],
        }
        if options.continuous:
            continuous = EngineSettings(
                model=options.model, dtype=dtype, devices=(options.device,), batching="continuous"
            )
            figures[dtype]["continuous"] = attempted(lambda chosen=continuous: batched(chosen, questions, decoding)[1])
    return figures


def same(options: argparse.Namespace, questions: list[Question]) -> dict[str, Any]:
    """Compare the SQL of batches with that of the card's loop, for every question."""
    ours, card = {}, {}
    for dtype in options.dtypes:
        settings = EngineSettings(model=options.model, dtype=dtype, devices=(options.device,))
        completions, _ = batched(settings, questions, Decoding(options.max_new_tokens))
        ours[dtype] = [extract_sql(completion.text) for completion in completions]
        card[dtype] = _card_in_processes(options, settings, questions)

    def share(one: list[str], other: list[str]) -> dict[str, Any]:
        count = sum(mine == theirs for mine, theirs in zip(one, other, strict=True))
        return {"same": count, "compared": len(one), "share": count / len(one)}

    figures: dict[str, Any] = {dtype: share(ours[dtype], card[dtype]) for dtype in options.dtypes}
    if len(options.dtypes) == 2:
        one, other = options.dtypes
        figures[f"card in {one} and in {other}"] = share(card[one], card[other])
        figures[f"batches in {one} and in {other}"] = share(ours[one], ours[other])
    return figures


def _card_in_processes(options: argparse.Namespace, settings: EngineSettings, questions: list[Question]) -> list[str]:
    """The SQL of the card's loop, whose questions are dealt out to processes that share the device."""
    count = min(options.card_processes, len(questions))
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        parts = pool.starmap(
            one_by_one,
            [(settings, questions[first::count], Decoding(options.max_new_tokens), 3600.0) for first in range(count)],
            chunksize=1,
        )
    found = [""] * len(questions)
    for first, (answers, _) in enumerate(parts):
        found[first::count] = [extract_sql(text) for text, _ in answers]
    return found


def ablation(options: argparse.Namespace) -> dict[str, Any]:
    """Each way to choose predictions, from a run directory that is scored on the suite."""
    engine = EngineSettings(model=options.model, dtype=options.dtypes[0], devices=(options.device,))
    common = {"data": options.data, "tables": options.tables, "limit": options.limit, "engine": engine}
    greedy, warm = Decoding(options.max_new_tokens), Decoding(options.max_new_tokens, 0.7, 0.95, 8)
    ways = {
        "greedy": Settings(**common, decoding=greedy),
        "repair": Settings(**common, db=options.db, decoding=greedy, repair=True),
        "repair_without_databases": Settings(**common, decoding=greedy, repair=True),
        "self_consistency_8": Settings(**common, db=options.db, decoding=warm, self_consistency=8),
    }
    gold = options.data
    if options.limit is not None:
        gold = options.out / "gold.json"
        entries = json.loads(options.data.read_text(encoding="utf-8"))[: options.limit]
        gold.write_text(json.dumps(entries), encoding="utf-8")
    figures = {}
    for name, settings in ways.items():
        figures[name] = attempted(lambda name=name, settings=settings: _scored(options, gold, name, settings))
    return figures


def _scored(options: argparse.Namespace, gold: Path, name: str, settings: Settings) -> dict[str, Any]:
    directory = options.out / name
    started = time.perf_counter()
    outcome = generate(settings, directory, sys.argv).outcome
    seconds = time.perf_counter() - started
    rules = EvaluationSettings(gold, directory / "predictions.jsonl", options.suite, options.tables)
    summary = evaluate(rules, directory, sys.argv).summary["all"]
    repair = outcome["repair"] or {}
    return {
        "execution": summary["execution"],
        "exact": summary["exact"],
        "compiling": outcome["compiling"] / outcome["questions"],
        "seconds": round(seconds, 3),
        "seconds_of_steps": outcome["wall_seconds"],
        "completions": outcome["completions"] + repair.get("completions", 0),
        "tokens": outcome["tokens"] + repair.get("tokens", 0),
        "repaired": repair.get("repaired"),
        "sampled_for": repair.get("questions"),
    }


def shape(options: argparse.Namespace, questions: list[Question]) -> dict[str, Any]:
    """Random weights in the shape of Qwen3-4B. They never stop, so each completion has as many tokens as allowed."""
    sizes = TINY if options.smoke else QWEN3_4B
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        torch.manual_seed(0)
        config = transformers.Qwen3Config(**sizes, eos_token_id=sizes["vocab_size"] - 1, bos_token_id=None)
        with torch.device(options.device):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        parameters = sum(weights.numel() for weights in model.parameters())
        del model
        tokenizer.save_pretrained(folder)
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(options.device)
        figures: dict[str, Any] = {"parameters": parameters, "max_new_tokens": options.shape_tokens}
        gpus = torch.cuda.device_count() if options.device.startswith("cuda") else 0
        for devices in [(options.device,), tuple(f"cuda:{number}" for number in range(gpus))][: 2 if gpus > 1 else 1]:
            settings = EngineSettings(model=folder, dtype="bfloat16", devices=devices)
            _, figures[f"on {len(devices)}"] = batched(settings, questions, Decoding(options.shape_tokens))
    return figures


def attempted(part: Any) -> dict[str, Any]:
    """The figures of a part, or what went wrong with it."""
    started = time.perf_counter()
    try:
        found: dict[str, Any] = part()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"}
    print(f"{time.perf_counter() - started:.1f} s: {json.dumps(found)[:2000]}", flush=True)
    return found


def smoke_options(options: argparse.Namespace) -> None:
    """A tiny model, the demo's questions, and parts that take seconds."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "ml"))
    import tiny_model  # noqa: PLC0415 - only here

    options.model = str(tiny_model.make_model(options.out / "model"))
    options.data, options.tables = demo.FOLDER / "examples.json", demo.TABLES
    options.db = options.suite = demo.build(options.out / "databases")
    options.device, options.dtypes, options.limit = "cpu", ["float32"], 8
    options.max_new_tokens, options.shape_tokens, options.card_questions, options.card_processes = 16, 8, 8, 2


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    for name in ("data", "tables", "db", "suite"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, help="where 8 GB of random weights may stand for a minute")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--limit", type=int, help="only the first so many questions")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--card-questions", type=int, default=256, help="about how many the card's loop answers")
    parser.add_argument("--card-seconds", type=float, default=120.0, help="for each precision")
    parser.add_argument("--card-processes", type=int, default=8, help="of the part `same`")
    parser.add_argument("--shape-tokens", type=int, default=64)
    parser.add_argument("--continuous", action="store_true", help="measure transformers' continuous batching too")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.smoke:
        smoke_options(options)
    questions = read_questions(options.data, options.tables)[: options.limit]
    figures: dict[str, Any] = {
        "machine": {
            "device": torch.cuda.get_device_name(options.device) if options.device != "cpu" else platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "questions": len(questions),
        "max_new_tokens": options.max_new_tokens,
    }
    parts = {
        "speed": lambda: speed(options, questions),
        "ablation": lambda: ablation(options),
        "same": lambda: same(options, questions),
        "shape": lambda: shape(options, questions),
    }
    for name in options.parts:
        figures[name] = attempted(parts[name])
        (options.out / "generation.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
