"""The search for latents: Adam from several starts for each image, in one compiled program."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import pixels
from ..errors import UserError
from ..metrics.features.perceptual import PerceptualNetwork
from ..types import PyTree
from .generator import Space
from .images import LatentImages
from .objective import Plausible, correlation, distance, normalised, schedule, shaking


class Settings(NamedTuple):
    """How a projection searches.

    Attributes:
        steps: of Adam.
        starts: how many of the candidates are the beginning of a search of their own; the best result counts.
        candidates: random latents, of which the nearest are the starts.
        rate: the highest learning rate.
        prior: the weight of `Plausible.excess`; 0 lets latents be any.
        features: the weight of the features, beside 1 for pixels.
        noise: the weight of `correlation` of the maps of noise.
        fit_noise: whether the maps of noise are searched for too, where the generator draws noise.
        frames: images on the way.
    """

    steps: int = 500
    starts: int = 8
    candidates: int = 1000
    rate: float = 0.1
    prior: float = 0.1
    features: float = 1.0
    noise: float = 1e5
    fit_noise: bool = True
    frames: int = 30

    def check(self) -> None:
        """Raises UserError if a number is out of range."""
        for name in ("steps", "starts", "candidates", "frames"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.starts > self.candidates:
            raise UserError(
                f"{self.starts} starts are chosen among {self.candidates} candidates: give fewer starts"
            )
        for name in ("rate", "prior", "features", "noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} must be a number from 0 up, got {getattr(self, name)}")


class Found(NamedTuple):
    """What was found for a block of B targets: of each the start whose image is nearest in the end.

    Attributes:
        latents: `[B, *shape(space)]`.
        labels: int32 `[B]`; zeros without labels.
        noise: maps of noise, leaves `[B, h, w]`; None if they were not searched for.
        distances: `[steps, B]`, of the start that is nearest in each step.
        frames: float `[frames, B, H, W, C]`.
    """

    latents: np.ndarray
    labels: np.ndarray
    noise: PyTree
    distances: np.ndarray
    frames: np.ndarray


def joined(parts: list[Found]) -> Found:
    """Joins blocks of targets."""
    latents, labels, noise, distances, frames = zip(*parts)
    maps = jax.tree.map(lambda *leaves: np.concatenate(leaves), *noise)
    along = np.concatenate(distances, axis=1), np.concatenate(frames, axis=1)
    return Found(np.concatenate(latents), np.concatenate(labels), maps, *along)


class Search:
    """Searches for blocks of targets, from several starts each. A block of another size compiles again.

    Args:
        images: of the run.
        space: that is searched.
        plausible: of that space.
        features: see `objective.distance`.
        settings: see `Settings`.
        seed: of the noise.
    """

    def __init__(
        self,
        images: LatentImages,
        space: Space,
        plausible: Plausible,
        features: PerceptualNetwork | None,
        settings: Settings,
        seed: int,
    ):
        self.images, self.settings = images, settings
        self.space: Space = space
        self.generator, self.plausible, self.features = images.generator, plausible, features
        self.key, self.conditional = jax.random.key(seed), images.class_names is not None
        moves = self.generator.is_continuous if space == "z" else np.ones(1)
        self.moves = jnp.asarray(moves, jnp.float32)
        self.tx = optax.scale_by_adam()
        self.chunk = jax.jit(images.traced(self._chunk))

    def __call__(self, targets: np.ndarray, z: np.ndarray, labels: np.ndarray) -> Found:
        """Searches for targets, uint8 `[B, H, W, C]`, from z `[B, starts, N]` with labels `[B, starts]`."""
        settings, count, starts = self.settings, len(targets), self.settings.starts
        rows = labels.reshape(-1)
        first = jnp.asarray(self._start(z.reshape(count * starts, -1), rows))
        found = {"latents": first, "noise": self._noise(count) if settings.fit_noise else None}
        goal = jnp.repeat(pixels.to_float(jnp.asarray(targets)), starts, axis=0)
        carry, label = (found, self.tx.init(found)), jnp.asarray(rows) if self.conditional else None
        steps = np.array_split(np.arange(settings.steps), min(settings.frames, settings.steps))
        distances, frames = [], []
        for part in steps:
            rates, shares = (f[part] for f in (schedule(settings.steps, settings.rate), shaking(settings.steps)))
            carry, away, shown = self.chunk(self.images.variables, carry, goal, label, part, rates, shares)
            away = np.asarray(away).reshape(len(part), count, starts)
            distances.append(away.min(axis=2))
            frames.append(_of_best(np.asarray(shown), away[-1].argmin(axis=1)))
        away, shown = self._seen(self.images.variables, carry[0], goal, label)
        best = np.asarray(away).reshape(count, starts).argmin(axis=1)
        frames.append(_of_best(np.asarray(shown), best))
        chosen = jax.tree.map(lambda x: _of_best(np.asarray(x), best), carry[0])
        along = np.concatenate(distances), np.stack(frames)
        return Found(chosen["latents"], _of_best(rows, best), chosen["noise"], *along)

    def _start(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        if self.space == "z":
            return z
        return self.images.map(z, labels) if self.space == "w" else self.images.layers(z, "z", labels)

    def _noise(self, count: int) -> PyTree:
        """Returns maps of noise for each start, the same for each target."""
        leaves, structure = jax.tree.flatten(self.generator.noise)
        starts = self.settings.starts
        drawn = [
            jnp.tile(jax.random.normal(jax.random.fold_in(self.key, i), (starts, *x.shape)), (count, 1, 1))
            for i, x in enumerate(leaves)
        ]
        return normalised(jax.tree.unflatten(structure, drawn))

    def _show(self, variables: PyTree, found: dict[str, PyTree], label: jax.Array | None) -> jax.Array:
        keys = self.generator.noise_keys(self.key, len(found["latents"]))
        return self.generator.images(
            variables, found["latents"], self.space, label, keys, noise=found["noise"]
        ).astype(jnp.float32)

    @functools.cached_property
    def _seen(self) -> Any:
        def seen(variables: PyTree, found: dict[str, PyTree], goal: jax.Array, label: jax.Array | None) -> tuple:
            shown = self._show(variables, found, label)
            return distance(shown, goal, self.features, self.settings.features), shown

        return jax.jit(self.images.traced(seen))

    def _shaken(self, latents: jax.Array, step: jax.Array, share: jax.Array) -> jax.Array:
        """Adds noise to latents, the same to start i of each target."""
        starts = self.settings.starts
        key = jax.random.fold_in(jax.random.fold_in(self.key, 2**31), step)
        noise = jax.random.normal(key, (starts, *latents.shape[1:]))
        return latents + share * self.plausible.spread * self.moves * jnp.tile(
            noise, (len(latents) // starts, *[1] * (latents.ndim - 1))
        )

    def _chunk(
        self,
        variables: PyTree,
        carry: tuple,
        goal: jax.Array,
        label: jax.Array | None,
        steps: jax.Array,
        rates: jax.Array,
        shares: jax.Array,
    ) -> tuple:
        """Makes some steps; returns the carry, the distance in each step `[steps, rows]`, and the last images."""
        settings = self.settings

        def loss(found: dict[str, PyTree], step: jax.Array, share: jax.Array) -> tuple[jax.Array, tuple]:
            shaken = {**found, "latents": self._shaken(found["latents"], step, share)}
            shown = self._show(variables, shaken, label)
            away = distance(shown, goal, self.features, settings.features)
            total = away + settings.prior * self.plausible.excess(found["latents"])
            if found["noise"] is not None:
                total += settings.noise * correlation(found["noise"])
            return jnp.sum(total), (away, shown)  # the rows do not see each other

        def step(carry: tuple, at: tuple) -> tuple:
            (found, state, _), (number, rate, share) = carry, at
            (_, (away, shown)), slope = jax.value_and_grad(loss, has_aux=True)(found, number, share)
            slope["latents"] *= self.moves
            change, state = self.tx.update(slope, state)
            found = jax.tree.map(lambda x, dx: x - rate * dx, found, change)
            return ({**found, "noise": normalised(found["noise"])}, state, shown), away

        (found, state, shown), away = jax.lax.scan(step, (*carry, goal), (steps, rates, shares))
        return (found, state), away, shown


def _of_best(rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Returns the row of the best start of each target, of rows `[B * starts, ...]`."""
    grouped = rows.reshape(len(best), -1, *rows.shape[1:])
    return grouped[np.arange(len(best)), best]
