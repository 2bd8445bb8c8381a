"""`python -m qsql`: the command line."""

import sys
from pathlib import Path

# `-m` lets imports look into the current folder first. Unless this package lies there, what does is data.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd().resolve():
    del sys.path[0]

from qsql.cli import main

main()
