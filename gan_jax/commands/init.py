"""`gan-jax init`: writes a config to start from."""

import argparse
import json
import os
import shlex
from pathlib import Path

from ..errors import UserError, one_line

_TEMPLATE = '''"""{title}: images like yours, at {pixels} pixels.

Command   {command}
Result    runs/{title}/report.html shows the curves and the sample grids.
"""

from gan_jax.config import Call, Checkpoint, Config, Data, Ema, Log, Sample


def get_config() -> Config:
    return Config(
        # The name of the run. Its folder is runs/<name>, unless --workdir gives another one.
        name={name},
        # The length of the training, in steps. The same command with a larger number continues the run.
        steps=100_000,
        # The number of real images in each step.
        batch={batch},
        # The images: {what}. They are cropped and
        # resized to `size`, a side or height x width in pixels.
        # `mirror` adds the mirror image of each; set it to False where left and right differ, as in text.
        data=Data(source=Call("{source}", path={path}, size={size}{options}, mirror=True)),
        # True: the networks get the class of each image (its sub-folder), and samples are drawn by class.
        conditional={conditional},
        # The generator. `width` is the number of channels of its last hidden map: more is slower and better.
        generator=Call("dcgan", width=64),
        # The discriminator. Spectral normalization keeps it from winning at once.
        discriminator=Call("dcgan", width=64, norm="spectral"),
        # The random input of the generator: a vector of `size` normal numbers.
        latent=Call("normal", size=128),
        # The loss: a function in gan_jax.losses.
        loss=Call("hinge"),
        # Random changes of the images that the discriminator sees; they help with fewer than about 10,000 images.
        augment=Call("diff_augment"),
        # The optimizers. `learning_rate` is per update; halve both where the losses explode.
        generator_optimizer=Call("adam", learning_rate=2e-4, b1=0.5),
        discriminator_optimizer=Call("adam", learning_rate=2e-4, b1=0.5),
        # Samples come from a moving average of the generator, with a half-life in images.
        ema=Ema(half_life=10_000.0),
        # Steps between two lines of the log.
        log=Log(every=100),
        # Steps between two sample grids, and the number of images in each.
        sample=Sample(every=1000, count=64),
        # Steps between two checkpoints, and the number of checkpoints that are kept.
        checkpoint=Checkpoint(every=5000, keep=2),
    )
'''


_WHAT = {
    "folder": "every image under `path`, a folder or a zip file",
    "npz": "the arrays in the file `path`",
    "parquet": "the rows of the parquet files at `path`",
}
_THERE = "{} is there already: give another name, or remove it first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="the file to write, such as my_photos.py; the run is named after it")
    parser.add_argument(
        "--data", metavar="PATH",
        help="your images: a folder, or a .zip, .npz or .parquet file; the config is written to suit them",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    described = write_config(arguments.config, arguments.data)
    if described is None:
        print(f"wrote {arguments.config}: set its fields, then train it on a folder of images:")
    else:
        print(f"wrote {arguments.config} for {described}")
        print("set its fields, then train it:")
    print(_command(arguments.config, arguments.data))


def write_config(path: str | os.PathLike, data: str | None = None) -> str | None:
    """Writes a config for a folder of images, with a comment for each field.

    `data`: the images; the config is written to suit them. Returns a line about them; None if they are not given.

    Raises:
        UserError: the file is there already, cannot be written, or its name cannot be that of a run; or the data
            cannot be used.
    """
    path = Path(path)
    name, shown = path.stem, one_line(path)
    if path.suffix != ".py" or not name.strip(".") or not name.isprintable() or set(name) & set('"\\'):
        raise UserError(f"{shown} cannot name a config file: give a plain name that ends in .py, as my_photos.py")
    if path.exists():
        raise UserError(_THERE.format(shown))
    fields: dict[str, object] = {
        "source": "folder", "size": 64, "range": None, "batch": 64, "conditional": False,
    }  # fmt: skip
    described = None
    if data is not None:
        from .init_data import suited

        *values, described = suited(data)
        fields = dict(zip(fields, values, strict=True))
    size, values = fields["size"], fields.pop("range")
    fields["pixels"] = size if isinstance(size, str) else f"{size}x{size}"
    fields["size"] = _literal(size) if isinstance(size, str) else size
    fields["options"] = "" if values is None else f", range={values}"
    fields |= {"path": _literal(data or "photos"), "what": _WHAT[str(fields["source"])]}
    text = _TEMPLATE.format(title=name, name=f'"{name}"', command=_command(path.name, data), **fields)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(_THERE.format(shown)) from error
    except (OSError, ValueError) as error:
        raise UserError(f"can't write {shown} ({getattr(error, 'strerror', None) or error})") from error
    return described


def _literal(text: str) -> str:
    """Returns text as Python source in double quotes, as the other strings of the file."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _command(path: str | os.PathLike, data: str | None = None) -> str:
    command = f"gan-jax train {shlex.quote(str(path))}"
    return command if data is not None else f"{command} data.source.path=FOLDER"
