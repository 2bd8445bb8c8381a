"""The page of a report in a real browser: what it shows, that it loads nothing, and that text in it does nothing."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from contextlib import closing

import pytest
from browser import Browser, chromium

from qsql import demo, records, results
from qsql.evaluate import Settings, evaluate
from qsql.report.compare import compare, write_comparison
from qsql.report.page import TEMPLATES, write_report
from qsql.report.run import read_run
from qsql.report.tables import interval_text, percent

EXAMPLES = demo.FOLDER / "examples.json"
SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
CONTROL = "\x1b[31m \x00 \u202e \x7f"


@pytest.fixture(scope="module")
def folder(demo_databases, tmp_path_factory):
    """Runs of both sets of demo predictions, and their pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, predictions in demo.PREDICTIONS.items():
        evaluate(Settings(EXAMPLES, predictions, demo_databases, demo.TABLES), folder / name)
    assert write_report(read_run(folder / "strong"), folder / "strong.html") == []
    runs = [read_run(folder / name) for name in ("weak", "strong")]
    assert write_comparison(runs, compare(runs), folder / "compared.html") == []
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a run in which everything that may hold text holds HTML and control characters."""
    folder = tmp_path_factory.mktemp("hostile")
    db_id = "a<b>&'\"c"
    (folder / "databases" / db_id).mkdir(parents=True)
    table = "t<script>window.hacked=1<\\script>'"
    with closing(sqlite3.connect(folder / "databases" / db_id / f"{db_id}.sqlite")) as connection, connection:
        connection.execute(f'CREATE TABLE "{table}" (a TEXT, "<i>" TEXT)')
        connection.execute(f'INSERT INTO "{table}" VALUES (?, ?)', (SCRIPT, CONTROL))
    gold = f'SELECT a, "<i>" FROM "{table}"'
    example = {"id": SCRIPT, "db_id": db_id, "question": f"{SCRIPT} {CONTROL} \" ' &amp;", "query": gold}
    (folder / "gold.json").write_text(json.dumps([example]), encoding="utf-8")
    prediction = {"id": SCRIPT, "sql": f"SELECT '{SCRIPT.replace(chr(39), chr(34))}' AS \"<u>\" -- {CONTROL}"}
    (folder / "pred<i>.jsonl").write_text(json.dumps(prediction), encoding="utf-8")
    run = folder / "run<script>window.hacked=1"
    evaluate(Settings(folder / "gold.json", folder / "pred<i>.jsonl", folder / "databases"), run)
    write_report(read_run(run), folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser; nothing in it may go wrong, and nothing but the page itself may be loaded."""
    if chromium() is None:
        pytest.skip("no Chromium is installed (or named by QSQL_CHROMIUM): pages are NOT tested in a browser")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def strong(browser, folder):
    browser.open(folder / "strong.html")
    yield browser
    assert browser.errors == []
    assert browser.requests == [(folder / "strong.html").as_uri()]


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def choose(browser, name, option):
    browser.value(
        f"(() => {{ const box = document.getElementById({json.dumps(name)});"
        f" box.value = [...box.options].find((o) => o.textContent === {json.dumps(option)}).value;"
        " box.dispatchEvent(new Event('change')); })()"
    )


def shown(browser):
    return browser.value("document.getElementById('count').textContent")


def test_the_tables_have_the_numbers_of_the_summary(folder):
    text = (folder / "strong.html").read_text(encoding="utf-8")
    summary = results.read_json(folder / "strong" / "summary.json")
    rows = [
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in text.split("<tr>")
    ]
    for level in (*records.LEVELS, "all"):
        totals = summary[level]
        assert [
            *(level, f"{totals['count']:,}"),
            *(percent(totals["exact"]), interval_text(totals["exact_interval"]), percent(totals["canonical_exact"])),
            *(percent(totals["execution"]), interval_text(totals["execution_interval"])),
        ] in rows
    states = [summary[level]["states"]["scored"] for level in (*records.LEVELS, "all")]
    assert ["scored: compared with the gold", *map(str, states)] in rows


def test_the_list_has_every_example_with_its_verdict(folder):
    data = data_of(folder / "strong.html")
    verdicts = results.read_lines(folder / "strong" / "verdicts.jsonl")
    examples = results.read_lines(folder / "strong" / "examples.jsonl")
    assert len(data["items"]) == 48
    for item, verdict, example in zip(data["items"], verdicts, examples, strict=True):
        (answer,) = item["answers"]
        for name in ("exact", "execution", "state"):
            assert answer[name] == verdict[name]
        assert answer["canonical"] == verdict["canonical_exact"]
        assert ("".join(answer["gold"]), "".join(answer["sql"])) == (example["gold"], example["prediction"])
        assert ("results" in answer) == (verdict["execution"] is False)
        if "results" in answer:
            assert answer["results"]["file"] == verdict["failed_on"]


def test_a_page_names_nothing_outside_itself(folder):
    for name in ("strong", "compared"):
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        assert not re.search(r"<link|<iframe|@import|url\(|(?:src|href)=\"(?!#)", text)
        assert str(folder) not in text


def test_charts_take_the_colours_of_the_page(folder):
    text = (folder / "strong.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 3
    assert 'fill="var(--first)"' in text
    assert "#030303" not in text


# What objects of JavaScript have besides what is put into them.
INHERITED = [
    *("constructor", "__proto__", "toString", "hasOwnProperty", "valueOf", "__defineGetter__", "prototype", "length"),
    *("__lookupSetter__", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString"),
]


@pytest.fixture(scope="module")
def inherited(tmp_path_factory):
    """A run on databases that are called as properties of objects are, and the page of it."""
    folder = tmp_path_factory.mktemp("inherited")
    for name in INHERITED:
        (folder / "databases" / name).mkdir(parents=True)
        with closing(sqlite3.connect(folder / "databases" / name / f"{name}.sqlite")) as connection, connection:
            connection.execute(f'CREATE TABLE "{name}" (a, "__proto__" TEXT)')
    golds = [{"id": name, "db_id": name, "query": f'SELECT a FROM "{name}"'} for name in INHERITED]
    (folder / "gold.json").write_text(json.dumps(golds), encoding="utf-8")
    predictions = "".join(json.dumps({"id": name, "sql": "SELECT 1"}) + "\n" for name in INHERITED)
    (folder / "pred.jsonl").write_text(predictions, encoding="utf-8")
    evaluate(Settings(folder / "gold.json", folder / "pred.jsonl", folder / "databases"), folder / "run")
    assert write_report(read_run(folder / "run"), folder / "page.html") == []
    return folder


def test_databases_may_be_called_as_properties_of_objects_are(inherited):
    data = data_of(inherited / "page.html")
    for item, name in zip(data["items"], INHERITED, strict=True):
        assert data["databases"][item["db"]] == name
        assert data["schemas"][item["db"]].startswith(f"CREATE TABLE {name} (a")
        assert item["answers"][0]["results"]["file"] == f"{name}.sqlite"
    text = (inherited / "page.html").read_text(encoding="utf-8")
    for name in INHERITED:
        assert f'<th scope="row">{name}</th>' in text
        # In the chart, which Vega draws, too.
        assert re.search(rf"<text[^>]*>{re.escape(name)}</text>", text), name


def test_nothing_is_looked_up_by_a_name_of_others():
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    looked_up = set(re.findall(r"\w+\[[^\]]*(?:\[[^\]]*\])?[^\]]*\]", script))
    # By position, or by one of the two metrics.
    by = {re.sub(r"^\w+\[(.*)\]$", r"\1", found) for found in looked_up}
    numbers = {"0", "1", "at", "other", "index", "item.db", "level - 1", "state - 1", 'chosen("outcome")'}
    assert by <= {*numbers, "metric"}


def test_without_databases_the_page_says_what_it_lacks(run_qsql, folder, tmp_path):
    done = run_qsql("report", folder / "strong", "--html", tmp_path / "page.html", "--db", tmp_path)
    assert done.returncode == 0
    assert "warning: the databases of `strong` are not where they were" in done.stderr
    assert "the databases of `strong` are not where they were" in (tmp_path / "page.html").read_text(encoding="utf-8")
    data = data_of(tmp_path / "page.html")
    assert data["schemas"] == [None] * 4
    assert not any("results" in item["answers"][0] for item in data["items"])


def test_a_page_that_cannot_be_written_is_an_error(run_qsql, folder):
    done = run_qsql("report", folder / "strong", "--html", "/dev/null/page.html")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write `/dev/null/page.html`")


def test_searching_finds_examples(strong):
    assert shown(strong) == "48 of 48 examples"
    strong.key("/", "/")
    assert strong.value("document.activeElement.id") == "search"
    strong.type("ENDANGERED species")
    strong.wait("document.getElementById('count').textContent !== '48 of 48 examples'")
    found = strong.value("[...document.querySelectorAll('#list summary')].map((one) => one.textContent)")
    assert 0 < len(found) < 10
    assert "How many species are listed as Endangered?" in found[0]
    assert shown(strong) == f"{len(found)} of 48 examples"


def test_filters_show_what_they_say(strong, folder):
    summary = results.read_json(folder / "strong" / "summary.json")
    choose(strong, "outcome", "execution wrong")
    wrong = round((1 - summary["all"]["execution"]) * 48)
    assert shown(strong) == f"{wrong} of 48 examples"
    choose(strong, "level", "extra")
    assert shown(strong) == f"{round((1 - summary['extra']['execution']) * 12)} of 48 examples"
    choose(strong, "outcome", "all")
    assert shown(strong) == "12 of 48 examples"
    choose(strong, "database", "night_log")
    assert "of 48" in shown(strong)
    choose(strong, "level", "all")
    assert shown(strong) == "12 of 48 examples"
    choose(strong, "database", "all")
    choose(strong, "outcome", "not in Spider's grammar")
    assert shown(strong) == f"{summary['all']['rejected']} of 48 examples"


def test_an_example_opens_by_keyboard_with_all_its_parts(strong):
    choose(strong, "outcome", "execution wrong")
    strong.value("document.getElementById('feature').focus()")
    strong.key("Tab")
    assert strong.value("document.activeElement.tagName") == "SUMMARY"
    strong.key("Enter", "\r")
    strong.wait("document.querySelector('#list details').children.length === 2")
    headings = strong.value("[...document.querySelectorAll('#list details[open] h3')].map((one) => one.textContent)")
    assert [heading.partition(":")[0] for heading in headings[:6]] == [
        *("Question", "Gold", "Prediction", "First database that tells them apart"),
        *("The gold returns", "The prediction returns"),
    ]
    assert headings[-1].startswith("Schema of ")
    assert strong.value("document.querySelectorAll('#list details[open] mark').length") > 0
    assert strong.value("document.querySelectorAll('#list details[open] table.result tr.own').length") > 0


def test_an_address_opens_an_example(browser, folder):
    browser.open((folder / "strong.html").as_uri() + "#example-9")
    opened = browser.value("[...document.querySelectorAll('details[open]')].map((one) => one.parentNode.id)")
    assert opened == ["example-9"]


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_fits_a_narrow_window_and_can_be_read(browser, folder, dark):
    browser.open((folder / "strong.html").as_uri() + "#example-9", width=360, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    lightness = browser.value(
        "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name].match(/\\d+/g)"
        ".slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3)"
    )
    assert abs(lightness[0] - lightness[1]) > 180
    assert (lightness[1] < 128) == dark


def test_a_comparison_filters_what_was_won(browser, folder):
    browser.open(folder / "compared.html")
    runs = [read_run(folder / name) for name in ("weak", "strong")]
    (comparison,) = compare(runs)
    found = comparison.levels["execution"]["all"]
    choose(browser, "outcome", "execution: strong won")
    assert shown(browser) == f"{found.won} of 48 examples"
    choose(browser, "outcome", "execution: strong lost")
    assert shown(browser) == f"{found.lost} of 48 examples"
    assert browser.errors == []


def test_text_in_a_page_does_nothing(browser, hostile):
    browser.open(hostile)
    browser.value("document.querySelector('#list summary').click()")
    browser.wait("document.querySelector('#list details').children.length === 2")
    assert browser.value("window.hacked") is None
    assert browser.value("document.querySelectorAll('img, #list script, #list i, #list b, #list u').length") == 0
    assert browser.errors == []
    assert browser.requests == [hostile.as_uri()]
    text = browser.value("document.querySelector('#list details').textContent")
    for part in (SCRIPT, "\\x1b[31m \\x00 \\u202e \\x7f", "window.hacked=1<\\script>'", "&amp;", "<u>"):
        assert part in text
    assert browser.value("document.title").startswith("Report: run<script>")


def test_text_in_a_page_is_escaped(hostile):
    text = hostile.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert "window.hacked = 1</script>" not in text
    assert not re.search("[\x00\x1b\u202e\x7f]", text)


def test_twenty_thousand_examples_are_listed(browser, folder, tmp_path):
    source = folder / "strong"
    run = tmp_path / "many"
    run.mkdir()
    results.write_json(run / "run.json", results.read_json(source / "run.json"))
    count = 20_000
    for name in ("examples.jsonl", "verdicts.jsonl"):
        lines = results.read_lines(source / name)
        many = (json.dumps(lines[at % 48] | {"id": str(at), "index": at}) for at in range(count))
        (run / name).write_text("".join(line + "\n" for line in many), encoding="utf-8")
    summary = results.read_json(source / "summary.json")
    summary["all"]["count"] = count
    results.write_json(run / "summary.json", summary)
    # Results of the wrong ones would only take time here.
    write_report(read_run(run, tmp_path), tmp_path / "many.html")
    browser.open(tmp_path / "many.html")
    assert shown(browser) == "20,000 of 20,000 examples"
    assert browser.value("document.querySelectorAll('#list li').length") == 50
    browser.value("document.getElementById('next').click()")
    assert browser.value("document.getElementById('place').textContent") == "Page 2 of 400"
    assert browser.value("document.querySelector('#list li').id") == "example-50"
    browser.value("document.getElementById('search').value = 'endangered'")
    browser.value("document.getElementById('search').dispatchEvent(new Event('input'))")
    browser.wait("document.getElementById('count').textContent !== '20,000 of 20,000 examples'")
    assert browser.errors == []
