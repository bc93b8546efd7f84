"""What a person uploads to the explorer."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from gan_jax.errors import UserError
from gan_jax.explorer.upload import MOST_BYTES, read_upload


def encoded(content):
    return base64.b64encode(content).decode()


def file_of(image, kind="PNG"):
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def white(size, mode="RGB", kind="PNG"):
    return file_of(Image.new(mode, size, "white"), kind)


NOISE = file_of(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)))


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 6, 3), (4, 4, 4)])
def test_an_upload_gets_the_size_of_the_run(shape):
    for content in (white((20, 10)), white((5, 9), "L"), white((9, 9), kind="JPEG"), white((9, 9), "RGBA")):
        read = read_upload("a.png", encoded(content), shape)
        assert read.shape == shape
        assert read.dtype == np.uint8
        assert read.min() > 250


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "larger than 16 MiB"),
        (None, "larger than 16 MiB"),
        (7, "larger than 16 MiB"),
        ("A" * (MOST_BYTES * 4 // 3 + 8), "larger than 16 MiB"),
        ("no base64!", "can't be read as an image"),
        (encoded(b""), "empty"),
        (encoded(b"%!PS-Adobe-3.0 EPSF"), "can't be read as an image"),
        (encoded(NOISE[: len(NOISE) // 2]), "can't be read as an image"),
        (encoded(b"P5 99999 99999 255\n"), "claims"),
        (encoded(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>"), "can't be read"),
    ],
    ids=range(10),
)
def test_a_bad_upload_gets_a_sentence(data, words):
    with pytest.raises(UserError, match=r"^b\.png ") as error:
        read_upload("b.png", data, (8, 8, 1))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_name_of_an_upload_is_safe_to_print():
    with pytest.raises(UserError) as error:
        read_upload("a\n\x1b[31m" + "b" * 500, "", (8, 8, 1))
    assert len(str(error.value)) < 200
    assert "\x1b" not in str(error.value)
