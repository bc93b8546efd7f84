"""The text of a model card: a README.md with the header that the Hugging Face Hub reads, and facts of a run.

Names of classes, data and configs may come from strangers. In the header each value is JSON, which is YAML too;
in the text Markdown and HTML in them are escaped.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import config as configs
from ..config import Call
from ..config.location import unplaced
from ..config.schema import ConfigTerm
from ..errors import one_line, printable
from ..metrics.record import Record, readable
from ..train.layout import this_version
from ..train.open_run import OpenedRun
from ..train.resume import IMPORTED

WEIGHTS, GRID, CONFIG, METRICS = "model.safetensors", "samples.png", "config.json", "evaluations.jsonl"
HOME = "https://github.com/gan-jax/gan_jax"
CARD = "README.md"
FILES = WEIGHTS, GRID, CONFIG, METRICS, CARD
_IMAGES = "unconditional-image-generation"  # the Hub has no task for images of a class
_MOST_CLASSES = 20
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")

LOAD = f"""from gan_jax import report
from gan_jax.exchange.load import load
run = load("{WEIGHTS}")
samples = run.sampler(seed=0)(run.state.ema, 16)  # [16, *shape], from -1 to 1
report.save_png("16_samples.png", report.picture(samples))
"""


class Facts(NamedTuple):
    """What a card says.

    Attributes:
        run: the run, at the step of the card.
        record: of its checkpoint.
        log: the rows of `metrics.jsonl` up to this step.
        metrics: the measured numbers of this step.
        license: the identifier of a licence, as the Hub has them; None: the author says none.
        grid: whether there is a grid of samples.
    """

    run: OpenedRun
    record: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    metrics: Sequence[Record]
    license: str | None
    grid: bool


def card(facts: Facts) -> str:
    """Returns the text of README.md."""
    run = facts.run
    parts = [_header(facts), f"# {_plain(run.config.name)}\n", _what(facts)]
    if facts.grid:
        classes = ", each class in turn" if run.config.conditional else ""
        parts.append(
            f"![samples]({GRID})\n\nThe first latents of seed 0{classes}: none is selected or truncated.\n"
        )
    for title, text in (
        ("How to load it", _how_to_load()),
        ("Data", _data(run)),
        ("Training", _training(facts)),
        ("Metrics", _metrics(facts)),
        ("Cost", _cost(facts)),
    ):
        parts.append(f"## {title}\n\n{text}\n")
    return "\n".join(parts)


def _header(facts: Facts) -> str:
    run = facts.run
    name = run.config.generator.name
    tags = ["gan", "jax", "flax", "gan_jax", name, *(["class-conditional"] if run.config.conditional else [])]
    values: dict[str, object] = {"library_name": "gan_jax", "tags": tags}
    if facts.license is not None:
        values["license"] = facts.license
    if len(run.spec.shape) == 3:
        values["pipeline_tag"] = _IMAGES
    if facts.metrics:
        values["model-index"] = [
            {"name": run.config.name, "results": [_result(run, one) for one in facts.metrics]}
        ]
    lines = [f"{key}: {json.dumps(_safe(value), ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def _safe(value: object) -> object:
    """Returns JSON values whose texts are YAML too: without control characters, and U+FFFE and U+FFFF."""
    if isinstance(value, str):
        return re.sub("[\ufffe\uffff]", "?", one_line(value))
    if isinstance(value, dict):
        return {key: _safe(item) for key, item in value.items()}
    return [_safe(item) for item in value] if isinstance(value, list) else value


def _result(run: OpenedRun, record: Record) -> dict[str, object]:
    """Returns a number as the Hub's list of results has it."""
    is_fid = record.metric == "frechet" and record.features == "inception"
    value = record.value if math.isfinite(record.value) else str(record.value)
    return {
        "task": {"type": _IMAGES},
        "dataset": {"name": _source(run), "type": _source(run)},
        "metrics": [
            {
                "type": "fid" if is_fid else record.metric,
                "name": "FID" if is_fid else f"{record.metric}, features {record.features}",
                "value": value,
            }
        ],
    }


def _what(facts: Facts) -> str:
    run = facts.run
    shape = " x ".join(map(str, run.spec.shape))
    name = _plain(run.config.generator.name)
    kind = f"The generator and the discriminator of a GAN ({name}) for samples of {shape}"
    given = f", for each of {run.spec.classes} classes" if run.config.conditional else ""
    origin = ""
    if imported := facts.record.get(IMPORTED):
        origin = f" Its weights were imported from {_plain(imported)}."
    return (
        f"{kind}{given}. The generator's weights are their moving average at step {run.step}. Written by gan_jax "
        f"{this_version()}.{origin}\n"
    )


def _how_to_load() -> str:
    return (
        f"Get the files of this page, and [gan_jax]({HOME}). `{WEIGHTS}` has no code in it.\n\n"
        f"```python\n{LOAD}```\n\n"
        f"Or on the command line: `gan-jax import {WEIGHTS} --out run`, then `gan-jax sample run`. The folder "
        "`run` is a run like any other: `gan-jax evaluate run --data PATH` measures it, and `init_from=run` "
        "trains on from it.\n"
    )


def _source(run: OpenedRun) -> str:
    """Returns the data set's name: that of TFDS, or the last part of its path, or the source's."""
    keywords = unplaced(run.config).data.source.kwargs
    for name in ("name", "path"):
        if isinstance(text := keywords.get(name), str) and text:
            return os.path.basename(text.rstrip("/")) or text
    return run.config.data.source.name


def _data(run: OpenedRun) -> str:
    rows = [
        ("source", _words(unplaced(run.config).data.source)),
        ("fingerprint", run.data),
        ("one sample", f"{' x '.join(map(str, run.spec.shape))}, {run.spec.dtype}"),
    ]
    names = run.spec.names()
    if names is not None:
        more = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
        rows.append(("classes", f"{len(names)}: {', '.join(names[:_MOST_CLASSES])}{more}"))
    return _table(("", ""), rows)


def _training(facts: Facts) -> str:
    config = unplaced(facts.run.config)
    rows = [
        ("steps", f"{facts.run.step:,} of {config.batch} real images each"),
        ("generator", _words(config.generator)),
        ("discriminator", _words(config.discriminator)),
        ("latents", _words(config.inputs or config.latent)),
        ("loss", _words(config.loss)),
        *(("term of G", _term(term)) for term in config.generator_terms),
        *(("term of D", _term(term)) for term in config.discriminator_terms),
        ("optimizer of G", _words(config.generator_optimizer)),
        ("optimizer of D", _words(config.discriminator_optimizer)),
        ("augmentation", _words(config.augment)),
        ("half-life of the moving average, in images", _words(config.ema.half_life)),
        ("precision", config.precision),
        ("seed", str(config.seed)),
    ]
    if origin := facts.record.get("init_from"):
        rows.append(("began with", f"the weights of a run at step {origin.get('step')}, {origin.get('digest')}"))
    return _table(("", ""), rows) + f"\n`{CONFIG}` has the whole config.\n"


def _words(value: object) -> str:
    """Returns a value of a config as text: `adam (learning_rate=0.0002, b1=0.5)`."""
    if not isinstance(value, Call):
        return configs.value_text(value)
    keywords = ", ".join(f"{name}={_words(item)}" for name, item in value.items)
    return f"{value.name} ({keywords})" if keywords else value.name


def _term(term: ConfigTerm) -> str:
    return f"{_words(term.penalty)}, weight {_words(term.weight)}, every {term.every} updates"


def _metrics(facts: Facts) -> str:
    if not facts.metrics:
        return f"None was measured at step {facts.run.step}.\n"
    rows = []
    for record in facts.metrics:
        error = "" if record.error is None else f" ± {readable(record.error)}"
        rows.append((record.metric, f"{readable(record.value)}{error}", record.text().partition(": ")[2]))
    return _table(("metric", "value", "how it was measured"), rows) + f"\n`{METRICS}` has the records.\n"


def _cost(facts: Facts) -> str:
    environment = facts.record.get("environment", {})
    known = [f"{environment.get('devices', 1)} x {environment['device']}"] if "device" in environment else []
    known += [f"CPU {environment['cpu']}"] if environment.get("cpu") else []
    rows = [("machine", ", ".join(known))] if known else []
    if seconds := _seconds(facts.log):
        rows.append(("time", f"{_duration(seconds)}, by the log of the run"))
    speeds = sorted(row["images_per_second"] for row in facts.log if row.get("images_per_second"))
    if speeds:
        rows.append(("speed", f"{speeds[len(speeds) // 2]:,.0f} images a second (median)"))
    return _table(("", ""), rows) if rows else "The run has no log.\n"


def _duration(seconds: float) -> str:
    """Returns a time in hours, minutes or seconds."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds:.0f} seconds"


def _seconds(log: Sequence[Mapping[str, Any]]) -> float:
    """Returns the time of all processes of a run: the clock of the log starts anew in each."""
    total = last = 0.0
    for row in log:
        now = row.get("time")
        if isinstance(now, int | float) and math.isfinite(now):
            total, last = (total + last, now) if now < last else (total, now)
    return total + last


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(map(_plain, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: object) -> str:
    """Returns foreign text as one line in which nothing is Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", printable(one_line(text)))
