"""Writes the networks of a run as safetensors, StableHLO or ONNX."""

import os
from pathlib import Path

from ..config.build import Allow
from ..errors import UserError, one_line
from ..exchange.exported import PLAYERS, make_network
from ..train.open_run import open_run

_ENDINGS = {"safetensors": ".safetensors", "stablehlo": ".stablehlo", "onnx": ".onnx"}


def export(
    workdir: str | os.PathLike,
    format: str,
    *,
    network: str | None = None,
    step: int | str | None = None,
    out: str | os.PathLike | None = None,
    truncation: float = 1.0,
    batch: int | None = None,
    allow: Allow = (),
) -> list[str]:
    """Writes networks of a run to one file, and returns lines that say what was written and how it is called.

    Args:
        workdir: the folder of the run.
        format: "safetensors", "stablehlo" or "onnx".
        network: "generator" (its moving average), "discriminator", or "both" in safetensors. None: the generator;
            of safetensors both.
        step: the step of the checkpoint; None: the newest good one; "best": the best one that was kept.
        out: the file; None: `<workdir>/export_<step>.<format>`, or `export_<step>_discriminator.<format>`. A file
            that is there is replaced.
        truncation: the truncation of the latents in a program, 1.0 for none.
        batch: a fixed batch size of a program; None: any.
        allow: packages, besides gan_jax, that functions named by the run's config may come from.

    Raises:
        UserError: there is no run or checkpoint, the network cannot be written in this format, or a package that
            the format needs is missing.
    """
    weights = format == "safetensors"
    if weights and (truncation != 1.0 or batch is not None):
        raise UserError("--truncation and --batch are for programs: leave them out with --format safetensors")
    if network == "both" and not weights:
        raise UserError(f"--format {format} has one network in a file: set --network generator or discriminator")
    if batch is not None and batch < 1:
        raise UserError(f"--batch must be at least 1, got {batch}")
    run = open_run(Path(workdir), step, allow)
    named = f"export_{run.step:08d}{'_discriminator' * (network == 'discriminator')}{_ENDINGS[format]}"
    path = Path(workdir) / named if out is None else Path(out)
    if path.suffix != _ENDINGS[format]:
        raise UserError(f"--format {format} is written to a file that ends in {_ENDINGS[format]}: set --out")
    try:
        if weights:
            from ..exchange import safetensors_file

            players = PLAYERS if network in (None, "both") else (network,)
            safetensors_file.write(run, path, players)
            return [f"{path}: {' and '.join(players)} at step {run.step}; gan-jax import reads it"]
        name = network or "generator"
        if format == "stablehlo":
            from ..exchange import stablehlo

            return stablehlo.write(run, make_network(run, name, truncation), path, batch)
        from ..exchange import onnx_file

        run = onnx_file.in_float32(run)
        return onnx_file.write(run, make_network(run, name, truncation), path, batch)
    except OSError as error:
        reason = f"{one_line(error.filename or path)} can't be written ({error.strerror})"
        raise UserError(f"{reason}: choose another --out") from error
