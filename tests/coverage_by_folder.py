"""Which lines of Rust and Python the tests ran, by folder: `make coverage` ends with this table.

Rust is counted by the compiler (`-Cinstrument-coverage`) and read with LLVM's tools, which must be at least as new as
the LLVM of the compiler. Lines that only the test binaries have, such as unit tests, are left out: what counts is the
code of the extension.

    python tests/coverage_by_folder.py tools            whether LLVM's tools are there, before anything long begins
    python tests/coverage_by_folder.py report FOLDER    the table; FOLDER is what `make coverage` has filled
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent.resolve()
LEAST_PERCENT = 90
JUDGED = ("rust/exec", "rust/score", "rust/spider", "rust/sql", "rust/python", "python/qsql")


def output_of(*command: str | Path) -> str:
    """What a command prints; it ends this script if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {command[0]} fails with status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def llvm_tools() -> tuple[Path, Path]:
    """Paths of the `llvm-profdata` and `llvm-cov` that read what this compiler writes: its own, else the system's."""
    about = dict(re.findall(r"^(host|LLVM version): (.*)$", output_of("rustc", "-vV"), re.MULTILINE))
    needed = int(about["LLVM version"].split(".")[0])
    own = Path(output_of("rustc", "--print", "sysroot").strip(), "lib", "rustlib", about["host"], "bin", "llvm-cov")
    names = (str(own), f"llvm-cov-{needed}", "llvm-cov")
    for coverage in (Path(found) for name in names if (found := shutil.which(name))):
        # An old llvm-profdata does not tell its version.
        version = re.search(r"LLVM version (\d+)", output_of(coverage, "--version"))
        profiles = coverage.with_name(coverage.name.replace("llvm-cov", "llvm-profdata"))
        if version and int(version[1]) >= needed and profiles.exists():
            return profiles, coverage
    sys.exit(
        f"error: no llvm-cov and llvm-profdata of LLVM {needed} or later are found, which read what rustc counts\n"
        f"hint: rustup component add llvm-tools, or the package llvm-{needed} of the system"
    )


def lines_of_rust(tool: Path, counts: Path, objects: list[Path]) -> dict[str, dict[int, int]]:
    """How often each line ran that has code in one of the objects, by file below the root."""
    command: list[str | Path] = [tool, "export", "--format=lcov", f"--instr-profile={counts}"]
    traces = output_of(*command, objects[0], *(f"--object={path}" for path in objects[1:]))
    files: dict[str, dict[int, int]] = {}
    for line in traces.splitlines():
        kind, _, value = line.partition(":")
        if kind == "SF":
            path = Path(value)
            ours = path.is_relative_to(ROOT / "rust")
            lines = files.setdefault(path.relative_to(ROOT).as_posix(), {}) if ours else {}
        elif kind == "DA":
            number, count = map(int, value.split(",")[:2])
            lines[number] = count
    return files


def rust_coverage(folder: Path) -> dict[str, tuple[set[int], set[int]]]:
    """Of each file of the extension the lines that ran, and all."""
    messages = map(json.loads, (folder / "binaries.json").read_text(encoding="utf-8").splitlines())
    binaries = [Path(message["executable"]) for message in messages if message.get("executable")]
    (extension,) = (path for path in (folder / "package" / "qsql").glob("_core.*") if path.suffix != ".pyi")
    profiles = sorted((folder / "profiles").glob("*.profraw"))
    counts = folder / "rust.profdata"
    merge, export = llvm_tools()
    output_of(merge, "merge", "--sparse", "--failure-mode=all", "-o", counts, *profiles)
    ran = lines_of_rust(export, counts, [extension, *binaries])
    return {
        name: ({number for number in lines if ran[name].get(number)}, set(lines))
        for name, lines in lines_of_rust(export, counts, [extension]).items()
    }


def python_coverage(folder: Path) -> dict[str, tuple[set[int], set[int]]]:
    """Of each file of the package the lines that ran, and all."""
    files = json.loads((folder / "python.json").read_text(encoding="utf-8"))["files"]
    return {
        Path(name).as_posix(): (
            set(found["executed_lines"]),
            {*found["executed_lines"], *found["missing_lines"]},
        )
        for name, found in files.items()
    }


def ranges(numbers: set[int]) -> str:
    """Line numbers as `3-5 9`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def report(folder: Path) -> str | None:
    """Print the table and write `uncovered.txt`; returns what is wrong, if anything."""
    if not (folder / "python.json").is_file():
        return f"error: `{folder}` holds no counts\nhint: run `make coverage`"
    files = {**rust_coverage(folder), **python_coverage(folder)}
    uncovered = [f"{name}: {ranges(lines - ran)}" for name, (ran, lines) in sorted(files.items()) if lines - ran]
    (folder / "uncovered.txt").write_text("".join(f"{line}\n" for line in uncovered), encoding="utf-8")
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, (ran, lines) in files.items():
        places = {parent.as_posix() for parent in Path(name).parents} - {".", "python"}
        for place in places:
            totals[place][0] += len(ran)
            totals[place][1] += len(lines)
    print(f"{'folder':<28}{'lines':>8}{'run':>8}{'%':>8}")
    for place, (ran_count, count) in sorted(totals.items()):
        print(f"{place:<28}{count:>8}{ran_count:>8}{100 * ran_count / count:>8.1f}")
    print(f"lines that did not run: {folder / 'uncovered.txt'}")
    low = [
        place for place in JUDGED if place not in totals or totals[place][0] * 100 < LEAST_PERCENT * totals[place][1]
    ]
    if not low:
        return None
    return (
        f"error: less than {LEAST_PERCENT} % of the lines of {', '.join(low)} ran\n"
        "hint: the file above names the others; those of training and engines run only where .venv-ml is"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["tools"]:
            llvm_tools()
        case ["report", place]:
            sys.exit(report(Path(place).resolve()))
        case _:
            sys.exit(__doc__)
