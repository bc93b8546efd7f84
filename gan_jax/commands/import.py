"""`gan-jax import`: makes a run of exported or published weights."""

import argparse

from ..errors import UserError
from .arguments import path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=path, help="what gan-jax export wrote as safetensors, or a file of PyTorch weights"
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="with --as: sets a field of the config"
    )
    parser.add_argument(
        "--as", dest="kind", metavar="NAME",
        help="the architecture of published weights: r3gan, sngan, biggan or stylegan2",
    )  # fmt: skip
    parser.add_argument(
        "--discriminator",
        type=path,
        metavar="FILE",
        help="with --as: the file of the discriminator",
    )
    parser.add_argument("--out", type=path, required=True, metavar="WORKDIR", help="the folder of the new run")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE",
        help="import functions that the config in the file names from this package too; may be repeated",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    if arguments.kind is not None:
        from ..exchange.foreign import import_foreign

        lines = import_foreign(
            arguments.file,
            arguments.kind,
            arguments.out,
            arguments.overrides,
            discriminator=arguments.discriminator,
        )
    else:
        from ..exchange.safetensors_file import import_exported

        if arguments.file.suffix in (".stablehlo", ".onnx"):
            raise UserError(
                f"{arguments.file} is a program, not weights: export the run with --format safetensors"
            )
        if arguments.file.suffix in (".npz", ".pth", ".pt", ".bin", ".pkl"):
            raise UserError(f"{arguments.file} has weights of another program: say by --as of what network")
        if arguments.overrides or arguments.discriminator is not None:
            given = "--discriminator" if arguments.discriminator is not None else arguments.overrides[0]
            raise UserError(f"{given} is for published weights: add --as, or leave it out")
        lines = import_exported(arguments.file, arguments.out, arguments.allow)
    for line in lines:
        print(line)
