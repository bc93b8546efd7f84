"""Measures the quality of a run's samples, from its workdir alone."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax

from .. import config as configs
from ..batch_statistics import standing_statistics
from ..config import Call
from ..config.build import Allow, make_source
from ..config.location import located
from ..errors import UserError, one_line
from ..metrics.evaluator import Evaluator, generate_images
from ..metrics.features.choose import choose_extractor
from ..metrics.record import Record, append_new
from ..report.legends import make_legends
from ..report.page import page
from ..report.progress import is_training
from ..runtime import precision
from ..train.open_run import OpenedRun, open_run
from ..types import Variables
from .arguments import data_option


def evaluate(
    workdir: str | os.PathLike,
    *,
    metrics: Sequence[str] = ("frechet",),
    features: Call | None = None,
    count: int = 10_000,
    reference: int = 0,
    split: str | None = None,
    data: str | None = None,
    seed: int = 0,
    step: int | str | None = None,
    truncation: float = 1.0,
    standing: int = 0,
    allow: Allow = (),
) -> list[Record]:
    """Measures the moving average of a run's generator, and appends a line a metric to `evaluations.jsonl`.

    Args:
        workdir: the folder of the run.
        metrics: names in `gan_jax.metrics.measures.MEASURES`.
        features: a name in `gan_jax.metrics.features`; None: the config's.
        count: the number of generated samples.
        reference: the number of real samples, 0 for all of them.
        split: the split of the data to compare with; None: the config's.
        data: where the data lie now; see `config.location.located`. None: where the config says, relative to the
            current folder.
        seed: the seed of the latents.
        step: the step of the checkpoint; None: the newest good one; "best": the best one that was kept.
        truncation: the truncation of the latents, 1.0 for none.
        standing: measure the statistics of batch norm again over this many batches (standing statistics, Brock et
            al., 2019); 0: use those of the training.
        allow: packages, besides gan_jax, that functions named by the run's config may come from.

    Raises:
        UserError: there is no run, no such checkpoint, metric, split, truncation or weights.
    """
    workdir = Path(workdir)
    if count < 2:
        raise UserError(f"--count must be at least 2, got {count}")
    run = open_run(workdir, step, allow)
    with data_option(data):
        trained_on, note = run.open_data(data)
    notes = () if note is None else (note,)
    config = run.config if data is None else located(run.config, data, allow)
    source = trained_on
    if split is not None:
        field = "data.source.source.split" if config.data.source.name == "stacked" else "data.source.split"
        source = make_source(configs.override(config, [f"{field}={split}"], allow=allow), allow)
    # A classifier is trained on the data of the run, also where samples are compared with another split.
    evaluator = Evaluator(source, choose_extractor(features, config, trained_on, allow), metrics, reference)
    options: dict[str, object] = {} if truncation == 1.0 else {"truncation": truncation}
    labels = None
    if config.conditional:
        labels, options["labels"] = evaluator.wanted_labels(count), "the reals'"
    sampler, variables = run.sampler(seed, truncation, source=trained_on), run.state.ema
    if standing:
        options["standing_statistics"] = standing
        variables = _standing(run, seed, standing)
    records = evaluator.score(
        generate_images(sampler, variables, count, labels), seed=seed, step=run.step, options=options, notes=notes
    )
    try:
        append_new(workdir, records)
        legends = make_legends(trained_on, config.conditional, config.sample.count, config.inputs is not None)
        page(workdir, legends, live=is_training(workdir))  # the page of the run shows the metrics
    except OSError as error:
        reason = f"{one_line(error.filename or workdir)} can't be written to ({error.strerror})"
        warnings.warn(f"{reason}: the records are not kept there", stacklevel=2)
    return records


def _standing(run: OpenedRun, seed: int, batches: int) -> Variables:
    """Returns the moving average of the generator with the statistics of batch norm measured again."""
    classes = run.spec.classes if run.config.conditional else None
    run_precision = precision.matmul_precision(run.config, jax.default_backend())
    measure = precision.traced_with(run_precision, standing_statistics)
    try:
        return measure(run.gan, run.state.ema, jax.random.key(seed), run.config.batch, batches, classes)
    except ValueError as error:
        raise UserError(f"--standing: {error}") from error
