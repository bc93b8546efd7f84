"""What a run says about adversarial losses that begin late."""

import dataclasses
import re

import pytest

import runs
from gan_jax.config import Call, Config
from gan_jax.config.build import SampleSpec, make_gan
from gan_jax.train.late_start import late_starts

SPEC = SampleSpec((8, 8, 1), "float32", None)


def said(weight, steps):
    config = Config(name="late", steps=steps, batch=10, generator=Call("mlp"), discriminator=Call("mlp"))
    config = config.__class__(**{**vars(config), "discriminator_weight": weight})
    return late_starts(config, make_gan(config, SPEC))


@pytest.mark.parametrize(
    ("weight", "steps", "line"),
    [
        (1.0, 50, None),
        (Call("constant", value=2.0), 50, None),
        # After 300 images the weight is still 0; step 31 begins after 310.
        (
            Call("linear", start=0.0, end=1.0, images=5, delay=300),
            50,
            "0 before step 31: until then the discriminator",
        ),
        (Call("linear", start=0.0, end=1.0, images=5, delay=300), 31, "0 in all 31 steps, so the discriminator"),
        (Call("constant", value=1.0), 0, None),
        (Call("after", images=100), 400_000, "0 before step 10: until then the discriminator"),
        (Call("after", images=3_000_001), 400_000, "0 before step 300001: until then the discriminator"),
        (Call("after", images=3_999_991), 400_000, "0 in all 400000 steps, so the discriminator"),
    ],
)
def test_a_late_start_is_said(weight, steps, line):
    lines = said(weight, steps)
    assert len(lines) == (line is not None)
    assert line is None or line in lines[0]


def test_a_window_of_one_step_is_found():
    config = Config(name="late", steps=400_000, batch=10, generator=Call("mlp"), discriminator=Call("mlp"))
    gan = dataclasses.replace(make_gan(config, SPEC), generator_weight=lambda seen: seen == 700_010)
    (line,) = late_starts(config, gan)
    assert "generator_weight is 0 before step 70001:" in line


@pytest.mark.usefixtures("programs")
def test_a_run_ends_before_its_discriminator_begins(tmp_path):
    """Its last line names the generator alone, and all is saved: 7 steps of 16 images, and D begins after 160."""
    config = runs.write_config(tmp_path, runs.MLP)
    late = [
        "discriminator_weight=after",
        "discriminator_weight.images=160",
        "log.every=2",
        "log.tensorboard=false",
    ]
    outcome = runs.call("train", config, *late, "steps=7", "--workdir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "note: discriminator_weight is 0 in all 7 steps" in outcome.err
    assert re.search(r"^step 7: loss G \S+ since the last line$", outcome.err, re.MULTILINE)
    assert runs.checkpoints(tmp_path / "run") == [7]
    assert all("loss/discriminator" not in row for row in runs.rows(tmp_path / "run"))
