"""What the explorer draws: the images of `gan-jax sample`, moved by directions, seeds and checkpoints."""

import dataclasses
import re

import numpy as np
import pytest

import runs
from gan_jax.errors import UserError
from gan_jax.explorer.answers import Answers, _number, _whole
from gan_jax.explorer.direction_sets import direction_sets
from gan_jax.explorer.model import REACH, Choice, Model, Start
from gan_jax.explorer.stage import png
from gan_jax.latent_space.kept import keep_directions
from gan_jax.latents import missing
from test_stage import addresses

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def model(trained):
    one = Model(trained)
    one.prepare()
    return one


@pytest.fixture
def at(model):
    return Choice(20, directions=next(iter(model.sets)))


def image(model, choice):
    return model.draw(choice).images[0]


def differ(one, other):
    return not np.array_equal(one, other)


def test_a_seed_is_the_sample_of_that_seed(model, at, tmp_path):
    for step, seed in ((20, 0), (20, 3), (10, 3)):
        outcome = runs.call(
            "sample",
            model.workdir,
            "--seed",
            seed,
            "--step",
            step,
            "--count",
            1,
            "--out",
            tmp_path / f"{step}_{seed}",
        )
        assert outcome.code == 0, outcome.err
        written = (tmp_path / f"{step}_{seed}" / "00000.png").read_bytes()
        drawn = image(model, at._replace(step=step, seed=seed))
        assert png("PNG", "a.png", drawn).content == written


def test_each_direction_moves_the_image_and_back(model, at):
    still = image(model, at)
    assert len(model.sets[at.directions].names) >= 3
    for i in range(3):
        amounts = tuple(2.0 * (i == j) for j in range(3))
        moved = model.draw(at._replace(amounts=amounts))
        assert differ(moved.images[0], still)
        away = moved.latents[0] - model.draw(at).latents[0]
        directions = model.sets[at.directions]
        np.testing.assert_allclose(away, 2 * directions.scales[i] * directions.vectors[i], atol=1e-5)
    assert not differ(image(model, at._replace(amounts=(0.0, 0.0, 0.0))), still)


def test_a_checkpoint_is_drawn_from_its_own_variables(model, at):
    assert model.steps == [10, 20]
    new, old = image(model, at), image(model, at._replace(step=10))
    assert differ(new, old)
    assert not differ(image(model, at), new)
    with pytest.raises(UserError, match="no checkpoint of step 15"):
        model.draw(at._replace(step=15))
    assert not differ(image(model, at), new)


def test_few_checkpoints_stay_in_memory(model, at, monkeypatch):
    monkeypatch.setattr("gan_jax.explorer.model._KEPT", 1)
    model.draw(at)
    model.draw(at._replace(step=10))
    assert list(model._variables) == [10]


def test_a_walk_goes_from_seed_to_seed(model, at):
    walk = model.walk_to_seed(at, seed=5, count=7)
    assert len(walk.images) == 7
    assert not differ(walk.images[0], image(model, at))
    assert not differ(walk.images[-1], image(model, at._replace(seed=5)))
    assert len({frame.tobytes() for frame in walk.images}) == 7
    lengths = np.linalg.norm(walk.latents, axis=1)
    assert lengths.min() > 0.9 * min(lengths[0], lengths[-1])  # on a great circle, and not through the middle


def test_a_walk_goes_along_a_direction(model, at):
    walk = model.walk_along(at, direction=1, count=5)
    ends = [image(model, at._replace(amounts=(0.0, amount))) for amount in (-REACH, REACH)]
    assert not differ(walk.images[0], ends[0])
    assert not differ(walk.images[-1], ends[1])


def test_a_found_latent_is_moved_as_that_of_a_seed(model, at):
    start = Start(model.images.latents(9)[0], "z", "your image")
    assert not differ(image(model, at._replace(start=start)), image(model, at._replace(seed=9)))
    moved = at._replace(amounts=(1.0,))
    assert not differ(image(model, moved._replace(start=start)), image(model, moved._replace(seed=9)))


def test_directions_that_are_gone(model, at):
    with pytest.raises(UserError, match="no directions 'x' any more"):
        model.draw(at._replace(directions="x", amounts=(1.0,)))


@pytest.mark.parametrize("value", [None, "x", "3", float("nan"), [], True])
def test_what_is_no_number_is_the_least(value):
    assert _number(value, -3.0, 3.0) == (1.0 if value is True else 0.0)
    assert _whole(value, 8, 96) == 8


def test_numbers_stay_in_their_range():
    assert [_number(one, -3.0, 3.0) for one in (9, -9.5, 10**400, 1.5)] == [3.0, -3.0, 3.0, 1.5]
    assert [_whole(one, 0, 7) for one in (9, -1, 2.9, float("inf"))] == [7, 0, 2, 7]


def test_a_run_without_images_is_refused(trained, monkeypatch):
    run = Model(trained).run
    monkeypatch.setattr(
        "gan_jax.explorer.model.open_run", lambda *_: run._replace(spec=run.spec._replace(shape=(2,)))
    )
    with pytest.raises(UserError, match=r"shape \(2,\)"):
        Model(trained)
    gan = dataclasses.replace(run.gan, inputs=lambda row, key: row["image"], latent=missing)
    monkeypatch.setattr("gan_jax.explorer.model.open_run", lambda *_: run._replace(gan=gan))
    with pytest.raises(UserError, match="from data"):
        Model(trained)


# ---- the values of the controls


def src(page):
    return re.search(r"src='([^']*)'", page)[1]  # type: ignore[index]


def test_a_page_may_send_anything(model, at):
    answers = Answers(model, 3)
    usual = answers.draw(None, 2, 0, None, 1, at.directions, 0, 0, 0)
    assert usual[1] is None
    for chosen in ([None] * 9, ["x"] * 9, [None, -5, -5, 3, float("nan"), "x", None, "1", {}]):
        page, start = answers.draw(*chosen)
        assert start is None
        assert "step 10" in page
        assert "step 20" in usual[0]
    assert src(answers.draw(None, 2, 0, None, 1, at.directions, 1e9, None, None)[0]) != src(usual[0])
    walk = answers.walk(None, 2, 0, None, 1, at.directions, 0, 0, 0, "x", "x", "x", "x")
    assert src(walk).startswith("data:image/gif")
    assert "8 images" in walk


def test_another_seed_replaces_what_was_found(model, at):
    start = Start(model.images.latents(9)[0], "z", "your image", seed=4)
    answers = Answers(model, 1)
    found, same = answers.draw(start, 2, 4, None, 1, at.directions, 0)
    assert same is start
    assert src(found) == src(answers.draw(None, 2, 9, None, 1, at.directions, 0)[0])
    other, gone = answers.draw(start, 2, 5, None, 1, at.directions, 0)
    assert gone is None
    assert "seed 5" in other


def test_a_name_is_text_on_the_page(model, at, monkeypatch):
    named = dataclasses.replace(model.run.config, name="<b>a/../b</b>'\"")
    monkeypatch.setattr(model, "run", model.run._replace(config=named))
    page, _ = Answers(model, 1).draw(None, 2, 0, None, 1, at.directions, 0)
    assert "<b>" not in page
    assert next(iter(addresses(page))) == "_b_a____b__b____seed0_step20.png"


# ---- the sets of directions


@pytest.fixture
def workdir(model, tmp_path):
    first = next(iter(model.sets.values()))
    keep_directions(tmp_path, "mine", first._replace(names=tuple(f"mine {i}" for i in range(len(first.names)))))
    keep_directions(tmp_path, "other", first._replace(vectors=first.vectors[:, :5]))
    (tmp_path / "directions" / "bad.npz").write_bytes(b"no arrays")
    return tmp_path


def test_sefa_comes_first_and_then_what_the_workdir_keeps(model, workdir):
    sets, notes = direction_sets(model.images, workdir, None)
    assert list(sets) == ["SeFa", "mine"]
    assert sets["SeFa"].method == "sefa"
    assert sets["mine"].names[0] == "mine 0"
    assert len(notes) == 2
    assert "bad" in notes[0]
    assert "of another run" in notes[1]


def test_a_method_or_a_name_comes_first(model, workdir):
    assert next(iter(direction_sets(model.images, workdir, "pca")[0])) == "principal components"
    assert list(direction_sets(model.images, workdir, "mine")[0]) == ["mine", "SeFa"]
    with pytest.raises(UserError, match="of another run"):
        direction_sets(model.images, workdir, "other")
    with pytest.raises(UserError, match="keeps no directions under the name nothing"):
        direction_sets(model.images, workdir, "nothing")
    with pytest.raises(UserError, match="no labels"):
        direction_sets(model.images, workdir, "classes")


def test_what_is_kept_under_the_name_of_a_method_is_used(model, workdir):
    """`gan-jax directions --method classes` keeps `classes`, which took a classifier that the page has not."""
    for name in ("classes", "sefa"):
        keep_directions(workdir, name, next(iter(model.sets.values()))._replace(method=name))
    found = direction_sets(model.images, workdir, "classes")[0]
    assert list(found) == ["class means", "SeFa", "mine"]
    assert found["class means"].method == "classes"
    assert list(direction_sets(model.images, workdir, None)[0]) == ["SeFa", "class means", "mine"]


def test_where_sefa_finds_no_matrix_there_are_principal_components(model, workdir, monkeypatch):
    def none(*_):
        raise UserError("no matrix")

    monkeypatch.setitem(direction_sets.__globals__["_METHODS"], "sefa", none)
    sets, notes = direction_sets(model.images, workdir, None)
    assert list(sets) == ["principal components", "mine"]
    assert notes[0] == "note: no directions by SeFa: no matrix"
