"""The programs in examples/ are short, and reach the figures that they name."""

import re
from pathlib import Path

import numpy as np
import pytest

from example_programs import PROGRAMS, load


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_is_short_and_names_its_command(path: Path) -> None:
    """Behind the command stands a comment with what was measured."""
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    command = re.escape(f"    python examples/{path.name}")
    assert re.search(rf"^{command} +# .*\d", text.split('"""')[1], re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vqgan_reconstructs_new_digits_and_uses_its_codes() -> None:
    found = load("vqgan")["train"]()
    assert found["psnr"] > 21.5
    assert found["use"] > 0.5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_codec_is_better_than_twice_its_bits_in_samples() -> None:
    reconstructed, resampled = load("codec")["train"]()
    assert reconstructed < 0.85 * resampled


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_adversarial_loss_improves_a_student() -> None:
    _, alone, adversarial = load("distill")["main"]()
    assert adversarial < 0.95 * alone


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_clips_move() -> None:
    """After few steps, when the figure of the docstring is far away: whole clips, whose frames differ."""
    clips = load("moving_digits")["train"](20)
    assert clips.shape == (16, 16, 24, 24, 1)
    assert np.isfinite(clips).all()
    assert np.abs(np.diff(clips, axis=1)).mean() > 1e-3
