"""`gan-jax prepare`: prepares a TFDS data set as array_record files."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the name of the set in TFDS, such as fashion_mnist")
    parser.add_argument(
        "--data-dir", help="the folder of TFDS; TFDS_DATA_DIR or ~/tensorflow_datasets if not given"
    )
    parser.add_argument("--manual-dir", help="a folder with the files that TFDS would download")


def run(arguments: argparse.Namespace) -> None:
    from ..data.prepare import prepare_set

    prepare_set(arguments.name, data_dir=arguments.data_dir, manual_dir=arguments.manual_dir)
