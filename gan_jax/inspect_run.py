"""What can be asked of a run afterwards, from its workdir alone: its state, its digest, its metrics."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from . import config as configs
from . import precision
from .carry import carry_shapes
from .catalogue import Catalogue, numbers
from .config import Call, Config
from .digest import leaf_digests, state_digest
from .errors import UserError
from .evaluation import Evaluator, features_of, generated, keep
from .gan import GAN
from .metrics.measures import best_by
from .metrics.record import Record
from .page import page
from .recipe import Allow, SampleSpec, make_gan, make_source
from .resume import check_fields
from .sampling import Sampler
from .standing import standing_statistics
from .state import GANState
from .types import Variables
from .workdir import read_config


class Opened(NamedTuple):
    """A run's config, what its samples are, its game, its state at a step, and the fingerprint of its data."""

    config: Config
    spec: SampleSpec
    gan: GAN
    step: int
    state: GANState
    data: str

    def sampler(self, seed: int, truncation: float = 1.0, labels: Sequence[int] | None = None) -> Sampler:
        """Draws in the run's own precision.

        Raises:
            UserError: the generator defines no truncation, or the run has no such labels.
        """
        asked = precision.asked(self.config, jax.default_backend())
        classes = self.spec.classes if self.config.conditional else None
        return Sampler(self.gan, seed, classes, truncation, labels=labels, precision=asked)


def open_run(workdir: Path, step: int | str | None, allow: Allow = ()) -> Opened:
    """A run at `step`; None: its newest good checkpoint; "best": by the config's `checkpoint.best`.

    Names in its files resolve inside gan_jax, and in what is allowed.

    Raises:
        UserError: there is no run, no such checkpoint, or none that verifies.
    """
    from .checkpoint import Checkpoints  # with Orbax, which takes a second

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
    return Opened(config, spec, gan, restored.step, restored.state.state, restored.record["data"])


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
    """What the samples of a run are, from the newest manifest that can be read; the last error if none can."""
    while True:
        try:
            record = checkpoints.manifest(steps.pop())["record"]
            check_fields(record)
            known = record["sample"]
            return SampleSpec(tuple(known["shape"]), known["dtype"], known["classes"])
        except UserError:
            if not steps:
                raise


def digest(workdir: str | os.PathLike, *, step: int | str | None = None, allow: Allow = ()) -> str:
    """The digest of a run's state, recomputed from what is on disk; training prints the same at its end.

    Raises:
        UserError: there is no run, no such checkpoint, or none that verifies.
    """
    return state_digest(leaf_digests(open_run(Path(workdir), step, allow).state))


def list_checkpoints(workdir: str | os.PathLike) -> list[str]:
    """A line a checkpoint of a run: its step, when it was written, its size, its metrics, and whether it verifies.

    Raises:
        UserError: there is no run.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    lines = []
    checkpoints = Catalogue(workdir / "checkpoints", best=best_by(config.checkpoint.best))
    best = checkpoints.best()
    for step in checkpoints.steps():
        wrong = checkpoints.verify(step)
        try:
            manifest = checkpoints.manifest(step)
        except UserError as error:
            lines.append(f"step {step}  NOT VERIFIED: {error}")
            continue
        size = sum(f.stat().st_size for f in (workdir / "checkpoints" / str(step)).rglob("*") if f.is_file())
        words = [f"step {step}", manifest["written"], f"{size / 1e6:.1f} MB"]
        words += [f"{name} {value:.4g}" for name, value in numbers(manifest["record"]).items()]
        words += ["verified" if wrong is None else f"NOT VERIFIED: {wrong}"]
        lines.append("  ".join([*words, *(["best"] if step == best else [])]))
    return lines


def evaluate(
    workdir: str | os.PathLike,
    *,
    metrics: Sequence[str] = ("frechet",),
    features: Call | None = None,
    count: int = 10_000,
    reference: int = 0,
    split: str | None = None,
    seed: int = 0,
    step: int | str | None = None,
    truncation: float = 1.0,
    standing: int = 0,
    allow: Allow = (),
) -> list[Record]:
    """Metrics of a run's averaged generator; each is a line of `<workdir>/evaluations.jsonl` too.

    Args:
        workdir: the run's.
        metrics: names in `gan_jax.metrics.measures.MEASURES`.
        features: in `gan_jax.metrics`; None: the config's.
        count: generated samples, reference: reals, 0 for all of them.
        split: of the data; None: the config's.
        seed: of the latents.
        step: as `open_run` takes it.
        truncation: 1.0 for none.
        standing: batch norm's statistics are measured anew over so many batches (Brock et al., 2019); 0: those
            that training averaged.

    Raises:
        UserError: there is no run, no such checkpoint, metric, split, truncation or weights.
    """
    workdir = Path(workdir)
    if count < 2:
        raise UserError(f"--count must be at least 2, got {count}")
    run = open_run(workdir, step, allow)
    config, plain = run.config, make_source(run.config, allow)
    if tuple(plain.shape) != tuple(run.spec.shape):
        raise UserError(f"the data are {tuple(plain.shape)} now, and the run's samples {tuple(run.spec.shape)}")
    same = plain.fingerprint() == run.data
    notes = () if same else (f"the run was trained on other data, {run.data}",)
    source = plain
    if split is not None:
        field = "data.source.source.split" if config.data.source.name == "stacked" else "data.source.split"
        source = make_source(configs.override(config, [f"{field}={split}"], allow=allow), allow)
    # A classifier's features are of the run's own data also where it is compared with another split.
    evaluator = Evaluator(source, features_of(features, config, plain, allow), metrics, reference)
    options: dict[str, Any] = {} if truncation == 1.0 else {"truncation": truncation}
    labels = None
    if config.conditional:
        labels, options["labels"] = evaluator.wanted_labels(count), "the reals'"
    sampler, variables = run.sampler(seed, truncation), run.state.ema
    if standing:
        options["standing_statistics"] = standing
        variables = _standing(run, seed, standing)
    records = evaluator.score(
        generated(sampler, variables, count, labels), seed=seed, step=run.step, options=options, notes=notes
    )
    try:
        keep(workdir, records)
        page(workdir)  # shows them
    except OSError as error:
        where = f"{workdir} can't be written to ({error.strerror})"
        warnings.warn(f"{where}: the records are not kept there", stacklevel=2)
    return records


def _standing(run: Opened, seed: int, batches: int) -> Variables:
    """The averaged variables with batch norm's statistics measured anew, in the run's own precision."""
    classes = run.spec.classes if run.config.conditional else None
    asked = precision.asked(run.config, jax.default_backend())
    measure = precision.traced_with(asked, standing_statistics)
    try:
        return measure(run.gan, run.state.ema, jax.random.key(seed), run.config.batch, batches, classes)
    except ValueError as error:
        raise UserError(f"--standing: {error}") from error
