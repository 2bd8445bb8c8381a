"""Where a model that runs with transformers runs: on one device, or on several of the host."""

from __future__ import annotations

from qsql._core import QsqlError
from qsql.engines import Engine, EngineSettings, need
from qsql.engines.model import ChatTokenizer

DTYPES = ("auto", "bfloat16", "float16", "float32")
BATCHINGS = ("sorted", "continuous")


def make_transformers_engine(settings: EngineSettings) -> Engine:
    """Make the engine: one for one device, or one process for each of several.

    Raises:
        QsqlError: If a package, the model or its chat template is missing, or a setting makes no sense.
    """
    need("transformers", "torch", "transformers")
    from qsql.engines.parallel import ParallelEngine
    from qsql.engines.transformers import TransformersEngine

    for name, value, values in (("dtype", settings.dtype, DTYPES), ("batching", settings.batching, BATCHINGS)):
        if value not in values:
            raise QsqlError(f"{name} is `{value}`\nhint: it is one of {', '.join(values)}")
    for name, number in (("batch_tokens", settings.batch_tokens), ("batch_rows", settings.batch_rows)):
        if number is not None and number < 1:
            raise QsqlError(f"{name} is {number}\nhint: it must be at least 1")
    devices = settings.devices or _devices()
    tokenizer = ChatTokenizer.load(settings)
    if len(devices) == 1:
        return TransformersEngine.load(settings, devices[0], tokenizer)
    return ParallelEngine(settings, devices)


def _devices() -> tuple[str, ...]:
    import torch

    if torch.cuda.is_available():
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return ("cpu",)
