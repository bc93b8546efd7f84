"""`gan-jax project`: finds the latents whose images are nearest to given images."""

import argparse
from pathlib import Path

from .arguments import add_run, names, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE",
        help="image files, or .npz files with an array `image`; all are searched for at once",
    )  # fmt: skip
    parser.add_argument(
        "--space",
        choices=("z", "w", "w+"),
        help="the space of latents that is searched; w of stylegan2, or else z",
    )
    parser.add_argument(
        "--labels", type=names, metavar="NAME,...",
        help="the classes of the images, by name or number, in turn; the best class is found if not given",
    )  # fmt: skip
    parser.add_argument("--iterations", type=int, default=500, help="the steps of Adam (500)")
    parser.add_argument(
        "--candidates",
        type=int,
        default=1000,
        help="the random latents, of which the nearest are the starts (1000)",
    )
    parser.add_argument(
        "--starts", type=int, default=8, help="the starts of each image, of which the best result counts (8)"
    )
    parser.add_argument(
        "--prior", type=float, default=0.1, help="the weight of what keeps latents plausible; 0 for none (0.1)"
    )
    parser.add_argument(
        "--features", type=float, default=1.0, metavar="WEIGHT",
        help="the weight of EfficientNet-Lite0's features, where that of pixels is 1; 0 for pixels alone (1.0)",
    )  # fmt: skip
    parser.add_argument(
        "--drawn-noise", action="store_true", help="keep the noise inside the generator as drawn; do not search it"
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of the random latents and of noise (0)")
    parser.add_argument(
        "--name", help="the name that the workdir keeps the latents under; the name of each file if not given"
    )
    parser.add_argument("--replace", action="store_true", help="replace latents that are kept under the name")
    parser.add_argument(
        "--out", type=path, help="the folder for what shows the result; WORKDIR/projections/NAME if not given"
    )


def run(arguments: argparse.Namespace) -> None:
    from ..latent_space.search import Settings
    from .project_run import project

    settings = Settings(
        arguments.iterations, arguments.starts, arguments.candidates, prior=arguments.prior,
        features=arguments.features, fit_noise=not arguments.drawn_noise,
    )  # fmt: skip
    for written in project(
        arguments.workdir, arguments.images, space=arguments.space, labels=arguments.labels, settings=settings,
        seed=arguments.seed, name=arguments.name, replace=arguments.replace, out=arguments.out,
        step=arguments.step, allow=arguments.allow,
    ):  # fmt: skip
        print(written)
