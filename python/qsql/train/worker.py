"""The child process that trains: hands callbacks of ours to LLaMA-Factory's public `run_exp`.

`python -m qsql.train.worker RUN_DIRECTORY` reads `train.yaml` and `run.json` there. Nothing else of qsql imports
llamafactory.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql import results
from qsql._core import QsqlError
from qsql.config import load_config
from qsql.train.arguments import known_arguments
from qsql.train.dataset import read_parts
from qsql.train.plan import CONFIG_FILE, DEFAULTS

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from qsql.config import Config


def provide_torchaudio() -> None:
    """Make `import torchaudio` work where it is missing or does not fit torch.

    LLaMA-Factory imports it without condition and uses it for sound alone; the one on the package index does not load
    beside a torch for CPUs.
    """
    try:
        import torchaudio  # noqa: F401, PLC0415
    except (ImportError, OSError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stand_in = types.ModuleType("torchaudio", "Stands in for torchaudio, which text does not need.")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = stand_in


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however that came about.

    The parent holds the other end of our standard input, which closes with it.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def callbacks(run_directory: Path, training: dict[str, Any], config: Config) -> list[TrainerCallback]:
    """Build the callbacks that the options of a run ask for."""
    from qsql.train.meter import Meter  # noqa: PLC0415 - loads transformers

    options = training["options"]
    wanted: list[TrainerCallback] = [Meter(run_directory)]
    if options["padding_free"] or options["compile_layers"]:
        from qsql.train.padding_free import PaddingFree  # noqa: PLC0415

        wanted.append(
            PaddingFree(
                concatenate=options["padding_free"],
                attention=options["attention"],
                compile_layers=options["compile_layers"],
                checkpoint_above=options["checkpoint_above"],
                row_budget=options["row_budget"],
            )
        )
    if options["padding_free"]:
        from qsql.train.token_count import TokenCount  # noqa: PLC0415

        wanted.append(TokenCount())
    if config.values.get("fsdp"):
        from qsql.train.fsdp import Fsdp2  # noqa: PLC0415

        wanted.append(Fsdp2(options["layers_together"]))
    if options["select"] == "execution":
        from qsql.train.selection import ExecutionSelection, draw_sample  # noqa: PLC0415

        parts = read_parts(config, "dataset")
        wanted.append(
            ExecutionSelection(
                run_directory,
                draw_sample(read_parts(config, "eval_dataset"), options["validation_sample"]),
                Path(options["database_dir"]),
                Path(options["tables"]) if options["tables"] else None,
                training_prompts=[part.instruction(example) for part in parts for example in part.examples],
                # Packing leaves examples out that are too long.
                cutoff=None
                if config.values.get("packing") or config.values.get("neat_packing")
                else config.values.get("cutoff_len", DEFAULTS["cutoff_len"]),
            )
        )
    return wanted


def require_unchanged(config: Config, data: dict[str, Any]) -> None:
    """See that what is trained on is what was checked.

    Raises:
        QsqlError: If a file has changed since.
    """
    for part in (*read_parts(config, "dataset"), *read_parts(config, "eval_dataset")):
        if part.sha256 != data[part.name]["sha256"]:
            raise QsqlError(f"`{part.path}` has changed since the run was planned\nhint: start it again")


def main() -> None:
    """Train as the run directory says."""
    run_directory = Path(sys.argv[1])
    if "--with-parent" in sys.argv:
        end_with_parent()
    config = load_config(run_directory / CONFIG_FILE, (), known_arguments())
    training = results.run_record(run_directory)["training"]
    require_unchanged(config, training["data"])
    provide_torchaudio()
    from llamafactory.train.tuner import run_exp  # noqa: PLC0415 - after the stand-in

    run_exp(args=config.values, callbacks=callbacks(run_directory, training, config))


if __name__ == "__main__":
    main()
