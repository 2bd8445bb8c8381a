"""A data set and a model with random weights that train in a minute on a CPU, from the demo that comes with qsql.

`python benches/tiny_training.py [FOLDER]` writes FOLDER/databases, FOLDER/data and FOLDER/model as
`configs/train/tiny_cpu.yaml` expects them in `qsql-tiny`, the default. Nothing is downloaded: the tokenizer is trained
on the data.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from qsql import demo, results
from qsql.data import read_examples
from qsql.prompt import build_prompt

VALIDATION_EVERY = 6
"""Each sixth question is for validation."""
VOCABULARY = 2048
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_data(folder: Path, databases: Path) -> list[dict[str, str]]:
    """Write the demo questions as a prepared data set; returns its examples."""
    schemas = {}
    for path in sorted(databases.glob("*")):
        with closing(sqlite3.connect(path / f"{path.name}.sqlite")) as connection:
            rows = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL")
            schemas[path.name] = "\n".join(f"{sql};" for (sql,) in rows)
    parts: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
    for number, example in enumerate(read_examples(demo.FOLDER / "examples.json")):
        schema, question = schemas[example.db_id], example.question or ""
        parts["validation" if number % VALIDATION_EVERY == 0 else "train"].append(
            {
                "instruction": build_prompt(schema, question),
                "input": "",
                "output": example.query,
                "id": example.id,
                "db_id": example.db_id,
                "question": question,
                "schema": schema,
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    for name, examples in parts.items():
        results.write_json(folder / f"{name}.json", examples)
    info = {name: {"file_name": f"{name}.json", "columns": columns} for name in parts}
    results.write_json(folder / "dataset_info.json", info)
    outputs = {f"{name}.json": results.sha256(folder / f"{name}.json") for name in parts}
    results.write_json(folder / "report.json", {"outputs": outputs})
    return parts["train"]


def write_model(folder: Path, texts: list[str]) -> None:
    """Write a two-layer Qwen3 with random weights, and a tokenizer trained on `texts`."""
    import torch  # noqa: PLC0415 - heavy
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "qsql-tiny")
    databases = demo.build(folder / "databases")
    examples = write_data(folder / "data", databases)
    write_model(folder / "model", [json.dumps(example, ensure_ascii=False) for example in examples])
    print(f"{folder}: {len(examples)} training examples, a model with random weights")


if __name__ == "__main__":
    main()
