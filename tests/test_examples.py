"""The programs in examples/ are short, and reach the figures that they name."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from devices import ROOT

PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_is_short_and_names_its_command(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert f"    python examples/{path.name}" in text.split('"""')[1]


def _program(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / name))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vqgan_reconstructs_new_digits_and_uses_its_codes() -> None:
    found = _program("vqgan.py")["train"]()
    assert found["psnr"] > 21.5
    assert found["use"] > 0.5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_codec_is_better_than_twice_its_bits_in_samples() -> None:
    reconstructed, resampled = _program("codec.py")["train"]()
    assert reconstructed < 0.85 * resampled


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_adversarial_loss_improves_a_student() -> None:
    _, alone, adversarial = _program("distill.py")["main"]()
    assert adversarial < 0.95 * alone
