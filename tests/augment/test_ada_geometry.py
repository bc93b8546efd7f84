"""Compares ADA's matrices with closed forms, and its resampling with NumPy in float64 and ADA's own padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.augment.geometry import Geometry, blit_inverse, inverse
from gan_jax.augment.sampling import blit, warp
from gan_jax.augment.wavelets import SYM6, downsampling, mirrored, upsampling

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

H, W = 12, 16
IMAGE = np.random.default_rng(0).normal(size=(H, W, 2))
WARP, BLIT = jax.jit(warp), jax.jit(blit)
GENERAL = Geometry(
    flip=1.0, turns=1, xint=(0.1, -0.06), scale=1.2, before=0.7, aniso=0.8, after=-2.1, xfrac=(-0.03, 0.11)
)


def warped(g, image=IMAGE):
    matrix = inverse(g, *image.shape[:2])
    return np.asarray(WARP(jnp.asarray(image[None], jnp.float32), matrix[None]))[0]


def blitted(g, image=IMAGE):
    matrix = blit_inverse(g, *image.shape[:2])
    return np.asarray(BLIT(jnp.asarray(image[None], jnp.float32), matrix[None]))[0]


def reference(image, matrix, margins):
    """ADA's resampling in NumPy: reflect by a margin, zeros beyond it, upsample, sample bilinearly, downsample."""
    (my, mx), (h, w) = margins, image.shape[:2]
    x = np.pad(image, [(my, my), (mx, mx), (0, 0)], mode="reflect")
    hp, wp = x.shape[:2]
    zeros = np.zeros((2 * hp, 2 * wp, image.shape[2]))
    zeros[::2, ::2] = x
    along = lambda a, axis: np.apply_along_axis(lambda v: np.convolve(v, SYM6 * 2**0.5)[5:-6], axis, a)  # noqa: E731
    fine = along(along(zeros, 0), 1)
    grid = np.zeros((2 * h + 10, 2 * w + 10, image.shape[2]))
    for i in range(2 * h + 10):
        for j in range(2 * w + 10):
            place = np.array([(j - 5) / 2 - (w - 1) / 2, (i - 5) / 2 - (h - 1) / 2, 1.0])
            sx, sy, _ = matrix @ place
            fx, fy = 2 * (sx + (w - 1) / 2 + mx), 2 * (sy + (h - 1) / 2 + my)
            x0, y0 = int(np.floor(fx)), int(np.floor(fy))
            for dy, dx in np.ndindex(2, 2):
                if 0 <= y0 + dy < 2 * hp and 0 <= x0 + dx < 2 * wp:
                    weight = (1 - abs(fy - y0 - dy)) * (1 - abs(fx - x0 - dx))
                    grid[i, j] += weight * fine[y0 + dy, x0 + dx]
    down = lambda a: np.apply_along_axis(lambda v: np.correlate(v, SYM6 / 2**0.5, "valid")[::2], 0, a)  # noqa: E731
    return down(down(grid).swapaxes(0, 1)).swapaxes(0, 1)


def dynamic_margins(matrix, h, w):
    """ADA's rule: enough margin for the corners and the filter, at most one image size less a pixel."""
    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = matrix @ np.array([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1, 1, 1, 1]])
    reach = np.abs(corners[:2]).max(axis=1) + 6 - np.array([cx, cy])
    mx, my = np.ceil(np.clip(reach, 0, [w - 1, h - 1])).astype(int)
    return int(my), int(mx)


def test_sym6_is_orthonormal_with_six_vanishing_moments():
    for shift in range(6):
        product = SYM6[2 * shift :] @ SYM6[: 12 - 2 * shift]
        assert product == pytest.approx(float(shift == 0), abs=1e-11)
    signs, k = (-1.0) ** np.arange(12), np.arange(12.0)
    for moment in range(6):
        assert abs(np.sum(signs * k**moment * SYM6)) < 1e-11 * 12.0**moment


@pytest.mark.parametrize("n", [2, 3, 8, 13])
def test_up_and_down_again_is_the_identity(n):
    index = (np.arange(2 * n + 10) - 5) % (4 * (n - 1))
    np.testing.assert_allclose(downsampling(n) @ upsampling(n)[index], np.eye(n), atol=1e-11)


def test_mirrored_is_numpy_s_reflection():
    expected = np.pad(np.arange(7), 20, mode="reflect")
    np.testing.assert_array_equal(mirrored(np.arange(-20, 27), 7), expected)
    assert mirrored(5, 1) == 0


def test_nothing_moves_nothing():
    np.testing.assert_allclose(warped(Geometry()), IMAGE, atol=4e-6)
    np.testing.assert_array_equal(blitted(Geometry()), np.float32(IMAGE))


GEOMETRIES = {
    "flip": Geometry(flip=1.0),
    "turn": Geometry(turns=1),
    "xint": Geometry(xint=(0.1, -0.1)),
    "enlarged": Geometry(scale=1.3),
    "reduced": Geometry(scale=0.7),
    "rotated": Geometry(before=0.4),
    "stretched": Geometry(aniso=1.25),
    "xfrac": Geometry(xfrac=(0.21, -0.13)),
    "general": GENERAL,
}


@pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES.keys())
@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "fixed"])
def test_warp_is_ada_s_with_either_margin(g, dynamic):
    matrix = np.asarray(inverse(g, H, W), np.float64)
    margins = dynamic_margins(matrix, H, W) if dynamic else (H - 1, W - 1)
    np.testing.assert_allclose(warped(g), reference(IMAGE, matrix, margins), atol=1e-4)


def test_blits_are_exact():
    x = np.float32(IMAGE)
    np.testing.assert_array_equal(blitted(Geometry(flip=1.0)), x[:, ::-1])
    square = x[:, 2:14]
    for turns in range(4):
        expected = np.rot90(square, turns)
        np.testing.assert_array_equal(blitted(Geometry(turns=turns), square), expected)
    padded = np.pad(x, [(3, 3), (3, 3), (0, 0)], mode="reflect")
    moved = blitted(Geometry(xint=(2 / W, -1 / H)))  # two to the right, one up
    np.testing.assert_array_equal(moved, np.roll(padded, (-1, 2), (0, 1))[3:-3, 3:-3])
    both = blitted(Geometry(flip=1.0, turns=1), square)  # the flip acts first
    np.testing.assert_array_equal(both, np.rot90(square[:, ::-1]))


def test_a_filtered_translation_by_whole_pixels_is_exact_and_a_flip_is_nearly():
    """Sym6 is orthonormal to its even shifts. Its delay of 0.05 pixels doubles in a half turn: (.5 + .4) x .1."""
    g = Geometry(xint=(2 / W, -1 / H))
    np.testing.assert_allclose(warped(g), blitted(g), atol=1e-5)
    y, x = np.mgrid[:H, :W]
    smooth = np.cos(0.5 * x + 0.4 * y)[..., None]
    for g in (Geometry(flip=1.0), Geometry(turns=2)):
        np.testing.assert_allclose(warped(g, smooth)[3:-3, 3:-3], blitted(g, smooth)[3:-3, 3:-3], atol=0.1)


def test_inverse_undoes_the_transformations_in_order():
    g = GENERAL
    place = np.array([2.0, -3.0])
    p = place * [-1, 1]
    p = np.array([p[1], -p[0]])
    p = p + np.round([g.xint[0] * W, g.xint[1] * H])
    p = p * g.scale
    for angle, stretch in ((g.before, np.array([g.aniso, 1 / g.aniso])), (g.after, np.ones(2))):
        # The angle turns the source coordinates, so the image turns the other way.
        cos, sin = np.cos(-angle), np.sin(-angle)
        p = np.array([[cos, -sin], [sin, cos]]) @ p * stretch
    p = p + np.array([g.xfrac[0] * W, g.xfrac[1] * H])
    matrix = np.asarray(inverse(g, H, W), np.float64)
    turn_back = matrix @ [*p, 1.0]
    alternative = np.asarray([*place, 1.0])
    np.testing.assert_allclose(turn_back, alternative, atol=1e-5)


@pytest.mark.parametrize("operation", [warp, blit])
def test_the_gradient_is_the_transpose(operation):
    """`<A x, y> = <x, A^T y>`, and the gradient does not depend on x."""
    make = inverse if operation is warp else blit_inverse
    matrices = jnp.stack([make(GENERAL, H, W), make(Geometry(scale=1.4, turns=3), H, W)])
    keys = jax.random.split(jax.random.key(1), 3)
    x, y, other = (jax.random.normal(k, (2, H, W, 3)) for k in keys)
    pull = jax.jit(lambda x, y: jax.vjp(lambda x: operation(x, matrices), x)[1](y)[0])
    ax, aty = operation(x, matrices), pull(x, y)
    scale = jnp.linalg.norm(ax) * jnp.linalg.norm(y)
    assert abs(jnp.vdot(ax, y) - jnp.vdot(x, aty)) < 1e-6 * scale
    assert jnp.vdot(ax, y) != 0
    np.testing.assert_array_equal(pull(other, y), aty)
    # The second derivative is the transpose of the transpose.
    again = jax.vjp(lambda y: pull(x, y), y)[1](x)[0]
    np.testing.assert_allclose(again, ax, atol=2e-5)
