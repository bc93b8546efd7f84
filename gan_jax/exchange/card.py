"""Writes a folder for a repository of models: a card, weights, a grid of samples, the config and the metrics."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from .. import report
from ..checkpoint import Catalogue
from ..config.build import Allow
from ..errors import UserError, one_line
from ..files.folder import Folder
from ..metrics import record as records
from ..metrics.record import EVALUATIONS
from ..report import writer
from ..report.images import png_bytes
from ..report.sample_files import grid_name
from ..report.view import choose_view
from ..train.open_run import OpenedRun, open_run
from . import safetensors_file
from .card_text import CARD, CONFIG, FILES, GRID, METRICS, WEIGHTS, Facts, card
from .exported import metadata_json

_SEAL = "<!-- gan-jax card {} -->"  # of the text above it
_LICENSE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.+-]{0,63}")


def write_card(
    workdir: str | os.PathLike,
    *,
    out: str | os.PathLike | None = None,
    step: int | str | None = None,
    license: str | None = None,
    count: int = 64,
    allow: Allow = (),
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Writes the folder and returns it. Files of an earlier card in it are replaced, others are left alone.

    A README.md that somebody has changed stays as it is.

    The folder has `README.md`, `model.safetensors` (which `gan-jax import` reads), `samples.png`, `config.json`
    and `evaluations.jsonl`, the measured numbers of this step. Paths of this machine are in none of them.

    Args:
        workdir: the folder of the run.
        out: the folder that is written; None: `<workdir>/card`.
        step: the step of the checkpoint; None: the newest good one; "best": the best one that was kept.
        license: the identifier of a licence, such as `apache-2.0`; None: the card names none.
        count: the number of samples in the grid.
        allow: packages, besides gan_jax, that functions named by the run's config may come from.
        say: gets a note if README.md stays as it is.

    Raises:
        UserError: there is no run or checkpoint, an argument is wrong, or the folder can't be written.
    """
    workdir = Path(workdir)
    # A workdir may come from elsewhere, so a link `card` in it is not followed; --out is the user's.
    target, within = (Folder(out), "") if out is not None else (Folder(workdir), "card/")
    if license is not None and not _LICENSE.fullmatch(license):
        raise UserError(f"--license {one_line(license)!r} is no identifier of a licence, such as apache-2.0")
    if count < 1:
        raise UserError(f"--count must be at least 1, got {count}")
    run = open_run(workdir, step, allow)
    files = {} if (grid := _grid(workdir, run, count)) is None else {GRID: grid}
    log = [row for row in writer.read(workdir).rows if row["step"] <= run.step]
    found = [one for one in records.read(workdir / EVALUATIONS).rows if one.step == run.step]
    found = list({(one.metric, one.features): one for one in found}.values())  # the last one of each
    record = Catalogue(workdir / "checkpoints").manifest(run.step)["record"]
    facts = Facts(run, record, log, found, license, grid is not None)
    files[CONFIG] = (json.dumps(metadata_json(run), indent=2, ensure_ascii=False) + "\n").encode()
    if found:
        files[METRICS] = "".join(json.dumps(one.to_json()) + "\n" for one in found).encode()
    files[CARD] = _sealed(card(facts))
    kept = (CARD,) if _is_changed(target, within + CARD) else ()
    if kept:
        shown = one_line(target.path / within / CARD)
        say(f"note: {shown} was changed by hand, so it stays as it is: move it away for a new one")
    files = {WEIGHTS: safetensors_file.content(run), **files}
    _write(target, within, {name: content for name, content in files.items() if name not in kept}, kept)
    return target.path / within


def _sealed(text: str) -> bytes:
    """Returns the text with a last line that tells whether somebody has changed it since."""
    return f"{text.rstrip()}\n\n{_SEAL.format(hashlib.sha256(text.strip().encode()).hexdigest()[:16])}\n".encode()


def _is_changed(target: Folder, name: str) -> bool:
    try:
        found = target.read(name)
    except OSError:
        return False
    return _sealed(found.decode(errors="replace").rpartition("\n<!-- ")[0]) != found


def _write(target: Folder, within: str, files: Mapping[str, bytes], kept: Collection[str]) -> None:
    """Writes the files, the card last. Files of an earlier card that are neither here nor kept are removed."""
    try:
        for name, content in files.items():
            target.write(within + name, content)
        for name in set(FILES) - files.keys() - set(kept):
            target.remove(within + name)
    except OSError as error:
        where = one_line(error.filename or target.path)
        raise UserError(f"can't write {where} ({error.strerror}): choose another --out") from error


def _grid(workdir: Path, run: OpenedRun, count: int) -> bytes | None:
    """Returns a grid of samples as PNG; None if the samples are made from data, and the run drew no grid."""
    if run.gan.inputs is not None:
        try:
            return Folder(workdir).read(grid_name(run.step))
        except OSError:
            return None
    sampler = run.sampler(0)
    samples = sampler(run.state.ema, count)
    shown = choose_view(samples.shape[1:]).shown(len(samples), sampler.groups)
    return png_bytes(report.picture(samples[:shown], groups=sampler.groups))
