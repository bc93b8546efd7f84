"""The documents are true: their Python runs, their commands parse, and the files they name are there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax import cli, config
from gan_jax.config import Config
from gan_jax.config import build as recipe
from snippets import DOCUMENTS, ROOT, Block, blocks, commands, links, repo_files, run

FIRST_GAN = ROOT / "docs" / "first_gan.md"
LOOP = "epochs = 100"  # the one number of the text that the quick test changes
README = blocks(ROOT / "README.md", "python")
SHELL = [block for path in DOCUMENTS for block in blocks(path, "console", "bash", "sh", "shell")]
COMMANDS = [(block, arguments) for block in SHELL for arguments in commands(block)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _without_numbers(text: str) -> str:
    return " ".join(re.sub(r"[-+]?\d+(\.\d+)?", "#", text).replace("[ #", "[#").split())


def _play(capsys: pytest.CaptureFixture, epochs: int) -> dict:
    """Run the guide, each block's output held against the one in the text; its namespace.

    What is printed before the loop is the same everywhere and compared as it is. Training is chaotic, so
    behind it the words are compared and not the numbers.
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
    return namespace


def test_first_gan_runs(here: Path, capsys: pytest.CaptureFixture, quick_compile: None) -> None:
    text = FIRST_GAN.read_text()
    assert text.count(LOOP) == 1
    assert "put 3 here" in text  # the text says that this number may be changed
    namespace = _play(capsys, epochs=3)
    assert int(namespace["state"].step) == 300
    for name in ("first_grid.png", "reconstruction_grid.png", "runs_grid.png"):
        with Image.open(here / name) as made, Image.open(FIRST_GAN.parent / "images" / name) as shown:
            assert made.size == shown.size


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


def test_section_5_is_the_game_of_section_3(here: Path) -> None:
    namespace: dict = {}
    for block in blocks(FIRST_GAN, "python"):
        run(block, namespace)
        if "gan" in namespace:
            break
    ours = namespace["gan"]
    [arguments] = [args for block, args in COMMANDS if block.path == FIRST_GAN and "generator=mlp" in args]
    asked, _ = _train_config(arguments)
    theirs = recipe.make_gan(asked, recipe.SampleSpec.of(recipe.make_source(asked)))
    assert (theirs.generator, theirs.discriminator) == (ours.generator, ours.discriminator)
    assert (asked.batch, asked.steps, asked.conditional) == (10, 100 * 100, False)
    assert asked.latent.kwargs == {"size": 100}
    assert asked.loss == config.Call("non_saturating")
    assert asked.discriminator_terms == asked.generator_terms == ()
    assert not ours.discriminator_terms + ours.generator_terms
    for optimizer in (asked.generator_optimizer, asked.discriminator_optimizer):
        assert optimizer == config.Call("adam", learning_rate=1e-3, b1=0.5)


def test_the_config_of_the_guide_makes_a_game() -> None:
    [block] = [block for block in blocks(FIRST_GAN, "python") if "def get_config" in block.text]
    namespace: dict = {}
    run(block, namespace)
    asked = config.override(namespace["get_config"](), ["discriminator_terms.0.weight=1.0"])
    config.validate(asked)
    [(weight, penalty, every)] = recipe.make_gan(
        asked, recipe.SampleSpec.of(recipe.make_source(asked))
    ).discriminator_terms
    assert (weight, penalty.name, every) == (1.0, "r1", 1)


# ---- every document


def test_the_readme_has_python() -> None:
    assert README, "README.md should show how to use the package from Python"


@pytest.mark.parametrize("block", README, ids=lambda block: block.name)
def test_readme_runs(block: Block, here: Path, quick_compile: None) -> None:
    run(block, {"__name__": "readme"})


def _train_config(arguments: list[str]) -> tuple[Config, Path]:
    parsed = cli.parse(arguments)
    path = ROOT / parsed.config
    asked = config.override(config.load(path if path.is_file() else parsed.config), parsed.overrides)
    config.validate(asked)
    return asked, path


@pytest.mark.parametrize(
    ("block", "arguments"), COMMANDS, ids=[f"{block.name} {' '.join(words)[:40]}" for block, words in COMMANDS]
)
def test_commands_are_understood(block: Block, arguments: list[str], capsys: pytest.CaptureFixture) -> None:
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


def test_the_guide_has_commands() -> None:
    assert len([block for block, _ in COMMANDS if block.path == FIRST_GAN]) >= 3


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(path: Path) -> None:
    document = path.read_text()
    assert [name for name in sorted(repo_files(document)) if not (ROOT / name).exists()] == []
    assert [name for name in sorted(links(document)) if not (path.parent / name).exists()] == []


def test_pictures_are_small() -> None:
    for path in ROOT.glob("docs/images/*.png"):
        assert path.stat().st_size < 100_000, path.name
        with Image.open(path) as picture:
            picture.verify()


def test_blocks_are_found_as_written(tmp_path: Path) -> None:
    """The reader of documents itself: neighbours, continued lines, prompts, pipes, comments."""
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
