"""What people look at: tables for the terminal, pages, comparisons, single pairs, model cards.

Everything is made from run directories. Numbers are those of `summary.json`, or are computed by the functions that
wrote it; what is not recorded is said to be missing.
"""
