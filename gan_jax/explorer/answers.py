"""What the page shows for the values of its controls. It knows no Gradio."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .model import REACH, Choice, Drawn, Model, Start
from .stage import Download, gif, npz, png, stage, upload_beside
from .upload import read_upload

LARGEST_SEED = 2**31 - 1
FEWEST, MOST = 8, 96  # images of a walk


class Answers:
    """Draws for the values of the controls, which come from anyone and are read with care.

    The first values that each answer gets, `chosen`, are those of all controls that an image depends on: the start
    (None: that of the seed), the number of the checkpoint, the seed, the class, the truncation, the name of the
    set of directions, and the amounts along `sliders` directions.
    """

    def __init__(self, model: Model, sliders: int):
        self.model, self.zeros = model, [0.0] * sliders

    def draw(self, *chosen: Any) -> tuple[str, Start | None]:
        """Draws the image of the controls; returns also the start, None where another seed has replaced it."""
        choice = self._choice(chosen)
        return self._still(choice, self.model.draw(choice)), choice.start

    def walk(self, *given: Any) -> str:
        """Draws an animation.

        Args:
            given: `chosen`, the kind of walk, the other seed, the direction, and the number of images.
        """
        *chosen, kind, other, along, count = given
        choice = self._choice(chosen)
        count, along = _whole(count, FEWEST, MOST), _whole(along, 0, len(self.zeros) - 1)
        if kind == "direction":
            drawn = self.model.walk_along(choice, along, count)
            way = f"walk along {self.model.sets[choice.directions].names[along]}"
        else:
            seed = _whole(other, 0, LARGEST_SEED)
            drawn, way = self.model.walk_to_seed(choice, seed, count), f"walk to seed {seed}"
        stem = f"{self._stem(choice)}_walk"
        animation, words = gif("GIF", f"{stem}.gif", drawn.images), [*self._words(choice), way, f"{count} images"]
        return stage(animation, drawn.images.shape[1:3], words, [animation, *self._arrays(choice, drawn, stem)])

    def find(self, name: object, content: object, *chosen: Any) -> tuple[Any, ...]:
        """Looks for the latent of an uploaded file, given as base64.

        Returns the latent, the HTML of the upload, and the values of controls: class, truncation, amounts.
        """
        choice = self._choice(chosen)
        image = read_upload(name, content, self.model.images.shape)
        started = time.perf_counter()
        found = self.model.project(choice, image)
        seconds = time.perf_counter() - started
        words = f"Your image, in the size of the run. What is nearest was found in {seconds:.0f} s"
        words += f" (PSNR {found.psnr:.1f} dB)."
        return found.start, upload_beside(image, words), found.label, 1.0, *self.zeros

    # ---- the parts of an answer

    def _choice(self, chosen: Sequence[Any]) -> Choice:
        start, checkpoint, seed, label, truncation, directions, *amounts = chosen
        steps, names, seed = self.model.steps, self.model.names, _whole(seed, 0, LARGEST_SEED)
        return Choice(
            steps[_whole(checkpoint, 1, len(steps)) - 1],
            seed,
            None if names is None else _whole(label, 0, len(names) - 1),
            # Rounded: a truncation of z needs a program for each value, and a page may send any.
            round(_number(truncation, 0.0, 1.0), 2) if self.model.truncates and truncation is not None else 1.0,
            str(directions or ""),
            tuple(_number(one, -REACH, REACH) for one in amounts),
            start if isinstance(start, Start) and start.seed == seed else None,
        )

    def _still(self, choice: Choice, drawn: Drawn) -> str:
        stem = self._stem(choice)
        image = png("PNG", f"{stem}.png", drawn.images[0])
        downloads = [image, *self._arrays(choice, drawn, stem)]
        return stage(image, drawn.images.shape[1:3], self._words(choice), downloads)

    def _arrays(self, choice: Choice, drawn: Drawn, stem: str) -> list[Download]:
        """Returns the arrays that `gan-jax sample` writes, and the latents as a workdir keeps them."""
        count, names = len(drawn.images), self.model.names
        label = None if names is None else np.full(count, choice.label, np.int32)
        arrays = {
            "image": drawn.images,
            "label": label,
            "names": None if names is None else np.array(names, np.str_),
        }
        latents = {
            "latents": drawn.latents,
            "space": np.array(drawn.space),
            "step": np.array(choice.step),
            "labels": label,
            "noise_seed": np.array(choice.seed),
        }
        text = "Latent" if count == 1 else "Latents"
        return [npz("Arrays", f"{stem}.npz", arrays), npz(text, f"{stem}_latent.npz", latents)]

    def _words(self, choice: Choice) -> list[str]:
        words = [choice.start.words if choice.start else f"seed {choice.seed}"]
        words += [] if self.model.names is None else [f"class {self.model.names[choice.label or 0]}"]
        words += [] if choice.truncation == 1.0 else [f"truncation {choice.truncation:g}"]
        return [*words, f"step {choice.step:,}"]

    def _stem(self, choice: Choice) -> str:
        kept = "".join(c if c.isalnum() and c.isascii() else "_" for c in self.model.run.config.name)[:40]
        label = "" if self.model.names is None else f"_class{choice.label}"
        return f"{kept}_{'found' if choice.start else f'seed{choice.seed}'}{label}_step{choice.step}"


def _number(value: Any, low: float, high: float) -> float:
    """Reads a number that a page sent, into its range; `low` or 0 for anything else."""
    is_number = isinstance(value, int | float) and value == value
    return float(min(max(value, low), high)) if is_number else max(low, 0.0)


def _whole(value: Any, low: int, high: int) -> int:
    return int(_number(value, low, high))
