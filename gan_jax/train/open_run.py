"""Opens a run from its workdir: its config, its GAN and its state at one checkpoint."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from ..checkpoint import Checkpoints
from ..checkpoint.catalogue import Catalogue
from ..config import Config
from ..config.build import Allow, SampleSpec, make_gan, make_source
from ..config.location import located
from ..data.classes import find_classes
from ..data.source import Source, as_known
from ..errors import UserError
from ..gan import GAN
from ..metrics.measures import best_by
from ..runtime import precision
from ..runtime.sampler import Sampler
from ..state import GANState
from .resume import check_fields
from .shapes import carry_shapes
from .workdir import read_config


class OpenedRun(NamedTuple):
    """A trained run.

    Attributes:
        config: of the run.
        spec: what its samples are.
        gan: built from the config.
        step: of the checkpoint.
        state: at that step.
        data: the fingerprint of its data.
        allow: top-level packages that names in its files may come from besides gan_jax.
        rate: samples of audio, or frames of video, in a second; None: the data do not say it.
    """

    config: Config
    spec: SampleSpec
    gan: GAN
    step: int
    state: GANState
    data: str
    allow: Allow
    rate: float | None = None

    def open_data(self, data: str | None = None) -> tuple[Source, str | None]:
        """Returns the data of the run, and a note if they are other data than those of its training.

        `data`: where they lie now, see `config.location.located`; None: where the config says.

        Raises:
            UserError: they cannot be read, or their samples have another shape.
        """
        config = self.config if data is None else located(self.config, data, self.allow)
        source, fingerprint = as_known(make_source(config, self.allow), self.data, self.spec.class_names)
        now, then = tuple(source.shape), tuple(self.spec.shape)
        if now != then:
            raise UserError(f"the data have shape {now} now, but the run's samples have shape {then}")
        return source, None if fingerprint == self.data else f"the run was trained on other data, {self.data}"

    def sampler(
        self,
        seed: int,
        truncation: float = 1.0,
        labels: Sequence[int | str] | None = None,
        source: Source | None = None,
    ) -> Sampler:
        """Returns a sampler in the run's own precision.

        Args:
            seed: of the latents.
            truncation: of the latents; 1.0 for none.
            labels: numbers or names of classes, used in turn; text that names no class is a number. None: all.
            source: the rows that a run with `inputs` makes its samples from; see `open_data`.

        Raises:
            UserError: the generator has no truncation, or the run does not have these labels.
        """
        chosen = precision.matmul_precision(self.config, jax.default_backend())
        names = self.spec.names() if self.config.conditional else None
        if labels is not None and names is None:
            raise UserError("labels are given, but this run is not conditional: leave them out")
        numbers = None if labels is None or names is None else find_classes(labels, names)
        classes = None if names is None else len(names)
        return Sampler(self.gan, seed, classes, truncation, labels=numbers, precision=chosen, source=source)


def open_run(workdir: Path, step: int | str | None, allow: Allow = ()) -> OpenedRun:
    """Opens a run from its workdir.

    Args:
        workdir: of the run.
        step: of the checkpoint; None: the newest good one; "best": the best one by `checkpoint.best` of the
            config.
        allow: top-level packages that names in its files may come from besides gan_jax.

    Raises:
        UserError: there is no run, no such checkpoint, or none that is intact.
    """
    config = read_config(workdir)
    with Checkpoints(
        workdir / "checkpoints", keep=config.checkpoint.keep, best=best_by(config.checkpoint.best)
    ) as checkpoints:
        steps = checkpoints.steps()
        if not steps:
            raise UserError(f"{workdir} holds no checkpoint yet: train it first")
        if isinstance(step, str):
            step = _named_step(step, checkpoints, config)
        spec = _sample_spec(checkpoints, steps)
        gan = make_gan(config, spec, allow)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), carry_shapes(config, gan, spec)
        )
        restored = checkpoints.restore(target, step)
    if restored is None:
        raise UserError(f"{workdir} holds no checkpoint yet: train it first")
    check_fields(restored.record)
    for passed, reason in restored.passed_over:
        print(f"checkpoint {passed} is passed over, so this is step {restored.step}: {reason}", file=sys.stderr)
    record = restored.record
    return OpenedRun(
        config, spec, gan, restored.step, restored.state.state, record["data"], allow, record.get("rate")
    )


def _named_step(name: str, checkpoints: Catalogue, config: Config) -> int:
    if name.isdecimal() and len(name) < 19:
        return int(name)
    if name != "best":
        raise UserError(f"--step wants a number or best, got {name!r}")
    found = checkpoints.best()
    if found is None:
        raise UserError("this run kept no best checkpoint: train it with checkpoint.best and metrics.every set")
    return found


def _sample_spec(checkpoints: Catalogue, steps: list[int]) -> SampleSpec:
    """Reads what the samples of a run are, from the newest manifest that can be read."""
    while True:
        try:
            record = checkpoints.manifest(steps.pop())["record"]
            check_fields(record)
            known = record["sample"]
            names = known.get("class_names")  # gan_jax 0.1 did not write them
            return SampleSpec(
                tuple(known["shape"]), known["dtype"], known["classes"], None if names is None else tuple(names)
            )
        except UserError:
            if not steps:
                raise
