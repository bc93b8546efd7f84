"""Random changes to workdirs, through every command: no traceback, no hang, and nothing outside changes.

`GAN_JAX_FUZZ=3000 python -m pytest -m slow tests/faults/test_fuzz.py -s` makes more changes than the default.
`GAN_JAX_FUZZ_SEED` gives others.
"""

import os
import random
import shutil
import signal
import warnings
from collections import Counter
from pathlib import Path

import jax
import pytest

import runs
from runs import call
from workdir_changes import CHANGES

pytestmark = [pytest.mark.usefixtures("programs_shared"), pytest.mark.slow]
COUNT = int(os.environ.get("GAN_JAX_FUZZ", "120"))
SEED = int(os.environ.get("GAN_JAX_FUZZ_SEED", "14"))
LONGEST = int(os.environ.get("GAN_JAX_FUZZ_SECONDS", "20"))  # of one command; a busy machine needs more

PLAIN = runs.MLP.replace("tensorboard=False", "tensorboard=True").replace("gif=False", "gif=True")
MEASURED = (
    runs.MLP.replace("import Call,", "import Call, Ema, Metrics,")
    .replace("        latent=", '        augment=Call("ada"),\n        latent=')
    .replace("keep=10", 'keep=2, best="frechet"')
    .replace(
        "        checkpoint=",
        '        metrics=Metrics(every=10, names=("frechet",), features=Call("fake_features:quarters"), count=16, '
        "reference=16),\n        checkpoint=",
    )
)


@pytest.fixture(scope="module", params=["plain", pytest.param("measured", marks=pytest.mark.slow)])
def scene(request, tmp_path_factory):
    """A config and a workdir of 20 steps that was sampled and measured."""
    folder = tmp_path_factory.mktemp(request.param)
    config = runs.write_config(folder, PLAIN if request.param == "plain" else MEASURED)
    for words in commands(config, folder / "run", "steps=20").values():
        outcome = call(*words)
        assert outcome.code == 0, outcome.err
    return config, folder / "run"


def commands(config, workdir, *overrides):
    allow = ["--allow", "fake_features"]
    return {
        "train": ["train", config, *overrides, "--workdir", workdir],
        "sample": ["sample", workdir, "--count", 4, *allow],
        "evaluate": [
            "evaluate",
            workdir,
            "--count",
            8,
            "--reference",
            8,
            "--features",
            "fake_features:quarters",
            *allow,
        ],
        "checkpoints": ["checkpoints", workdir],
        "digest": ["digest", workdir, *allow],
    }


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    (folder / "folder").mkdir(parents=True)
    for name in (
        "mine",
        "folder/mine",
        "step_00000010.png",
        "step_00000030.png",
        "manifest.json",
        "metrics.jsonl",
    ):
        (folder / name).write_bytes(b"mine")
    return folder


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {
        str(path): (status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, status in found.items()
    }


class Hang(Exception):
    pass


@pytest.fixture
def alarm():
    """Makes SIGALRM raise an error in Python code."""

    def stop(number: int, frame: object) -> None:
        raise Hang(f"no answer in {LONGEST} s")

    previous = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.usefixtures("alarm")
def test_random_changes(scene, outside, tmp_path):
    """Each one is tried on a copy. The command succeeds, or says in one line why not."""
    config, trained = scene
    before, codes, wrong = tree(outside), Counter[str](), []
    for number in range(COUNT // 2):
        rng = random.Random(f"{SEED} {trained.parent.name} {number}")
        workdir = Path(shutil.copytree(trained, tmp_path / "run"))
        made = [rng.choice(CHANGES) for _ in range(rng.choice([1, 1, 1, 2]))]
        try:
            for change in made:
                change(workdir, outside, rng)
        except (OSError, ValueError, KeyError, IndexError, RecursionError, MemoryError):
            pass  # the second change does not fit after the first
        command = rng.choice(["train", "train", "sample", "evaluate", "checkpoints", "digest"])
        signal.alarm(LONGEST)
        problem = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # `evaluate` warns if it cannot keep its records
                outcome = call(*commands(config, workdir, "steps=30")[command])
            problem = wrong_with(outcome)
            codes[f"{command} {outcome.code}"] += 1
        except (Exception, SystemExit) as error:
            problem = f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
        if tree(outside) != before:
            problem += " changed what is outside"
            shutil.rmtree(outside)
            pytest.fail(f"{number}: {command} after {[one.__name__ for one in made]}: {problem}")
        if problem:
            wrong.append(f"{number}: {command} after {[one.__name__ for one in made]}: {problem}")
        shutil.rmtree(workdir) if workdir.is_dir() else workdir.unlink()
        if number % 50 == 49:
            jax.clear_caches()  # each run adds some megabytes of programs
            print(f"{number + 1} of {COUNT // 2}, wrong: {wrong}", flush=True)
    print("", *sorted(codes.items()), sep="\n")
    assert wrong == [], "\n".join(wrong)


def wrong_with(outcome: runs.Outcome) -> str:
    """Returns what a command should not have done, or an empty text."""
    if outcome.code not in (0, 2):
        return f"exit code {outcome.code}: {outcome.err[-300:]}"
    if "Traceback" in outcome.err + outcome.out:
        return f"a traceback: {outcome.err[-500:]}"
    said = [line for text in (outcome.out, outcome.err) for line in text.split("\n")]
    if bad := [line for line in said if not line.isprintable()]:
        return f"control characters: {bad[0]!r}"
    if outcome.code == 2 and not said[-2].startswith("gan-jax: "):
        return f"the last line is no sentence: {said[-2]!r}"
    return ""
