import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from gan_jax import config as configs
from gan_jax.data.images import parse_size
from gan_jax.data.survey import suggest_size
from gan_jax.models.layers.sizes import doublings
from runs import call, sentence


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_what_a_folder_has(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, count in (("10", 2), ("9", 3), ("circle, red", 1)):
        for i in range(count):
            save(tmp_path / "photos" / name / f"{i}.png", rng.integers(0, 256, (90, 60 + i, 3), np.uint8))
    save(tmp_path / "photos" / "9" / "deep.png", np.arange(5400, dtype=np.uint16).reshape(90, 60))
    (tmp_path / "photos" / "9" / "copy.png").write_bytes((tmp_path / "photos" / "9" / "0.png").read_bytes())
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    found = call("data", "photos")
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == "8 images in 3 classes under 'photos'"
    for words in (
        "classes     9: 5, 10: 2, circle, red: 1", "60 x 90: 5, 61 x 90: 2, 62 x 90: 1 (width x height)",
        "PNG: 8", "RGB: 7, I;16: 1", "0 to 255 of 255: 7, 0 to 5399 of 65535: 1", "broken      none",
        "1 files have the content of another: 9/copy.png = 9/0.png", "notes.txt",
        "use the values 0 to 5399 of 0 to 65535, and others have another range",
        "config: data.source=folder data.source.path=photos data.source.size=48x32 conditional=true",
    ):  # fmt: skip
        assert any(words in line for line in lines), words
    with Image.open(tmp_path / "data_photos.png") as grid:
        assert grid.width > 100
    (tmp_path / "photos" / "9" / "1.png").write_bytes(b"no png")
    broken = call("data", "photos")
    assert broken.code == 0
    assert "1: 9/1.png (cannot identify image file): remove or replace them" in broken.out
    assert "config:" not in broken.out


def test_other_sets_and_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = call("data", "digits")
    assert found.out.splitlines()[0] == "1,797 images of 8x8x1; 10 classes (174 to 183 images each)"
    assert call("data", "moving_digits:count=20").out.splitlines() == [
        "20 samples of 16x32x32x1; no classes", "grid: data_moving_digits.png"
    ]  # fmt: skip
    sentence(call("data", "nowhere"), "there is nothing at 'nowhere'")
    sentence(call("data", "digits", "--grid", "x.jpg"), "--grid writes a .png file, not x.jpg")
    (tmp_path / "empty").mkdir()
    sentence(call("data", "empty"), "no images under 'empty'")
    (tmp_path / "empty" / "a.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    sentence(call("data", "empty"), "such as a.wav (audio: data.source=audio reads it)")


def test_sizes_that_suit():
    assert suggest_size([(100, 100)]) == 64
    assert suggest_size([(70, 64), (64, 70)]) == 64
    assert suggest_size([(3000, 4000)] * 9 + [(40, 50)]) == "256x320"
    assert suggest_size([(300, 200)] * 20) == "192x128"
    assert suggest_size([(22, 22)]) == 16
    assert suggest_size([(20, 20)]) == 20
    assert suggest_size([(20, 20), (21, 21)]) == 16
    assert suggest_size([(192, 160)]) == "192x160"
    assert suggest_size([(200, 200)]) == 128
    assert suggest_size([(28, 20)], most=16) == "24x16"
    assert suggest_size([(300, 200)] * 20, most=64) == "96x64"
    for height in range(1, 150):
        for width in (32, 100, height):
            doublings(
                parse_size(suggest_size([(height, width)], most=128)), least=4
            )  # raises for what dcgan can't


def test_what_is_parquet(tmp_path, monkeypatch):
    """The clone of a Hugging Face repository, and a folder of images with a table beside them."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    save(tmp_path / "photos" / "0.png", pixels)
    png = (tmp_path / "photos" / "0.png").read_bytes()
    (tmp_path / "clone" / "data").mkdir(parents=True)
    pq.write_table(pa.table({"image": [png] * 3}), tmp_path / "clone" / "data" / "train-00000-of-00001.parquet")
    pq.write_table(pa.table({"file_name": ["0.png"]}), tmp_path / "photos" / "metadata.parquet")
    found = call("data", "photos").out.splitlines()
    assert found[0] == "1 images under 'photos'"
    assert any("metadata.parquet (parquet: data.source=parquet reads it)" in line for line in found)
    assert "config: data.source=folder data.source.path=photos data.source.size=128" in found
    assert call("data", "clone").out.startswith("3 images of 200x200x3; no classes")
    for name, source in (("photos", "folder"), ("clone", "parquet")):
        assert call("init", f"{name}.py", "--data", name).code == 0
        assert configs.load(f"{name}.py").data.source == configs.Call(source, path=name, size=64, mirror=True)
