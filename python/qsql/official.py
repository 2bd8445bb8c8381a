"""`python -m qsql.official`: the command line of the official tool, with its options, printing and exit status.

Definition: `evaluation.py` of taoyds/test-suite-sql-eval, whose place it takes in scripts. What it prints on stdout is
what that prints, byte for byte (on a terminal, control characters of predictions are written out); DESIGN.md lists the
inputs on which that stops and this goes on. Warnings are on stderr, where that has nothing but tracebacks and bars.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from qsql._core import QsqlError
from qsql.cli.evaluation import evaluate_and_warn
from qsql.cli.stopping import INTERRUPTED, stopping
from qsql.cli.terminal import note
from qsql.directories import cache_directory
from qsql.report.official import official_lines, official_report
from qsql.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.evaluate import Evaluation, Settings

_HINT = "hint: python -m qsql.official --gold GOLD --pred PRED --db DIR --table TABLES.json --etype all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the official command line and return its exit status: 0 done, 1 an input cannot be used or a gold fails."""
    options = _parser().parse_args(arguments)
    with stopping():
        try:
            progress = options.progress_bar_for_each_datapoint
            evaluation = evaluate_and_warn(_settings(options), None, show_progress=progress)
        except QsqlError as error:
            note(f"error: {error}")
            return 1
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
    return _print(evaluation, options.etype) or (0 if evaluation.is_whole else 1)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with wrong usage; what was given is part of the message."""
        super().error(visible(message))


def _parser() -> argparse.ArgumentParser:
    # argparse as there, so that abbreviated options and wrong usage are taken alike.
    parser = _Parser(prog="python -m qsql.official", description="The official tool's command line, scored by qsql.")
    parser.add_argument("--gold", type=Path, help="golds, sql<TAB>db_id lines")
    parser.add_argument("--pred", type=Path, help="predictions, one SQL a line")
    parser.add_argument("--db", type=Path, help="folder of <db_id>/<db_id>.sqlite, with any variants beside them")
    parser.add_argument("--table", type=Path, help="Spider's tables.json, for exact match")
    parser.add_argument(
        "--etype",
        default="exec",
        choices=("all", "exec", "match"),
        help="exec for test-suite execution accuracy (the default), match for exact match, all for both",
    )
    parser.add_argument(
        "--plug_value", action="store_true", help="try the values of the gold in the prediction, if it has none"
    )
    parser.add_argument("--keep_distinct", action="store_true", help="keep DISTINCT; by default it is removed")
    parser.add_argument(
        "--progress_bar_for_each_datapoint", action="store_true", help="show a bar on stderr; one for all of them"
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    from qsql.evaluate import Settings  # noqa: PLC0415 - help and wrong usage need none of it

    needed = ["gold", "pred", "db"] if options.etype == "exec" else ["gold", "pred", "db", "table"]
    for name in needed:
        if getattr(options, name) is None:
            raise QsqlError(f"`--etype {options.etype}` needs `--{name}`\n{_HINT}")
    return Settings(
        options.gold,
        options.pred,
        options.db,
        # Where nothing is matched, the official tool does not open the file.
        options.table if options.etype != "exec" else None,
        options.etype,
        plug_value=options.plug_value,
        keep_distinct=options.keep_distinct,
        cache_dir=cache_directory(),
    )


def _print(evaluation: Evaluation, etype: str) -> int:
    lines = official_lines(evaluation.examples, evaluation.pairing.predictions, evaluation.verdicts)
    text = "".join(f"{line}\n" for line in lines)
    if sys.stdout.isatty():
        text = visible(text)
    try:
        # Bytes that are not UTF-8 and characters that the encoding of the output lacks are written out.
        data = (text + official_report(evaluation.summary, etype)).encode(sys.stdout.encoding, "backslashreplace")
        sys.stdout.write(data.decode(sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
