"""Exact resume of runs beyond noise to image: a paired one, one of audio and one of video, in every mode."""

import fcntl
import os
import re
import signal
import wave

import numpy as np
import pytest

import runs
from devices import run_json
from runs import call
from undisturbed import assert_undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("programs"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the test needs a pipe of a set size"),
]

CONFIG = '''"""A small run."""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample, Term


def get_config():
    return Config(
        name="kinds", steps=60, batch=16, {fields},
        log=Log(every=1, tensorboard=False),
        sample=Sample(every=20, count=4, gif=False),
        checkpoint=Checkpoint(every=10, keep=10),
    )
'''
# The paired run has all that is new: inputs from rows, late starts in the middle, an adaptive weight, G first.
FIELDS = {
    "paired": '''
        data=Data(source=Call("digits")), inputs=Call("downsampled", factor=2),
        generator=Call("mlp", width=16), discriminator=Call("mlp", width=16),
        generator_terms=(Term(10.0, Call("reconstruction", norm="l2")),),
        discriminator_terms=(Term(1.0, Call("r1_approx")), Term(0.1, Call("lecam"))),
        discriminator_weight=Call("after", images=128), generator_weight=Call("after", images=240, value=0.5),
        adaptive_weight="out/kernel", update="generator_first"''',
    "audio": """
        latent=Call("normal", size=8), data=Data(source=Call("audio", path="{folder}", window=64)),
        generator=Call("dcgan", width=8), discriminator=Call("dcgan", width=8)""",
    "video": """
        latent=Call("normal", size=8), data=Data(source=Call("moving_digits", frames=8, size=16, count=200)),
        generator=Call("dcgan", width=8), discriminator=Call("dcgan", width=8, norm="spectral")""",
}
WAYS = {
    "jit": (1, []),
    "fused": (1, ["parallel.fuse=2"]),
    "pmap": (4, ["parallel.mode=pmap"]),
    "shard": (4, ["parallel.mode=shard", "parallel.params=sharded"]),
}
CASES = [(kind, way) for kind in FIELDS for way in WAYS if way != "shard" or kind == "paired"]

# One process continues the killed run, and makes the undisturbed one.
TRAIN = """
import json, runs
print(json.dumps([runs.call("train", *{arguments!r}, "--workdir", workdir) for workdir in {workdirs!r}]))
"""


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Returns the config file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    waves = folder / "waves"
    waves.mkdir()
    for i in range(4):
        samples = 0.5 * np.sin(np.arange(2000) * (0.05 + 0.02 * i))
        with wave.open(str(waves / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
    files = {}
    for kind, fields in FIELDS.items():
        text = CONFIG.replace("{fields}", fields.strip().replace("{folder}", str(waves)))
        files[kind] = runs.write_config(folder, text, f"{kind}.py")
    return files


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_killed_and_started_again(kind, way, configs, tmp_path):
    if kind == "audio":
        pytest.importorskip("soundfile")
    devices, overrides = WAYS[way]
    arguments = [str(configs[kind]), *overrides]
    workdir, reference = tmp_path / "run", tmp_path / "reference"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
    stopped = runs.stop(workdir, *arguments, lines=22 if way == "fused" else 36, least=26, XLA_FLAGS=flags)
    assert stopped.code == -signal.SIGKILL
    assert 26 <= stopped.step < 60
    source = TRAIN.format(arguments=arguments, workdirs=[str(workdir), str(reference)])
    outcome, expected = (runs.Outcome(*fields) for fields in run_json(source, devices=devices))
    assert re.search(r"^resuming at step [123]0$", outcome.err, re.MULTILINE), outcome.err
    assert_undisturbed(workdir, outcome, reference, expected)
    assert call("digest", workdir).out.strip() == expected.digest
