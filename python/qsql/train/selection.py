"""The best checkpoint by what matters: execution accuracy on a fixed validation sample, at each evaluation."""

from __future__ import annotations

import copy
import json
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch.distributed
from transformers import AutoModelForCausalLM, TrainerCallback

from qsql import results
from qsql._core import QsqlError, Scorer
from qsql.engines import Completion, Decoding, Request
from qsql.engines.decoding import use_grouped_attention
from qsql.engines.model import ChatTokenizer
from qsql.engines.transformers import TransformersEngine
from qsql.prompt import extract_sql
from qsql.train.padding_free import IGNORED
from qsql.training_log import EXECUTION_LOG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

METRIC = "eval_execution"
PREDICTIONS_DIRECTORY = "validation"
SAMPLE_SEED = 0
MAX_STEPS = 100_000_000
"""SQLite instructions for one query, so that a bad checkpoint does not hold up training."""


def read_sample(paths: Sequence[Path], count: int) -> list[dict[str, Any]]:
    """Draw `count` validation examples, the same ones in each run."""
    examples = [example for path in paths for example in results.read_json(path)]
    if len(examples) <= count:
        return examples
    chosen = sorted(random.Random(SAMPLE_SEED).sample(range(len(examples)), count))  # noqa: S311 - not for secrets
    return [examples[index] for index in chosen]


class ExecutionSelection(TrainerCallback):  # type: ignore[misc]
    """Puts `eval_execution` into the metrics of each evaluation, from which the trainer chooses the best checkpoint.

    Each evaluation adds a line to `execution.jsonl` and a file of predictions to the folder `validation`.
    """

    def __init__(
        self,
        run_directory: Path,
        sample: Sequence[dict[str, Any]],
        database_dir: Path,
        tables: Path | None,
        training_prompts: Sequence[str],
    ) -> None:
        """Prepare scoring.

        Args:
            run_directory: Gets the results.
            sample: Examples with `instruction`, `output` and `db_id`.
            database_dir: Folder of `<db_id>/<db_id>.sqlite`.
            tables: Spider's tables.json, if there is one.
            training_prompts: The first prompts of the training set, to compare the templates.

        Raises:
            QsqlError: If a database is missing or a gold of the sample fails.
        """
        self._directory = run_directory
        self._sample = list(sample)
        self._scorer = Scorer(database_dir, tables, max_steps=MAX_STEPS)
        self._training_prompts = list(training_prompts)
        self._ended = False
        golds = [example["output"] for example in self._sample]
        verdicts = self._scorer.score(golds, golds, self._db_ids, etype="exec")
        for example, verdict in zip(self._sample, verdicts, strict=True):
            if verdict.state == "gold_error":
                raise QsqlError(
                    f"the SQL of validation example `{example.get('id', '?')}` fails: {verdict.detail}\n"
                    "hint: prepare the data with `qsql data prepare`, which leaves such examples out"
                )

    @property
    def _db_ids(self) -> list[str]:
        return [example["db_id"] for example in self._sample]

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        processing_class: Any = None,
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        """See to it that prompts are tokenised as in training.

        Raises:
            QsqlError: If LLaMA-Factory's template and the chat template of the tokenizer differ.
        """
        del args, state, control
        chat_tokenizer = ChatTokenizer(str(model.config.name_or_path), model.config, processing_class)
        known = {tuple(tokens) for tokens in chat_tokenizer.encode(self._training_prompts)}
        first = train_dataloader.dataset[0]
        length = next(index for index, label in enumerate(first["labels"]) if label != IGNORED)
        trained = first["input_ids"][:length]
        if tuple(trained) not in known:
            chat = processing_class.decode(min(known, key=lambda tokens: abs(len(tokens) - length)))
            raise QsqlError(
                "LLaMA-Factory's template and the chat template of the tokenizer differ: training begins with "
                f"{processing_class.decode(trained)[:120]!r}, generation with {chat[:120]!r}\n"
                "hint: set `template`, or `default_system` to the system text of the chat template"
            )

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Measure no more: LLaMA-Factory evaluates the best checkpoint again, under the number of the last step."""
        self._ended = True

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: Any = None,
        model: Any = None,
        processing_class: Any = None,
        **_: Any,
    ) -> None:
        """Generate, score, and add the accuracy to the metrics of all processes."""
        del args, control
        if self._ended:
            return
        values: list[float | None] = [None]
        if state.is_world_process_zero:
            values[0] = self._measure(state.global_step, model, processing_class)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(values, src=0)
        metrics[METRIC] = values[0]
        state.log_history.append({"step": state.global_step, METRIC: values[0]})

    def _measure(self, step: int, model: Any, tokenizer: Any) -> float:
        started = time.perf_counter()
        completions = answer(model, tokenizer, [example["instruction"] for example in self._sample])
        predictions = [extract_sql(completion.text) for completion in completions]
        golds = [example["output"] for example in self._sample]
        verdicts = self._scorer.score(golds, predictions, self._db_ids, etype="exec")
        correct = sum(verdict.execution is True for verdict in verdicts)
        lines = [
            {"id": example.get("id"), "db_id": example["db_id"], "sql": sql, "gold": example["output"]}
            | {"completion": completion.text, "execution": verdict.execution, "state": verdict.state}
            for example, sql, completion, verdict in zip(self._sample, predictions, completions, verdicts, strict=True)
        ]
        folder = self._directory / PREDICTIONS_DIRECTORY
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"step-{step}.jsonl").write_text(text, encoding="utf-8")
        entry = {
            "step": step,
            "execution": correct / len(verdicts),
            "correct": correct,
            "count": len(verdicts),
            "unfinished": sum(completion.finish_reason != "stop" for completion in completions),
            "seconds": round(time.perf_counter() - started, 2),
        }
        with (self._directory / EXECUTION_LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        return correct / len(verdicts)


def answer(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[Completion]:
    """Answer prompts greedily with a model in training, whose mode is kept."""
    # The engine needs the model itself, not what spreads it over processes.
    model = getattr(model, "module", model)
    is_training = model.training
    model.eval()
    completions: dict[int, Completion] = {}
    try:
        requests = [Request(str(number), prompt) for number, prompt in enumerate(prompts)]
        with ready_to_generate(model) as ready:
            for batch in TransformersEngine.around(ready, tokenizer).generate(requests, Decoding()):
                completions.update((position, found[0]) for position, found in batch)
    finally:
        model.train(is_training)
    return [completions[position] for position in range(len(prompts))]


@contextmanager
def ready_to_generate(model: Any) -> Iterator[Any]:
    """Lend what generates in place of a model in training.

    On a GPU checkpoints are used in bfloat16, and casting float32 weights again for each token takes most of the time.
    So there it is a copy in bfloat16, if memory has room for it and all weights are trained; else the model itself,
    under autocast if its weights are float32.
    """
    if model.device.type != "cuda" or model.dtype != torch.float32:
        yield model
        return
    size = 2 * sum(weights.numel() for weights in model.parameters())
    free, _ = torch.cuda.mem_get_info(model.device)
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    # As much again for keys and values.
    if hasattr(model, "peft_config") or free < 2 * size:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            yield model
        return
    torch.cuda.empty_cache()
    copied = copy_in_bfloat16(model)
    yield copied
    del copied
    torch.cuda.empty_cache()


def copy_in_bfloat16(model: Any) -> Any:
    """Copy a model of transformers, with the attention that generates fastest."""
    with torch.device(model.device):
        copied = AutoModelForCausalLM.from_config(
            copy.deepcopy(model.config), dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    copied.load_state_dict(model.state_dict())
    copied.generation_config = model.generation_config
    use_grouped_attention(copied)
    return copied.eval()
