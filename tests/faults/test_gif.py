"""Files among the sample grids of a run that are none: the GIF at the end leaves them out, and says so."""

import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from damaged_files import crafted
from gan_jax import report
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]


def spoil(paths):
    """Huge, huge where Pillow would only warn, truncated, of another kind, a folder, and of another size."""
    paths[0].write_bytes(crafted(60_000))
    paths[1].write_bytes(crafted(12_000))
    paths[2].write_bytes(paths[2].read_bytes()[:45])
    paths[3].write_text("no picture\n")
    paths[4].unlink()
    paths[4].mkdir()
    report.save_png(paths[5], np.zeros((4, 4, 3), np.uint8))


def test_what_is_no_frame_is_left_out_and_named(tmp_path):
    paths = [tmp_path / f"step_{index:08}.png" for index in range(8)]
    for value, path in enumerate(paths):
        report.save_png(path, np.full((8, 8, 3), 9 * value, np.uint8))
    spoil(paths)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left_out = report.save_gif(tmp_path / "samples.gif", paths)
    assert [line.partition(" ")[0] for line in left_out] == [path.name for path in paths[:6]]
    assert "it claims 3,600,000,000 pixels, but at most 64" in left_out[0]
    assert "it claims 144,000,000 pixels" in left_out[1]
    assert "it is not of 8 x 8 pixels" in left_out[5]
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == 2  # type: ignore[attr-defined]


def test_a_run_with_such_files_ends(trained, config, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    samples = workdir / "samples"
    for index in range(6):
        shutil.copy(samples / "step_00000010.png", samples / f"step_{index:08}.png")
    spoil([samples / f"step_{index:08}.png" for index in range(6)])
    (samples / "step_00000004.png").rmdir()  # a folder is refused before the training (test_links.py)
    (samples / "step_00000004.png").touch()
    (samples / "step_later.png").write_bytes(b"")
    (samples / "step_00000999.png").write_bytes(crafted(60_000))
    outcome = call("train", config, "steps=30", "sample.gif=true", "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    assert "samples.gif leaves out step_00000000.png (it claims 3,600,000,000 pixels" in outcome.err
    assert " and 3 more\n" in outcome.err
    with Image.open(workdir / "samples.gif") as gif:
        assert gif.n_frames == 3  # type: ignore[attr-defined]
