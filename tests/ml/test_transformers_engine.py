"""The transformers engine on a tiny model: the same answers in any batch, and words where something is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from processes import qsql, started, stop, wait_for

torch = pytest.importorskip("torch")
import safetensors.torch  # noqa: E402
import tiny_model  # noqa: E402 - needs torch
import transformers  # noqa: E402

from qsql import QsqlError, demo  # noqa: E402
from qsql.engines import Decoding, EngineSettings, Request, make_engine  # noqa: E402
from qsql.engines.decoding import sample  # noqa: E402
from qsql.engines.model import ChatTokenizer  # noqa: E402
from qsql.generate import generate  # noqa: E402
from qsql.generate.settings import Settings  # noqa: E402

EXAMPLES = demo.FOLDER / "examples.json"
REQUESTS = [
    Request(f"q{number}", "CREATE TABLE t (a INTEGER); " * (number * 7 % 11) + f"question {number}")
    for number in range(20)
]
GREEDY = Decoding(max_new_tokens=48)
SAMPLING = Decoding(max_new_tokens=24, temperature=0.9, top_p=0.9, samples=3, seed=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of the tiny model."""
    return str(tiny_model.make_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def engine(model):
    engine = make_engine(EngineSettings(model=model))
    yield engine
    engine.close()


def run(engine, requests=REQUESTS, decoding=GREEDY):
    """Completions in the order of the requests, and the sizes of the batches."""
    found, sizes = {}, []
    for batch in engine.generate(requests, decoding):
        sizes.append(len(batch))
        for position, completions in batch:
            assert position not in found
            found[position] = completions
    assert set(found) == set(range(len(requests)))
    return [found[position] for position in range(len(requests))], sizes


def texts(engine, **arguments):
    return [[one.text for one in completions] for completions in run(engine, **arguments)[0]]


def reference(directory, prompt, stops):
    """One prompt by transformers' own `generate`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(
        **inputs, max_new_tokens=GREEDY.max_new_tokens, do_sample=False, eos_token_id=stops, pad_token_id=0
    )
    return ids[0, inputs["input_ids"].shape[1] :].tolist(), tokenizer


def test_batches_answer_as_one_by_one(model, engine):
    found, sizes = run(engine)
    assert sizes == [20]
    stops = engine.describe()["stop_tokens"]
    reasons = set()
    for request, (one,) in zip(REQUESTS, found, strict=True):
        ids, tokenizer = reference(model, request.prompt, stops)
        assert one.text == tokenizer.decode(ids, skip_special_tokens=True)
        assert one.tokens == len(ids)
        assert one.finish_reason == ("stop" if ids[-1] in stops else "length")
        reasons.add(one.finish_reason)
    assert reasons == {"stop", "length"}


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_shared_heads_attend_as_they_do_in_transformers(tmp_path, heads):
    directory = str(tiny_model.make_model(tmp_path, seed=heads, num_key_value_heads=heads))
    engine = make_engine(EngineSettings(model=directory))
    stops = engine.describe()["stop_tokens"]
    for request, (text,) in zip(REQUESTS[:4], texts(engine, requests=REQUESTS[:4]), strict=True):
        ids, tokenizer = reference(directory, request.prompt, stops)
        assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_windows_of_attention_are_kept(tmp_path):
    """A model whose layers differ in what they keep, so that not every layer has room for all."""
    changes = {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 1, "head_dim": 8}
    directory = str(tiny_model.make_model(tmp_path, kind=transformers.Qwen3ForCausalLM, **changes))
    engine = make_engine(EngineSettings(model=directory))
    stops = engine.describe()["stop_tokens"]
    for request, (text,) in zip(REQUESTS[:6], texts(engine, requests=REQUESTS[:6]), strict=True):
        ids, tokenizer = reference(directory, request.prompt, stops)
        assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_prompts_that_go_in_by_columns_answer_the_same(engine, monkeypatch):
    expected = texts(engine)
    monkeypatch.setattr("qsql.engines.decoding.PREFILL_TOKENS", 100)
    assert texts(engine) == expected


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLING], ids=["greedy", "sampling"])
def test_answers_do_not_depend_on_the_batch(model, decoding):
    engines = [
        make_engine(EngineSettings(model=model, batch_tokens=tokens, batch_rows=rows))
        for tokens, rows in ((None, 4096), (2000, 4096), (None, 3), (1, 4096))
    ]
    found = [texts(engine, decoding=decoding) for engine in engines]
    assert found[0] == found[1] == found[2] == found[3]
    assert [len(run(engine)[1]) for engine in engines][2:] == [7, 20]
    assert {len(completions) for completions in found[0]} == {decoding.samples}


def test_samples_differ_by_seed_and_number(engine):
    first = texts(engine, decoding=SAMPLING)
    other = texts(engine, decoding=Decoding(24, 0.9, 0.9, 3, seed=6))
    assert first != other
    assert any(len(set(completions)) == 3 for completions in first)


def test_top_p_keeps_only_the_likeliest(engine):
    """With next to no probability to choose from, sampling is greedy."""
    narrow = Decoding(24, temperature=1.0, top_p=1e-9)
    assert texts(engine, decoding=narrow) == texts(engine, decoding=Decoding(24))


def test_sampled_tokens_have_the_probabilities_of_the_model():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    numbers = (torch.arange(10_000) + 0.5) / 10_000
    for top_p, kept in ((1.0, 4), (0.8, 2)):
        counts = torch.bincount(sample(logits.expand(10_000, -1), 1.0, top_p, numbers), minlength=4) / 10_000
        expected = torch.softmax(logits[0], 0)
        expected[kept:] = 0
        assert torch.allclose(counts, expected / expected.sum(), atol=2e-4)
    # The nucleus is larger than what is looked at first.
    flat = torch.zeros((1000, 1000))
    found = sample(flat, 1.0, 0.9, (torch.arange(1000) + 0.5) / 1000)
    assert len(set(found.tolist())) == pytest.approx(900, abs=1)


def test_memory_that_runs_out_makes_smaller_batches(model, engine, monkeypatch):
    expected = texts(engine)
    tight = make_engine(EngineSettings(model=model))
    forward = tight._model.forward

    def limited(*arguments, **options):
        if len(options["input_ids"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*arguments, **options)

    monkeypatch.setattr(tight._model, "forward", limited)
    found, sizes = run(tight)
    assert [[one.text for one in completions] for completions in found] == expected
    assert max(sizes) <= 6
    # 20, 10, and a batch of more but shorter prompts that has room for as many tokens as 5 of the longest.
    assert tight.memory()["out_of_memory"] == 3


def test_memory_that_never_suffices_is_an_error(engine, monkeypatch):
    def none(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine._model, "forward", none)
    with pytest.raises(QsqlError, match=r"the memory of cpu does not suffice for question `q\d+` alone"):
        run(engine)


def test_prompts_beyond_the_model_get_no_answer(tmp_path):
    directory = str(tiny_model.make_model(tmp_path, max_position_embeddings=120))
    engine = make_engine(EngineSettings(model=directory))
    found, _ = run(engine)
    lengths = [len(ids) for ids in engine._tokenizer.encode([request.prompt for request in REQUESTS])]
    for length, (one,) in zip(lengths, found, strict=True):
        assert (one.finish_reason == "prompt_too_long") == (length + GREEDY.max_new_tokens > 120)
    assert {one.finish_reason for (one,) in found} >= {"prompt_too_long", "length"}


@pytest.mark.timeout(400)  # on a CPU it takes most of a minute to begin
def test_continuous_batching_answers_the_same(model, engine):
    continuous = make_engine(EngineSettings(model=model, batching="continuous"))
    assert texts(continuous, requests=REQUESTS[:6]) == texts(engine, requests=REQUESTS[:6])
    with pytest.raises(QsqlError, match="continuous batching is greedy"):
        run(continuous, decoding=SAMPLING)


def test_turns_end_where_the_template_ends_them(model):
    tokenizer = ChatTokenizer.load(EngineSettings(model=model))
    end = tokenizer._tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.stop_tokens() == sorted({tokenizer._tokenizer.eos_token_id, end})
    (ids,) = ChatTokenizer.load(EngineSettings(model=model, system="Be brief.")).encode(["hello"])
    text = tokenizer._tokenizer.decode(ids)
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


# Several devices


def test_several_processes_answer_as_one(model, engine):
    several = make_engine(EngineSettings(model=model, devices=("cpu", "cpu")))
    try:
        assert texts(several) == texts(engine)
        assert texts(several, decoding=SAMPLING) == texts(engine, decoding=SAMPLING)
        assert several.describe()["devices"] == ["cpu", "cpu"]
        assert several.memory() == {"peak_bytes": {"cpu": None}, "out_of_memory": 0}
    finally:
        several.close()


def test_a_process_that_dies_is_an_error(model):
    several = make_engine(EngineSettings(model=model, devices=("cpu", "cpu")))
    try:
        several._workers[1][1].kill()
        with pytest.raises(QsqlError, match="the process on cpu ended with status -9"):
            run(several)
    finally:
        several.close()


def test_a_device_that_is_not_there_is_an_error(model):
    with pytest.raises(QsqlError, match="cannot load"):
        make_engine(EngineSettings(model=model, devices=("cpu", "cuda:7")))


# What is missing


@pytest.fixture
def no_weights(monkeypatch):
    """Loading weights fails the test: an error must come before."""

    def load(*_, **__):
        pytest.fail("weights were loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", load)


@pytest.mark.usefixtures("no_weights")
def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path):
    directory = tiny_model.make_model(tmp_path)
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(QsqlError, match=r"has no chat template\nhint: .*chat_template\.jinja"):
        make_engine(EngineSettings(model=str(directory)))


@pytest.mark.usefixtures("no_weights")
def test_paths_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(QsqlError, match="there is no model folder"):
        make_engine(EngineSettings(model=str(tmp_path / "nothing")))
    with pytest.raises(QsqlError, match=r"is no model: it has no `config\.json`"):
        make_engine(EngineSettings(model=str(tmp_path)))
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(QsqlError, match="hint: it is an adapter: merge it"):
        make_engine(EngineSettings(model=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(QsqlError, match=r"cannot load .*\nhint: "):
        make_engine(EngineSettings(model=str(tmp_path)))
    with pytest.raises(QsqlError, match="needs a model"):
        make_engine(EngineSettings())


def test_weights_that_are_cut_off_are_an_error(tmp_path):
    directory = tiny_model.make_model(tmp_path)
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(QsqlError, match=r"cannot load .*\nhint: see that its files are whole"):
        make_engine(EngineSettings(model=str(directory)))


def test_weights_that_are_not_there_are_an_error(tmp_path):
    directory = tiny_model.make_model(tmp_path)
    weights = safetensors.torch.load_file(directory / "model.safetensors")
    del weights["model.norm.weight"]
    safetensors.torch.save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QsqlError, match=r"lacks weights: model\.norm\.weight\n"):
        make_engine(EngineSettings(model=str(directory)))


@pytest.mark.parametrize("changes", [{"dtype": "float8"}, {"batching": "random"}, {"batch_tokens": 0}])
def test_settings_that_make_no_sense_are_refused(model, changes):
    with pytest.raises(QsqlError, match=f"{next(iter(changes))} is "):
        make_engine(EngineSettings(model=model, **changes))


def test_a_hub_that_cannot_be_reached_is_named(run_qsql, tmp_path):
    done = run_qsql(
        *(
            "generate",
            "--data",
            EXAMPLES,
            "--tables",
            demo.TABLES,
            "--model",
            "nobody/nothing",
            "--out",
            tmp_path / "run",
        ),
        env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()
    assert message[-2].startswith("error: cannot load `nobody/nothing`: ")
    assert message[-1] == (
        "hint: check the name and the connection to the hub (HF_ENDPOINT, HF_TOKEN), or give a local folder"
    )


# Whole runs


def lines_without_seconds(directory):
    lines = (directory / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def test_a_killed_run_resumed_equals_an_uninterrupted_one(model, tmp_path, run_qsql):
    settings = Settings(EXAMPLES, demo.TABLES, limit=16, engine=EngineSettings(model=model), decoding=GREEDY)
    generate(settings, tmp_path / "whole")
    arguments = [
        *("generate", "--data", EXAMPLES, "--tables", demo.TABLES, "--model", model, "--max-new-tokens", "48"),
        *("--out", tmp_path / "run", "--limit", "16", "batch_rows=2"),
    ]
    predictions = tmp_path / "run" / "predictions.jsonl"
    with started(qsql(*arguments), env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: predictions.exists() and predictions.read_bytes().count(b"\n") >= 4, process)
        stop(process, signal.SIGKILL)
    # A kill in the middle of a line, wherever it really came.
    whole_lines = predictions.read_bytes().splitlines(keepends=True)
    predictions.write_bytes(b"".join(whole_lines[:4]) + whole_lines[4][:30] if len(whole_lines) > 4 else b"")
    done = run_qsql(*arguments)
    assert done.returncode == 0, done.stderr
    same = [lines_without_seconds(tmp_path / name) for name in ("whole", "run")]
    assert same[0] == same[1]
    assert [line["index"] for line in same[1]] == list(range(16))


def test_ctrl_c_keeps_finished_batches_and_says_how_to_go_on(model, tmp_path):
    arguments = [
        *("generate", "--data", EXAMPLES, "--tables", demo.TABLES, "--model", model, "--out", tmp_path / "run"),
        *("batch_rows=1", "max_new_tokens=200"),
    ]
    predictions = tmp_path / "run" / "predictions.jsonl"
    with started(qsql(*arguments), env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: predictions.exists() and predictions.read_bytes().count(b"\n") >= 2, process)
        status, _, said = stop(process, signal.SIGINT)
    assert status == 130
    assert "interrupted; the same command goes on" in said
    kept = predictions.read_text(encoding="utf-8").splitlines()
    assert 2 <= len(kept) < 48
    assert all(json.loads(line)["completion"] is not None for line in kept)


def test_repair_and_votes_run_on_a_model(model, tmp_path, demo_databases):
    engine = EngineSettings(model=model)
    repair = Settings(
        EXAMPLES,
        demo.TABLES,
        demo_databases,
        limit=4,
        engine=engine,
        decoding=Decoding(16),
        repair=True,
        repair_samples=2,
    )
    found = generate(repair, tmp_path / "repair")
    # Random weights write no SQL, so that every question is sampled for.
    assert found.outcome["repair"]["completions"] == 8
    assert found.outcome["repair"]["tokens"] > 0
    votes = Settings(
        EXAMPLES,
        demo.TABLES,
        demo_databases,
        limit=4,
        engine=engine,
        decoding=Decoding(16, 0.7, 0.95, 3),
        self_consistency=3,
    )
    found = generate(votes, tmp_path / "votes")
    assert {len(line["samples"]) for line in found.predictions} == {3}
    assert (
        json.loads((tmp_path / "votes" / "run.json").read_text(encoding="utf-8"))["generation"]["engine"]["dtype"]
        == "float32"
    )
