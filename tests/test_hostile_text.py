"""Text that is made to be slow, to hide, or to be taken for something else.

No function takes longer for it than for other text, and what is not seen is shown. Nothing here is timed: a function
that took time by the square of the length would not come back from 100 kB within the timeout of a test.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import unicodedata

import pytest
from markdown_it import MarkdownIt

import qsql
from qsql import QsqlError, _core, demo, files, markdown, visible
from qsql.config import Key, load_config, nearest
from qsql.engines.openai import _completions
from qsql.features import features_of
from qsql.prepare.leakage import _names
from qsql.prepare.likeness import content_words, triples, words
from qsql.prompt import build_prompt, extract_sql
from qsql.report.pair import differences
from qsql.schema_text import Table, schema_text
from qsql.train.failures import explain
from qsql.visible import is_encodable, literal, one_line

LENGTH = 100_000
ASCII = [chr(code) for code in range(128)]
# What the patterns of each function tell apart, with letters, a digit and a character that none of them names. Pairs of
# these stand for all; QSQL_ALL_PAIRS=1 takes all pairs of ASCII characters instead, which takes hours.
LETTERS = "asW0!"
OF_SQL = " \n'\"`("
ALPHABETS = {
    "extract_sql": " \t\n\r`'\"[]()<>|#*-/:;," + LETTERS,
    "features_of": OF_SQL + LETTERS,
    "cell": " \x1b\\&<|`:aW",
    "code": " \x1b\\&<|`aW",
    "literal": "\n\t'\x1b" + LETTERS,
    "words": " \n_" + LETTERS,
    "names": OF_SQL + LETTERS,
    "differences": OF_SQL + LETTERS,
    "schema_text": OF_SQL + LETTERS,
    "explain": " \n:.[]()_" + "EQ" + LETTERS,
    "parse_json": ' \n"\\[]{},:-.eE' + LETTERS,
    "load_config": "0_.-+eE:",
    "completions": '"[{' + LETTERS,
    "nearest": LETTERS,
}
# Of SQL that is longer the native functions say so at once.
LONGEST_SQL = 49_000
NATIVE_ALPHABET = " \n'\"`()[]<>|#*-/:;,.=+?&%$~_\\" + LETTERS
DEFINITION = "CREATE TABLE t (a)"


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """The public functions that take text of others, by name."""
    folder = tmp_path_factory.mktemp("text")
    log = folder / "log"

    def explained(text):
        log.write_text(text, encoding="utf-8")
        return explain(log, 1)

    def configured(text):
        return load_config(None, [f"a={text}"], {"a": Key(frozenset({"str", "float", "int"}))})

    return {
        "extract_sql": extract_sql,
        "features_of": features_of,
        "cell": markdown.cell,
        "code": markdown.code,
        "literal": literal,
        "words": lambda text: (words(text), triples(text), content_words(text)),
        "names": _names,
        "differences": lambda text: (differences(text, text[1:]), differences(text[:2000], text[1:1000])),
        "schema_text": lambda text: build_prompt(schema_text([Table(text, [(text, "TEXT")])]), text),
        "explain": explained,
        "parse_json": lambda text: files.parse_json(text, "the text", "mend it"),
        "load_config": configured,
        "completions": lambda text: _completions(text, 0.0),
        "nearest": lambda text: nearest(text, [text[1:], text[:50], text[:99]]),
    }


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """The public functions of the native module that take text, by name."""
    databases = demo.build(tmp_path_factory.mktemp("databases"))
    database = databases / "seed_bank" / "seed_bank.sqlite"
    schema = qsql.Schema.read(database)
    scorer = qsql.Scorer(databases, threads=1)
    return {
        "canonicalize": lambda text: qsql.canonicalize(text, schema),
        "check": lambda text: qsql.check([DEFINITION, text], [text, "SELECT 1"]),
        "describe_definitions": _core.describe_definitions,
        "exact_match": lambda text: qsql.exact_match(text, text[1:], schema),
        "executed_text": lambda text: _core.executed_text(text, is_prediction=True),
        "hardness": lambda text: qsql.hardness(text, schema),
        "query": lambda text: qsql.query(database, text),
        "score": lambda text: qsql.score(text, text[1:], database),
        "Scorer": lambda text: scorer.score(["SELECT 1"], [f"SELECT {text}"], ["seed_bank"]),
        "denotations": lambda text: scorer.denotations([text], ["seed_bank"]),
        "database_file": lambda text: _core.database_file(databases, text),
    }


def call(function, text):
    """Call a function, which may refuse the text but must come back."""
    try:
        function(text)
    except (QsqlError, ValueError) as error:
        assert str(error)  # noqa: PT017 - not what is tested


def pairs(alphabet):
    return itertools.product(ASCII if os.environ.get("QSQL_ALL_PAIRS") else alphabet, repeat=2)


@pytest.mark.parametrize("name", ALPHABETS)
def test_any_character_many_times_takes_no_longer_than_other_text(functions, name):
    for character in ASCII:
        call(functions[name], character * LENGTH)


@pytest.mark.parametrize("name", ALPHABETS)
def test_any_pair_many_times_takes_no_longer_than_other_text(functions, name):
    for one, other in pairs(ALPHABETS[name]):
        call(functions[name], (one + other) * (LENGTH // 2))
        call(functions[name], one * (LENGTH // 2) + other * (LENGTH // 2))


NATIVE = (
    *("canonicalize", "check", "describe_definitions", "exact_match", "executed_text", "hardness", "query", "score"),
    *("Scorer", "denotations", "database_file"),
)


@pytest.mark.parametrize("name", NATIVE)
def test_native_functions_take_no_longer_for_any_character_or_pair(native, name):
    for length in (LONGEST_SQL, LENGTH):
        for character in ASCII:
            call(native[name], character * length)
    for one, other in pairs(NATIVE_ALPHABET):
        call(native[name], (one + other) * (LONGEST_SQL // 2))


def test_every_native_function_that_takes_text_is_tried(native):
    without_text = {"__version__", "Check", "Denotation", "ExactMatch", "QsqlError", "QueryResult", "Schema", "Verdict"}
    others = {"describe", "sqlite_compile_options", "sqlite_version", "suite_files"}
    assert set(NATIVE) == set(native)
    names = {name for name in dir(_core) if not name.startswith("__")} | {"denotations", "__version__"}
    assert names - without_text - others == set(native)


# What stands in front decides which patterns come to see the rest.
@pytest.mark.parametrize("before", ["SELECT 1 ", "answer: ", "```sql\n", "with a ", "The query is `", "SELECT "])
def test_extracting_takes_no_longer_behind_what_begins_an_answer(before):
    for unit in (*ASCII, "sql:\n", "SQL: `", "the ", "a\n", "SELECT ", "with x(", "\n\nfrom ", "`\n", "``` "):
        call(extract_sql, before + unit * (LENGTH // len(unit)))


@pytest.mark.parametrize(
    "unit",
    [
        "x is not a local folder",
        "Some keys are not used by the HfArgumentParser: [",
        "QsqlError: a\n",
        "QsqlError: a",
        "To fix: run `",
        "Template ",
        "aError",
        "[rank0]: ",
        "directory ",
        "no file named model.safetensors ",
    ],
)
def test_explaining_a_log_takes_no_longer_for_what_its_patterns_begin_with(tmp_path, unit):
    log = tmp_path / "log"
    log.write_text(unit * (2 * LENGTH // len(unit)), encoding="utf-8")
    assert isinstance(explain(log, 1), QsqlError)


def test_marking_differences_of_words_that_come_again_and_again_is_given_up():
    gold, prediction = "x a " * 700, "a y " * 700
    assert differences(gold, prediction) == (["", gold], ["", prediction])


# What is not seen


# Default_Ignorable_Code_Point, by hand: of each range the first and the last.
HIDDEN = [
    *("\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u180b", "\u180e", "\u180f"),
    *("\u200b", "\u200d", "\u200e", "\u200f", "\u202a", "\u202e", "\u2060", "\u2064", "\u2066", "\u206f"),
    *("\u3164", "\ufe00", "\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\ufff8"),
    *("\U0001bca0", "\U0001bca3", "\U0001d173", "\U0001d17a"),
    *("\U000e0000", "\U000e0001", "\U000e0020", "\U000e0041", "\U000e007f", "\U000e0100", "\U000e01ef", "\U000e0fff"),
]
OTHERS = [
    "\u2028",
    "\u2029",
    "\ufff9",
    "\ufffb",
    "\x80",
    "\x85",
    "\x9b",
    "\x9f",
    "\x7f",
    "\0",
    "\x1b",
    "\r",
    "\ud800",
    "\udcff",
]


@pytest.mark.parametrize("character", [*HIDDEN, *OTHERS], ids=lambda character: f"U+{ord(character):04X}")
def test_what_is_not_seen_is_shown(character):
    shown = visible.visible(f"a{character}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert character not in one_line(f"a{character}b")
    assert character not in literal(f"a{character}b")
    assert character not in markdown.cell(f"a{character}b")
    assert character not in markdown.code(f"a{character}b")


def test_no_control_or_format_character_of_any_plane_is_left():
    every = map(chr, range(sys.maxunicode + 1))
    hiding = {"Cc", "Zl", "Zp", "Cs"}
    left = [
        one
        for one in every
        if unicodedata.category(one) in hiding and one not in "\t\n" and one in visible.visible(one)
    ]
    assert left == []


def test_what_is_seen_stays():
    text = "naïve Ärger 東京 Ω ½ é 👍 ـ\tx\ny"
    assert visible.visible(text) == text


def test_escapes_can_be_told_apart():
    assert visible.visible("\U000e0041\u200b\x1b\udcff") == "\\U000e0041\\u200b\\x1b\\xff"


@pytest.mark.parametrize(("text", "sound"), [("a", True), ("é", True), ("\ud800", False), ("a\udcffb", False)])
def test_lone_surrogates_are_found(text, sound):
    assert is_encodable(text) is sound


@pytest.mark.parametrize("value", [["a\udcff"], {"\ud800": "\U0001f44d"}, "é", [float("1.5"), None, True]])
def test_json_is_written_in_utf_8_whatever_is_in_it(value):
    text = files.dump_json(value)
    text.encode()
    assert json.loads(text) == value


# Markdown


HOSTILE = [
    "<script>alert(1)</script>",
    "a|b|c",
    "a\\|b`<img src=x>`",
    "`<b>` ``<i>``",
    "\\`<b>\\`",
    "[x](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "http://evil.example/x",
    "www.evil.example",
    "*a* _b_ **c** ~~d~~",
    "&lt;b&gt; &#60;i>",
    "<!-- a -->",
    "a\n\n# heading\n---\n",
    "\\",
    "a\\",
    "``",
    "$x$ $$y$$",
    "<https://evil.example>",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("write", [markdown.cell, markdown.code])
def test_text_in_a_table_stays_text(text, write):
    source = markdown.table(["name", "digest"], [[write(text), "`abc`"]])
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(source)
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 4
    kinds = {child.type for token in inline for child in token.children}
    own = {"html_inline"} if "<code>" in source else set()
    assert kinds <= {"text", "code_inline", *own}
    html = [child.content for token in inline for child in token.children if child.type == "html_inline"]
    assert html in ([], ["<code>", "</code>"])
    content = "".join(child.content for child in inline[2].children if child.type != "html_inline")
    assert content.strip() == one_line(text).strip()
    assert inline[3].children[0].content == "abc"
