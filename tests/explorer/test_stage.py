"""The image of the explorer as HTML, with its downloads."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from gan_jax.explorer.stage import gif, npz, png, stage


def addresses(page):
    return {
        name: base64.b64decode(data)
        for data, name in re.findall(r"href='data:[^,]*,([^']*)' download='([^']*)'", page)
    }


def test_downloads_are_inside_the_page():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    files = [png("PNG", "a.png", pixels), npz("Arrays", "a.npz", {"image": pixels[None], "label": None})]
    page = stage(files[0], (4, 4), ["seed 0", "class <b>"], files)
    assert "<b>" not in page
    found = addresses(page)
    np.testing.assert_array_equal(Image.open(io.BytesIO(found["a.png"])), pixels)
    with np.load(io.BytesIO(found["a.npz"])) as arrays:
        assert arrays.files == ["image"]
        np.testing.assert_array_equal(arrays["image"], pixels[None])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_animation_goes_forth_and_back(channels):
    frames = np.linspace(0, 255, 5).astype(np.uint8)[:, None, None, None] * np.ones((1, 4, 6, channels), np.uint8)
    with Image.open(io.BytesIO(gif("GIF", "a.gif", frames).content)) as image:
        assert image.size == (258, 172)
        shown = []
        for i in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(i)
            shown.append(image.convert("L").getpixel((0, 0)))
    np.testing.assert_allclose(shown, [0, 63, 127, 191, 255, 191, 127, 63], atol=3)
