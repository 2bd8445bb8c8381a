"""What `qsql train` works out and checks before it starts, without torch and without a GPU."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from qsql import QsqlError
from qsql.machine import Gpu, visible_gpus
from qsql.train.arguments import known_arguments, known_templates
from qsql.train.environment import require_packages, require_signals
from qsql.train.launch import command, variables
from qsql.train.memory import QWEN3_4B
from qsql.train.plan import Options, make_plan, record, write_plan

CONFIGS = Path(__file__).parent.parent / "configs" / "train"
SHIPPED = sorted(path.name for path in CONFIGS.glob("*.yaml"))
SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def data(tmp_path):
    """A prepared data set of eight examples for training and two for validation."""
    folder = tmp_path / "data"
    folder.mkdir()
    outputs = {}
    for name, count in (("train", 8), ("validation", 2)):
        rows = [
            {"instruction": f"question {number}", "input": "", "output": "SELECT 1", "id": str(number), "db_id": "d"}
            for number in range(count)
        ]
        text = json.dumps(rows)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        outputs[f"{name}.json"] = hashlib.sha256(text.encode()).hexdigest()
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    info = {name: {"file_name": f"{name}.json", "columns": columns} for name in ("train", "validation")}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps({"outputs": outputs}), encoding="utf-8")
    return folder


@pytest.fixture
def model(tmp_path):
    """A model folder with the files that are looked for, and nothing in the weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {**SHAPE, "vocab_size": 100, "model_type": "qwen3", "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def plan(data, model, tmp_path):
    """Plan a shipped configuration on the small data set."""

    def make(*overrides, config="tiny_cpu.yaml", options=None):
        places = [f"dataset_dir={data}", f"model_name_or_path={model}", f"output_dir={tmp_path / 'run'}"]
        return make_plan(CONFIGS / config, [*places, *overrides], options)

    return make


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_configuration_is_resolved(data, name, model, tmp_path):
    local = [] if "qwen3_" in name else [f"model_name_or_path={model}"]
    plan = make_plan(CONFIGS / name, [f"dataset_dir={data}", f"output_dir={tmp_path / 'run'}", *local])
    assert plan.memory
    assert plan.steps >= 1
    assert [part.name for part in plan.train + plan.validation] == ["train", "validation"]
    assert all(part.verified for part in plan.train + plan.validation)
    assert plan.config.values["load_best_model_at_end"] is True


def test_the_header_of_a_configuration_has_its_command_and_its_memory():
    for name in SHIPPED:
        text = (CONFIGS / name).read_text(encoding="utf-8")
        header = text.partition("\n\n")[0]
        assert f"qsql train configs/train/{name}" in header, name
        assert "emory: " in header, name
        assert "core" in header, name


def test_the_card_recipe_is_the_cards(data):
    values = make_plan(CONFIGS / "qwen3_4b_sft.yaml", [f"dataset_dir={data}"]).config.values
    recipe = {
        "model_name_or_path": "Qwen/Qwen3-4B-Base",
        "stage": "sft",
        "finetuning_type": "full",
        "template": "qwen3_nothink",
        "cutoff_len": 2048,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 300,
        "num_train_epochs": 4.0,
        "bf16": True,
    }
    assert recipe.items() <= values.items()


def test_the_fast_recipe_differs_only_in_how_a_step_is_computed(data):
    card, fast = (
        make_plan(CONFIGS / name, [f"dataset_dir={data}"]) for name in ("qwen3_4b_sft.yaml", "qwen3_4b_sft_fast.yaml")
    )
    assert not card.padding_free
    assert fast.padding_free
    assert card.examples_per_step == fast.examples_per_step == 8
    differing = {
        key
        for key in card.config.values.keys() | fast.config.values.keys()
        if card.config.values.get(key) != fast.config.values.get(key)
    }
    batching = {"per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_num_workers"}
    waiting = {"accelerator_config", "logging_nan_inf_filter"}
    assert differing == batching | waiting | {"optim", "output_dir"}


def test_the_dry_run_starts_and_writes_nothing(run_qsql, data, tmp_path):
    code = "import sys; sys.modules.update(torch=None, transformers=None, llamafactory=None); import runpy; "
    code += "sys.argv[0] = 'qsql'; runpy.run_module('qsql', run_name='__main__')"
    out = tmp_path / "run"
    done = run_qsql(
        "train", CONFIGS / "qwen3_4b_sft.yaml", f"dataset_dir={data}", f"output_dir={out}", "--dry-run", code=code
    )
    assert done.returncode == 0, done.stderr
    assert "learning_rate: 5.0e-06\n" in done.stdout
    assert "4.02 billion weights" in done.stderr
    assert "weights 15.0 GiB" in done.stderr
    assert "optimizer 30.0 GiB" in done.stderr
    assert not out.exists()


@pytest.fixture
def run_qsql():
    import os  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    def run(*arguments, code):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})

    return run


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["template=qwen3_nothing"], "has no template `qwen3_nothing`\nhint: did you mean `qwen3_nothink`?"),
        (["dataset=trian"], "has no data set `trian`\nhint: did you mean `train`?"),
        (["dataset_dir=nowhere"], "there is no folder `nowhere`"),
        (["model_name_or_path=./nowhere"], "there is no folder `./nowhere`"),
        (["stage=dpo"], "is no fine-tuning"),
        (["save_steps=7"], "save_steps (7) is no multiple of eval_steps (5)"),
        (["eval_strategy=no"], "eval_strategy is no, save_strategy steps"),
        (["eval_dataset="], "the best checkpoint cannot be found without examples"),
        (["metric_for_best_model=eval_execution"], "add `--select execution --db DIR`"),
    ],
)
def test_what_cannot_work_is_said_before_the_start(plan, overrides, message):
    with pytest.raises(QsqlError) as error:
        plan(*overrides)
    assert message in str(error.value)
    assert "\nhint: " in str(error.value)


def test_a_changed_data_file_is_found_by_its_hash(plan, data):
    path = data / "train.json"
    path.write_text(path.read_text(encoding="utf-8").replace("SELECT 1", "SELECT 2"), encoding="utf-8")
    with pytest.raises(QsqlError, match=r"train.json` is not the file that was prepared"):
        plan()


def test_an_example_without_sql_is_named(plan, data):
    rows = json.loads((data / "validation.json").read_text(encoding="utf-8"))
    rows[1]["output"] = " "
    (data / "validation.json").write_text(json.dumps(rows), encoding="utf-8")
    (data / "report.json").unlink()
    with pytest.raises(QsqlError, match=r"validation.json` entry 2 has no `output`"):
        plan()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_model_is_found(plan, model, missing):
    (model / missing).unlink()
    with pytest.raises(QsqlError, match=r"`.*model` (is no model|has no tokenizer|has no weights)"):
        plan()


def test_selection_by_execution_needs_databases_and_goes_into_the_configuration(plan, tmp_path):
    with pytest.raises(QsqlError, match="`--select execution` runs the queries"):
        plan(options=Options(select="execution"))
    options = Options(select="execution", database_dir=tmp_path)
    with pytest.raises(QsqlError, match=r"asks about `d`, and there is no .*d\.sqlite"):
        plan(options=options)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "d.sqlite").touch()
    with pytest.raises(QsqlError, match=r"one sample from all of `eval_dataset`\nhint: leave out"):
        plan("eval_on_each_dataset=true", options=options)
    values = plan(options=options).config.values
    assert (values["metric_for_best_model"], values["greater_is_better"]) == ("eval_execution", True)
    fsdp2 = f"fsdp_config={CONFIGS.parent / 'fsdp' / 'qwen3.json'}"
    assert plan("fsdp=full_shard auto_wrap", fsdp2, options=options).options.select == "execution"
    assert plan(f"deepspeed={CONFIGS.parent / 'deepspeed' / 'zero2.json'}", options=options)
    for divided, reason in [
        (["fsdp=full_shard auto_wrap"], "only FSDP 2"),
        (["fsdp=full_shard auto_wrap offload", fsdp2], "not on the GPUs"),
        (["fsdp=full_shard auto_wrap", fsdp2, "finetuning_type=lora"], "an adapter"),
        ([f"deepspeed={CONFIGS.parent / 'deepspeed' / 'zero3.json'}"], "DeepSpeed divides its weights"),
    ]:
        with pytest.raises(QsqlError, match=rf"{reason}.*\nhint: use `--select loss`"):
            plan(*divided, options=options)


def test_what_fsdp_gathers_is_in_the_estimate(plan):
    fsdp = ["fsdp=full_shard auto_wrap", "bf16=true", "model_name_or_path=Qwen/Qwen3-4B-Base"]
    copies = [
        plan(*fsdp, f"fsdp_config={CONFIGS.parent / 'fsdp' / file}", options=Options(layers_together=together)).memory[
            "bf16 copies of weights"
        ]
        for file, together in [("qwen3.json", 1), ("qwen3.json", 4), ("qwen3_shard_grad_op.json", 1)]
    ]
    weights = 2 * QWEN3_4B.parameters
    # One at work and one on its way.
    assert copies == [2 * weights // 36, 8 * weights // 36, weights]
    with pytest.raises(QsqlError, match="cannot read"):
        plan(*fsdp, "fsdp_config=nowhere.json")


def test_fsdp_leaves_a_whole_model_unless_told_otherwise(plan, tmp_path, monkeypatch):
    monkeypatch.delenv("FSDP_STATE_DICT_TYPE", raising=False)
    config = tmp_path / "fsdp.json"
    fsdp = ["fsdp=full_shard auto_wrap", f"fsdp_config={config}"]
    config.write_text('{"version": 2}')
    assert variables(plan(*fsdp))["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
    for key in ("state_dict_type", "fsdp_state_dict_type"):
        config.write_text(json.dumps({"version": 2, key: "SHARDED_STATE_DICT"}))
        assert variables(plan(*fsdp))["FSDP_STATE_DICT_TYPE"] == "SHARDED_STATE_DICT"
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
    assert variables(plan(*fsdp))["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
    monkeypatch.delenv("FSDP_STATE_DICT_TYPE")
    assert "FSDP_STATE_DICT_TYPE" not in variables(plan())


def test_padding_free_batches_are_chosen_where_they_gain(plan):
    assert not plan().padding_free
    assert plan("per_device_train_batch_size=8").padding_free
    assert not plan("per_device_train_batch_size=8", options=Options(padding_free=False)).padding_free
    assert not plan("per_device_train_batch_size=8", "packing=true").padding_free
    with pytest.raises(QsqlError, match="does not go together with `packing`"):
        plan("packing=true", options=Options(padding_free=True))
    assert not plan("per_device_train_batch_size=8", "streaming=true").padding_free
    with pytest.raises(QsqlError, match="does not go together with `dispatch_batches`"):
        plan("accelerator_config={dispatch_batches: true}", options=Options(padding_free=True))


def test_only_models_that_keep_examples_apart_get_them_in_one_row(plan, model):
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"model_type": "mistral"}), encoding="utf-8")
    assert not plan("per_device_train_batch_size=8").padding_free
    # Asked for, it is tried, and refused there with a hint.
    assert plan("per_device_train_batch_size=8", options=Options(padding_free=True)).padding_free


def test_steps_are_those_of_the_trainer(plan):
    assert plan().steps == 4
    assert plan("per_device_train_batch_size=3", "gradient_accumulation_steps=1").steps == 12
    assert plan("max_steps=7").steps == 7
    one_by_one = ("per_device_train_batch_size=1", "gradient_accumulation_steps=1", "num_train_epochs=1")
    assert plan(*one_by_one).steps == 8
    # Of each data set, and then of all.
    assert plan(*one_by_one, "dataset=train,validation", "max_samples=3").steps == 5
    assert plan(*one_by_one, "val_size=3").steps == 5
    assert plan(*one_by_one, "val_size=0.3").steps == 5


def test_a_prompt_is_what_llamafactory_makes_of_the_columns(plan, data):
    rows = [{"ask": "a", "context": "b", "sql": "SELECT 1"}, {"ask": "a", "context": "", "sql": "SELECT 1"}]
    (data / "more.json").write_text(json.dumps(rows), encoding="utf-8")
    path = data / "dataset_info.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    columns = {"prompt": "ask", "query": "context", "response": "sql"}
    for name, named in {"whole": columns, "without": {"prompt": "ask", "response": "sql"}}.items():
        info[name] = {"file_name": "more.json", "columns": named}
    path.write_text(json.dumps(info), encoding="utf-8")
    whole, without = plan("dataset=whole,without").train
    assert [whole.instruction(example) for example in whole.examples] == ["a\nb", "a"]
    assert [without.instruction(example) for example in without.examples] == ["a", "a"]


def test_an_earlier_run_is_neither_overwritten_nor_resumed_by_itself(plan, tmp_path):
    with pytest.raises(QsqlError, match="has no checkpoint to go on from"):
        plan(options=Options(resume=True))
    for step in (5, 10, 15):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        # The last one was cut off while it was written.
        (folder / "trainer_state.json").write_text("{}" if step < 15 else '{"ste', encoding="utf-8")
    with pytest.raises(QsqlError, match="holds an earlier run\nhint: `--resume`"):
        plan()
    resumed = plan(options=Options(resume=True))
    assert resumed.resume_from == tmp_path / "run" / "checkpoint-10"
    assert f"resume_from_checkpoint: {resumed.resume_from}" in write_plan(resumed, ["qsql"]).read_text(encoding="utf-8")


def test_a_run_is_resumed_by_the_metric_it_began_with_and_not_after_its_end(plan, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoint-10"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    steps = plan(options=Options(resume=True)).steps
    path = tmp_path / "run" / "run.json"

    def resume(**training):
        path.write_text(json.dumps({"training": training}))
        return plan(options=Options(resume=True))

    same = plan(options=Options(resume=True)).config.values.get("metric_for_best_model")
    with pytest.raises(QsqlError, match=r"by eval_execution, and now .*\nhint: resume with the same `--select`"):
        resume(config={"metric_for_best_model": "eval_execution"})
    with pytest.raises(QsqlError, match=rf"has ended, at step {steps:,}"):
        resume(config={"metric_for_best_model": same}, outcome={"steps": steps})
    assert resume(config={"metric_for_best_model": same}, outcome={"steps": steps - 1}).resume_from == checkpoint


@pytest.mark.parametrize(
    "name", ["train.yaml", "train.log", "steps.jsonl", "trainer_log.jsonl", "curves.png", "run.json"]
)
def test_files_of_something_else_are_not_overwritten(plan, tmp_path, name):
    out = tmp_path / "run"
    out.mkdir()
    (out / name).write_text("mine: 1\n" if name != "run.json" else '{"mine": 1}', encoding="utf-8")
    with pytest.raises(QsqlError, match=rf"{name}` .*\nhint: name another run directory"):
        plan()
    assert "mine" in (out / name).read_text(encoding="utf-8")
    write_plan(plan("overwrite_output_dir=true"), [])
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["training"]["steps"] > 0
    # What a run has left that came to nothing is its own.
    write_plan(plan(), [])


def test_a_training_run_does_not_join_an_evaluation(plan, tmp_path):
    (tmp_path / "run").mkdir()
    record = json.dumps({"schema_version": 1, "evaluation": {}})
    (tmp_path / "run" / "run.json").write_text(record, encoding="utf-8")
    (tmp_path / "run" / "train.log").write_text("mine", encoding="utf-8")
    with pytest.raises(QsqlError, match=r"train\.log` exists"):
        plan()


def test_what_a_run_reads_is_not_where_it_writes(plan, data, model, tmp_path):
    for folder in (data, model):
        for overwrite in ("false", "true"):
            with pytest.raises(QsqlError, match=r"output_dir is .* which is read, and would be written over\nhint: "):
                plan(f"output_dir={folder}", f"overwrite_output_dir={overwrite}")
    (tmp_path / "link").symlink_to(model, target_is_directory=True)
    with pytest.raises(QsqlError, match="which is read"):
        plan(f"output_dir={tmp_path / 'link'}")
    # The configuration of a run has the name that is given to what is resolved of it.
    config = tmp_path / "own" / "train.yaml"
    config.parent.mkdir()
    config.write_bytes((CONFIGS / "tiny_cpu.yaml").read_bytes())
    for overwrite in ("false", "true"):
        with pytest.raises(QsqlError, match=r"train\.yaml` (exists|is read)"):
            plan(f"output_dir={config.parent}", f"overwrite_output_dir={overwrite}", config=config)
    # That of an earlier run is read to do it again.
    write_plan(plan(), [])
    write_plan(plan(config=tmp_path / "run" / "train.yaml"), [])


def test_a_checkpoint_that_was_cut_off_is_named(plan, tmp_path):
    folder = tmp_path / "run" / "checkpoint-5"
    folder.mkdir(parents=True)
    with pytest.raises(QsqlError, match=r"without a whole checkpoint\nhint: delete `.*checkpoint-5`"):
        plan()
    with pytest.raises(
        QsqlError, match=r"no checkpoint to go on from\nhint: delete `.*checkpoint-5`.* leave out `--res"
    ):
        plan(options=Options(resume=True))
    assert plan("overwrite_output_dir=true").resume_from is None
    folder.rename(folder.with_name("checkpoint-notes"))
    (folder.parent / "checkpoint-7").touch()
    assert plan().resume_from is None


def test_fsdp_2_is_planned_as_it_works(plan, tmp_path):
    whole = (
        "fsdp=full_shard auto_wrap",
        "fsdp_config={version: 2, transformer_layer_cls_to_wrap: [Qwen3DecoderLayer], reshard_after_forward: 'false'}",
    )
    assert plan(*whole).config.values["use_reentrant_gc"] is False
    assert plan(*whole, "use_reentrant_gc=true").config.values["use_reentrant_gc"] is True
    assert "use_reentrant_gc" not in plan("fsdp=full_shard auto_wrap", "fsdp_config={version: 1}").config.values
    gpus = [Gpu(index, "a GPU", 2**40, 0) for index in range(2)]
    for count, refused in {0: True, 1: True, 2: False}.items():
        problems = dataclasses.replace(plan(*whole), gpus=gpus[:count]).problems()
        assert any("FSDP divides a model among several GPUs" in problem for problem in problems) is refused
    folder = tmp_path / "run" / "checkpoint-5"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}", encoding="utf-8")
    resume = Options(resume=True)
    assert plan(*whole, options=resume).resume_from == folder
    with pytest.raises(QsqlError, match="do not give the optimizer its state back"):
        plan(whole[0], "fsdp_config={version: 2, state_dict_type: SHARDED_STATE_DICT}", options=resume)


def test_the_run_record_says_how_to_do_it_again(plan, tmp_path):
    resolved = plan("learning_rate=1e-3")
    path = write_plan(resolved, ["qsql", "train"])
    assert make_plan(path).config.values == resolved.config.values
    written = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["training"]
    assert written["argv"] == ["qsql", "train"]
    assert written["config"]["learning_rate"] == 1e-3
    assert written["data"]["train"]["examples"] == 8
    assert len(written["data"]["train"]["sha256"]) == 64
    assert written["memory_estimate"].keys() >= {"weights", "gradients", "optimizer", "activations", "logits"}
    assert record(resolved, [])["versions"]["qsql"]


def test_problems_of_the_machine_have_hints(plan, monkeypatch):
    monkeypatch.setattr("qsql.train.plan.visible_gpus", list)
    assert plan().problems() == []
    assert plan("use_cpu=false").problems() == ["there is no GPU\nhint: set use_cpu=true to train on the CPU"]
    monkeypatch.setattr("qsql.train.plan.free_disk", lambda _: 10)
    assert plan().problems()[0].startswith("checkpoints need about")


def test_gpus_are_those_that_are_visible(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\necho '0, Big GPU, 81559, 12, GPU-a'\necho '1, Big GPU, 81559, 0, GPU-b'\n", encoding="utf-8"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [(gpu.index, gpu.name, gpu.memory >> 20, gpu.used >> 20) for gpu in visible_gpus()] == [
        (0, "Big GPU", 81559, 12),
        (1, "Big GPU", 81559, 0),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    assert [gpu.index for gpu in visible_gpus()] == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_missing_and_refused_packages_have_the_line_to_type(monkeypatch):
    monkeypatch.delenv("DISABLE_VERSION_CHECK", raising=False)
    versions = dict.fromkeys(("llamafactory", "torch"), "1.0") | {"transformers": "5.6.0"}
    require_packages(versions)
    with pytest.raises(QsqlError, match=r"not installed: llamafactory\nhint: pip install 'qsql-lab\[train\]'"):
        require_packages(versions | {"llamafactory": None})
    with pytest.raises(QsqlError, match=r"refuses transformers 5.17.0\nhint: pip install 'transformers"):
        require_packages(versions | {"transformers": "5.17.0"})
    with pytest.raises(QsqlError, match=r"needs transformers 5, and 4.57.6 is installed\nhint: pip install"):
        require_packages(versions | {"transformers": "4.57.6"})
    with pytest.raises(QsqlError, match=r"DeepSpeed, which is not installed\nhint: pip install deepspeed"):
        require_packages(versions | {"deepspeed": None})
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    require_packages(versions | {"transformers": "5.17.0"})


def test_deepspeed_is_looked_for_and_started_by_torchrun_on_one_gpu_too(plan):
    file = CONFIGS.parent / "deepspeed" / "zero2.json"
    divided, alone = plan(f"deepspeed={file}"), plan()
    assert "deepspeed" in divided.versions
    assert "deepspeed" not in alone.versions
    assert " -m torch.distributed.run --standalone --nproc-per-node=1 -m " in " ".join(command(divided))
    assert "torch.distributed.run" not in command(alone)


def test_training_asks_for_a_system_with_signals():
    require_signals("posix")
    with pytest.raises(QsqlError, match="training does not run on Windows itself\nhint: use WSL"):
        require_signals("nt")


def test_the_arguments_are_those_of_llamafactory():
    arguments = known_arguments()
    assert len(arguments) > 300
    assert arguments["learning_rate"].kinds == {"float"}
    assert "full" in arguments["finetuning_type"].choices
    assert "qwen3_nothink" in known_templates()


@pytest.mark.parametrize(
    "override",
    [
        *(
            "per_device_train_batch_size=0",
            "gradient_accumulation_steps=0",
            "cutoff_len=-1",
            "lora_rank=0",
            "save_steps=0",
        ),
        *(
            "num_train_epochs=.nan",
            "num_train_epochs=.inf",
            "num_train_epochs=1e308",
            "num_train_epochs=-1",
            "val_size=.nan",
        ),
        *("val_size=.inf", "val_size=-1", "max_samples=0", "per_device_train_batch_size=null", "cutoff_len=null"),
        *("save_steps=null", "num_train_epochs=null", "save_total_limit=-1", f"cutoff_len={10**30}"),
    ],
)
def test_numbers_that_nothing_can_be_calculated_with_are_refused(plan, override):
    key = override.partition("=")[0]
    with pytest.raises(
        QsqlError, match=rf"override `{re.escape(override)}`: `{key}` is .*\nhint: it is .*, and at most"
    ):
        plan(override)
