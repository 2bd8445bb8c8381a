"""The command line: each command parses its arguments, calls one function and prints.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 `QsqlError`, 2 usage, 128 and the number of the
signal if it was stopped: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from qsql._core import QsqlError, __version__
from qsql.cli import data, doctor, evaluation, generation, report, train
from qsql.cli.stopping import INTERRUPTED, stopping
from qsql.cli.terminal import note, say

if TYPE_CHECKING:
    from click import ClickException as _UsageError
else:
    # Of click, which some versions of typer bring along under a name of their own.
    _UsageError = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="qsql",
    help="Text-to-SQL: prepare data, score by exact match and test-suite execution accuracy.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("eval")(evaluation.evaluate_command)
app.command("generate")(generation.generate_command)
app.command("ask")(generation.ask_command)
app.command("report")(report.report_command)
app.command("compare")(report.compare_command)
app.command("explain")(report.explain_command)
app.command("card")(report.card_command)
app.command("demo")(evaluation.demo_command)
app.add_typer(data.app, name="data")
app.command("train")(train.train_command)
app.command("doctor")(doctor.doctor_command)


def _version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        say(f"qsql {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit with its status."""
    with stopping():
        try:
            sys.exit(app(standalone_mode=False))
        except QsqlError as error:
            note(f"error: {error}")
            sys.exit(1)
        except _UsageError as error:
            # What was given is part of the message.
            message = io.StringIO()
            error.show(message)
            note(message.getvalue().rstrip("\n"))
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, typer.Abort):
            sys.exit(INTERRUPTED)
