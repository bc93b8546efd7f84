"""Adaptive discriminator augmentation (ADA).

Karras et al., "Training generative adversarial networks with limited data", 2020.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..types import Images, Key, Logits, Schedule
from .base import Augment, check_color
from .pipeline import Strengths, apply_pipeline

_BLIT, _GEOMETRY = ("xflip", "rotate90", "xint"), ("scale", "rotate", "aniso", "xfrac")
_COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
_GROUPS = {"b": _BLIT, "g": _GEOMETRY, "c": _COLOR, "f": ("imgfilter",), "n": ("noise",)}


def _on(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


POLICIES: dict[str, dict[str, float]] = {
    "blit": _on(*_BLIT),
    "geom": _on(*_GEOMETRY),
    "color": _on(*_COLOR),
    "filter": _on("imgfilter"),
    "noise": _on("noise"),
    "cutout": _on("cutout"),
    **{name: _on(*(n for letter in name for n in _GROUPS[letter])) for name in ("bg", "bgc", "bgcf", "bgcfn")},
    "bgcfnc": {name: 1.0 for name in Strengths._fields},
    "r3gan": _on(*_BLIT, *_GEOMETRY, "cutout") | dict.fromkeys(_COLOR, 0.5),
    "none": {},
}


class AdaState(NamedTuple):
    """The state of ADA: five scalars.

    Attributes:
        p: the probability; float32, as are the next three.
        signs: the sum of the signs of the real images' logits since p was last adjusted.
        logits: the number of those logits.
        images: the number of images of the steps since then.
        steps: the number of all steps; int32.
    """

    p: jax.Array
    signs: jax.Array
    logits: jax.Array
    images: jax.Array
    steps: jax.Array


def ada(
    policy: str = "bgc",
    *,
    p: float | Schedule = 0.0,
    target: float | None = 0.6,
    every: int = 4,
    speed_kimg: float = 500.0,
    xflip: float | None = None,
    rotate90: float | None = None,
    xint: float | None = None,
    scale: float | None = None,
    rotate: float | None = None,
    aniso: float | None = None,
    xfrac: float | None = None,
    brightness: float | None = None,
    contrast: float | None = None,
    lumaflip: float | None = None,
    hue: float | None = None,
    saturation: float | None = None,
    imgfilter: float | None = None,
    noise: float | None = None,
    cutout: float | None = None,
) -> Augment:
    """ADA's augmentation pipeline, with an adaptive, scheduled or fixed probability.

    An operation acts on an image with probability `p` times its strength. With a `target`, p starts at `p`. After
    every `every` steps, which saw n images together, `p <- max(p + sign(E[sign D(real)] - target) n / (1000
    speed_kimg), 0)`; p has no upper limit. With `target=None`, p is fixed or follows a schedule of images seen.
    The step's metric `augment/p` is the p that the next step uses.

    Images are `[B, H, W, C]` with C 1 or 3 (`diff_augment` takes video and volumes too). They are computed in
    float32 at least, and cast back.

    Args:
        policy: the operations: "bgc" (blits, geometry and colour), ADA's default; "blit", "geom", "color",
            "filter", "noise", "cutout"; "bg", "bgcf", "bgcfn", "bgcfnc" (all); "r3gan" (blits, geometry, cutout,
            and colour at half strength); "none".
        p: the probability: its first value with a `target`, otherwise a number or a schedule.
        target: the mean sign of D on real images that p is adjusted to reach; None turns the adjustment off.
        every: steps between two adjustments.
        speed_kimg: kimg (thousands of images) in which p can move by 1.
        xflip: the strength of this operation in [0, 1], in place of the policy's; likewise all that follow.

    Raises:
        ValueError: the policy is unknown; a strength is outside [0, 1]; `p` is negative, or a schedule together
            with a target; the images have another shape or are too small.
    """
    strengths = (
        xflip, rotate90, xint, scale, rotate, aniso, xfrac, brightness, contrast, lumaflip, hue, saturation,
        imgfilter, noise, cutout,
    )  # fmt: skip
    chosen = _choose_strengths(policy, dict(zip(Strengths._fields, strengths)))
    _check_numbers(p, target, every, speed_kimg)

    def init() -> AdaState:
        start = p(jnp.zeros(())) if callable(p) else p
        # Each scalar needs a buffer of its own, because the step donates its state.
        signs, logits, images = (jnp.zeros((), jnp.float32) for _ in range(3))
        return AdaState(jnp.asarray(start, jnp.float32), signs, logits, images, jnp.zeros((), jnp.int32))

    def apply(state: AdaState, images: Images, keys: Key) -> Images:
        check_color(images, "ada", instead=": use diff_augment or mirror for video and volumes")
        if min(images.shape[1:3]) < 2:
            raise ValueError(f"ada needs images with sides of 2 pixels or more, not {images.shape[1:3]}")
        x = images.astype(jnp.promote_types(images.dtype, jnp.float32))
        return apply_pipeline(x, keys, state.p, chosen).astype(images.dtype)

    def update(state: AdaState, real_logits: Logits, images: int) -> AdaState:
        steps = state.steps + 1
        if target is None:
            # Multiply instead of summing: a float32 sum stops growing after about a billion images.
            scheduled = p(steps.astype(jnp.float32) * images) if callable(p) else state.p
            return state._replace(p=jnp.asarray(scheduled, jnp.float32), steps=steps)
        leaves = [jnp.sign(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(real_logits)]
        signs = state.signs + sum(jnp.sum(leaf) for leaf in leaves)
        logits, seen = state.logits + sum(leaf.size for leaf in leaves), state.images + images
        step = jnp.sign(signs / logits - target) * seen / (1000 * speed_kimg)
        due = steps % every == 0
        return AdaState(
            p=jnp.where(due, jnp.maximum(state.p + step, 0.0), state.p),
            signs=jnp.where(due, 0.0, signs),
            logits=jnp.where(due, 0.0, logits),
            images=jnp.where(due, 0.0, seen),
            steps=steps,
        )

    return Augment(init, apply, update, lambda state: {"augment/p": state.p})


def _choose_strengths(policy: str, given: dict[str, float | None]) -> Strengths:
    if policy not in POLICIES:
        raise ValueError(f"ada has no policy {policy!r}: use one of {', '.join(POLICIES)}")
    overrides = {name: value for name, value in given.items() if value is not None}
    for name, value in overrides.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} multiplies a probability, so it must be from 0 to 1, got {value}")
    return Strengths(**POLICIES[policy] | overrides)


def _check_numbers(p: float | Schedule, target: float | None, every: int, speed_kimg: float) -> None:
    if target is not None and callable(p):
        raise ValueError("p cannot follow both a schedule and a target: add target=None, or give p as a number")
    if isinstance(p, int | float) and p < 0:
        raise ValueError(f"p is a probability, so it must not be negative, got {p}")
    if every < 1 or speed_kimg <= 0:
        raise ValueError(f"every and speed_kimg must be above 0, got {every} and {speed_kimg}")
