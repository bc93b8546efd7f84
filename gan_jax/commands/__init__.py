"""The commands of `gan-jax`, one a file: `add_arguments(parser)` and `run(arguments)`, which returns an exit code.

A command's file imports nothing slow before `run`, so that help is quick. Longer work lies beside it (`*_run.py`).
"""
