# ruff: noqa: E501 - sentences of prose
"""Write the numbers of `benches/spider.json`, `spider_16_cores.json` and `rewards_spider.json` into the README, between its markers.

.venv/bin/python benches/readme.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NUMBERS = "<!-- numbers: benches/readme.py -->", "<!-- end of numbers -->"
REWARDS = "<!-- rewards: benches/readme.py -->", "<!-- end of rewards -->"
NAMES = {"golds": "the golds themselves", "dev_10": "a T5 model", "c3": "C3 (ChatGPT)", "dail_gpt4": "DAIL-SQL (GPT-4)"}


def paragraph(*sentences: str, indent: str = "") -> str:
    """Sentences as one paragraph of at most 120 columns."""
    return textwrap.fill(" ".join(sentences), 120, subsequent_indent=indent, break_on_hyphens=False)


def table(results: dict[str, Any]) -> list[str]:
    """Execution, a row for each set of predictions."""
    threads = f"{results['machine']['cores']} threads"
    head = ["predictions", "floor", "qsql, 1 thread", "x floor", threads, "official tool", "times as fast"]
    head += ["memory", "`qsql eval`"]
    lines = [head, ["---"] * len(head)]
    for name, row in results["execution"].items():
        floor = results["floor"][name]["open"] + results["floor"][name]["step"]
        cells = [
            NAMES.get(name, name),
            f"{floor:.2f} s",
            f"{row['seconds_1']:.2f} s",
            f"{row['seconds_1'] / floor:.2f}",
        ]
        cells += [f"{row['seconds_all']:.2f} s", f"{row['official']:.1f} s"]
        cells += [f"{row['official'] / row['seconds_all']:.0f}", f"{row['mb']:.0f} MB", f"{row['process_all']:.2f} s"]
        lines.append(cells)
    return [f"| {' | '.join(cells)} |" for cells in lines]


def rewards_text(results: dict[str, Any]) -> str:
    """Rewards beside those computed the usual way, as Markdown."""
    about, right = results["machine"], results["right"]
    names = {"qsql": "`qsql.rewards`", "usual, golds cached": "the usual way, golds cached", "usual": "the usual way"}
    counts = sorted({row["threads"] for row in results["rows"]})
    speed = {(row["name"], row["threads"]): row for row in results["rows"]}
    threads = [f"{count} thread{'s' if count > 1 else ''}" for count in counts]
    head = ["completions a second", *(f"{count}, {key}" for count in threads for key in ("first pass", "golds known"))]
    rows = [head, ["---"] * len(head)]
    for name, shown in names.items():
        rates = [speed[name, count][key] for count in counts for key in ("first", "known")]
        rows.append([shown, *(f"{rate:,.0f}" for rate in rates)])
    most = counts[-1]
    best = max(speed[name, count]["known"] for name in names if name != "qsql" for count in counts)
    return "\n".join(
        [
            paragraph(
                f"{results['data']}, {results['batches']} batches of 64 golds with 16 completions each",
                f"({results['completions']:,}), single databases, `max_steps={results['max_steps']}`; {about['cpu']},",
                f"{about['cores']} cores, medians. The usual way is Python's `sqlite3` in a pool of threads, with connections",
                "that stay open, a progress handler and a comparison of rows ([benches/rewards.py](benches/rewards.py)).",
            ),
            "",
            *(f"| {' | '.join(cells)} |" for cells in rows),
            "",
            paragraph(
                f"On {most} threads that is {speed['qsql', most]['known'] / best:.0f} times the best of the usual way, which",
                f"Python's lock keeps from using them. Both say the same of {100 * results['agreement']:.1f}% of the completions;",
                f"{right['qsql only']:,} are right by the official rules only, under which columns may be moved and DISTINCT does",
                f"not count, and {right['usual only']:,} only without them.",
            ),
        ]
    )


def between(readme: str, markers: tuple[str, str], content: str) -> str:
    """The README with other content between two markers."""
    start, end = markers
    if start not in readme or end not in readme:
        sys.exit(f"the README lacks `{start}` or `{end}`")
    before, _, rest = readme.partition(start)
    return f"{before}{start}\n{content}\n{end}{rest.partition(end)[2]}"


def read(name: str) -> dict[str, Any]:
    """Numbers of a machine."""
    return json.loads((ROOT / "benches" / name).read_text(encoding="utf-8"))


def by_threads(results: dict[str, Any]) -> str:
    """How much of its time each thread is of use, against one alone."""
    efficiency = results["scaling"]["efficiency"].items()
    return ", ".join(f"{100 * value:.0f}% on {count}" for count, value in efficiency if count != "1")


def text(results: dict[str, Any], many: dict[str, Any]) -> str:
    """The numbers as Markdown, of the machine that compares and of one with many cores."""
    about, rows, data = (results[key] for key in ("machine", "execution", "data"))
    exact, rewards, scaling, start = (results[key] for key in ("exact", "rewards", "scaling", "start"))
    cores = about["cores"]
    databases = max(floor["databases"] for floor in results["floor"].values())
    ours, whole, cached, theirs = (
        sum(row[key] for row in rows.values())
        for key in ("seconds_all", "process_all", "process_all_cached", "official")
    )
    variants = ", ".join(f"{seconds:.2f} s on {count}" for count, seconds in scaling["variants"].items())
    return "\n".join(
        [
            paragraph(
                f"{data['name']}, {data['golds']:,} golds, {databases:,} databases; {about['cpu']}, {cores} cores, medians.",
                "The floor is what SQLite takes on one thread to open the databases, and to compile and step each distinct query",
                "once on each, up to the first variant that rejects it; qsql opens and compiles once for all variants of a database.",
                "Seconds on threads are those of the call in a new process, as the official tool's are without its imports;",
                "`qsql eval --no-cache` is a whole process.",
            ),
            "",
            *table(results),
            "",
            paragraph(
                f"All of them take {ours:.1f} s, the official tool {theirs:.0f} s, {theirs / ours:.0f} times as long. As whole",
                f"processes they take {whole:.1f} s, and {cached:.1f} s with the results of golds from the cache.",
            ),
            "",
            paragraph(
                f"- Exact match of {exact['pairs']:,} pairs on one core takes {1000 * exact['exact']:.1f} ms, the official tool's",
                f"parsing and comparing {1000 * exact['official']:.0f} ms, {exact['official'] / exact['exact']:.0f} times as long.",
                f"Canonical forms take {1000 * exact['canonical']:.1f} ms, parsing and generating with sqlglot",
                f"{1000 * exact['sqlglot']:.0f} ms, {exact['sqlglot'] / exact['canonical']:.0f} times as long.",
                indent="  ",
            ),
            paragraph(
                f"- Rewards, in batches of 64 golds with 16 predictions each, on single databases with `max_steps={rewards['max_steps']}`:",
                f"{rewards['per_second_1']:,.0f} scorings a second on one thread, {rewards[f'per_second_{cores}']:,.0f} on {cores}.",
                indent="  ",
            ),
            paragraph(
                f"- Efficiency of threads: {by_threads(results)}; by variants: {variants}. With an {many['machine']['cpu']} of",
                f"{many['machine']['cores']} cores it is {by_threads(many)}, and the golds take",
                f"{many['execution']['golds']['seconds_all']:.2f} s.",
                indent="  ",
            ),
            paragraph(
                f"- `qsql --help` takes {start['help']:.2f} s, `import qsql` {start['import']:.2f} s, of which Python itself",
                f"takes {start['python']:.2f} s; the first verdict is there after {start['verdict']:.2f} s.",
                indent="  ",
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only tell whether the README is up to date")
    arguments = parser.parse_args()
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = between(old, NUMBERS, text(read("spider.json"), read("spider_16_cores.json")))
    new = between(new, REWARDS, rewards_text(read("rewards_spider.json")))
    if arguments.check:
        sys.exit("the README is out of date; run benches/readme.py" if new != old else 0)
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
