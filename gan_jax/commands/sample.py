"""`gan-jax sample`: writes samples of a run."""

import argparse
from pathlib import Path

from ..errors import UserError
from .arguments import add_data, add_latents, add_run, call, names, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--count", type=int, help="the number of samples (64; 8 with --interpolate, 16 with --neighbours)"
    )
    add_latents(parser)
    parser.add_argument(
        "--labels", type=names, metavar="NAME,...",
        help="the classes of a conditional run, by name or number, used in turn; all of them if not given",
    )  # fmt: skip
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--interpolate", type=int, metavar="STEPS", help="walk from sample to sample, this many images each"
    )
    kinds.add_argument(
        "--neighbours", type=int, metavar="K", help="show each sample beside its K nearest real images"
    )
    kinds.add_argument(
        "--mix", type=int, metavar="LAYERS",
        help="mix styles of stylegan2: all pairs of the latents of --from, this many coarse layers of one and the "
        "others of the other",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="kept", type=names, metavar="NAME,...",
        help="draw the latents that the workdir keeps under these names, as gan-jax project does; with "
        "--interpolate a walk between them",
    )  # fmt: skip
    parser.add_argument(
        "--features", type=call, metavar="NAME[:key=value,...]", help="the features that --neighbours compares"
    )
    add_data(parser)
    parser.add_argument(
        "--out", type=path,
        help="a .png for a grid, a .npz for arrays, a .gif of videos or of an interpolation, a .wav of audio, or "
        "a folder for single samples, which lie in a sub-folder for each class",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from . import sample_figures, sample_run

    common = {
        "seed": arguments.seed, "step": arguments.step, "truncation": arguments.truncation,
        "labels": arguments.labels, "out": arguments.out, "allow": arguments.allow,
        **({} if arguments.count is None else {"count": arguments.count}),
    }  # fmt: skip
    if arguments.features is not None and arguments.neighbours is None:
        raise UserError("--features says what --neighbours compares: give both, or neither")
    if arguments.data is not None and arguments.interpolate is not None:
        raise UserError("--data is for samples that are made from data, and for --neighbours: leave one out")
    if arguments.kept is not None or arguments.mix is not None:
        paths = _kept(arguments)
    elif arguments.interpolate is not None:
        paths = sample_figures.interpolate(arguments.workdir, steps=arguments.interpolate, **common)
    elif arguments.neighbours is not None:
        paths = sample_figures.neighbours(
            arguments.workdir,
            nearest_reals=arguments.neighbours,
            features=arguments.features,
            data=arguments.data,
            **common,
        )
    else:
        paths = sample_run.sample(arguments.workdir, data=arguments.data, **common)
    if len(paths) > 1:  # only single samples are several files, and all lie in the folder
        kind = {".gif": "clips", ".wav": "sounds"}.get(paths[0].suffix, "images")
        by_class = "" if paths[0].parent == arguments.out else ", in a folder for each class"
        print(f"{len(paths):,} {kind} in {arguments.out}{by_class}")
    else:
        print(*paths, sep="\n")


def _kept(arguments: argparse.Namespace) -> list[Path]:
    """Draws latents that the workdir keeps by name."""
    from .sample_kept import sample_kept

    if arguments.kept is None:
        raise UserError("--mix mixes latents that the workdir keeps: name them, as --from NAME,NAME")
    for option, value in (
        ("--count", arguments.count), ("--seed", arguments.seed or None), ("--labels", arguments.labels),
        ("--neighbours", arguments.neighbours), ("--data", arguments.data),
    ):  # fmt: skip
        if value is not None:
            raise UserError(f"{option} is not for kept latents, which have theirs: leave out {option} or --from")
    return sample_kept(
        arguments.workdir, arguments.kept, steps=arguments.interpolate, mix=arguments.mix,
        truncation=arguments.truncation, out=arguments.out, step=arguments.step, allow=arguments.allow,
    )  # fmt: skip
