"""The house: folders import from folders below them only, and importing the library is light."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices import ROOT, run_json

PACKAGE = ROOT / "gan_jax"

# The one order. A folder (or a file of the library) imports from the lines above its own, and from nothing else.
LIBRARY = [
    {"types", "errors", "terms"},
    {"pytree", "outputs"},
    {"pixels", "ops", "losses", "penalties", "latents", "schedules", "optimizers", "networks", "state"},
    {"augment", "models", "inputs"},
    {"checks"},
    {"gan"},
    {"step"},
    {"parallel", "batch_statistics", "sampling"},
]
APPLICATION = [
    {"files"},
    {"data"},
    {"config", "checkpoint", "targets"},
    {"runtime"},
    {"metrics"},
    {"report"},
    {"train"},
    {"exchange", "latent_space", "sweep"},
    {"explorer"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate([*LIBRARY, *APPLICATION]) for name in names}
IN_LIBRARY = set().union(*LIBRARY)
MODELS_MAY_IMPORT = {"types", "ops"}  # an architecture is a network and nothing more


def module_of(path: Path) -> str:
    """`gan_jax/data/npz.py` is "data.npz", `gan_jax/data/__init__.py` is "data"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those under `if TYPE_CHECKING`, which never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from runtime_nodes(node)


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Absolute names of what a module imports, inside functions too: "gan_jax.gan", "orbax.checkpoint"."""
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


def folder_of(name: str) -> str:
    """The folder that an absolute name lies in: "gan_jax.data.npz" is in "data"."""
    return name.removeprefix("gan_jax").removeprefix(".").split(".")[0]


def inside(names: set[str]) -> set[str]:
    return {folder_of(name) for name in names if name == "gan_jax" or name.startswith("gan_jax.")}


def wrong_arrows(imports: dict[str, set[str]]) -> list[str]:
    """Every import that does not point down."""
    wrong = []
    for module, names in imports.items():
        here = folder_of(f"gan_jax.{module}")
        for there in inside(names) - {here}:
            bad = FLOOR.get(there, 99) >= FLOOR.get(here, -1)
            bad |= here == "models" and there not in MODELS_MAY_IMPORT
            if bad:
                wrong.append(f"{module or '__init__'} -> {there or '__init__'}")
    return wrong


def folders(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module, names in imports.items():
        here = folder_of(f"gan_jax.{module}")
        graph.setdefault(here, set()).update(inside(names) - {here, ""})
    return graph


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """The longest chain of folders that import each other; the graph has no circle."""

    def below(folder: str) -> list[str]:
        return [folder, *max((below(one) for one in graph.get(folder, ())), key=len, default=[])]

    return max((below(folder) for folder in graph), key=len)


def circle(imports: dict[str, set[str]]) -> list[str]:
    """A chain of modules that import each other in a circle, or nothing."""
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


def test_imports_point_down(imports):
    assert not wrong_arrows(imports)
    assert not circle(imports)


def test_every_folder_has_a_floor():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(FLOOR) == there - {"__init__"}


def test_the_house_stays_low(imports):
    assert len(longest_chain(folders(imports))) <= 14
    assert len(list(PACKAGE.glob("*.py"))) <= 20
    assert not [str(f) for f in PACKAGE.rglob("*.py") if len(f.read_text().splitlines()) > 300]


@pytest.mark.parametrize(
    ("module", "source", "arrow"),
    [
        ("losses", "from .step import Step", "losses -> step"),
        ("losses", "from . import penalties", "losses -> penalties"),
        ("gan", "from .step.updates import Updates", "gan -> step"),
        ("gan", "def f():\n    from .config import Config", "gan -> config"),
        ("gan", "import gan_jax.data.npz", "gan -> data"),
        ("parallel", "from .config import Config", "parallel -> config"),
        ("models.dcgan", "from ..gan import GAN", "models.dcgan -> gan"),
        ("models.dcgan", "from ..losses import Loss", "models.dcgan -> losses"),
        ("ops.conv", "from ..models import layers", "ops.conv -> models"),
        ("data.npz", "from ..train import run", "data.npz -> train"),
        ("commands.doctor", "from ..cli import main", "commands.doctor -> cli"),
        ("config.build", "from ..runtime.placement import Placement", "config.build -> runtime"),
        ("checkpoint.digest", "from ..config import Config", "checkpoint.digest -> config"),
        ("", "from .config import Config", "__init__ -> config"),
        ("train.loop", "from .. import GAN", "train.loop -> __init__"),
        ("cli", "import gan_jax.benchmarks", "cli -> benchmarks"),
    ],
)
def test_a_forbidden_arrow_is_caught(module, source, arrow):
    assert wrong_arrows({module: imports_of(source, module, is_package=module == "")}) == [arrow]


def test_what_is_allowed_is_not_caught():
    fine = {
        "step.updates": "from ..gan import GAN\nfrom .. import penalties",
        "models.dcgan": "from .layers import Conv\nfrom ..types import Images",
        "config.build": "from ..models import dcgan\nfrom ..gan import GAN",
        "train.loop": "from ..data import Loader\nimport numpy",
    }
    assert not wrong_arrows({m: imports_of(source, m, is_package=False) for m, source in fine.items()})


def test_a_circle_is_caught():
    assert circle({"a": {"gan_jax.b"}, "b": {"gan_jax.c"}, "c": {"gan_jax.a"}}) == ["a", "b", "c", "a"]
    assert not circle({"a": {"gan_jax.b", "gan_jax.c"}, "b": {"gan_jax.c"}, "c": {"numpy"}})


def test_a_long_chain_is_caught():
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]


def test_one_module_imports_orbax(imports):
    users = {m for m, names in imports.items() if any(n.split(".")[0] == "orbax" for n in names)}
    assert users == {"checkpoint.orbax_io"}


def test_nobody_imports_an_architecture_by_name(imports):
    """They are found by their names in a config."""
    users = {m for m, names in imports.items() if "models" in inside(names) and not m.startswith("models")}
    assert not users


def test_the_first_line_of_a_docstring_is_a_whole_sentence():
    """It says what the thing is, and does not spill over."""
    spilled = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                if "\n" in text.partition("\n\n")[0]:
                    spilled.append(f"{path.name}: {getattr(node, 'name', 'module')}")
    assert not spilled


def test_nothing_is_left_to_do():
    marks = ("TO" + "DO", "FIX" + "ME")
    left = [f.name for f in PACKAGE.rglob("*.py") if any(mark in f.read_text() for mark in marks)]
    assert not left


@pytest.mark.parametrize(
    "name", ["GAN", *(pytest.param(name, marks=pytest.mark.slow) for name in ("parallel", "losses"))]
)
def test_names_come_with_their_first_use(name):
    assert name in run_json(f"import json, gan_jax\nprint(json.dumps(str(gan_jax.{name})))")


def test_all_names_at_once():
    source = "import json\nfrom gan_jax import *\nprint(json.dumps(sorted(globals())))"
    assert {"GAN", "init", "make_train_step", "losses", "shard_step"} <= set(run_json(source))


HEAVY = ("tensorflow", "tensorflow_datasets", "orbax", "grain", "matplotlib", "PIL", "tensorboardX", "sklearn")
HEAVY += ("flax.nnx", "equinox", "haiku")


def test_no_public_name_is_that_of_another_module():
    """Importing `gan_jax/x.py` sets `gan_jax.x`, and would replace a function of that name."""
    modules = {path.stem for path in PACKAGE.iterdir()}
    for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not modules & {alias.name for alias in node.names}


def test_importing_the_library_is_light():
    """No heavy package, no device, no flag."""
    source = f"""
import json, os, sys
flags = os.environ.get("XLA_FLAGS")
import gan_jax
lazy = "jax" not in sys.modules
gan_jax.GAN, gan_jax.make_train_step, gan_jax.shard_step
from jax._src import xla_bridge
print(json.dumps([
    [name for name in {HEAVY} if name in sys.modules],
    xla_bridge.backends_are_initialized(),
    os.environ.get("XLA_FLAGS") == flags,
    [name for name in sys.modules if name.startswith("gan_jax.")],
    lazy,
]))
"""
    heavy, initialised, untouched, modules, lazy = run_json(source)
    assert heavy == []
    assert not initialised
    assert untouched
    assert {name.split(".")[1] for name in modules} <= IN_LIBRARY
    assert lazy


def test_no_name_of_a_lazy_package_is_a_module_of_it():
    """With lazy_loader 0.4 such a name is the module, once that was imported."""
    for stub in PACKAGE.rglob("__init__.pyi"):
        modules = {path.stem for path in stub.parent.glob("*.py")}
        names = re.findall(r"^from \.\w+ import (\w+)", stub.read_text(), re.MULTILINE)
        assert not modules.intersection(names), stub
