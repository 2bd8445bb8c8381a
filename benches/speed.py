"""Measure everything that has a number in the README, and write the numbers to `benches/spider.json` or `demo.json`.

    make bench
    QSQL_SPIDER_DIR=... .venv/bin/python benches/speed.py --official test-suite-sql-eval --official-python python
    .venv/bin/python benches/speed.py --only rewards start

On the demo, or with QSQL_SPIDER_DIR on Spider's dev set with the variants there. The parts:

floor       SQLite alone (`floor.rs`): what each set of predictions takes at least, on one thread
execution   sets of predictions over all variants: cold on one thread, on all cores, and as a whole `qsql eval`
exact       exact match and canonical forms (`exact.py`)
rewards     64 golds x 16 samples of predictions, batch after batch, on the single databases
scaling     over threads, and over variants
start       `qsql --help`, `import qsql`, and the first verdict

The official tool, if a clone of taoyds/test-suite-sql-eval is given, runs with an interpreter that has its packages
(`sqlparse`, `nltk` with its English Punkt model, `tqdm`); its imports are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exact
from rich.console import Console
from rich.table import Table
from setting import Setting, first_variants, machine, median, process, scoring, setting, timed

from qsql import Scorer
from qsql.data import read_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

CORES = os.cpu_count() or 1

# All golds of Spider's dev set end within half of it; a prediction that joins everything with everything does not.
REWARD_STEPS = 200_000

OFFICIAL = """
import json, os, sys, time
os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[1])
from exec_eval import eval_exec_match
golds, predictions, databases = json.load(sys.stdin)
started = time.perf_counter()
for (gold, db_id), prediction in zip(golds, predictions):
    path = os.path.join(databases, db_id, db_id + ".sqlite")
    eval_exec_match(path, prediction.replace("value", "1"), gold, False, False, False)
print(time.perf_counter() - started)
"""


def build_floor() -> str:
    """Build `floor.rs`; returns the path of the program."""
    command = ["cargo", "bench", "--quiet", "--bench", "floor", "--no-run", "--message-format", "json"]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return next(message["executable"] for message in messages if message.get("executable"))


def floor(program: str, data: Setting, repeat: int) -> dict[str, Any]:
    """Seconds that SQLite takes for each set, with and without opening the databases."""
    found = {}
    for name, predictions in data.predictions.items():
        _, _, plan = process([program, "plan", str(data.gold), str(predictions), str(data.suite)])
        file = data.scratch / "plan.json"
        file.write_text(plan, encoding="utf-8")
        # A process of its own each time, as for what is compared with it.
        runs = [json.loads(process([program, "step", str(file)])[2]) for _ in range(repeat)]
        seconds = {key: statistics.median(run["runs"][0][key] for run in runs) for key in ("open", "step")}
        found[name] = {**seconds, "statements": runs[0]["statements"], "databases": runs[0]["databases"]}
    return found


def official(arguments: argparse.Namespace, data: Setting, predictions: Path) -> float | None:
    """Seconds that the official tool takes for a set."""
    if not arguments.official:
        return None
    lines = [line.split("\t")[0].strip() for line in predictions.read_text(encoding="utf-8").splitlines()]
    golds = [(example.query, example.db_id) for example in data.examples]
    done = subprocess.run(
        [arguments.official_python, "-c", OFFICIAL, str(arguments.official.resolve())],
        input=json.dumps([golds, lines, str(data.suite.resolve())]),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def execution(arguments: argparse.Namespace, data: Setting) -> dict[str, Any]:
    """Each set over all variants."""
    found: dict[str, Any] = {}
    for name, predictions in data.predictions.items():
        # One thread and all cores take turns, so that what else the machine does hits both.
        runs = [
            [scoring(data.gold, predictions, data.suite, threads) for threads in (1, CORES)]
            for _ in range(arguments.repeat)
        ]
        command = [sys.executable, "-m", "qsql", "eval", "--etype", "exec", "--format", "json"]
        command += ["--gold", str(data.gold), "--pred", str(predictions), "--db", str(data.suite)]
        environment = {**os.environ, "QSQL_CACHE_DIR": str(data.scratch / f"cache-{name}")}
        whole = [process([*command, "--no-cache"], env=environment)[0] for _ in range(arguments.repeat)]
        process(command, env=environment)
        cached = [process(command, env=environment)[0] for _ in range(arguments.repeat)]
        found[name] = {
            "seconds_1": statistics.median(one["seconds"] for one, _ in runs),
            "seconds_all": statistics.median(all_["seconds"] for _, all_ in runs),
            "process_all": statistics.median(whole),
            "process_all_cached": statistics.median(cached),
            "executions": runs[0][0]["executions"],
            "right": runs[0][0]["right"],
            "mb": max(run["mb"] for pair in runs for run in pair),
            "official": official(arguments, data, predictions),
        }
    return found


def reward_batches(data: Setting) -> list[tuple[list[str], list[str | None], list[str]]]:
    """Golds, predictions and database names of the steps of a reinforcement learning: 16 samples for each gold."""
    examples = data.examples
    sets = [read_predictions(file, examples).predictions for file in data.samples.values()]
    generator = random.Random(1)  # noqa: S311 - a sample, not a secret
    batches = []
    for start in range(0, len(examples), 64):
        places = [place for place in range(start, min(start + 64, len(examples))) for _ in range(16)]
        golds, db_ids = [examples[place].query for place in places], [examples[place].db_id for place in places]
        batches.append((golds, [generator.choice(sets)[place] for place in places], db_ids))
    return batches


def rewards(data: Setting, repeat: int) -> dict[str, Any]:
    """Scorings a second, with golds known from earlier batches and predictions new."""
    batches = reward_batches(data)
    total = sum(len(batch[0]) for batch in batches)
    found: dict[str, Any] = {"scorings": total, "batches": len(batches), "max_steps": REWARD_STEPS}
    for threads in sorted({1, CORES}):
        scorer = Scorer(data.databases, threads=threads, max_steps=REWARD_STEPS)
        run = lambda scorer=scorer: [scorer.execution(*batch) for batch in batches]  # noqa: E731
        for _ in range(2):
            run()
        found[f"per_second_{threads}"] = total / median(repeat, lambda run=run: timed(run))
    return found


def scaling(data: Setting, repeat: int) -> dict[str, Any]:
    """The slowest set over 1, 2, 4, ... threads and over 1, 4, 16, ... variants, cold."""
    predictions = list(data.predictions.values())[-1]
    counts = sorted({*(2**power for power in range(8) if 2**power <= CORES), CORES})
    runs = [
        [scoring(data.gold, predictions, data.suite, threads)["seconds"] for threads in counts] for _ in range(repeat)
    ]
    seconds = [statistics.median(column) for column in zip(*runs, strict=True)]
    most = max(len(list(folder.glob("*.sqlite"))) for folder in data.suite.iterdir())
    variants = {}
    for count in sorted({1, 4, 16, most} & set(range(most + 1))):
        folder = first_variants(data.suite, data.scratch / f"variants-{count}", count)
        variants[count] = median(
            repeat, lambda folder=folder: scoring(data.gold, predictions, folder, CORES)["seconds"]
        )
    return {
        "threads": dict(zip(counts, seconds, strict=True)),
        "efficiency": {count: seconds[0] / each / count for count, each in zip(counts, seconds, strict=True)},
        "variants": variants,
    }


def start(data: Setting, repeat: int) -> dict[str, float]:
    """Seconds until something happens, in new processes."""
    example = data.examples[0]
    database = data.databases / example.db_id / f"{example.db_id}.sqlite"
    verdict = "import sys, qsql; qsql.score(sys.argv[1], sys.argv[1], sys.argv[2])"
    commands = {
        "python": [sys.executable, "-c", ""],
        "help": [str(Path(sys.executable).with_name("qsql")), "--help"],
        "import": [sys.executable, "-c", "import qsql"],
        "verdict": [sys.executable, "-c", verdict, example.query, str(database)],
    }
    return {
        name: median(max(repeat, 11), lambda command=command: process(command)[0]) for name, command in commands.items()
    }


def show(results: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    console.print(results["machine"], results["data"])
    if "execution" in results:
        title = "seconds over all variants, cold; floor: opening, preparing and stepping alone"
        names = (
            "predictions",
            "floor",
            "1 thread",
            "x floor",
            f"{CORES} threads",
            "eval",
            "eval, cached",
            "MB",
            "official",
            "faster",
        )
        table = Table(*names, title=title)
        floors = results.get("floor", {})
        for name, row in results["execution"].items():
            base = floors[name]["open"] + floors[name]["step"] if name in floors else None
            cells = [name, _number(base), _number(row["seconds_1"]), _number(row["seconds_1"] / base if base else None)]
            cells += [_number(row[key]) for key in ("seconds_all", "process_all", "process_all_cached")]
            ratio = row["official"] / row["process_all"] if row["official"] else None
            table.add_row(*cells, f"{row['mb']:.0f}", _number(row["official"], 1), _number(ratio, 0))
        console.print(table)
    for name in ("exact", "rewards", "scaling", "start"):
        if name in results:
            console.print(name, results[name])


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("floor", "execution", "exact", "rewards", "scaling", "start")
    parser.add_argument(
        "--only", nargs="+", choices=parts, default=parts, help="parts to measure; others stay as they are"
    )
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median counts")
    parser.add_argument("--official", type=Path, help="clone of taoyds/test-suite-sql-eval to compare with")
    parser.add_argument("--official-python", default=sys.executable, help="interpreter that has its packages")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    parser.add_argument("--floor-program", help="`floor.rs` as a program, where there is no cargo to build it")
    arguments = parser.parse_args(argv)
    repeat = arguments.repeat
    with setting() as data:
        out = arguments.out or Path(__file__).parent / f"{data.name.split()[0].lower()}.json"
        about = {"machine": machine(), "data": {"name": data.name, "golds": len(data.examples)}}
        results: dict[str, Any] = {}
        if out.exists():
            earlier = json.loads(out.read_text(encoding="utf-8"))
            # Numbers of another machine or data set are nothing to compare with.
            results = earlier if all(earlier.get(key) == value for key, value in about.items()) else {}
        results.update(about)
        measures = {
            "floor": lambda: floor(arguments.floor_program or build_floor(), data, repeat),
            "execution": lambda: execution(arguments, data),
            "exact": lambda: exact.measure(arguments, data),
            "rewards": lambda: rewards(data, repeat),
            "scaling": lambda: scaling(data, repeat),
            "start": lambda: start(data, repeat),
        }
        for name in parts:
            if name in arguments.only:
                results[name] = measures[name]()
                out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results, Console(width=110))


if __name__ == "__main__":
    main()
