"""What can be asked of a run afterwards, from its workdir alone: its state, its digest, its metrics."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from .. import config as configs
from ..config import Call
from ..config.build import Allow, make_source
from ..errors import UserError
from ..metrics.evaluator import Evaluator, features_of, generated, keep
from ..metrics.record import Record
from ..report.page import page
from ..runtime import precision
from ..standing_statistics import standing_statistics
from ..train.open_run import Opened, open_run
from ..types import Variables


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
