"""What a run says about adversarial losses that begin late."""

import pytest

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
    ],
)
def test_a_late_start_is_said(weight, steps, line):
    lines = said(weight, steps)
    assert len(lines) == (line is not None)
    assert line is None or line in lines[0]
