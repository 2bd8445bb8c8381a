"""How long the page of a run takes to write and to open, and how large it is.

    python benches/report.py RUN [EXAMPLES]

RUN is what `qsql eval --out` wrote; its examples are repeated until there are EXAMPLES of them. Opening is measured in
Chromium, from the navigation to the end of loading, with the list of examples shown; the median of five.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from qsql import results
from qsql.report.page import write_report
from qsql.report.run import read_run

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from browser import Browser

OPENINGS = 5


def repeated(run: Path, target: Path, count: int) -> Path:
    """A run directory of `count` examples, those of `run` over and over."""
    target.mkdir()
    results.write_json(target / results.RUN, results.read_json(run / results.RUN))
    for name in (results.EXAMPLES, results.VERDICTS):
        lines = results.read_lines(run / name)
        items = (lines[at % len(lines)] | {"id": str(at), "index": at} for at in range(count))
        results.write_text(target / name, "".join(json.dumps(item) + "\n" for item in items))
    summary = results.read_json(run / results.SUMMARY)
    summary["all"]["count"] = count
    results.write_json(target / results.SUMMARY, summary)
    return target


def main() -> None:
    """Measure and print."""
    run = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        if len(sys.argv) > 2:
            run = repeated(run, Path(folder) / "run", int(sys.argv[2]))
        started = time.perf_counter()
        problems = write_report(read_run(run), page)
        written = time.perf_counter() - started
        browser = Browser(Path(folder) / "profile")
        seconds = []
        for _ in range(OPENINGS):
            browser.open(page)
            seconds.append(browser.value("performance.getEntriesByType('navigation')[0].duration") / 1000)
        examples = browser.value("document.getElementById('count').textContent")
        browser.close()
        for problem in problems:
            print(f"note: {problem}")
        print(f"{examples}: written in {written:.1f} s, {page.stat().st_size / 1e6:.1f} MB, ", end="")
        print(f"opens in {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
