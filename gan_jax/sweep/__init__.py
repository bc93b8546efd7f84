"""Sweeps: several runs that differ in some fields of one config, trained and compared together.

Read `run.py` first. The runs are called members, and each is an ordinary run in a workdir of its own.
"""
