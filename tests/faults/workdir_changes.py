"""Random changes to a workdir: types, sizes, links, pipes, truncations, swapped files and control characters."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.checkpoint.manifest import write_manifest

VALUES: list[Any] = [
    None, True, 0, -1, 1, 2, 7, 1e12, 10**12, 2**63, 10**400, 1e308, -0.5, "", "x", "1", "\x1b[2J\x1b[31m",
    "a\nstep 99",
    "\u202e", "../../../etc/passwd", "/dev/zero", "inf", [], {}, [None], [[[[]]]], {"a": {"b": []}}, "x" * 100_000,
    {"call": "os:system", "with": {"command": "true"}}, {"call": "normal", "with": {"size": 10**9}}, ["\x07"] * 3,
]  # fmt: skip
NAMES = ["step", "format", "metrics", "\x1b[2J", "a\nb", "call", "", "x" * 300, "../x"]
JSON = (".json", ".jsonl")


def places(workdir: Path) -> list[Path]:
    return sorted(path for path in workdir.rglob("*") if not path.is_symlink())


def pick(workdir: Path, rng: random.Random, wanted: Callable[[Path], bool] = lambda path: True) -> Path:
    """Draws a file or folder. First its kind is drawn, because most files are those of Orbax."""
    groups: dict[object, list[Path]] = {}
    for path in filter(wanted, places(workdir)):
        parts = path.relative_to(workdir).parts
        groups.setdefault((parts[0], len(parts), path.suffix), []).append(path)
    return rng.choice(groups[rng.choice(sorted(groups, key=str))])


# ---- JSON


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Returns each container and key of a JSON tree."""
    pairs = (
        list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    )
    return [(tree, key) for key, _ in pairs] + [node for _, value in pairs for node in nodes(value)]


def change_tree(tree: Any, rng: random.Random) -> None:
    """Replaces, removes, renames or adds a value in a JSON tree."""
    found = nodes(tree)
    if not found:
        return
    depth = rng.random() ** 2  # mostly near the top
    container, key = found[int(depth * len(found))]
    action = rng.choice(["replace", "replace", "replace", "remove", "rename", "add"])
    if action == "replace" or not isinstance(container, dict):
        container[key] = rng.choice(VALUES)
    elif action == "remove":
        del container[key]
    elif action == "rename":
        container[rng.choice(NAMES)] = container.pop(key)
    else:
        container[rng.choice(NAMES)] = rng.choice(VALUES)


def change_json(workdir: Path, outside: Path, rng: random.Random) -> None:
    path = pick(workdir, rng, lambda path: path.suffix in JSON and path.is_file())
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    if not lines:
        return
    index = rng.randrange(len(lines))
    tree = json.loads(lines[index])
    for _ in range(rng.choice([1, 1, 3])):
        change_tree(tree, rng)
    if path.name == "manifest.json" and rng.random() < 0.7:  # with a check that agrees
        write_manifest(path.parent, {name: value for name, value in tree.items() if name != "check"})
        return
    lines[index] = json.dumps(tree)
    path.write_text("\n".join(lines) + "\n")


def nest_json(workdir: Path, outside: Path, rng: random.Random) -> None:
    path = pick(workdir, rng, lambda path: path.suffix in JSON and path.is_file())
    depth = rng.choice([100, 900, 3000, 100_000])
    path.write_text(
        rng.choice(['{"a":' * depth + "1" + "}" * depth, "[" * depth + "]" * depth, "9" * depth, "\n" * depth])
    )


# ---- bytes


def change_bytes(workdir: Path, outside: Path, rng: random.Random) -> None:
    path = pick(workdir, rng, Path.is_file)
    data = bytearray(path.read_bytes())
    action = rng.choice(["cut", "empty", "flip", "extend", "zeros", "noise"])
    if action == "cut":
        del data[rng.randrange(len(data) + 1) :]
    elif action == "empty":
        data.clear()
    elif action == "flip" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif action == "extend":
        data += rng.randbytes(rng.choice([1, 100]))
    else:
        data[:] = bytes(len(data)) if action == "zeros" else rng.randbytes(len(data))
    path.write_bytes(data)


def make_huge(workdir: Path, outside: Path, rng: random.Random) -> None:
    """A file with a hole: it claims a terabyte and takes no room."""
    os.truncate(pick(workdir, rng, Path.is_file), 2**40)


def swap(workdir: Path, outside: Path, rng: random.Random) -> None:
    one, other = pick(workdir, rng, Path.is_file), pick(workdir, rng, Path.is_file)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


# ---- kinds of files


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def put_other_kind(workdir: Path, outside: Path, rng: random.Random) -> None:
    path = pick(workdir, rng)
    remove(path)
    targets = [outside, outside / "mine", outside / "nothing", outside / "folder", workdir, workdir / "nothing"]
    kind = rng.choice(["link", "link", "link", "hard link", "pipe", "folder", "file", "nothing", "device"])
    if kind == "link":
        path.symlink_to(rng.choice(targets))
    elif kind == "hard link":
        os.link(outside / "mine", path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(rng.choice([b"", b"mine\n", rng.randbytes(100)]))
    elif kind == "device":
        path.symlink_to(rng.choice(["/dev/zero", "/dev/full", "/dev/tty", "/dev/random"]))


def add_name(workdir: Path, outside: Path, rng: random.Random) -> None:
    """Adds something with a strange name, or with a name that the run will want."""
    folder = rng.choice([workdir, workdir / "samples", workdir / "checkpoints", workdir / "tensorboard"])
    names = [
        b"step_\x1b[2J.png", b"step_00000030.png", b"step_99999999999.png", b"step_\xc2\xb2.png", b"\xff\xfe.png",
        b"30", b"30", b"999999999999999999999", b"-1", b"007", b"report.html", b"a\nb", b"step_-0000001.png",
        b"evaluations.jsonl", b"samples.gif", b".lock", b"metrics.jsonl.tmp", b"report.html.tmp",
        b"config.json.tmp",
    ]  # fmt: skip
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), rng.choice(names))))
    if not folder.is_dir() or path.is_symlink() or path.exists():
        return
    kind = rng.choice(["link", "pipe", "folder", "file"])
    if kind == "link":
        path.symlink_to(rng.choice([outside, outside / "mine", outside / "nothing"]))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(rng.randbytes(100))


CHANGES = [
    *[change_json] * 5, nest_json, *[change_bytes] * 2, make_huge, swap, *[put_other_kind] * 4, *[add_name] * 2
]  # fmt: skip
