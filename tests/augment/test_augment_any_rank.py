"""Augmentations of samples that are no images: what is right for video and volumes, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import augment
from gan_jax.augment import differentiable

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

KEYS = jax.random.split(jax.random.key(3), 16)
CLIPS = jax.random.normal(jax.random.key(4), (16, 3, 8, 6, 1))  # three frames each


def test_mirror_flips_whole_clips_left_to_right():
    out, clips = np.asarray(augment.mirror().apply((), CLIPS, KEYS)), np.asarray(CLIPS)
    flips = np.array([np.array_equal(a, b) for a, b in zip(out, clips[:, :, :, ::-1])])
    kept = np.array([np.array_equal(a, b) for a, b in zip(out, clips)])
    assert (flips ^ kept).all()
    assert 0 < flips.sum() < 16
    frame = augment.mirror().apply((), CLIPS[:, 0], KEYS)  # the same key flips an image and a clip
    np.testing.assert_array_equal(out[:, 0], frame)


@pytest.mark.parametrize("part", ["translation", "cutout"])
def test_every_frame_is_moved_and_cut_as_an_image_with_the_same_key(part):
    apply = jax.jit(augment.diff_augment(part).apply)
    out = apply((), CLIPS, KEYS)
    for t in range(3):
        np.testing.assert_array_equal(out[:, t], apply((), CLIPS[:, t], KEYS))
    assert jnp.any(out != CLIPS)


def test_a_clip_of_equal_frames_has_the_colours_of_its_image():
    still = jnp.repeat(CLIPS[:, :1], 3, axis=1)
    apply = jax.jit(augment.diff_augment("color").apply)
    expected = apply((), CLIPS[:, 0], KEYS)
    np.testing.assert_allclose(apply((), still, KEYS), jnp.stack([expected] * 3, axis=1), atol=1e-5)


def test_contrast_is_one_map_of_all_frames():
    """About the mean of each frame, a flash of light would lose its brightness."""
    x = np.asarray(CLIPS[0], np.float64)
    np.testing.assert_allclose(differentiable.contrast(CLIPS[0], 0.6), x.mean() + 0.6 * (x - x.mean()), atol=1e-6)


@pytest.mark.parametrize(
    ("augmentation", "shape", "message"),
    [
        (augment.mirror(), (16, 1), "mirror needs images .* have no left and right: leave it out"),
        (augment.mirror(), (2,), "have no left and right: leave it out"),
        (augment.diff_augment(), (16, 1), r"or video or volumes .* \(4, 16, 1\): leave it out"),
        (augment.diff_augment(), (3, 8, 8, 4), r"with 1 or 3 channels, not float32 \(4, 3, 8, 8, 4\)"),
        (augment.ada(), (3, 8, 8, 1), r"ada needs .*: use diff_augment or mirror for video and volumes"),
        (augment.ada(), (16, 1), r"ada needs floating images .* \(4, 16, 1\): leave it out"),
    ],
)
def test_what_is_refused_in_one_sentence(augmentation, shape, message):
    with pytest.raises(ValueError, match=message):
        augmentation.apply(augmentation.init(), jnp.zeros((4, *shape)), KEYS[:4])
