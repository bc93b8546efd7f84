"""What is special in runs whose samples are made from rows of the data (`inputs`)."""

import numpy as np
from PIL import Image

from gan_jax.config import Call, Config
from gan_jax.config.declared import Declared
from gan_jax.data.digits import digits
from gan_jax.report.reals import write_reals
from gan_jax.train.validate import notes


def test_a_run_without_a_term_on_pairs_says_so():
    config = Config(name="pairs", inputs=Call("downsampled"))
    assert any(
        "inputs is set, and generator_terms is empty" in line for line in notes(config, Declared.of(digits()))
    )


def test_reals_are_in_the_place_of_their_samples(tmp_path):
    """The first rows of the set, in order: 4 of them are 2 x 2 cells of 8 pixels and a border."""
    source = digits()
    (tmp_path / "samples").mkdir()
    write_reals(tmp_path, source, paired=4)
    grid = np.asarray(Image.open(tmp_path / "samples" / "reals.png").convert("L"))
    inside = grid[2:-2, 2:-2]  # four cells of 8 pixels, enlarged to 256, and a border between them
    cells = [inside[y + 16 : y + 256 : 32, x + 16 : x + 256 : 32] for y in (0, 258) for x in (0, 258)]
    np.testing.assert_array_equal(cells, source.read(np.arange(4))["image"][..., 0])
