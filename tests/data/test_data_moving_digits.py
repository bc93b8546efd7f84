import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gan_jax.data import Source, read_all
from gan_jax.data.digits import digits
from gan_jax.data.moving_digits import _enlarged, moving_digits
from gan_jax.data.source import hash_parts
from gan_jax.errors import UserError


def test_the_clips_are_the_same_on_every_machine():
    source = moving_digits()
    assert isinstance(source, Source)
    assert (len(source), source.shape, source.dtype, source.classes) == (10_000, (16, 32, 32, 1), np.uint8, None)
    clips = source.read(np.array([0, 1, 9_999]))["image"]
    assert hash_parts([clips.data.cast("B")]) == "67c4a340d60d"
    assert source.fingerprint() == ("moving_digits n=10000 16x32x32x1 digits=2 seed=0 #4fc83fae452f")


def test_a_clip_depends_on_the_seed_and_its_row_alone():
    source, again = moving_digits(), moving_digits(count=400)
    whole = read_all(again)["image"]  # in threads, in blocks
    rows = np.array([7, 399, 7, 0])
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda row: source.read(np.array([row]))["image"][0], rows))
    np.testing.assert_array_equal(np.stack(alone), whole[rows])
    assert (moving_digits(seed=1).read(rows)["image"] != whole[rows]).any(axis=(1, 2, 3, 4)).all()
    assert len({clip.tobytes() for clip in whole}) == len(whole)
    with pytest.raises(IndexError):
        again.read(np.array([400]))


def test_one_digit_moves_straight_on_and_bounces():
    """The centre of gravity moves by one velocity, whose signs change at the border alone."""
    clips = moving_digits(frames=60, size="40x64", digits=1).read(np.arange(20))["image"][..., 0].astype(float)
    side, speed = 7 * 40 // 16, 40 / 18
    directions = []
    for clip in clips:
        assert np.ptp(clip.sum((1, 2))) == 0  # the whole digit is inside, in each frame
        tops = np.array([np.nonzero(frame.any(1))[0][0] for frame in clip])
        lefts = np.array([np.nonzero(frame.any(0))[0][0] for frame in clip])
        moves = []
        for place, room in ((tops, 40 - side), (lefts, 64 - side)):
            margin = place.min()  # empty lines of the digit at that side; the way there and back is long enough
            place = place - margin
            steps = np.abs(np.diff(place))
            inside = (place[:-1] > speed) & (place[:-1] < room - margin - speed)
            moves.append(steps[inside].mean() if inside.sum() > 10 else None)
            turns = np.nonzero(np.diff(np.sign(np.diff(place)[np.diff(place) != 0])))[0]
            assert len(turns) <= 60 * speed / (room - 1) + 2
        if None not in moves:
            directions.append(math.hypot(*moves))
    assert len(directions) > 8
    np.testing.assert_allclose(directions, speed, atol=0.15)


@pytest.mark.parametrize("side", [8, 14, 35])
def test_the_digits_are_interpolated(side):
    shipped = np.pad(digits().read(np.arange(1797))["image"][..., 0].astype(float), ((0, 0), (1, 1), (1, 1)))
    places, grid = (np.arange(side) + 0.5) * 8 / side - 0.5, np.arange(-1, 9)
    weights = np.stack([np.interp(places, grid, line) for line in np.eye(10)], axis=1)  # [side, 10]
    np.testing.assert_allclose(_enlarged(side), weights @ shipped @ weights.T, atol=0.5 + 1e-9)


def test_a_frame_is_the_brighter_of_its_digits():
    two = moving_digits(digits=2, seed=3).read(np.arange(50))["image"]
    one = moving_digits(digits=1, seed=3).read(np.arange(50))["image"]  # the first of the two
    assert (two >= one).all()
    assert two.astype(int).sum() > 1.5 * one.astype(int).sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(frames=0), "frames .* at least 1"), (dict(digits=0), "digits .* at least 1"),
     (dict(count=0), "count .* at least 1"), (dict(count=2**60), "count .* at most"),
     (dict(size=15), "size .* at least 16"), (dict(size="16x8"), "at least 16 pixels, not 8"),
     (dict(frames=2**40), "at most"), (dict(digits=2**40), "fewer digits"), (dict(size="big"), "HEIGHTxWIDTH")],
)  # fmt: skip
def test_moving_digits_refuse(options, message):
    with pytest.raises(UserError, match=message) as error:
        moving_digits(**options)
    assert "\n" not in str(error.value)
