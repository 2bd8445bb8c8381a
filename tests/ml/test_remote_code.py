"""Models that come with code: it runs only where an option says so, whatever is typed, and pickles run none either."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT

torch = pytest.importorskip("torch")
import tiny_model  # noqa: E402 - needs torch

sys.path.insert(0, str(ROOT / "tests"))
from hub_server import HubServer  # noqa: E402

from qsql import QsqlError, demo  # noqa: E402
from qsql.engines import Decoding, EngineSettings  # noqa: E402
from qsql.generate.ask import ask  # noqa: E402
from qsql.train.inference_copy import copy_whole  # noqa: E402

MARKING = "import os, pathlib; pathlib.Path(os.environ['MARK']).write_text('ran')\n"
CONFIGURATION = f"""{MARKING}
from transformers import LlamaConfig
class OwnConfig(LlamaConfig):
    model_type = "own"
"""
MODEL = f"""{MARKING}
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
KNOWN_MODEL = f"""{MARKING}
from transformers import LlamaForCausalLM
class OwnModel(LlamaForCausalLM):
    pass
"""
TOKENIZER = f"""{MARKING}
from transformers import PreTrainedTokenizerFast
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
GENERATE = f"""{MARKING}
def generate(model, *arguments, **options):
    return model.generate(*arguments, **options)
"""


def change(path, **values):
    found = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**found, **values}))


def own_model(folder):
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    (folder / "modeling_own.py").write_text(MODEL)
    classes = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    change(folder / "config.json", model_type="own", auto_map=classes, architectures=["OwnModel"])


def own_code_for_a_known_model(folder):
    (folder / "modeling_own.py").write_text(KNOWN_MODEL)
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.OwnModel"})


def own_tokenizer(folder):
    (folder / "tokenization_own.py").write_text(TOKENIZER)
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": ["tokenization_own.OwnTokenizer", "tokenization_own.OwnTokenizer"]},
    )


def own_generation(folder):
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(GENERATE)
    change(folder / "generation_config.json", custom_generate=str(folder))


def own_processor(folder):
    (folder / "processing_own.py").write_text(MARKING)
    for name in ("processor_config.json", "preprocessor_config.json"):
        change(folder / name, auto_map={"AutoProcessor": "processing_own.OwnProcessor"}, processor_class="OwnProcessor")


def code_elsewhere(folder):
    """Code in another repository, which a name before two dashes says."""
    own_model(folder)
    change(folder / "config.json", auto_map={"AutoConfig": "some/other--configuration_own.OwnConfig"})


def kernel(folder):
    change(folder / "config.json", attn_implementation="some/kernel")


class Bomb:
    def __reduce__(self):
        return exec, (MARKING,)


def pickled_weights(folder):
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"lm_head.weight": Bomb()}, file)


def pickled_weights_of_torch(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Bomb()}, folder / "pytorch_model.bin")


KINDS = [
    own_model, own_code_for_a_known_model, own_tokenizer, own_generation, own_processor, code_elsewhere, kernel,
    pickled_weights, pickled_weights_of_torch,
]  # fmt: skip
HARMLESS = {own_code_for_a_known_model, own_generation, own_processor}
"""Models that can be used without their code."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_model.make_model(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that code leaves behind. Whatever is asked on standard input is answered with yes."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    return tmp_path / "mark"


@pytest.fixture
def database(tmp_path):
    return demo.build(tmp_path / "databases") / "seed_bank" / "seed_bank.sqlite"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def hostile(request, plain, tmp_path):
    folder = tmp_path / request.param.__name__
    shutil.copytree(plain, folder)
    request.param(folder)
    return request.param, folder


def test_no_code_of_a_model_runs(hostile, mark, database):
    kind, folder = hostile
    settings, decoding = EngineSettings(model=str(folder), devices=("cpu",)), Decoding(4)
    if kind in HARMLESS:
        ask(database, "How many?", settings, decoding)
    else:
        with pytest.raises(QsqlError, match=r"\nhint: ") as error:
            ask(database, "How many?", settings, decoding)
        if kind not in {pickled_weights, pickled_weights_of_torch}:
            assert "--trust-remote-code" in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("kind", [own_model, own_tokenizer])
def test_code_runs_where_an_option_says_so(kind, plain, mark, database, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "own")
    kind(folder)
    ask(database, "How many?", EngineSettings(model=str(folder), devices=("cpu",), trust_remote_code=True), Decoding(4))
    assert mark.exists()


def test_saying_yes_on_standard_input_runs_no_code(plain, mark, database, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "own")
    own_model(folder)
    command = [sys.executable, "-m", "qsql", "ask", "How many?", "--db", database, "--model", folder]
    done = subprocess.run(
        list(map(str, command)),
        input="y\ny\ny\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    assert done.returncode == 1
    assert f"`{folder}` cannot be loaded without running code that comes with it" in done.stderr
    assert not mark.exists()


def test_a_copy_for_generation_takes_no_code_along(plain, mark):
    import transformers  # noqa: PLC0415

    model = transformers.AutoModelForCausalLM.from_pretrained(plain, trust_remote_code=False)
    model.config.auto_map = {"AutoModelForCausalLM": "modeling_own.OwnModel"}
    model.config._name_or_path = str(plain)
    assert type(copy_whole(model, torch.float32)) is type(model)
    assert not mark.exists()


@pytest.fixture
def train_among_code(tiny, train_command, mark, tmp_path):
    """Train a model in a current folder that is full of modules."""
    current = tmp_path / "current"
    for name in ("llamafactory", "torch", "tokenize", "random", "transformers", "datasets", "yaml"):
        (current / name).mkdir(parents=True)
        (current / name / "__init__.py").write_text(MARKING)
        (current / f"{name}.py").write_text(MARKING)
    environment = {**ENVIRONMENT, "MARK": str(mark), "PYTHONPATH": ":"}

    def train(kind=None):
        folder = shutil.copytree(tiny / "model", tmp_path / "own")
        if kind is not None:
            kind(folder)
        steps = ["max_steps=2", "save_steps=2", "eval_steps=2"]
        python, *arguments = train_command(tmp_path / "run", f"model_name_or_path={folder}", *steps)
        command = [python, "-P", *arguments]
        return subprocess.run(
            command, input="y\n", capture_output=True, text=True, check=False, timeout=110, cwd=current, env=environment
        )

    return train


def test_training_runs_no_code_of_the_current_folder(train_among_code, mark, tmp_path):
    done = train_among_code()
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    record = json.loads((tmp_path / "run" / "run.json").read_text())["training"]
    assert record["options"]["trust_remote_code"] is record["config"]["trust_remote_code"] is False


def test_training_runs_no_code_of_its_model(train_among_code, mark):
    done = train_among_code(own_model)
    assert done.returncode == 1
    assert not mark.exists()


def test_a_mirror_is_not_told_the_token_by_transformers(database, tmp_path):
    with HubServer("some/model", {"config.json": b'{"model_type": "llama"}'}, kind="model") as hub:
        places = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
        environment = {**os.environ, **places}
        command = [sys.executable, "-m", "qsql", "ask", "How many?", "--db", str(database), "--model", "some/model"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110, env=environment)
    assert done.returncode == 1
    assert any(Path(path).name == "config.json" for _, path, _ in hub.requests), done.stderr
    assert hub.tokens == []
