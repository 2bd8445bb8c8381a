"""The best checkpoint by what matters: execution accuracy on a fixed validation sample, at each evaluation."""

from __future__ import annotations

import json
import math
import random
import time
from typing import TYPE_CHECKING, Any

import torch.distributed
from transformers import TrainerCallback

from qsql._core import QsqlError, Scorer
from qsql.engines import Completion, Decoding, Request
from qsql.engines.model import ChatTokenizer
from qsql.engines.transformers import TransformersEngine
from qsql.prompt import extract_sql
from qsql.train.inference_copy import ready_to_generate
from qsql.train.padding_free import IGNORED
from qsql.training_log import ANSWERS_DIRECTORY, EXECUTION_LOG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qsql.train.dataset import Part

METRIC = "eval_execution"
SAMPLE_SEED = 0
TIE = 1e-9
"""Accuracies that differ by less are those of as many right answers."""
MAX_STEPS = 100_000_000
"""SQLite instructions for one query, so that a bad checkpoint does not hold up training."""


def draw_sample(parts: Sequence[Part], count: int) -> list[dict[str, Any]]:
    """Draw `count` validation examples, the same ones in each run.

    Returns:
        Their `instruction`, `output` and `db_id`, and `id` if they have one.
    """
    examples = [
        {"id": example.get("id"), "db_id": example["db_id"]}
        | {"instruction": part.instruction(example), "output": example[part.response]}
        for part in parts
        for example in part.examples
    ]
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
        cutoff: int | None = None,
    ) -> None:
        """Prepare scoring.

        Args:
            run_directory: Gets the results.
            sample: Examples with `instruction`, `output` and `db_id`.
            database_dir: Folder of `<db_id>/<db_id>.sqlite`.
            tables: Spider's tables.json, if there is one.
            training_prompts: Of the training set, to compare the templates.
            cutoff: Tokens at which training examples were cut off, if they were.

        Raises:
            QsqlError: If a database is missing or a gold of the sample fails.
        """
        self._directory = run_directory
        self._sample = list(sample)
        self._scorer = Scorer(database_dir, tables, max_steps=MAX_STEPS)
        self._training_prompts = list(training_prompts)
        self._cutoff = cutoff
        self._ended = False
        golds = [example["output"] for example in self._sample]
        verdicts = self._scorer.score(golds, golds, self._db_ids, etype="exec")
        for example, verdict in zip(self._sample, verdicts, strict=True):
            if verdict.state == "gold_error":
                raise QsqlError(
                    f"the SQL of validation example `{example.get('id') or '?'}` fails: {verdict.detail}\n"
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
        example = next((example for example in train_dataloader.dataset if self._has_whole_prompt(example)), None)
        if example is None:
            return
        length = next(index for index, label in enumerate(example["labels"]) if label != IGNORED)
        trained = example["input_ids"][:length]
        chat_tokenizer = ChatTokenizer(str(model.config.name_or_path), model.config, processing_class)
        known = {tuple(tokens) for tokens in chat_tokenizer.encode(self._training_prompts)}
        if tuple(trained) not in known:
            chat = processing_class.decode(min(known, key=lambda tokens: abs(len(tokens) - length)))
            raise QsqlError(
                "LLaMA-Factory's template and the chat template of the tokenizer differ: training begins with "
                f"{processing_class.decode(trained)[:120]!r}, generation with {chat[:120]!r}\n"
                "hint: set `template`, or `default_system` to the system text of the chat template"
            )

    def _has_whole_prompt(self, example: Mapping[str, Any]) -> bool:
        """Whether it begins with a prompt and nothing else. With `train_on_prompt`, none is told from its answer."""
        is_cut = self._cutoff is not None and len(example["input_ids"]) >= self._cutoff
        return example["labels"][0] == IGNORED and not is_cut

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
        started = time.perf_counter()
        completions = answer(model, processing_class, [example["instruction"] for example in self._sample])
        values = [math.nan]
        if state.is_world_process_zero:
            values[0] = self._measure(state.global_step, completions, started)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(values, src=0)
        state.log_history.append({"step": state.global_step, METRIC: values[0]})
        metrics[METRIC] = break_tie(values[0], state)

    def _measure(self, step: int, completions: Sequence[Completion], started: float) -> float:
        predictions = [extract_sql(completion.text) for completion in completions]
        golds = [example["output"] for example in self._sample]
        verdicts = self._scorer.score(golds, predictions, self._db_ids, etype="exec")
        correct = sum(verdict.execution is True for verdict in verdicts)
        lines = [
            {"id": example.get("id"), "db_id": example["db_id"], "sql": sql, "gold": example["output"]}
            | {"completion": completion.text, "execution": verdict.execution, "state": verdict.state}
            for example, sql, completion, verdict in zip(self._sample, predictions, completions, verdicts, strict=True)
        ]
        folder = self._directory / ANSWERS_DIRECTORY
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


def break_tie(accuracy: float, state: Any) -> float:
    """Let the checkpoint with less loss be the best of those with as many right answers.

    Args:
        accuracy: Of the checkpoint at hand.
        state: The trainer's, with the losses of this evaluation in its log.

    Returns:
        The accuracy; if it ties with that of the best checkpoint so far and wins, the next larger number than that,
        since the trainer takes no other for better.
    """
    best = state.best_metric
    if best is None or abs(accuracy - best) > TIE:
        return accuracy
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    loss, least = losses.get(state.global_step), losses.get(state.best_global_step)
    wins = loss is not None and least is not None and loss < least
    return math.nextafter(max(accuracy, best), math.inf) if wins else accuracy


def answer(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[Completion]:
    """Answer prompts greedily with a model in training, whose mode is kept.

    Where several processes train it, all of them must call this; each answers a part, and gets all answers.
    """
    # What generates needs the model itself, not what keeps its copies in step.
    model = getattr(model, "module", model)
    is_training = model.training
    model.eval()
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, ranks = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if together else (0, 1)
    try:
        with ready_to_generate(model) as ready:
            found = _complete(ready, tokenizer, prompts[rank::ranks])
    finally:
        model.train(is_training)
    if not together:
        return found
    parts: list[list[Completion]] = [[] for _ in range(ranks)]
    torch.distributed.all_gather_object(parts, found)
    return [parts[position % ranks][position // ranks] for position in range(len(prompts))]


def _complete(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[Completion]:
    requests = [Request(str(number), prompt) for number, prompt in enumerate(prompts)]
    completions: dict[int, Completion] = {}
    if requests:
        for batch in TransformersEngine.around(model, tokenizer).generate(requests, Decoding()):
            completions.update((position, found[0]) for position, found in batch)
    return [completions[position] for position in range(len(prompts))]
