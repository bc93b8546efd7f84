"""A small run for the tests of faults: its config, its largest file, and the sentence that ends it."""

from pathlib import Path

import runs

TEXT = runs.TINY.replace('"dcgan", width=8', '"mlp", width=64').replace("steps=60", "steps=30")


def last_sentence(outcome: runs.Outcome, *words: str) -> None:
    """Checks that a command ended with code 2, and that its last line is a sentence with these words."""
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("gan-jax: "), outcome.err
    for word in words:
        assert word in last


def largest(home: Path) -> Path:
    return max((path for path in home.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
