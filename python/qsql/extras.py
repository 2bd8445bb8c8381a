"""The extras of this package: what each needs, what of that is there and works, and the line that adds it.

What they need is in the metadata of the installed package, so that pyproject.toml is the only list.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qsql._core import QsqlError
from qsql.children import child_environment, python_command

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTION = "qsql-lab"
SEPARATE = {"train": "llamafactory==0.9.5"}
"""What an extra needs besides, without its own dependencies: those of LLaMA-Factory include a web interface."""
DEVELOPMENT = "dev"
IMPORT_SECONDS = 300.0

# Runs in a process of its own: an import may take long, print, or end the process. One line for each that is done.
_IMPORT = """
import sys
if sys.path[0] == "":
    del sys.path[0]  # what lies in the current folder is not what is installed; `-P` came with Python 3.11
import importlib, json
for name in sys.argv[1:]:
    problem = facts = None
    try:
        module = importlib.import_module(name)
        if name == "torch":
            mps = getattr(module.backends, "mps", None)
            facts = {"built_for": module.version.cuda or module.version.hip, "gpus": [], "problem": None,
                     "mps": bool(mps and mps.is_available())}
            try:
                for index in range(module.cuda.device_count()):
                    label, (free, total) = module.cuda.get_device_name(index), module.cuda.mem_get_info(index)
                    facts["gpus"].append([label, free, total])
            except Exception as error:
                facts["problem"] = f"{type(error).__name__}: {error}"
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    print("\\nqsql-import " + json.dumps([name, problem, facts]), flush=True)
"""


@dataclass(frozen=True)
class Package:
    """A package that an extra needs."""

    name: str
    requirement: str
    version: str | None
    """None if it is not installed."""
    problem: str | None
    """What is wrong with it though it is installed: another version than is needed, or an import that fails."""


@dataclass(frozen=True)
class Extra:
    """An extra of this package."""

    name: str
    packages: tuple[Package, ...]

    @property
    def state(self) -> Literal["ready", "missing", "broken"]:
        """Missing if a package is not installed, broken if all are and one does not work, else ready."""
        if any(package.version is None for package in self.packages):
            return "missing"
        return "broken" if any(package.problem for package in self.packages) else "ready"

    @property
    def install(self) -> str:
        """The line that adds it."""
        return install_line(self.name)


@dataclass(frozen=True)
class Torch:
    """What torch says of the machine."""

    built_for: str | None
    """The CUDA or ROCm it is built for; None if it is built for none."""
    gpus: list[tuple[str, int, int]]
    """Name, free and all bytes of each."""
    problem: str | None
    """Why one of them cannot be used."""
    mps: bool
    """Whether it can use the GPU of a Mac."""


def install_line(extra: str) -> str:
    """Return the command that adds an extra."""
    line = f"pip install '{DISTRIBUTION}[{extra}]'"
    return f"{line} && pip install --no-deps {SEPARATE[extra]}" if extra in SEPARATE else line


def installed_version(package: str) -> str | None:
    """Version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine_extras() -> tuple[list[Extra], Torch | None]:
    """Find out which extras are there, by importing what they need in another process.

    Returns:
        The extras that users have a use for, in the order of the metadata, and what torch says if it can be imported.

    Raises:
        QsqlError: If this package runs without being installed, so that there is no metadata.
    """
    needs = _needs()
    present = sorted({name for packages in needs.values() for name, _ in packages if installed_version(name)})
    modules = {name: module_of(name) for name in present}
    problems, torch = _import(dict.fromkeys(modules.values()))
    extras = [
        Extra(
            extra, tuple(_package(name, specifier, problems.get(modules.get(name, ""))) for name, specifier in packages)
        )
        for extra, packages in needs.items()
    ]
    return extras, torch


def _needs() -> dict[str, list[tuple[str, Any]]]:
    """Packages and versions (a `SpecifierSet`) of each extra."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - only this needs it

    try:
        metadata = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise QsqlError(
            f"`{DISTRIBUTION}` is not installed in this environment, though its code is found: what its extras need is "
            f"not known\nhint: pip install {DISTRIBUTION}"
        ) from None
    needs: dict[str, list[tuple[str, Any]]] = {}
    for extra in metadata.get_all("Provides-Extra") or []:
        if extra == DEVELOPMENT:
            continue
        requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
        needs[extra] = [
            (requirement.name, requirement.specifier)
            for requirement in requirements
            if requirement.marker is not None
            and requirement.marker.evaluate({"extra": extra})
            and not requirement.marker.evaluate({"extra": ""})
        ]
        if extra in SEPARATE:
            separate = Requirement(SEPARATE[extra])
            needs[extra].append((separate.name, separate.specifier))
    return needs


def _package(name: str, specifier: Any, import_problem: str | None) -> Package:
    version = installed_version(name)
    problem = import_problem
    if problem is None and version is not None and not specifier.contains(version, prereleases=True):
        problem = f"version {version} is installed, {specifier} is needed"
    return Package(name, f"{name}{specifier}", version, problem)


def module_of(package: str) -> str:
    """Return the name of the module that an installed package brings: what lies highest among its files."""
    files = importlib.metadata.distribution(package).files or []
    own = package.replace("-", "_").lower()
    places = {file.parent.parts for file in files if file.name == "__init__.py"}
    places |= {(file.stem,) for file in files if len(file.parts) == 1 and file.suffix == ".py"}
    names = [parts for parts in places if parts and not any(part.startswith(("_", ".")) for part in parts)]
    if not names:
        return own  # installed for development, as links to another place
    highest = min(names, key=lambda parts: (len(parts), parts[0].lower() != own, parts))
    return ".".join(highest)


def _import(modules: Iterable[str]) -> tuple[dict[str, str], Torch | None]:
    """Import modules in another process, and in yet another where one of them ends it."""
    waiting = list(modules)
    problems: dict[str, str] = {}
    torch = None
    while waiting:
        command = python_command("-c", _IMPORT, *waiting)
        try:
            done = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=IMPORT_SECONDS,
                env=child_environment(),
            )
            output, end = done.stdout, f"its import ends the process with status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output, end = error.stdout or b"", f"its import takes longer than {IMPORT_SECONDS:.0f} s"
        for line in output.decode("utf-8", "replace").splitlines():
            if line.startswith("qsql-import "):
                name, problem, facts = json.loads(line.removeprefix("qsql-import "))
                waiting.remove(name)
                if problem is not None:
                    problems[name] = problem
                if facts is not None:
                    gpus = [(str(label), int(free), int(total)) for label, free, total in facts["gpus"]]
                    torch = Torch(facts["built_for"], gpus, facts["problem"], bool(facts["mps"]))
        if waiting:
            problems[waiting.pop(0)] = end
    return problems, torch
