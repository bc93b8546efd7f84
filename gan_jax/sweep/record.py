"""What a sweep keeps on disk: `sweep.json`, and the standing of each member, read from its workdir."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint.catalogue import Catalogue
from ..checkpoint.manifest import MANIFEST
from ..errors import UserError, one_line
from ..files.folder import Folder
from ..files.typed_json import check, parse_object
from ..metrics import record as records

RECORD = "sweep.json"
_LARGEST = 2**24  # bytes of sweep.json
_HINTS: dict[str, Any] = {
    "format": int, "config": str, "shared": list[str], "paths": list[str], "members": dict[str, list[str]],
    "halving": dict[str, str | int] | None, "lost": dict[str, str], "dropped": dict[str, int], "by": str,
}  # fmt: skip


class SweepRecord:
    """The file `sweep.json`: which sweep this is, which members are lost, and which were dropped by halving.

    Args:
        workdir: of the sweep.
        content: "paths", "members" (values by name) and "halving" say which sweep it is. "config", "shared" and
            "by" may change; each member checks for itself whether it is the same run.
        grows: members are added on the way.

    Attributes:
        lost: why, by name.
        dropped: the step, by name.

    Raises:
        UserError: the folder holds another sweep, a run, or a file that cannot be read.
    """

    def __init__(self, workdir: Path, content: Mapping[str, Any], grows: bool = False):
        self._folder, self._content = Folder(workdir), {"format": 1, **content}
        self.lost: dict[str, str] = {}
        self.dropped: dict[str, int] = {}
        if (workdir / "config.json").exists():
            raise UserError(
                f"{one_line(workdir)} holds a run, and a sweep needs a folder of its own: use another --workdir"
            )
        before = read(workdir)
        if before is None:
            return
        compared = {"paths": "fields", "halving": "stages", **({} if grows else {"members": "members"})}
        for name, words in compared.items():
            if before[name] != self._content[name]:
                raise UserError(
                    f"{one_line(workdir)} holds another sweep (its {words} differ): use another --workdir, or the "
                    "command that began it"
                )
        self.lost, self.dropped = before["lost"], before["dropped"]

    def write(self) -> None:
        content = {**self._content, "lost": self.lost, "dropped": self.dropped}
        self._folder.write(RECORD, (json.dumps(content, indent=1) + "\n").encode())

    def add(self, name: str, values: Sequence[str]) -> None:
        """Adds a member, of a sweep whose members are not known at first."""
        self._content["members"] = {**self._content["members"], name: list(values)}
        self.write()

    def lose(self, name: str, reason: str) -> None:
        """Writes down that a member is lost."""
        self.lost[name] = reason
        self.write()

    def drop(self, names: Sequence[str], step: int) -> None:
        """Writes down which members do not go on from `step`."""
        self.dropped |= dict.fromkeys(names, step)
        self.write()


def read(workdir: Path) -> dict[str, Any] | None:
    """Returns what `sweep.json` says; None: there is no sweep.

    Raises:
        UserError: the file cannot be read, or a sweep did not write it.
    """
    path = one_line(workdir / RECORD)
    try:
        content = parse_object(Folder(workdir).read(RECORD, _LARGEST))
        if content.get("format") != 1:
            raise ValueError("its format is not 1")
        for name, hint in _HINTS.items():
            check(content.get(name), hint, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): restore it, or use another --workdir"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} is not of a sweep ({one_line(error)}): restore it, or use another --workdir"
        ) from error
    if any(name in ("", ".", "..") or "/" in name for name in content["members"]):
        raise UserError(f"{path} names a member that is no folder's name: restore it, or use another --workdir")
    return content


class Standing(NamedTuple):
    """Where a member is.

    Attributes:
        step: of its newest checkpoint; 0 without one.
        score: the newest value of the number that members are compared by; None: never measured.
        scored: the step of the score.
        state: "lost", "dropped", or "" for one that trains or is done.
    """

    name: str
    values: tuple[str, ...]
    step: int
    score: float | None
    scored: int | None
    state: str


def standing(workdir: Path, name: str, values: Sequence[str], by: str, state: str = "") -> Standing:
    """Reads where a member is."""
    steps = Catalogue(workdir / "members" / name / "checkpoints").steps()
    measured = scores(workdir, name, by)
    scored = max(measured, default=None)
    score = None if scored is None else measured[scored]
    return Standing(name, tuple(values), steps[-1] if steps else 0, score, scored, state)


def scores(workdir: Path, name: str, by: str) -> dict[int, float]:
    """Returns the value of a number at each step where it was measured during the training of a member."""
    found, _ = records.read(workdir / "members" / name / records.EVALUATIONS)
    values: dict[int, float] = {}
    for record in found:
        if record.metric == by and record.step is not None:
            # The run's own number is the first one of a step; gan-jax evaluate may add others.
            values.setdefault(record.step, record.value)
    return values


def is_finished(workdir: Path, name: str, steps: int) -> bool:
    """Returns whether a member has trained to `steps`, and has written its page."""
    folder = workdir / "members" / name
    catalogue, page = Catalogue(folder / "checkpoints"), folder / "report.html"
    newest = catalogue.steps()
    if newest and newest[-1] > steps:
        return True  # it was chosen there, and went on
    if not newest or newest[-1] < steps or not page.is_file():
        return False
    manifest = catalogue.step_directory(newest[-1]) / MANIFEST
    return page.stat().st_mtime >= manifest.stat().st_mtime  # else it is that of an earlier stage
