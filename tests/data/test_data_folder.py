import os
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import decode, read_all
from gan_jax.data.folder import folder
from gan_jax.errors import UserError

RNG = np.random.default_rng(1)
COLOUR = RNG.integers(0, 256, (7, 7, 3), np.uint8)
GREY = RNG.integers(0, 256, (7, 7), np.uint8)
ALPHA = RNG.integers(0, 256, (7, 7), np.uint8)
DEEP = RNG.integers(0, 65536, (7, 7), np.uint16)


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def only_image(path, **options):
    source = folder(str(path), **options)
    return read_all(source)["image"][0]


def on_white(colour, alpha):
    weight = alpha[..., None] / 255
    return colour * weight + 255 * (1 - weight)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "PNG", "webp"])
def test_lossless_colour_is_exact(tmp_path, suffix):
    write(tmp_path / f"a.{suffix}", COLOUR, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(only_image(tmp_path), COLOUR)


def test_jpeg_is_what_pillow_decodes(tmp_path):
    write(tmp_path / "a.jpeg", COLOUR)
    with Image.open(tmp_path / "a.jpeg") as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(only_image(tmp_path), expected)


def test_grey_and_its_channels(tmp_path):
    write(tmp_path / "a.png", GREY)
    write(tmp_path / "b.pgm", GREY)
    write(tmp_path / "c.png", Image.fromarray(GREY > 127))  # 1 bit
    source = folder(str(tmp_path))
    image = read_all(source)["image"]
    assert source.shape == (7, 7, 1)
    for row, expected in zip(image, [GREY, GREY, np.where(GREY > 127, 255, 0)]):
        np.testing.assert_array_equal(row[..., 0], expected)
    np.testing.assert_array_equal(only_image(tmp_path, channels=3), np.repeat(GREY[..., None], 3, axis=2))
    write(tmp_path / "d.png", COLOUR)
    assert folder(str(tmp_path)).shape == (7, 7, 3)
    luma = np.asarray(Image.fromarray(COLOUR).convert("L"))
    np.testing.assert_array_equal(read_all(folder(str(tmp_path), channels=1))["image"][3, ..., 0], luma)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    write(tmp_path / "a.png", DEEP)
    write(tmp_path / "b.tif", DEEP)
    write(tmp_path / "c.tif", DEEP.astype(np.int32))  # mode "I"
    (tmp_path / "d.pgm").write_bytes(b"P5 7 7 65535\n" + DEEP.astype(">u2").tobytes())
    write(tmp_path / "e.tif", Image.frombytes("I;16B", (7, 7), DEEP.astype(">u2").tobytes()))
    modes = []
    for file in sorted(tmp_path.iterdir()):
        with Image.open(file) as image:
            modes.append(image.mode)
    assert set(modes) >= {"I", "I;16", "I;16B"}
    image = read_all(folder(str(tmp_path)))["image"]
    assert image.shape == (5, 7, 7, 1)
    for row in image:
        np.testing.assert_array_equal(row[..., 0], np.round(DEEP / 257))


def test_transparent_images_are_composed_on_white(tmp_path):
    write(tmp_path / "a.png", np.dstack([COLOUR, ALPHA]))
    write(tmp_path / "b.png", np.dstack([GREY, ALPHA]))
    rows = read_all(folder(str(tmp_path)))["image"].astype(float)
    assert np.abs(rows[0] - on_white(COLOUR, ALPHA)).max() <= 1
    assert np.abs(rows[1] - on_white(np.repeat(GREY[..., None], 3, 2), ALPHA)).max() <= 1


def test_palettes(tmp_path):
    index = RNG.integers(0, 4, (7, 7), np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    palette = Image.frombytes("P", (7, 7), index.tobytes())
    palette.putpalette(colours.tobytes())
    write(tmp_path / "opaque" / "a.png", palette)
    write(tmp_path / "one" / "a.gif", palette, transparency=2)
    write(tmp_path / "many" / "a.png", palette, transparency=bytes([255, 128, 0, 255]))
    np.testing.assert_array_equal(only_image(tmp_path / "opaque"), colours[index])
    white = np.where((index == 2)[..., None], 255, colours[index])
    np.testing.assert_array_equal(only_image(tmp_path / "one"), white)
    alpha = np.array([255, 128, 0, 255], np.uint8)[index]
    assert np.abs(only_image(tmp_path / "many") - on_white(colours[index], alpha)).max() <= 1


def test_a_transparent_colour_key(tmp_path):
    flat = COLOUR.copy()
    flat[:3] = (1, 2, 3)
    write(tmp_path / "rgb" / "a.png", flat, transparency=(1, 2, 3))
    expected = flat.copy()
    expected[:3] = 255
    np.testing.assert_array_equal(only_image(tmp_path / "rgb"), expected)
    deep = DEEP.copy()
    deep[2:] = 513
    write(tmp_path / "deep" / "a.png", deep, transparency=513)
    expected = np.round(deep / 257)
    expected[2:] = 255
    np.testing.assert_array_equal(only_image(tmp_path / "deep")[..., 0], expected)


def test_cmyk(tmp_path):
    write(tmp_path / "a.tif", Image.fromarray(COLOUR).convert("CMYK"))
    np.testing.assert_array_equal(only_image(tmp_path), COLOUR)  # without black ink the conversion back is exact


@pytest.mark.parametrize("check", ["all", "header"])
def test_exif_orientation_is_applied(tmp_path, check):
    wide = RNG.integers(0, 256, (4, 9, 3), np.uint8)
    turned = {1: wide, 3: wide[::-1, ::-1], 6: np.rot90(wide, -1), 8: np.rot90(wide), 2: wide[:, ::-1]}
    for orientation, expected in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        write(tmp_path / str(orientation) / "a.png", wide, exif=exif)
        np.testing.assert_array_equal(only_image(tmp_path / str(orientation), check=check), expected)


def test_sizes_and_crops(tmp_path):
    wide = RNG.integers(0, 256, (20, 33, 3), np.uint8)
    write(tmp_path / "a.png", COLOUR)
    write(tmp_path / "b.png", wide)
    with pytest.raises(UserError, match=re.escape("'a.png' is 7x7, 'b.png' is 33x20; pass data.source.size=N")):
        folder(str(tmp_path))
    center = read_all(folder(str(tmp_path), size=8, filter="bicubic"))["image"]
    expected = Image.fromarray(wide[:, 6:26]).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(center[1], expected)
    squeezed = read_all(folder(str(tmp_path), size=8, crop="none", filter="hamming"))["image"]
    np.testing.assert_array_equal(squeezed[1], Image.fromarray(wide).resize((8, 8), Image.Resampling.HAMMING))
    flat = np.full((64, 48, 3), (10, 200, 30), np.uint8)
    write(tmp_path / "c.png", flat)
    assert (read_all(folder(str(tmp_path), size=16))["image"][2] == (10, 200, 30)).all()


def test_labels_order_and_hidden_files(tmp_path):
    tones = {"b/2.png": 1, "b/10.png": 2, "a/z.png": 3, "a/deep/y.png": 4, "c/x.jpg": 5}
    for name, tone in tones.items():
        write(tmp_path / name, np.full((4, 4), tone, np.uint8))
    for name in (".hidden/a.png", "a/.a.png", "empty/.b.png"):
        write(tmp_path / name, np.full((4, 4), 99, np.uint8))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    source = folder(str(tmp_path))
    rows = read_all(source)
    assert source.names == ["a/deep/y.png", "a/z.png", "b/10.png", "b/2.png", "c/x.jpg"]
    assert source.classes == 3
    assert rows["label"].tolist() == [0, 0, 1, 1, 2]
    assert rows["image"][:, 0, 0, 0].tolist() == [4, 3, 2, 1, 5]
    assert folder(str(tmp_path), labels=False).classes is None
    assert folder(str(tmp_path / "b")).classes is None
    mirrored = folder(str(tmp_path), mirror=True)
    assert len(mirrored) == 10
    write(tmp_path / "loose.png", GREY[:4, :4])
    with pytest.raises(UserError, match=r"itself \('loose.png'\) and in sub-folders \('a'\)"):
        folder(str(tmp_path))


def test_the_fingerprint_depends_on_the_content_and_not_on_names(tmp_path):
    write(tmp_path / "one" / "a.bmp", COLOUR)
    write(tmp_path / "two" / "b.bmp", COLOUR)
    write(tmp_path / "three" / "a.bmp", 255 - COLOUR)  # a file of the same name and size
    one, two, three = (folder(str(tmp_path / name)).fingerprint() for name in ("one", "two", "three"))
    assert one == two != three
    times = os.stat(tmp_path / "one" / "a.bmp")
    write(tmp_path / "one" / "a.bmp", 255 - COLOUR)
    os.utime(tmp_path / "one" / "a.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder(str(tmp_path / "one")).fingerprint() == three


def test_one_error_names_all_unreadable_files(tmp_path, monkeypatch):
    noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    write(tmp_path / "good.png", noise)
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "whole.jpg", noise)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-900])
    (tmp_path / "text.gif").write_text("hello")
    (tmp_path / "empty.webp").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    write(tmp_path / "float.tif", np.ones((64, 64), np.float32))
    write(tmp_path / "wide.tif", np.full((64, 64), 70_000, np.int32))
    write(tmp_path / "bomb.png", np.zeros((80, 80), np.uint8))
    monkeypatch.setattr(decode, "MAX_PIXELS", 5000)
    with pytest.raises(UserError, match="8 of the 10 images") as error:
        folder(str(tmp_path))
    message = str(error.value)
    assert "\n" not in message
    for name in ("cut.png", "cut.jpg", "text.gif", "empty.webp", "gone.png", "float.tif", "wide.tif", "bomb.png"):
        assert f"{name} (" in message
    assert "good.png" not in message
    assert "whole.jpg" not in message
    for number in range(7):
        (tmp_path / f"more{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"15 of the 17 .* and 5 more; remove or replace them"):
        folder(str(tmp_path))


def huge(side: int) -> bytes:
    """Returns a small PNG file that claims to be `side` pixels high and wide."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("filters", ["ignore", "default", "error"])
@pytest.mark.parametrize("check", ["all", "header"])
@pytest.mark.parametrize(
    "side", [8193, 10_000, 100_000]
)  # below Pillow's limits, above its first, above its second
def test_a_bomb_is_refused_before_it_is_decoded(side, check, filters, tmp_path, recwarn):
    (tmp_path / "bomb.png").write_bytes(huge(side))
    with warnings.catch_warnings():
        warnings.simplefilter(filters)
        with pytest.raises(UserError) as error:
            folder(str(tmp_path), check=check, size=8)
    assert f"bomb.png (it claims {side**2:,} pixels, but at most 67,108,864 are decoded)" in str(error.value)
    assert not recwarn


def test_a_file_that_becomes_a_bomb_is_refused_when_it_is_read(tmp_path, monkeypatch):
    write(tmp_path / "a.png", np.zeros((80, 80), np.uint8))
    source = folder(str(tmp_path), size=8, check="header")
    (tmp_path / "a.png").write_bytes(huge(100_000))
    with pytest.raises(UserError, match=r"^record 0 of .*a.png' cannot be read: it claims 10,000,000,000"):
        read_all(source)
    write(tmp_path / "a.png", np.zeros((4000, 4000), np.uint8))  # a file of 16 KB
    with pytest.raises(UserError, match=r"a.png' has changed since the run began"):
        read_all(source)
    monkeypatch.setattr(decode, "MAX_PIXELS", 4000**2 - 1)
    with pytest.raises(UserError, match="it claims 16,000,000 pixels, but at most 15,999,999"):
        read_all(source)
    with pytest.raises(UserError, match="size must be at most 3999 pixels, or 3999x3999, not 4000"):
        folder(str(tmp_path), size=4000)


def test_pipes_and_files_of_other_formats_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # opening a pipe would wait for ever
    (tmp_path / "run.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(UserError, match=r"pipe.png \(it is not a regular file\), run.png \(cannot identify"):
        folder(str(tmp_path))


def test_names_are_shown_on_one_line(tmp_path):
    home = tmp_path / "two\nlines"
    write(home / "a.png", COLOUR)
    (home / "b\x1b[2J\udcff.png").write_bytes(b"")
    with pytest.raises(UserError) as error:
        folder(str(home))
    assert r"two\nlines' cannot be read: b\x1b[2J\udcff.png (" in str(error.value)
    assert str(error.value).isprintable()
    write(home / "b\x1b[2J\udcff.png", COLOUR, format="png")
    assert len(folder(str(home)).fingerprint()) < 80


def test_a_file_that_changes_during_the_run_is_named(tmp_path):
    write(tmp_path / "a.png", COLOUR)
    decoded, source = folder(str(tmp_path)), folder(str(tmp_path), check="header")
    write(tmp_path / "a.png", COLOUR[:4])
    assert (read_all(decoded)["image"][0] == COLOUR).all()  # it was decoded before the run began
    with pytest.raises(UserError, match=r"record 0 of .*a.png' is 4x7x3 now"):
        read_all(source)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a.png' cannot be read"):
        source.read(np.array([0]))


def test_absent_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        folder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no images under"):
        folder(str(tmp_path))
