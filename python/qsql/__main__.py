"""`python -m qsql`: the command line."""

from qsql.cli import main

main()
