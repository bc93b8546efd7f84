"""Legends of the grids of a run: what is where in them. The run keeps them, for readers without its data."""

import json
from collections.abc import Mapping
from pathlib import Path

from ..data.source import Source, class_names
from ..files.folder import Folder
from ..files.typed_json import check, parse_object
from .layout import choose_layout, grid_legend
from .reals import reals_legend
from .view import choose_view

LEGENDS = "legends.json"
_LARGEST = 2**22  # bytes: a thousand names of classes


def make_legends(source: Source, conditional: bool, count: int, paired: bool = False) -> dict[str, str]:
    """Says what is where in the grids of a run: of reals ("reals"), of samples ("samples"), and of clips.

    "reals.gif" and "samples.gif" are the clips beside these grids.

    Args:
        source: the data of the run.
        conditional: whether the samples of the run have classes.
        count: the samples in a sample grid.
        paired: whether sample i is made from row i of the data.
    """
    if paired:
        return {"reals": "each real sample is in the place of the sample that is made from it"}
    view, names = choose_view(tuple(source.shape)), class_names(source)
    shown = view.shown(count, len(names) if names is not None and conditional else None)

    def of_samples(size: tuple[int, int] | None) -> str | None:
        if names is None or not conditional:
            return None
        return grid_legend(names[:shown], size and choose_layout(shown, *size, len(names)))

    legends = {"reals": [view.legend, reals_legend(source)], "samples": [view.legend, of_samples(view.size)]}
    if view.frame is not None:
        legends |= {"reals.gif": [reals_legend(source, view.frame)], "samples.gif": [of_samples(view.frame)]}
    return {kind: text for kind, texts in legends.items() if (text := "; ".join(filter(None, texts)))}


def keep_legends(workdir: Path, legends: Mapping[str, str]) -> None:
    """Writes the legends of a run into its workdir."""
    Folder(workdir).write(LEGENDS, (json.dumps(legends, indent=1) + "\n").encode(), sync=False)


def read_legends(workdir: Path) -> dict[str, str]:
    """Returns the legends of a run; none if it kept none, or if they cannot be read."""
    try:
        legends = parse_object(Folder(workdir).read(LEGENDS, _LARGEST))
        check(legends, dict[str, str], "it")
    except (OSError, ValueError):  # a page without legends is better than no page
        return {}
    return legends
