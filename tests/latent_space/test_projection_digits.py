"""Projection on a trained run: the recipe `digits` without 20 digits, which are held out."""

import re

import numpy as np
import pytest

from gan_jax.data.digits import digits
from runs import call

COUNT = 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_own_samples_are_found_and_held_out_digits_nearly(tmp_path):
    rows = digits(size=16).read(np.arange(1797))
    held = np.arange(COUNT) * 90  # two or so of each class
    image, label = (np.delete(rows[name], held, axis=0) for name in ("image", "label"))
    np.savez(tmp_path / "others.npz", image=image, label=label)
    np.savez(tmp_path / "held_out.npz", image=rows["image"][held])
    data = ("data.source=npz", f"data.source.path={tmp_path / 'others.npz'}")
    outcome = call("train", "digits", *data, "log.tensorboard=false", "--workdir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    # Seed 1: the candidates of a projection are those of seed 0, and would hold the samples themselves.
    call("sample", tmp_path / "run", "--seed", 1, "--count", COUNT, "--out", tmp_path / "own.npz")
    outcome = call("project", tmp_path / "run", tmp_path / "own.npz", tmp_path / "held_out.npz")
    assert outcome.code == 0, outcome.err
    for name in ("own", "held_out"):
        print(re.search(rf"^{name}\.npz: PSNR of .*$", outcome.err, re.MULTILINE)[0])
    with np.load(tmp_path / "run" / "projections" / "own" / "projection.npz", allow_pickle=False) as arrays:
        ratio, classes = arrays["psnr"], arrays["label"]
        steps = np.median(arrays["distances"], axis=1)
    assert ratio[:COUNT].min() > 30  # each of its own samples
    np.testing.assert_array_equal(classes[:COUNT], np.arange(COUNT) % 10)
    assert ratio[COUNT:].min() > 18  # held-out digits are near
    assert (classes[COUNT:] == rows["label"][held]).mean() >= 0.8  # and found in their class
    assert steps[-1] < 0.1 * steps[0]
