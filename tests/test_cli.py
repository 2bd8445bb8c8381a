"""The command line as a user meets it: output, files, exit status, messages."""

from __future__ import annotations

import json
import signal
import sys

import pytest
from processes import started, stop, wait_for

from qsql import demo
from qsql.prompt import extract_sql

COUNT = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT {limit}) SELECT count(*) FROM r"


@pytest.fixture
def evaluate(run_qsql, demo_databases):
    """Run `qsql eval` on the demo databases with the demo golds, unless told otherwise."""

    def run(*arguments, gold=demo.GOLD, pred=demo.PREDICTIONS["strong"], **options):
        inputs = ["--gold", gold, "--db", demo_databases, "--table", demo.TABLES]
        return run_qsql("eval", *(["--pred", pred] if pred else []), *inputs, *arguments, **options)

    return run


def verdicts(directory):
    return [json.loads(line) for line in (directory / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_official_command_line_works(evaluate):
    done = evaluate("--etype", "exec", "--keep_distinct", "--progress_bar_for_each_datapoint")
    assert done.returncode == 0
    header, *levels, footer = done.stdout.splitlines()
    assert header.split() == ["difficulty", "count", "execution", "%", "95%", "interval"]
    assert [row.split()[:2] for row in levels[:4]] == [[level, "12"] for level in ("easy", "medium", "hard", "extra")]
    assert levels[4].split() == ["all", "48", "85.4", "72.8", "to", "92.8"]
    assert footer.endswith("threads)")
    assert done.stderr == ""


def test_json_output_is_the_summary_file(evaluate, tmp_path):
    done = evaluate("--format", "json", "--out", tmp_path / "run", pred=demo.PREDICTIONS["weak"])
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["all"]["count"] == 48
    assert summary["all"]["execution"] == pytest.approx(22 / 48)
    assert summary["all"]["states"]["sql_error"] == 3
    assert sum(summary["all"]["states"].values()) == 48
    assert summary["databases"] == 16


def test_exact_match_is_reported_with_what_the_grammar_rejects(evaluate, tmp_path):
    done = evaluate("--out", tmp_path)
    assert "predictions: 16 not in Spider's grammar, which fails exact match" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["all"]["exact"] == pytest.approx(25 / 48)
    assert [summary[level]["count"] for level in ("easy", "medium", "hard", "extra")] == [12] * 4
    assert summary["all"]["rejected"] == 16
    lines = verdicts(tmp_path)
    assert {line["hardness"] for line in lines} == {"easy", "medium", "hard", "extra"}
    assert all(line["exact"] is False for line in lines if line["rejected"])
    assert lines[0]["partial"]["select"] == [1, 1, 1, 1, 1]


def test_exact_match_alone_runs_no_query(evaluate, tmp_path):
    assert evaluate("--etype", "match", "--out", tmp_path).returncode == 0
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert (summary["all"]["execution"], summary["executions"]) == (None, 0)
    assert summary["all"]["exact"] == pytest.approx(25 / 48)


def test_a_gold_that_the_grammar_rejects_is_scored_by_execution_alone(evaluate, tmp_path):
    gold, pred = tmp_path / "gold.sql", tmp_path / "pred.sql"
    gold.write_text("SELECT 1 + 1\tseed_bank\n", encoding="utf-8")
    pred.write_text("SELECT 2\n", encoding="utf-8")
    done = evaluate("--out", tmp_path / "run", gold=gold, pred=pred)
    assert done.returncode == 0
    assert f"warning: `{gold}` line 1: Spider's grammar rejects the gold" in done.stderr
    (line,) = verdicts(tmp_path / "run")
    assert (line["execution"], line["exact"], line["hardness"]) == (True, None, None)
    assert line["gold_rejected"]


def test_a_database_that_tables_json_lacks_is_named(evaluate, tmp_path):
    tables = tmp_path / "tables.json"
    tables.write_text("[]", encoding="utf-8")
    done = evaluate("--table", tables)
    assert done.returncode == 1
    assert f"line 1: `{tables}`: database `seed_bank` is not listed" in done.stderr


def test_interactions_are_scored_turn_by_turn(evaluate, tmp_path):
    lines = [line for line in demo.GOLD.read_text(encoding="utf-8").splitlines() if line.endswith("seed_bank")][:6]
    gold, pred = tmp_path / "gold.txt", tmp_path / "pred.txt"
    gold.write_text("\n".join([*lines[:2], "", *lines[2:3], "", *lines[3:]]), encoding="utf-8")
    queries = [line.split("\t")[0] for line in lines]
    pred.write_text("\n".join([queries[0], "SELECT 1", "", queries[2], "", *queries[3:]]), encoding="utf-8")
    done = evaluate("--out", tmp_path / "run", "--etype", "all", "--format", "official", gold=gold, pred=pred)
    assert done.returncode == 0
    assert done.stdout.count("joint_all") == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["joint_all"]["count"], summary["joint_all"]["execution"]) == (3, pytest.approx(2 / 3))
    assert [summary[f"turn {turn}"]["count"] for turn in (1, 2, 3, 4)] == [3, 2, 1, 0]
    assert summary["turn 2"]["exact"] == 0.5


def test_the_run_directory_holds_all_that_is_promised(evaluate, tmp_path):
    assert evaluate("--out", tmp_path).returncode == 0
    files = ["examples.jsonl", "run.json", "summary.json", "verdicts.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    lines = verdicts(tmp_path)
    assert [line["index"] for line in lines] == list(range(48))
    assert lines[9]["execution"] is False
    assert (lines[9]["state"], lines[9]["failed_on"], lines[9]["databases"]) == ("scored", "seed_bankv0.sqlite", 4)
    assert set(lines[0]) == {
        *("index", "id", "db_id", "turn", "hardness", "exact", "execution", "state", "partial", "canonical_exact"),
        *("stage", "rejected", "gold_rejected", "databases", "failed_on", "detail", "capped"),
    }
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["evaluation"]
    assert record["argv"][1] == "eval"
    assert record["versions"]["sqlite"].startswith("3.")
    assert len(record["sha256"]["suites"]) == 4
    texts = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text(encoding="utf-8").splitlines()]
    golds = [line.split("\t") for line in demo.GOLD.read_text(encoding="utf-8").splitlines()]
    assert [[text["gold"], text["db_id"]] for text in texts] == golds
    predictions = demo.PREDICTIONS["strong"].read_text(encoding="utf-8").splitlines()
    assert [text["prediction"] for text in texts] == [line.strip() for line in predictions]
    assert {text["question"] for text in texts} == {None}


def test_a_run_directory_with_predictions_is_scored_in_place(evaluate, tmp_path):
    golds = demo.GOLD.read_text(encoding="utf-8").splitlines()
    lines = [
        json.dumps({"id": index, "sql": line.split("\t")[0], "question": f"question {index}"})
        for index, line in enumerate(golds)
    ]
    (tmp_path / "predictions.jsonl").write_text("\n".join(reversed(lines)), encoding="utf-8")
    (tmp_path / "run.json").write_text('{"generation": {"model": "m"}}', encoding="utf-8")
    assert evaluate(tmp_path, pred=None).returncode == 0
    assert all(line["execution"] for line in verdicts(tmp_path))
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["generation"] == {"model": "m"}
    first = json.loads((tmp_path / "examples.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (first["id"], first["question"]) == ("0", "question 0")


def test_missing_and_surplus_predictions_are_said_and_counted(evaluate, tmp_path):
    lines = demo.PREDICTIONS["strong"].read_text(encoding="utf-8").splitlines()
    pred = tmp_path / "pred.sql"
    pred.write_text("\n".join(["", *lines[1:40]]), encoding="utf-8")
    done = evaluate("--out", tmp_path / "run", pred=pred)
    assert done.returncode == 0
    assert "no prediction for 9 golds (ids 0, 40, 41, 42, 43 and 4 more), which count as wrong" in done.stderr
    assert [line["state"] for line in verdicts(tmp_path / "run")].count("missing") == 9
    found = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["all"]
    assert (found["states"]["missing"], found["rejected"]) == (9, 12)
    pred.write_text("\n".join([*lines, "SELECT 1"]), encoding="utf-8")
    assert "no gold for 1 prediction, not scored" in evaluate(pred=pred).stderr


def test_a_gold_that_fails_leaves_status_1_after_everything_is_scored(evaluate, tmp_path):
    gold = tmp_path / "gold.sql"
    lines = demo.GOLD.read_text(encoding="utf-8").splitlines()
    gold.write_text(
        "\n".join([*lines[:5], "SELECT nothing_here FROM nowhere\tseed_bank", *lines[6:]]), encoding="utf-8"
    )
    done = evaluate("--out", tmp_path / "run", gold=gold)
    assert done.returncode == 1
    assert f"error: `{gold}` line 6: the gold fails on seed_bank.sqlite: no such table: nowhere" in done.stderr
    assert done.stderr.count("hint: ") == 1
    found = verdicts(tmp_path / "run")
    assert (found[5]["execution"], found[5]["state"]) == (None, "gold_error")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["all"]["states"]["gold_error"] == 1
    assert summary["all"]["execution"] == pytest.approx(sum(bool(line["execution"]) for line in found) / 47)


def test_golds_without_a_statement_fail(evaluate, tmp_path):
    golds = [
        {"db_id": "night_log", "query": text} for text in ("", "-- to be done", ";", "SELECT count(*) FROM telescopes")
    ]
    (tmp_path / "golds.json").write_text(json.dumps(golds), encoding="utf-8")
    predictions = ["SELECT 1", "SELECT 1 WHERE 0", "SELECT 2 WHERE 0", "SELECT count(*) FROM telescopes"]
    (tmp_path / "predictions.sql").write_text("\n".join(predictions), encoding="utf-8")
    golds, pred = tmp_path / "golds.json", tmp_path / "predictions.sql"
    done = evaluate("--etype", "exec", "--out", tmp_path / "run", gold=golds, pred=pred)
    assert done.returncode == 1
    assert done.stderr.count("there is no statement in it") == 3
    found = [verdict["execution"] for verdict in verdicts(tmp_path / "run")]
    assert found == [None, None, None, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pred", "absent.sql"], "cannot read `absent.sql`: No such file or directory"),
        (["--gold", "absent.sql"], "cannot read `absent.sql`: No such file or directory"),
        (["--db", "absent"], "database folder `absent` not found"),
        (["--table", "absent.json"], "cannot read `absent.json`: No such file or directory (os error 2)"),
        (["--timeout", "0"], "`timeout` is 0.0"),
        (["--out", "/dev/null/run"], "cannot write `/dev/null/run`: Not a directory"),
    ],
)
def test_bad_inputs_are_named_with_a_hint(evaluate, arguments, message):
    done = evaluate(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error == f"error: {message}"
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--max-steps", "1000"], "hint: raise `--max-steps`, now 1,000, for {} golds; all other items are scored"),
        (
            ["--timeout", "0.000000001"],
            "hint: raise `--timeout`, now 1e-09 s, for {} golds; all other items are scored",
        ),
    ],
)
def test_golds_that_a_limit_stops_name_the_option_and_are_not_listed_without_end(
    evaluate, tmp_path, slow_golds, arguments, hint
):
    # Spider's grammar rejects these golds too, of which no more is told.
    done = evaluate(*arguments, "--no-cache", "--etype", "exec", "--out", tmp_path / "run", **slow_golds(20))
    assert done.returncode == 1
    failing = sum(verdict["state"] == "gold_error" for verdict in verdicts(tmp_path / "run"))
    assert failing > 5
    lines = done.stderr.splitlines()
    assert len(lines) == 6 + 7
    assert lines[5] == f"warning: and 15 more golds likewise; all are in `{tmp_path / 'run' / 'verdicts.jsonl'}`"
    lines = lines[6:]
    assert lines[5] == f"error: and {failing - 5} more golds; all are in `{tmp_path / 'run' / 'verdicts.jsonl'}`"
    assert lines[6] == hint.format(failing)


def test_golds_that_fail_for_several_reasons_get_advice_for_each(evaluate, slow_golds):
    inputs = slow_golds(2)
    golds = inputs["gold"].read_text(encoding="utf-8") + "SELECT nothing FROM nowhere\tseed_bank\n"
    inputs["gold"].write_text(golds, encoding="utf-8")
    inputs["pred"].write_text("SELECT 1\n" * 3, encoding="utf-8")
    done = evaluate("--max-steps", 1000, "--no-cache", "--etype", "exec", **inputs)
    assert done.stderr.splitlines()[-1] == (
        "hint: raise `--max-steps`, now 1,000, for 2 golds; mend 1 gold or the databases; all other items are scored"
    )


@pytest.fixture
def slow_golds(tmp_path):
    """Golds and predictions that take thousands of steps, so many of them."""

    def write(number):
        queries = [COUNT.format(limit=200_000 + at) for at in range(number)]
        (tmp_path / "slow.sql").write_text("".join(f"{sql}\tseed_bank\n" for sql in queries), encoding="utf-8")
        (tmp_path / "pred.sql").write_text("SELECT 1\n" * number, encoding="utf-8")
        return {"gold": tmp_path / "slow.sql", "pred": tmp_path / "pred.sql"}

    return write


def test_what_is_wrong_with_golds_is_cut(evaluate, tmp_path):
    name = "x" * 5000
    (tmp_path / "gold.sql").write_text(f"SELECT {name} FROM species\tseed_bank\n", encoding="utf-8")
    done = evaluate("--etype", "exec", gold=tmp_path / "gold.sql")
    assert "no such column: xxx" in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 600


def test_golds_of_a_json_list_are_named_by_their_entry(evaluate, tmp_path):
    golds = [{"query": "SELECT count(*) FROM species", "db_id": "seed_bank"}] * 2
    golds.append({"query": "SELECT nothing FROM species", "db_id": "seed_bank"})
    (tmp_path / "gold.json").write_text(json.dumps(golds, indent=1), encoding="utf-8")
    done = evaluate("--etype", "exec", gold=tmp_path / "gold.json")
    assert f"error: `{tmp_path / 'gold.json'}` entry 3: the gold fails on" in done.stderr
    (tmp_path / "gold.jsonl").write_text("".join(f"\n{json.dumps(gold)}\n" for gold in golds), encoding="utf-8")
    done = evaluate("--etype", "exec", gold=tmp_path / "gold.jsonl")
    assert f"error: `{tmp_path / 'gold.jsonl'}` line 6: the gold fails on" in done.stderr
    golds[1] = {"query": "SELECT 1", "db_id": "atlantis"}
    (tmp_path / "gold.json").write_text(json.dumps(golds), encoding="utf-8")
    assert "entry 2: database `atlantis` not found" in evaluate(gold=tmp_path / "gold.json").stderr


def test_predictions_of_another_encoding_are_said_and_count_as_wrong(evaluate, tmp_path):
    text = "SELECT 'é'\nSELECT 1\n" * 24
    (tmp_path / "pred.sql").write_bytes(text.encode("latin-1"))
    done = evaluate("--etype", "exec", "--out", tmp_path / "run", pred=tmp_path / "pred.sql")
    warning, hint = done.stderr.splitlines()
    places = "line 1, line 3, line 5, line 7, line 9 and 19 more"
    assert warning.startswith(
        f"warning: `{tmp_path / 'pred.sql'}` has 24 predictions that no UTF-8 can write ({places})"
    )
    assert hint.endswith("convert the file, for instance with `iconv -f LATIN1 -t UTF-8`")
    assert {verdict["state"] for verdict in verdicts(tmp_path / "run")[::2]} == {"sql_error"}
    (tmp_path / "pred.sql").write_bytes(text.encode())
    assert evaluate("--etype", "exec", pred=tmp_path / "pred.sql").stderr == ""


def test_predictions_in_code_fences_are_told_of_what_finds_the_query(evaluate, tmp_path):
    golds = [line.split("\t")[0] for line in demo.GOLD.read_text(encoding="utf-8").splitlines()]
    answers = [json.dumps({"sql": f"```sql\n{sql}\n```"}) for sql in golds]
    path = tmp_path / "pred.jsonl"
    path.write_text("\n".join(answers), encoding="utf-8")
    done = evaluate("--etype", "exec", "--format", "json", pred=path)
    assert json.loads(done.stdout)["all"]["execution"] == 0
    warning, hint = done.stderr.splitlines()
    assert warning.startswith("warning: 48 predictions of 48 hold code fences (```), which are no SQL")
    assert "`qsql.prompt.extract_sql(answer)`" in hint
    # What the hint says is what helps.
    path.write_text("\n".join(json.dumps({"sql": extract_sql(json.loads(one)["sql"])}) for one in answers), "utf-8")
    done = evaluate("--etype", "exec", "--format", "json", pred=path)
    assert (json.loads(done.stdout)["all"]["execution"], done.stderr) == (1, "")
    # Some are nothing to speak of.
    path.write_text("\n".join([*answers[:20], *(json.dumps({"sql": sql}) for sql in golds[20:])]), "utf-8")
    assert "fences" not in evaluate("--etype", "exec", pred=path).stderr


def test_text_of_others_in_messages_is_shown_not_sent(run_qsql, demo_databases, tmp_path):
    name = "a\x1b[31m\u202e\U000e0041"
    (tmp_path / "gold.json").write_text(json.dumps([{"query": "SELECT 1", "db_id": name}]), encoding="utf-8")
    done = run_qsql(
        "eval", "--gold", tmp_path / "gold.json", "--pred", demo.PREDICTIONS["weak"], "--db", demo_databases
    )
    assert "database `a\\x1b[31m\\u202e\\U000e0041` not found" in done.stderr
    assert not set(name[1:]) & set(done.stderr) - set("[31m")


def test_an_unknown_database_is_named_with_its_line(evaluate, tmp_path):
    gold = tmp_path / "gold.sql"
    gold.write_text("SELECT 1\tseed_bank\nSELECT 1\tabsent\n", encoding="utf-8")
    done = evaluate(gold=gold)
    assert done.returncode == 1
    assert f"error: `{gold}` line 2: database `absent` not found" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["eval"], ["eval", "--gold", "g", "--db", "d"], ["eval", "--etype", "x"], ["nothing"], ["--nothing"]]
)
def test_wrong_usage_is_status_2(run_qsql, arguments):
    done = run_qsql(*arguments)
    assert done.returncode == 2
    assert "Usage: " in done.stderr


@pytest.mark.parametrize("command", [[], ["eval"], ["demo"]])
def test_help_fits_80_columns(run_qsql, command):
    done = run_qsql(*command, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_version_is_printed(run_qsql):
    assert run_qsql("--version").stdout.startswith("qsql 0.")


def test_the_demo_shows_both_sets(run_qsql, tmp_path):
    done = run_qsql("demo", tmp_path / "demo")
    assert done.returncode == 0
    assert [line.split()[6] for line in done.stdout.splitlines() if line.startswith("all ")] == ["85.4", "45.8"]
    assert run_qsql("demo", tmp_path / "demo").returncode == 0


@pytest.fixture
def slow_run(tmp_path):
    """Golds and predictions of which the last 20 take a while, behind 1,240 that do not."""
    gold, pred = tmp_path / "gold.sql", tmp_path / "pred.sql"
    gold.write_text("\n".join(f"SELECT {number}\tseed_bank" for number in range(1260)), encoding="utf-8")
    predictions = [f"SELECT {number}" for number in range(1240)]
    predictions += [COUNT.format(limit=500_000 + number) for number in range(20)]
    pred.write_text("\n".join(predictions), encoding="utf-8")
    return gold, pred


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on_where_it_was(run_qsql, demo_databases, tmp_path, slow_run, signal_):
    gold, pred = slow_run
    out = tmp_path / "run"
    command = ["eval", "--gold", gold, "--pred", pred, "--db", demo_databases, "--out", out]
    partial = out / "verdicts.jsonl.partial"
    with started([sys.executable, "-m", "qsql", *command]) as process:
        wait_for(lambda: partial.exists() and partial.read_bytes().count(b"\n") >= 1024, process)
        status, _, stderr = stop(process, signal_)
    assert status == (130 if signal_ == signal.SIGINT else -signal_)
    assert ("the same command goes on" in stderr) == (signal_ == signal.SIGINT)
    assert not (out / "verdicts.jsonl").exists()

    # A mark shows that finished verdicts are kept, and a line cut off in the middle is not taken for one.
    text = partial.read_text(encoding="utf-8").replace('"detail": null', '"detail": "kept"', 1)
    partial.write_text(text + '{"index": 1024, "id": "10', encoding="utf-8")
    assert run_qsql(*command).returncode == 0
    lines = verdicts(out)
    assert [line["index"] for line in lines] == list(range(1260))
    assert lines[0]["detail"] == "kept"
    assert [line["execution"] for line in lines] == [True] * 1240 + [False] * 20
    assert not partial.exists()


def test_other_inputs_do_not_go_on_from_an_unfinished_run(evaluate, tmp_path):
    assert evaluate("--out", tmp_path).returncode == 0
    (tmp_path / "verdicts.jsonl").replace(tmp_path / "verdicts.jsonl.partial")
    other = {"pred": demo.PREDICTIONS["weak"]}
    assert "holds an evaluation with other predictions\nhint: " in evaluate("--out", tmp_path, **other).stderr
    assert evaluate("--out", tmp_path, "--overwrite", **other).returncode == 0
    assert sum(line["execution"] for line in verdicts(tmp_path)) == 22
