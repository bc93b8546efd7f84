"""Draws the images of a run from what a person chose: the one model behind all pages that are open."""

import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..checkpoint.catalogue import Catalogue
from ..config.build import Allow
from ..errors import UserError
from ..latent_space.directions import Directions, moved
from ..latent_space.features import choose_features
from ..latent_space.generator import Space
from ..latent_space.images import LatentImages
from ..latent_space.projection import project
from ..latent_space.search import Settings
from ..latent_space.walk import between
from ..train.open_run import OpenedRun, open_run
from ..types import PyTree, Variables
from .direction_sets import direction_sets

REACH = 3.0
"""How far a direction goes to both sides, in its own scale: three standard deviations."""

_SEARCH = Settings(steps=200, frames=10)  # a person waits for it
_KEPT = 4  # checkpoints whose variables stay in memory


class Start(NamedTuple):
    """A latent `[N]` that isn't drawn from a seed, and what it is in words.

    Attributes:
        space: "z" or "w".
        words: what it is, for a caption.
        seed: that was chosen when it was found. Another one replaces it.
        noise: maps of noise inside the generator, with leaves `[1, h, w]`; None: those of the seed.
    """

    latent: np.ndarray
    space: Space
    words: str
    seed: int = 0
    noise: PyTree = None


class Choice(NamedTuple):
    """What a person chose.

    Attributes:
        step: of the checkpoint.
        seed: of the latent; sample 0 of `gan-jax sample --seed`.
        label: the number of the class; None for a run without classes.
        truncation: 1.0 for none.
        directions: the name of a set of directions.
        amounts: how far to go along each of them, in its scale.
        start: another latent than that of the seed; None: that of the seed.
    """

    step: int
    seed: int = 0
    label: int | None = None
    truncation: float = 1.0
    directions: str = ""
    amounts: tuple[float, ...] = ()
    start: Start | None = None


class Drawn(NamedTuple):
    """Images, uint8 `[B, H, W, C]`, and the latents `[B, N]` of a space that they were drawn from."""

    images: np.ndarray
    latents: np.ndarray
    space: Space


class Found(NamedTuple):
    """What is nearest to an image: the latent, its class (None without classes), and the PSNR in dB."""

    start: Start
    label: int | None
    psnr: float


class Model:
    """A run that is drawn from, one image at a time, whoever asks.

    Args:
        workdir: the folder of the run.
        step: of the checkpoint that is shown first; see `open_run`.
        allow: see `open_run`.

    Attributes:
        run: the run at that checkpoint.
        names: of the classes; None for a run without classes.
        truncates: whether the generator has a truncation.
        sets: the sets of directions by name.
        steps: of the checkpoints that lay there when the run was opened, ascending.

    Raises:
        UserError: there is no such run or checkpoint, or its samples are not images made from latents.
    """

    def __init__(self, workdir: Path, step: int | str | None = None, allow: Allow = ()):
        self.workdir, self._allow = Path(workdir), allow
        self.run: OpenedRun = open_run(self.workdir, step, allow)
        self.images = LatentImages(self.run)
        self.names, self.truncates = self.images.class_names, self.images.truncates
        self.sets: dict[str, Directions] = {}
        self.steps = sorted({*Catalogue(self.workdir / "checkpoints").steps(), self.run.step})
        self._variables: OrderedDict[int, Variables] = OrderedDict({self.run.step: self.run.state.ema})
        self._lock = threading.Lock()

    def prepare(self, directions: str | None = None) -> list[str]:
        """Finds the directions, and compiles what the first images need; returns notes on directions left out.

        Args:
            directions: the set that is shown first; see `direction_sets`.

        Raises:
            UserError: there is no such set.
        """
        self.sets, notes = direction_sets(self.images, self.workdir, directions)
        first = Choice(self.run.step, directions=next(iter(self.sets), ""))
        self.draw(first)
        if self.sets:
            self.draw(first._replace(amounts=(0.1,)))
        return notes

    def seconds_per_image(self) -> float:
        """Measures how long an image takes: the median of five."""
        choice, seconds = Choice(self.run.step), []
        for seed in range(5):
            started = time.perf_counter()
            self.draw(choice._replace(seed=seed))
            seconds.append(time.perf_counter() - started)
        return sorted(seconds)[2]

    def is_busy(self) -> bool:
        """Returns whether something is being drawn."""
        return self._lock.locked()

    def draw(self, choice: Choice) -> Drawn:
        """Draws the image of a choice."""
        with self._lock:
            self._restore(choice.step)
            latent, space = self._latent(choice)
            return self._draw(choice, latent[None], space)

    def walk_to_seed(self, choice: Choice, seed: int, count: int) -> Drawn:
        """Draws `count` images on the way from the image of a choice to that of another seed.

        Latents z move along a great circle, others along a straight line.
        """
        with self._lock:
            self._restore(choice.step)
            first, space = self._latent(choice)
            last = self._in_space(choice._replace(seed=seed, start=None), space)
            way = between(first, last, space, np.linspace(0, 1, count, dtype=np.float32))
            return self._draw(choice, way, space)

    def walk_along(self, choice: Choice, direction: int, count: int) -> Drawn:
        """Draws `count` images along one direction, from one end of its slider to the other."""
        with self._lock:
            self._restore(choice.step)
            amounts = [*choice.amounts, *[0.0] * (direction + 1 - len(choice.amounts))]
            ways, space = [], "z"
            for amount in np.linspace(-REACH, REACH, count):
                amounts[direction] = float(amount) or 1e-6  # also 0 is in the space of the directions
                latent, space = self._latent(choice._replace(amounts=tuple(amounts)))
                ways.append(latent)
            return self._draw(choice, np.stack(ways), space)

    def project(self, choice: Choice, image: np.ndarray) -> "Found":
        """Looks for the latent whose image is nearest to `image`, uint8 `[H, W, C]`, of any class."""
        with self._lock:
            self._restore(choice.step)
            found = project(
                self.images, image[None], "w" if "w" in self.images.spaces else "z", settings=_SEARCH,
                features=choose_features(self.images.shape)[0],
            )  # fmt: skip
        start = Start(found.latents[0], found.space, "your image", choice.seed, found.noise)
        return Found(start, None if found.labels is None else int(found.labels[0]), float(found.psnr[0]))

    def _latent(self, choice: Choice) -> tuple[np.ndarray, Space]:
        """Returns the latent of a choice and its space: that of the directions, or the one that it lies in."""
        if not any(choice.amounts):
            space = choice.start.space if choice.start else "z"
            return self._in_space(choice, space), space
        if choice.directions not in self.sets:
            raise UserError(f"there are no directions {choice.directions!r} any more: open the page again")
        directions = self.sets[choice.directions]
        space: Space = "w" if directions.space == "w" else "z"
        amounts = np.zeros(len(directions.names), np.float32)
        amounts[: len(choice.amounts)] = choice.amounts[: len(amounts)]
        return moved(self._in_space(choice, space)[None], directions, amounts)[0], space

    def _in_space(self, choice: Choice, space: Space) -> np.ndarray:
        """Returns the latent of a choice, without its directions, in one of the spaces."""
        start = choice.start or Start(self.images.latents(choice.seed)[0], "z", "")
        if start.space == space:
            return start.latent
        if start.space == "z":
            return self.images.map(start.latent[None], choice.label)[0]
        raise UserError(
            f"these directions move z, but the image was found in {start.space}: choose others, or a seed"
        )

    def _draw(self, choice: Choice, latents: np.ndarray, space: Space) -> Drawn:
        noise = choice.start.noise if choice.start else None
        # One by one, by the one program that was compiled at the start.
        made = [
            self.images(
                one[None], space=space, labels=choice.label, truncation=choice.truncation, noise_seed=choice.seed,
                noise=noise,
            )[0]
            for one in latents
        ]  # fmt: skip
        return Drawn(np.stack(made), latents, space)

    def _restore(self, step: int) -> None:
        """Draws from the moving average of a checkpoint from now on; reads it unless it is in memory."""
        if step not in self._variables:
            self._variables[step] = open_run(self.workdir, step, self._allow).state.ema
        self._variables.move_to_end(step)
        while len(self._variables) > _KEPT:
            self._variables.popitem(last=False)
        self.images.variables = self._variables[step]
