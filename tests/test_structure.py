"""The house: arrows between modules point down only, and importing the core is light."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices import ROOT, run_json

PACKAGE = ROOT / "gan_jax"

# The core, lowest layer first. A module imports from lower layers, and from none beside it unless it is the same
# package (`ops`, `models`).
CORE = [
    {"types"},
    {"losses", "penalties", "augment", "schedules", "state", "networks", "latents", "optimizers", "ops"},
    {"gan", "models"},
    {"draws"},
    {"turns", "standing"},
    {"joint"},
    {"step"},
    {"parallel", "meter"},
]
LAYER = {name: layer for layer, names in enumerate(CORE) for name in names}
# The app's spine. Its other modules stand beside it: parts that train is made of, and commands for cli to call.
SPINE = ["errors", "names", "overrides", "settings", "config", "recipe", "train", "cli", "__main__"]
PARTS = {"data", "checkpoint", "digest", "metrics", "report", "page", "chart", "writer"}
MODELS_ALLOWED = {"models", "types", "ops"}  # what an architecture may know of


def module_of(path: Path) -> str:
    """`gan_jax/data/npz.py` is "data.npz", `gan_jax/data/__init__.py` is "data"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`, which never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from runtime_nodes(node)


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Absolute names of what a module imports, inside functions too: "gan_jax.turns", "orbax.checkpoint"."""
    home = ["gan_jax", *([] if not module else module.split("."))]
    found = set()
    for node in runtime_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = len(home) - node.level + (1 if is_package else 0)
            base = [*home[:up], *(node.module or "").split(".")] if node.level else (node.module or "").split(".")
            base = [part for part in base if part]
            # `from . import losses` names a module, `from .losses import Loss` one of its contents.
            deeper = [[*base, alias.name] for alias in node.names]
            names = [d if base[0] == "gan_jax" and exists(d[1:]) else base for d in deeper]
            found |= {".".join(name) for name in names}
    return found


def exists(parts: list[str]) -> bool:
    path = PACKAGE.joinpath(*parts)
    return path.with_suffix(".py").exists() or path.is_dir()


def read() -> dict[str, set[str]]:
    files = sorted(PACKAGE.rglob("*.py"))
    return {module_of(f): imports_of(f.read_text(), module_of(f), f.name == "__init__.py") for f in files}


def top(name: str) -> str:
    """The part of the package that an absolute name lies in: "gan_jax.data.npz" is in "data"."""
    return name.removeprefix("gan_jax").removeprefix(".").split(".")[0]


def inside(names: set[str]) -> set[str]:
    return {top(name) for name in names if name == "gan_jax" or name.startswith("gan_jax.")}


def wrong_arrows(imports: dict[str, set[str]]) -> list[str]:
    """Every arrow that points up, sideways, or from the core into the app."""
    wrong = []
    for module, names in imports.items():
        here = top(f"gan_jax.{module}")
        for there in inside(names) - {here}:
            if here in ("", "public"):  # the package itself gives the core's names
                bad = there not in LAYER or there in ("ops", "models")
            elif there == "public":  # its names are for others
                bad = True
            elif here in LAYER:
                bad = LAYER.get(there, 99) >= LAYER[here]
                bad |= here == "models" and there not in MODELS_ALLOWED
                bad |= here == "ops" and there != "types"
                bad |= there == "models"
            elif here in SPINE:
                bad = there in SPINE and SPINE.index(there) >= SPINE.index(here)
                bad |= here in SPINE[:5] and there not in SPINE[:5]
            elif here in PARTS:
                bad = there in SPINE[5:]
            else:  # another module of the app
                bad = there in ("cli", "__main__")
            if bad:
                wrong.append(f"{module or '__init__'} -> {there or '__init__'}")
    return wrong


def circle(imports: dict[str, set[str]]) -> list[str]:
    """A chain of modules that import each other, or nothing. A package's own face may name its parts."""
    graph = {
        module: {n.removeprefix("gan_jax.") for n in names if n.startswith("gan_jax.")} - {module}
        for module, names in imports.items()
        if module
    }
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := walk(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in graph if (found := walk(module, []))), [])


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    return read()


def test_arrows_point_down(imports):
    assert not wrong_arrows(imports)
    assert not circle(imports)


@pytest.mark.parametrize(
    ("module", "source", "arrow"),
    [
        ("losses", "from .turns import pmean", "losses -> turns"),
        ("losses", "from . import penalties", "losses -> penalties"),
        ("gan", "from .turns import Game", "gan -> turns"),
        ("gan", "def f():\n    from .config import Config", "gan -> config"),
        ("gan", "import gan_jax.data.npz", "gan -> data"),
        ("parallel", "from .models import dcgan", "parallel -> models"),
        ("models.dcgan", "from ..gan import GAN", "models.dcgan -> gan"),
        ("ops.conv", "from ..models import layers", "ops.conv -> models"),
        ("data.npz", "from ..train import run", "data.npz -> train"),
        ("doctor", "from .cli import main", "doctor -> cli"),
        ("config", "from .recipe import build", "config -> recipe"),
        ("recipe", "from . import cli", "recipe -> cli"),
        ("", "from .config import Config", "__init__ -> config"),
        ("public", "from .config import Config", "public -> config"),
        ("train", "from .public import GAN", "train -> public"),
    ],
)
def test_a_forbidden_arrow_is_caught(module, source, arrow):
    assert wrong_arrows({module: imports_of(source, module, is_package=module == "")}) == [arrow]


def test_what_is_allowed_is_not_caught():
    fine = {
        "turns": "from .gan import GAN\nfrom . import penalties",
        "models.dcgan": "from .layers import Conv\nfrom ..types import Images",
        "recipe": "from .models import dcgan\nfrom .gan import GAN",
        "train": "from .data import Loader\nimport numpy",
    }
    assert not wrong_arrows({m: imports_of(source, m, is_package=False) for m, source in fine.items()})


def test_a_circle_is_caught():
    assert circle({"a": {"gan_jax.b"}, "b": {"gan_jax.c"}, "c": {"gan_jax.a"}}) == ["a", "b", "c", "a"]
    assert not circle({"a": {"gan_jax.b", "gan_jax.c"}, "b": {"gan_jax.c"}, "c": {"numpy"}})


def test_orbax_is_imported_by_leaves_alone(imports):
    users = {m for m, names in imports.items() if any(n.split(".")[0] == "orbax" for n in names)}
    assert users <= {"leaves"}


def test_models_and_the_game_meet_in_recipe_alone(imports):
    users = {m for m, names in imports.items() if "models" in inside(names) and not m.startswith("models")}
    assert users <= {"recipe"}


def test_every_module_of_the_core_is_in_a_layer():
    missing = set(LAYER) - {path.stem for path in PACKAGE.iterdir()}
    assert not missing


def test_nothing_is_left_to_do():
    marks = ("TO" + "DO", "FIX" + "ME")
    left = [f.name for f in PACKAGE.rglob("*.py") if any(mark in f.read_text() for mark in marks)]
    assert not left


@pytest.mark.parametrize("name", ["parallel", "losses", "GAN"])
def test_names_come_with_their_first_use(name):
    assert name in run_json(f"import json, gan_jax\nprint(json.dumps(str(gan_jax.{name})))")


def test_all_names_at_once():
    source = "import json\nfrom gan_jax import *\nprint(json.dumps(sorted(globals())))"
    assert {"GAN", "init", "make_train_step", "losses", "shard_step"} <= set(run_json(source))


HEAVY = ("tensorflow", "tensorflow_datasets", "orbax", "grain", "matplotlib", "PIL", "tensorboardX", "sklearn")


def test_importing_the_core_is_light():
    """No heavy package, no device, no flag."""
    source = f"""
import json, os, sys
flags = os.environ["XLA_FLAGS"]
import gan_jax
lazy = "jax" not in sys.modules
gan_jax.GAN
from jax._src import xla_bridge
print(json.dumps([
    [name for name in {HEAVY} if name in sys.modules],
    xla_bridge.backends_are_initialized(),
    os.environ["XLA_FLAGS"] == flags,
    [name for name in sys.modules if name.startswith("gan_jax.")],
    lazy,
]))
"""
    heavy, initialised, untouched, modules, lazy = run_json(source)
    assert heavy == []
    assert not initialised
    assert untouched
    assert {name.split(".")[1] for name in modules} <= {*LAYER, "public"}
    assert lazy
