"""Members that train together in one program: the loop, the loader and the placement for all of them.

`population_checkpoints.py` and `population_recorder.py` have what the loop calls. Each class does what the class
of its name in `gan_jax.train` does, with that of each member. So every member has the files of an ordinary run. A
member whose numbers are not finite is lost: its row of every array is computed on, because the program stays the
same, and nothing of it is written any more.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..data.loader import Loader
from ..runtime.placement import Placement
from ..train.loop import Run
from ..types import PyTree
from .program import PopulationPrograms


class PopulationPlacement(Placement):
    """One device, on which `count` members train in one program."""

    count = 1

    def environment(self) -> dict[str, object]:
        """Returns what the bits of a member depend on besides its config and seed."""
        return {**super().environment(), "mode": f"vmap of {self.count}"}


class PopulationLoader:
    """Loads a batch for each member, `[N, ...]`; see `data.loader.Loader`."""

    def __init__(self, loaders: Sequence[Loader]):
        self._loaders, self._stack = loaders, contextlib.ExitStack()

    @property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        count = len(self._loaders)
        return {
            name: jax.ShapeDtypeStruct((count, *one.shape), one.dtype)
            for name, one in self._loaders[0].spec.items()
        }

    def __next__(self) -> dict[str, np.ndarray]:
        return jax.tree.map(lambda *rows: np.stack(rows), *(next(loader) for loader in self._loaders))

    def __enter__(self) -> "PopulationLoader":
        for loader in self._loaders:
            self._stack.enter_context(loader)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class PopulationRun(Run):
    """The loop of `Run`, for all members. Members with the same seed see the same batches."""

    def _loader(self, step: int) -> PyTree:
        programs = self.programs
        assert isinstance(programs, PopulationPrograms)
        if len(programs.seeds) == 1:
            return self._load(step, programs.seeds[0])
        return PopulationLoader([self._load(step, seed) for seed in programs.seeds])
