"""The documents are true: their Python runs, their commands parse, and the files they name exist."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax import cli, config
from gan_jax.commands.init import write_config
from gan_jax.config import Config
from gan_jax.config.build import SampleSpec, make_gan, make_source
from gan_jax.data.gaussians import gaussians
from snippets import DOCUMENTS, ROOT, Block, blocks, commands, links, repo_files, run

DOCS = ROOT / "docs"
FIRST_GAN = DOCS / "first_gan.md"
LOOP = "epochs = 100"  # the one number of the text that the quick test changes
PYTHON = [path for path in DOCUMENTS if path != FIRST_GAN and blocks(path, "python")]
SHELL = [block for path in DOCUMENTS for block in blocks(path, "console", "bash", "sh", "shell")]
COMMANDS = [(block, arguments) for block in SHELL for arguments in commands(block)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _without_numbers(text: str) -> str:
    return " ".join(re.sub(r"[-+]?\d+(\.\d+)?", "#", text).replace("[ #", "[#").split())


def _play(capsys: pytest.CaptureFixture, epochs: int, until: str = "") -> dict:
    """Runs the tutorial, compares each block's output with the text, and returns its names.

    What is printed before the loop is the same everywhere, so it is compared exactly. Training is chaotic, so
    after the loop the words are compared and the numbers are not. It ends behind the block with the words `until`.
    """
    namespace, exact = {"__name__": "first_gan"}, True
    for block in blocks(FIRST_GAN, "python"):
        exact = exact and LOOP not in block.text
        run(block, namespace, block.text.replace(LOOP, f"epochs = {epochs}"))
        printed, shown = capsys.readouterr().out, block.output or ""
        if exact:
            assert printed == shown, block.name
        elif printed:  # the loop prints nothing before its tenth epoch
            assert _without_numbers(printed) == _without_numbers(shown), block.name
        if until and until in block.text:
            break
    return namespace


def _same_size(here: Path, *names: str) -> None:
    """Asserts that these images have the size of those that the page shows."""
    for name in names:
        with Image.open(here / name) as made, Image.open(FIRST_GAN.parent / "images" / name) as shown:
            assert made.size == shown.size


def test_first_gan_starts(here: Path, capsys: pytest.CaptureFixture, quick_compile: None) -> None:
    """The tutorial to its first images."""
    namespace = _play(capsys, epochs=1, until="first_grid.png")
    assert int(namespace["state"].step) == 100
    _same_size(here, "first_grid.png")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_first_gan_runs(here: Path, capsys: pytest.CaptureFixture, quick_compile: None) -> None:
    text = FIRST_GAN.read_text()
    assert text.count(LOOP) == 1
    assert "put 3 here" in text  # the text says that this number may be changed
    namespace = _play(capsys, epochs=3)
    assert int(namespace["state"].step) == 300
    _same_size(here, "first_grid.png", "reconstruction_grid.png", "runs_grid.png")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_first_gan_keeps_its_promises(here: Path, capsys: pytest.CaptureFixture) -> None:
    """The run at full length: what the text says about its numbers holds for the numbers."""
    played = _play(capsys, epochs=100)
    data, samples, metrics = played["real"], played["samples"], played["metrics"]
    nearest = {name: played["distances"](some[:1000], data).min(1).mean() for name, some in samples.items()}

    # Section 3: digits, all ten of them, and not ten times the same.
    assert int(played["state"].step) == 10_000
    assert nearest["no term"] < 2.6  # a held-out digit is 2.1 from its nearest, noise far more
    assert nearest["slow G"] > 1.5 * nearest["no term"]
    assert (played["counts"]["no term"] > 10).all()
    assert played["apart"]["no term"] > 0.8 * played["apart"]["the digits"]
    # Section 4: towards the median, the more the more weight.
    order = ["the digits", "no term", "weight 10", "weight 100"]
    for measure in (played["spread"], played["distance"]):
        assert [measure[name] for name in order] == sorted((measure[name] for name in order), reverse=True)
        assert measure["weight 100"] < 0.75 * measure["no term"]
    assert played["counts"]["weight 100"].max() > 400
    # Section 6: a draw, a healthy lead, a win.
    loss = {name: metrics[name]["loss/discriminator"] for name in ("section 3", "r1", "slow G")}
    assert loss["slow G"] < 0.1 < loss["section 3"] < loss["r1"] < np.log(4)
    assert abs(metrics["r1"]["loss/generator"] - np.log(2)) < abs(
        metrics["section 3"]["loss/generator"] - np.log(2)
    )
    # Section 7: r1 spreads G over all digits more evenly.
    assert played["counts"]["r1"].std() < played["counts"]["no term"].std()


def test_section_5_trains_the_gan_of_section_3(here: Path) -> None:
    namespace: dict = {}
    for block in blocks(FIRST_GAN, "python"):
        run(block, namespace)
        if "gan" in namespace:
            break
    in_python = namespace["gan"]
    [arguments] = [args for block, args in COMMANDS if block.path == FIRST_GAN and "generator=mlp" in args]
    asked = _train_config(arguments)
    by_command = make_gan(asked, SampleSpec.of(make_source(asked)))
    assert (by_command.generator, by_command.discriminator) == (in_python.generator, in_python.discriminator)
    assert (asked.batch, asked.steps, asked.conditional) == (10, 100 * 100, False)
    assert asked.latent.kwargs == {"size": 100}
    assert asked.loss == config.Call("non_saturating")
    assert asked.discriminator_terms == asked.generator_terms == ()
    assert not in_python.discriminator_terms + in_python.generator_terms
    for optimizer in (asked.generator_optimizer, asked.discriminator_optimizer):
        assert optimizer == config.Call("adam", learning_rate=1e-3, b1=0.5)


def test_the_config_of_the_tutorial_makes_a_gan() -> None:
    asked = config.override(_config_of(FIRST_GAN), ["discriminator_terms.0.weight=1.0"])
    config.validate(asked)
    [term] = make_gan(asked, SampleSpec.of(make_source(asked))).discriminator_terms
    assert (term.weight, term.penalty.name, term.every) == (1.0, "r1", 1)


# ---- the other pages


def _config_of(path: Path) -> Config:
    """Returns the config that a page shows."""
    [block] = [block for block in blocks(path, "python") if "def get_config" in block.text]
    namespace: dict = {}
    run(block, namespace)
    return namespace["get_config"]()


def test_the_readme_has_python() -> None:
    assert ROOT / "README.md" in PYTHON, "README.md should show how to use the package from Python"


LONG = ("import_the_step.md", "your_own_model.md")  # these train several GANs
PAGES = [
    pytest.param(path, marks=[pytest.mark.slow, pytest.mark.timeout(180)] if path.name in LONG else [])
    for path in PYTHON
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_runs(path: Path, here: Path, capsys: pytest.CaptureFixture, quick_compile: None) -> None:
    """All blocks of a page run in one session and print what the page shows."""
    namespace: dict = {"__name__": path.stem}
    for block in blocks(path, "python"):
        run(block, namespace)
        assert capsys.readouterr().out == (block.output or ""), block.name


def test_the_config_for_a_folder_makes_a_gan() -> None:
    asked = _config_of(DOCS / "your_images.md")
    config.validate(asked)
    make_gan(asked, SampleSpec((64, 64, 3), "uint8", None))


def test_a_config_names_the_parts_of_your_own_module(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / "write_your_own.md"
    texts = [block.text for block in blocks(page, "python")]
    (here / "my_parts.py").write_text("\n\n".join(texts[: next(i for i, t in enumerate(texts) if "gan = " in t)]))
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    asked = _config_of(page)
    config.validate(asked)
    gan = make_gan(asked, SampleSpec.of(make_source(asked)))
    assert type(gan.generator).__module__ == "my_parts"
    assert [term.penalty.name for term in gan.discriminator_terms] == ["small_logits"]


# ---- examples


@pytest.mark.slow
def test_wgan_gp_trains(here: Path, quick_compile: None) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "wgan_gp.py"))
    samples = example["train"](steps=100)
    assert samples.shape == (10_000, 2)
    assert np.isfinite(samples).all()
    data = gaussians(count=10_000).read(np.arange(10_000))["image"]
    assert example["modes_found"](data) == 25
    assert example["modes_found"](0 * data) <= 1


# ---- every document


def _train_config(arguments: list[str]) -> Config:
    parsed = cli.parse(arguments)
    asked = config.override(config.load(parsed.config), parsed.overrides)
    config.validate(asked)
    return asked


@pytest.fixture
def files_of_the_reader(here: Path) -> None:
    """The configs that the pages have the reader write."""
    write_config("my_photos.py")
    for name, page in (("mine.py", "write_your_own.md"), ("digits_r1.py", "first_gan.md")):
        [block] = [block for block in blocks(DOCS / page, "python") if "def get_config" in block.text]
        Path(name).write_text(block.text)
    (here / "configs").symlink_to(ROOT / "configs")


@pytest.mark.parametrize(
    ("block", "arguments"), COMMANDS, ids=[f"{block.name} {' '.join(words)[:40]}" for block, words in COMMANDS]
)
def test_commands_are_understood(
    block: Block, arguments: list[str], files_of_the_reader: None, capsys: pytest.CaptureFixture
) -> None:
    if {"--help", "-h"} & set(arguments):
        with pytest.raises(SystemExit) as left:
            cli.parse(arguments)
        assert left.value.code == 0
        return
    try:
        if arguments[0] == "train":
            _train_config(arguments)
        else:
            cli.parse(arguments)
    except SystemExit:
        pytest.fail(f"{block.name}: gan-jax {' '.join(arguments)}: {capsys.readouterr().err.splitlines()[-1]}")


def test_the_tutorial_has_commands() -> None:
    assert len([block for block, _ in COMMANDS if block.path == FIRST_GAN]) >= 3


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(path: Path) -> None:
    document = path.read_text()
    assert [name for name in sorted(repo_files(document)) if not (ROOT / name).exists()] == []
    assert [name for name in sorted(links(document)) if not (path.parent / name).exists()] == []


def test_images_are_small() -> None:
    for path in ROOT.glob("docs/images/*.png"):
        assert path.stat().st_size < 100_000, path.name
        with Image.open(path) as image:
            image.verify()


def test_blocks_are_found_as_written(tmp_path: Path) -> None:
    """Tests the reader of documents: neighbours, continued lines, prompts, pipes, comments."""
    text = "a\n```python\nx = 1\n```\n\n```text\nout\n```\nb\n```python\ny = 2\n```\nc\n```text\nno\n```\n"
    (tmp_path / "a.md").write_text(text)
    one, two = blocks(tmp_path / "a.md", "python")
    assert (one.line, one.text, one.output) == (3, "x = 1\n", "out\n")
    assert (two.line, two.text, two.output) == (11, "y = 2\n", None)
    shell = "$ A=1 gan-jax train a.py \\\n  b=2  # why\ngan-jax: no\n"
    shell += "$ cat x | gan-jax digest w && bin/gan-jax doctor\n"
    assert commands(one._replace(text=shell)) == [["train", "a.py", "b=2"], ["digest", "w"], ["doctor"]]
    assert repo_files("see `gan_jax/gan.py`, configs/x.py. /tmp/docs/no runs/tests/no gan_jax.gan") == {
        "gan_jax/gan.py", "configs/x.py",
    }  # fmt: skip
    assert links("[a](b.md#c) ![d](e/f.png) [g](https://h) [i](#j)") == {"b.md", "e/f.png"}
