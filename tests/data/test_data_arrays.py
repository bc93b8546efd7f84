import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gan_jax.data import Mirrored, Source, read_all
from gan_jax.data.digits import digits
from gan_jax.data.gaussians import centers, gaussians
from gan_jax.data.npz import npz
from gan_jax.errors import UserError


def test_digits_equal_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    reference = load_digits()
    source = digits()
    rows = read_all(source)
    assert isinstance(source, Source)
    assert (len(source), source.shape, source.dtype, source.classes) == (1797, (8, 8, 1), np.uint8, 10)
    expected = [[[round(v * 255 / 16) for v in line] for line in image] for image in reference.images]
    np.testing.assert_array_equal(rows["image"][..., 0], expected)
    np.testing.assert_array_equal(rows["label"], reference.target)
    assert rows["label"].dtype == np.int32


@pytest.mark.parametrize(("size", "channels", "name"), [(16, None, "bicubic"), (32, 3, "lanczos"), (5, 1, "box")])
def test_digits_are_resized_by_the_filter(size, channels, name):
    rows = digits(size=size, channels=channels, filter=name).read(np.array([3, 1796]))
    plain = digits().read(np.array([3, 1796]))["image"]
    for got, pixels in zip(rows["image"], plain):
        resized = Image.fromarray(pixels[..., 0]).resize((size, size), Image.Resampling[name.upper()])
        assert got.shape == (size, size, channels or 1)
        assert (got == np.asarray(resized)[..., None]).all()


def test_mirrored_appends_flipped_images():
    source, plain = digits(mirror=True), digits()
    assert isinstance(source, Mirrored)
    assert len(source) == 2 * len(plain)
    rows = source.read(np.array([5, 1797 + 5, 1797, 0]))
    original = plain.read(np.array([5, 0]))
    np.testing.assert_array_equal(rows["image"][0], original["image"][0])
    np.testing.assert_array_equal(rows["image"][1], original["image"][0][:, ::-1])
    np.testing.assert_array_equal(rows["image"][2], original["image"][1][:, ::-1])
    assert rows["label"].tolist() == [original["label"][i] for i in (0, 0, 1, 1)]
    for outside in (-1, 2 * 1797):
        with pytest.raises(IndexError):
            source.read(np.array([outside]))
    with pytest.raises(UserError, match="vectors"):
        Mirrored(gaussians(count=10))


def test_fingerprints_of_different_data_differ(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.zeros((4, 8, 8), np.uint8))
    np.savez(tmp_path / "b.npz", image=np.ones((4, 8, 8), np.uint8))
    sources = [
        digits(), digits(size=16), digits(size=16, filter="box"), digits(channels=3), digits(mirror=True),
        gaussians(count=100), gaussians(count=100, seed=1), gaussians(count=101),
        gaussians("ring", count=100),
        npz(str(tmp_path / "a.npz")), npz(str(tmp_path / "b.npz")),
    ]  # fmt: skip
    prints = [source.fingerprint() for source in sources]
    assert len(set(prints)) == len(prints)
    assert all(len(line) < 120 and "\n" not in line for line in prints)
    assert prints[0] == digits().fingerprint()
    assert prints[5] == gaussians(count=100).fingerprint()


def test_centers_in_closed_form():
    assert centers("grid").tolist() == [[x, y] for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    assert centers("grid", 4, spacing=1.0).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    h = np.sqrt(2)
    ring = [[2, 0], [h, h], [0, 2], [-h, h], [-2, 0], [-h, -h], [0, -2], [h, -h]]
    np.testing.assert_allclose(centers("ring"), ring, atol=1e-6)


@pytest.mark.parametrize(("layout", "modes", "sigma"), [("grid", 25, 0.05), ("ring", 8, 0.02)])
def test_gaussians_have_their_moments(layout, modes, sigma):
    source = gaussians(layout)
    rows = read_all(source)
    assert (len(source), source.shape, source.dtype, source.classes) == (100_000, (2,), np.float32, modes)
    assert (source.sigma, source.centers.shape) == (sigma, (modes, 2))
    assert np.ptp(np.bincount(rows["label"], minlength=modes)) <= 1
    offset = rows["image"] - centers(layout)[rows["label"]]
    for mode in range(modes):
        residual = offset[rows["label"] == mode]
        # At most five standard errors of the mean and of the standard deviation.
        assert np.abs(residual.mean(0)).max() < 5 * sigma / np.sqrt(len(residual))
        assert np.abs(residual.std(0) / sigma - 1).max() < 5 / np.sqrt(2 * len(residual))
    assert abs(np.corrcoef(offset.T)[0, 1]) < 5 / np.sqrt(len(offset))


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(modes=24), "square"), (dict(modes=0), "modes"), (dict(sigma=-1.0), "sigma"),
     (dict(count=0), "count"), (dict(count=2**60), "at most"), (dict(modes=2**60), "at most"),
     (dict(spacing=1e300), "beyond float32"), (dict(sigma=1e300), "beyond float32"),
     (dict(layout="line"), "grid or ring")],
)  # fmt: skip
def test_gaussians_refuse(options, message):
    with pytest.raises(UserError, match=message):
        gaussians(**options)


def test_npz_images_and_labels(tmp_path):
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (9, 6, 5), np.uint8), rng.integers(0, 256, (9, 6, 5, 3), np.uint8)
    np.savez_compressed(tmp_path / "grey.npz", x=grey)
    np.savez(tmp_path / "colour.npz", image=colour, label=np.array([2, 0, 1] * 3, np.int64), other=grey)
    source = npz(str(tmp_path / "grey.npz"))
    assert (source.shape, source.classes) == ((6, 5, 1), None)
    assert set(read_all(source)) == {"image"}
    np.testing.assert_array_equal(read_all(source)["image"][..., 0], grey)
    source = npz(str(tmp_path / "colour.npz"))
    assert (source.shape, source.classes) == ((6, 5, 3), 3)
    rows = source.read(np.array([8, 0, 8]))
    np.testing.assert_array_equal(rows["image"], colour[[8, 0, 8]])
    assert rows["label"].tolist() == [1, 2, 1]
    assert npz(str(tmp_path / "colour.npz"), label_key="").classes is None
    assert npz(str(tmp_path / "colour.npz"), image_key="other", size=4, channels=3).shape == (4, 4, 3)
    squeezed = npz(str(tmp_path / "colour.npz"), size=4, crop="none", filter="box").read(np.array([0]))["image"][0]
    np.testing.assert_array_equal(squeezed, Image.fromarray(colour[0]).resize((4, 4), Image.Resampling.BOX))
    cut = npz(str(tmp_path / "colour.npz"), size=5).read(np.array([0]))["image"][0]
    np.testing.assert_array_equal(
        cut, colour[0, 0:5]
    )  # an image has 6 rows: one is cut off, and none is resampled


def test_npz_vectors_and_rgba(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    np.savez(tmp_path / "v.npz", image=vectors)
    source = npz(str(tmp_path / "v.npz"))
    assert (source.shape, source.dtype) == ((4,), np.float32)
    np.testing.assert_array_equal(read_all(source)["image"], vectors)
    rgba = np.array([[[[255, 0, 0, 255], [255, 0, 0, 0]]]], np.uint8)
    np.savez(tmp_path / "rgba.npz", image=rgba)
    assert npz(str(tmp_path / "rgba.npz")).read(np.array([0]))["image"].tolist() == [
        [[[255, 0, 0], [255, 255, 255]]]
    ]


def test_npz_refusals_are_one_sentence(tmp_path):
    image = np.zeros((4, 8, 8, 3), np.uint8)

    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the pickle was executed')",))

    cases = {
        "float32.*uint8": dict(image=image.astype(np.float32)),
        "float64.*must be float32": dict(image=np.zeros((4, 2))),
        "not finite": dict(image=np.full((4, 2), np.nan, np.float32)),
        "pickled Python objects": dict(image=np.array([Bomb()], dtype=object)),
        "channels come last": dict(image=image.transpose(0, 3, 1, 2)),
        "no array 'image': it has a, b": dict(a=image, b=image),
        "one label for each of the 4": dict(image=image, label=np.zeros(3, np.int32)),
        "one integer for each": dict(image=image, label=np.zeros(4)),
        "integer for each": dict(image=image, label=np.array([0, 2**40, 0, 0])),
        "is empty": dict(image=image[:0]),
        "neither images": dict(image=image.ravel()),
        "holds 0 to 0, but floats": dict(image=image[..., None].astype(np.float32)),
    }
    for number, (message, arrays) in enumerate(cases.items()):
        file = tmp_path / f"{number}.npz"
        np.savez(file, **arrays)
        with pytest.raises(UserError, match=message) as error:
            npz(str(file))
        assert str(file) in str(error.value)
        assert "\n" not in str(error.value)
    (tmp_path / "text.npz").write_text("no array here")
    np.save(tmp_path / "single.npy", image)
    np.savez(tmp_path / "v.npz", image=np.zeros((4, 2), np.float32))
    whole = tmp_path / "0.npz"
    flipped = bytearray(whole.read_bytes())
    flipped[1000] ^= 1
    (tmp_path / "flipped.npz").write_bytes(flipped)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-200])
    for name, options, message in [
        ("text.npz", {}, "not a whole .npz"), ("cut.npz", {}, "not a whole .npz"),
        ("single.npy", {}, r"np.savez\('single.npz', image=np.load\('single.npy'\)\)"),
        ("flipped.npz", {}, "Bad CRC-32"),
        ("absent.npz", {}, "no file"),
        ("v.npz", dict(size=8), "vectors"), ("v.npz", dict(label_key="kind"), "no array 'kind'"),
        ("v.npz", dict(crop="left"), "center, pad, stretch"), ("v.npz", dict(size=0), "at least 1"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            npz(str(tmp_path / name), **options)


def test_a_set_too_large_for_the_memory(tmp_path):
    source = gaussians(count=10)
    source.shape = (2**60,)
    with pytest.raises(UserError, match=r"does not fit in memory: pass data.resident=false"):
        read_all(source)


def test_importing_the_package_is_light():
    code = (
        "import sys, gan_jax.data, gan_jax.data.tfds, gan_jax.data.folder, gan_jax.data.prepare,"
        "gan_jax.data.audio;"
        "names = 'tensorflow', 'tensorflow_datasets', 'PIL', 'sklearn', 'soundfile';"
        "print([name for name in names if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    )
