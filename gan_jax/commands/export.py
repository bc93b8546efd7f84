"""`gan-jax export`: writes the networks of a run for other programs."""

import argparse

from .arguments import add_run, path

FORMATS = ("safetensors", "stablehlo", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--format", choices=FORMATS, required=True,
        help="safetensors: the weights, which gan-jax import reads; stablehlo: a program for JAX on CPUs, GPUs "
        "and TPUs; onnx: a program for ONNX runtimes",
    )  # fmt: skip
    parser.add_argument(
        "--network", choices=("generator", "discriminator", "both"),
        help="what is written (generator; of safetensors both)",
    )  # fmt: skip
    parser.add_argument(
        "--truncation", type=float, default=1.0, help="the truncation of the latents in the program (1.0: none)"
    )
    parser.add_argument("--batch", type=int, help="a fixed batch size of the program; any size if not given")
    parser.add_argument(
        "--out", type=path, metavar="FILE",
        help="the file, which is replaced if it is there; export_<step>.<format> in the workdir if not given",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from .export_run import export

    for line in export(
        arguments.workdir, arguments.format, network=arguments.network, step=arguments.step, out=arguments.out,
        truncation=arguments.truncation, batch=arguments.batch, allow=arguments.allow,
    ):  # fmt: skip
        print(line)
