"""Images of latents that a person chooses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import jax
import jax.numpy as jnp
import numpy as np

from .. import pixels
from ..errors import UserError
from ..runtime import precision
from ..runtime.precision import Function, traced_with
from ..types import PyTree, Variables
from .generator import LatentGenerator, Space

if TYPE_CHECKING:  # so that this folder does not need that of training
    from ..train.open_run import OpenedRun

BLOCK = 64  # the largest number of images that one call of the generator makes


class LatentImages:
    """Draws a run's images from latents. It compiles once for each space and for 1, 2, 4, ... 64 images.

        images = LatentImages(open_run(workdir, None))
        z = images.latents(seed=3)                      # [1, N]
        images(z, labels=7)                             # uint8 [1, H, W, C]
        images(images.map(z), space="w", truncation=0.7)    # of StyleGAN2

    The precision is that of the run. All images of a call have the same noise inside the generator, so that only
    the latents make two images differ.

    Args:
        run: from `train.open_run`.
        variables: of the generator; None: the moving average of the run's checkpoint.

    Attributes:
        variables: may be replaced by those of another checkpoint of the run; nothing is compiled again.
        generator: the generator as pure functions, for derivatives.
        spaces: ("z",), or ("z", "w", "w+") for a generator with `mapping` and `synthesis`, such as StyleGAN2.
        size: the numbers N of a z. A latent that is a pytree is flattened.
        w_shape: the layers and the numbers of a w, (L, W); None without w.
        default_space: "w" where there is one, or else "z".
        class_names: of a conditional run, in the order of the labels; None without labels.
        step: of the checkpoint.
        truncates: whether truncation may differ from 1.0.

    Raises:
        UserError: the run's samples are no images, or are made from data in place of latents.
    """

    def __init__(self, run: "OpenedRun", variables: Variables | None = None):
        shape = tuple(run.spec.shape)
        if len(shape) != 3 or shape[-1] not in (1, 3, 4):
            raise UserError(f"this command needs a run of images, and this run's samples have shape {shape}")
        self.run, self.step, self.shape = run, run.step, shape
        self.variables = run.state.ema if variables is None else variables
        self.class_names = run.spec.names() if run.config.conditional else None
        classes = None if self.class_names is None else len(self.class_names)
        self.generator = LatentGenerator(run.gan, self.variables, classes)
        self.spaces, self.size = self.generator.spaces, self.generator.size
        self.w_shape = self.generator.w_shape
        self.default_space: Space = "z" if self.w_shape is None else "w"
        self.truncates = self.generator.truncates(self.variables)
        self._precision = precision.matmul_precision(run.config, jax.default_backend())
        static = ("space",) if self.w_shape is not None else ("space", "truncation")
        self._images = jax.jit(traced_with(self._precision, self.generator.images), static_argnames=static)
        self._draw = jax.jit(self.generator.draw)
        self._map = jax.jit(traced_with(self._precision, self.generator.map))

    def traced(self, function: Function) -> Function:
        """Returns the function, traced in the precision of the run."""
        return traced_with(self._precision, function)

    def latents(self, seed: int, count: int = 1, first: int = 0) -> np.ndarray:
        """Returns z `[count, N]`, float32: those of samples `first` and following of `gan-jax sample --seed`."""
        index = np.arange(first, first + count, dtype=np.int32)
        return np.asarray(self._draw(jax.random.key(seed), index))

    def check_space(self, space: str) -> Space:
        """Returns the name of a space that the generator has, or raises UserError."""
        self.generator.check(space)
        return cast(Space, space)

    def map(self, latents: np.ndarray, labels: int | Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Returns w `[count, W]` of z `[count, N]`. It is not truncated: images are, when they are drawn.

        Raises:
            UserError: the generator has no w, or the latents are none of its z.
        """
        self.generator.check("w")
        latents = self._checked(latents, "z")
        label = self._label(labels, len(latents))
        parts = [
            np.asarray(self._map(self.variables, _padded(latents[a:b], n), _padded(label, n, a, b)))[: b - a]
            for a, b, n in _blocks(len(latents))
        ]
        return np.concatenate(parts)

    def layers(
        self, latents: np.ndarray, space: Space, labels: int | Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Returns w+ `[count, L, W]` of latents of any space.

        Raises:
            UserError: the generator has no w, or the latents are none of that space.
        """
        shape = self.generator.shape("w+")
        if space == "w+":
            return self._checked(latents, space)
        w = self.map(latents, labels) if space == "z" else self._checked(latents, space)
        return np.repeat(w[:, None], shape[0], axis=1)

    def __call__(
        self,
        latents: np.ndarray,
        *,
        space: Space = "z",
        labels: int | Sequence[int] | np.ndarray | None = None,
        truncation: float = 1.0,
        noise_seed: int = 0,
        noise: PyTree = None,
    ) -> np.ndarray:
        """Returns images, uint8 `[count, H, W, C]`.

        Args:
            latents: `[count, N]` of the space "z", `[count, W]` of "w", or `[count, L, W]` of "w+".
            space: of the latents.
            labels: the class of all images, or one for each; None: class i mod classes for image i, as in
                `gan-jax sample`. Ignored by the image where w is given, and by a run without labels.
            truncation: moves w towards the mean w; BigGAN shortens z, and compiles for each value.
                1.0 for none.
            noise_seed: of the noise inside the generator, which is the same for all images: that of the first
                sample of `gan-jax sample --seed`.
            noise: maps of noise in its place, as `projection` finds them, with leaves `[count, h, w]`.

        Raises:
            UserError: the generator has no such space or no truncation, or the latents or labels are none of its.
        """
        self.generator.check(space)
        latents = self._checked(latents, space)
        if truncation != 1.0 and not self.truncates:
            raise UserError(f"truncation={truncation}, but this run's generator has none: leave it at 1.0")
        label, parts = self._label(labels, len(latents)), []
        key = jax.random.key(noise_seed)
        for a, b, n in _blocks(len(latents)):
            maps = jax.tree.map(lambda x, a=a, b=b, n=n: _padded(np.asarray(x, np.float32), n, a, b), noise)
            made = self._images(
                self.variables, _padded(latents[a:b], n), space=space, label=_padded(label, n, a, b),
                keys=self.generator.noise_keys(key, n), truncation=float(truncation), noise=maps,
            )  # fmt: skip
            parts.append(np.asarray(made)[: b - a])
        return pixels.to_uint8(np.concatenate(parts))

    def _checked(self, latents: np.ndarray, space: Space) -> np.ndarray:
        latents, shape = np.asarray(latents, np.float32), self.generator.shape(space)
        if latents.shape[1:] != shape or not len(latents):
            raise UserError(
                f"the latents have shape {latents.shape}, but those of the space {space} of this run are "
                f"[count, {', '.join(map(str, shape))}]"
            )
        return latents

    def _label(self, labels: int | Sequence[int] | np.ndarray | None, count: int) -> np.ndarray | None:
        if self.class_names is None:
            return None
        classes = len(self.class_names)
        chosen = np.arange(count) % classes if labels is None else np.broadcast_to(labels, (count,))
        if chosen.min() < 0 or chosen.max() >= classes:
            raise UserError(f"labels must be from 0 to {classes - 1}, got {chosen.tolist()}")
        return chosen.astype(np.int32)


def _blocks(count: int) -> list[tuple[int, int, int]]:
    """Returns the start, the end and the size of each block of images; the size of the last is a power of two."""
    blocks = []
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        blocks.append((start, end, 1 << (end - start - 1).bit_length()))
    return blocks


def _padded(rows: np.ndarray | None, size: int, start: int = 0, end: int | None = None) -> jax.Array | None:
    """Returns rows `start` to `end`, and the last of them again and again up to `size`."""
    if rows is None:
        return None
    part = rows[start:end]
    return jnp.asarray(np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]))
