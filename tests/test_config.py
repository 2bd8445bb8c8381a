"""Configuration files: numbers as OmegaConf reads them, and errors that say where and what was meant."""

from __future__ import annotations

import pytest

from qsql import QsqlError
from qsql.config import Key, dump_config, load_config
from qsql.generate.settings import KEYS, settings_from

KNOWN = {
    "learning_rate": Key(frozenset({"float"})),
    "epochs": Key(frozenset({"float"})),
    "steps": Key(frozenset({"int", "null"})),
    "bf16": Key(frozenset({"bool"})),
    "eval_strategy": Key(frozenset({"str"}), ("no", "steps", "epoch")),
    "name": Key(frozenset({"str", "null"})),
    "report_to": Key(frozenset({"str", "list"})),
    "extra": Key(frozenset({"dict", "str"})),
}


@pytest.fixture
def load(tmp_path):
    def read(text, *overrides):
        path = tmp_path / "a.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides, KNOWN)

    return read


@pytest.mark.parametrize(
    ("text", "number"),
    [("5e-6", 5e-6), ("5.0e-6", 5e-6), ("1E3", 1000.0), (".5", 0.5), ("-2.", -2.0), ("1_000.5", 1000.5), ("3", 3)],
)
def test_numbers_are_read_as_omegaconf_reads_them(load, text, number):
    assert load(f"learning_rate: {text}").values == {"learning_rate": number}
    assert load("", f"learning_rate={text}").values == {"learning_rate": number}


def test_overrides_go_before_the_file_and_places_are_kept(load):
    config = load("bf16: true\nsteps: 3\n", "steps=5", "report_to=[a, b]", "extra={x: 1e-3}", "name=")
    assert config.values == {"bf16": True, "steps": 5, "report_to": ["a", "b"], "extra": {"x": 1e-3}, "name": None}
    assert config.place("bf16").endswith("a.yaml` line 1")
    assert config.place("steps") == "override `steps=5`"


def test_text_stays_as_written_where_a_key_takes_text(load):
    assert load("eval_strategy: no\nname: 007").values == {"eval_strategy": "no", "name": "007"}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            "bf16: true\nlearning_rat: 1",
            [],
            "line 2: `learning_rat` is no key of the configuration\nhint: did you mean",
        ),
        ("", ["learning-rate=1"], "hint: did you mean `learning_rate`?"),
        ("learning_rate: abc", [], "line 1: `learning_rate` is `abc`\nhint: it takes a number"),
        ("steps: 1.5", [], "`steps` is `1.5`\nhint: it takes an integer"),
        ("bf16: 1", [], "`bf16` is `1`\nhint: it takes true or false"),
        ("eval_strategy: stesp", [], "hint: did you mean `steps`? it takes no, steps, epoch"),
        ("steps: [1]", [], "`steps` is a list"),
        ("steps: 1\nsteps: 2", [], "line 2: `steps` is there twice"),
        ("- a", [], "is not a mapping"),
        ("steps: [", [], "is not YAML: line 1"),
        ("", ["steps"], "`steps` is no override"),
        ("", ["extra={"], "is not YAML"),
    ],
)
def test_errors_say_where_and_what(load, text, overrides, message):
    with pytest.raises(QsqlError) as error:
        load(text, *overrides)
    assert message in str(error.value)
    assert str(error.value).splitlines()[-1].startswith("hint: ")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(QsqlError, match=r"cannot read `.*none\.yaml`"):
        load_config(tmp_path / "none.yaml", (), KNOWN)


def test_what_is_written_is_read_back(load):
    values = {"learning_rate": 5e-06, "eval_strategy": "no", "name": "5e-6", "extra": {"rate": 1e22}, "bf16": False}
    text = dump_config(values)
    assert load(text).values == values
    assert "learning_rate: 5.0e-06" in text


def test_a_file_of_another_encoding_is_named(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(QsqlError, match=r"latin\.yaml` line 1 is not valid UTF-8\nhint: convert the file"):
        load_config(path, [], KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "a: " + "[" * 100 + "]" * 100,
        (
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
            "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
        ),
        "a: &a [*a]",
        "? [a, b]\n: 1",
        "? {a: b}\n: 1",
        "[1, 2]",
        "just text",
        "seed: " + "9" * 5000,
        "seed: [" + "9" * 5000 + "]",
        "data: !!python/object/apply:os.system [ls]",
        "seed: 1\nseed: 2",
        "seed: \x07",
        "\t- a",
        "seed: {a: 1, a: 2",
        "seed: !!binary x",
        "seed: 2020-99-99",
        "engine_options: !!set {a, b}",
        "engine_options: {[1]: 2}",
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QsqlError) as caught:
        settings_from(load_config(path, (), KEYS, "generation"))
    assert len(str(caught.value)) < 1000
