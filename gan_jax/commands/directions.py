"""`gan-jax directions`: finds directions in latent space that change images in one way."""

import argparse

from ..errors import UserError
from .arguments import add_data, add_run, path, words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--method", type=words, default=("sefa", "pca"), metavar="NAME,...",
        help="sefa (what changes the first layer most), pca (where latents vary most), classes (from the mean of "
        "all to that of each class) (sefa,pca)",
    )  # fmt: skip
    parser.add_argument(
        "--space", choices=("z", "w"), help="the space of latents; w of stylegan2, or else z, if not given"
    )
    parser.add_argument("--count", type=int, default=10, help="the number of directions of sefa and pca (10)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the sample that the grids move (0)")
    parser.add_argument(
        "--from", dest="kept", metavar="NAME", help="move the latents of this name in place of a sample"
    )
    parser.add_argument(
        "--label", help="the class of that sample, by name or number; the first class if not given"
    )
    parser.add_argument("--truncation", type=float, default=1.0, help="the truncation of the grids (1.0)")
    parser.add_argument("--name", help="the name to keep them under; that of the method if not given")
    parser.add_argument("--replace", action="store_true", help="replace directions that are kept under the name")
    add_data(parser)
    parser.add_argument(
        "--out", type=path, help="the .png of the grid of one method; WORKDIR/directions/NAME.png if not given"
    )


def run(arguments: argparse.Namespace) -> None:
    from ..latent_space.directions import METHODS
    from .directions_run import directions

    for method in arguments.method:
        if method not in METHODS:
            raise UserError(f"--method has no {method!r}: there are {', '.join(METHODS)}")
    if len(arguments.method) > 1 and (arguments.name is not None or arguments.out is not None):
        raise UserError("--name and --out are for one --method at a time: give one, such as --method sefa")
    for method in arguments.method:
        for written in directions(
            arguments.workdir, method, space=arguments.space, count=arguments.count, seed=arguments.seed,
            kept_latents=arguments.kept, label=arguments.label, truncation=arguments.truncation,
            name=arguments.name, replace=arguments.replace, data=arguments.data, out=arguments.out,
            step=arguments.step, allow=arguments.allow,
        ):  # fmt: skip
            print(written)
