"""`gan-jax sweep` as a command: what it refuses, the same bits in processes, halving, Optuna, and its page."""

import html.parser
import json
import re

import pytest

import runs
from gan_jax.cli import main
from gan_jax.sweep import places
from gan_jax.sweep.record import read, scores
from small_sweeps import WEIGHT, sweep

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(400)]


# ---- what is said before training


def test_dry_run(config, tmp_path, capsys):
    """It says the members, the mode with its reason, the cost and the memory, and makes no file."""
    code = main(["sweep", str(config), f"{WEIGHT}=1,3", "--dry-run", "--workdir", str(tmp_path / "w")])
    out, err = capsys.readouterr()
    assert code == 0
    assert "members: vmap, all in one program, because a step is small (" in err
    assert re.search(
        r"cost: 2 members, 40 steps in all, 640 images; state [\d.]+ KiB a member, [\d.]+ KiB in", err
    )
    assert f"weight=3: gan-jax train {config} {WEIGHT}=3" in out
    main(["sweep", str(config), "steps=10,30", "batch=16,64", "--dry-run"])  # 10 and 30 steps of each batch
    assert "cost: 4 members, 80 steps in all, 3,200 images; state" in capsys.readouterr().err
    assert re.search(r"memory of a step of all 2 members: 0\.\d MiB", out)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--halving", "loss"], "--halving loss: there is no such number, there are frechet, kernel"),
        (
            ["--halving", "recall"],
            "--halving compares members by recall, which is never measured: set metrics.every",
        ),
        (
            ["--halving", "frechet", "--by", "recall"],
            "--halving frechet compares members by that number: leave --by",
        ),
        (["--halving", "frechet", "--factor", "1"], "--factor must be at least 2, got 1"),
        (["--optuna", "2", "--zip"], "--optuna chooses the members itself: leave --zip out"),
        (["--optuna", "0"], "--optuna wants a number of members, got 0"),
        (["--members", "vmap", "--jobs", "2"], "--jobs is for members in processes, and --members vmap has one"),
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--members", "vmap", "latent.size=3,4"], "latent.size differs between members, and a whole number may"),
        (["metrics.names=(frechet),(french)"], "no metric 'french'"),
    ],
)
def test_refusals(config, tmp_path, words, sentence):
    outcome = sweep(config, tmp_path / "w", f"{WEIGHT}=1,2", *words)
    assert outcome.code == 2
    assert sentence in outcome.err.splitlines()[-1]
    assert not (tmp_path / "w").exists()


def test_a_folder_of_something_else(config, tmp_path):
    workdir = tmp_path / "w"
    workdir.mkdir()
    (workdir / "config.json").write_text("{}")
    assert "w holds a run, and a sweep needs a folder of its own" in sweep(config, workdir, f"{WEIGHT}=1,2").err
    (workdir / "config.json").unlink()
    good = {
        "format": 1, "config": str(config), "shared": [], "paths": [WEIGHT], "by": "frechet", "halving": None,
        "members": {"weight=1": ["1"]}, "lost": {}, "dropped": {},
    }  # fmt: skip
    for content, sentence in (
        (json.dumps(good), "holds another sweep (its members differ): use another --workdir"),
        ("[" * 10_000, "is not of a sweep (it is not JSON)"),
        (json.dumps({**good, "format": 2}), "is not of a sweep (its format is not 1)"),
        (json.dumps({**good, "lost": {"a": 1}}), "is not of a sweep (lost.a is an integer, not text)"),
        (json.dumps({**good, "members": {"../x": []}}), "names a member that is no folder's name"),
    ):
        (workdir / "sweep.json").write_text(content)
        outcome = sweep(config, workdir, f"{WEIGHT}=1,2")
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert (workdir / "sweep.json").read_text() == content


def test_where_members_run(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert places.gpus() == []
    assert len(places.anywhere(3)) == 3
    (alone,) = places.devices(1)
    assert alone.before[:2] == ("taskset", "--cpu-list")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert [dict(place.environment) for place in places.devices(None)] == [
        {"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}
    ]  # fmt: skip


# ---- whole sweeps


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]


@pytest.mark.slow
def test_members_apart_are_ordinary_runs(config, tmp_path):
    """Each has the bits of `gan-jax train`. One that is lost stops no other. The page shows all."""
    workdir = tmp_path / "w"
    outcome = sweep(config, workdir, f"{WEIGHT}=1,1e30,3", "--members", "processes", "--jobs", "2")
    assert outcome.code == 0, outcome.err
    assert "member weight=1e30 is lost: grad_norm/discriminator is not finite" in outcome.err
    single = runs.call("train", config, f"{WEIGHT}=3", "--workdir", tmp_path / "single")
    assert single.code == 0, single.err
    assert runs.call("digest", workdir / "members" / "weight=3").out.strip() == single.digest
    content = read(workdir)
    assert content is not None
    assert list(content["lost"]) == ["weight=1e30"]
    page = _Page()
    page.feed((workdir / "report.html").read_text())
    links = [link.replace("%3D", "=") for link in page.links]
    assert len([link for link in links if link.endswith(".png")]) == 2 + 1  # the lost one drew its first grid
    assert all((workdir / link).is_file() for link in links if "1e30/report" not in link)
    again = sweep(config, workdir, f"{WEIGHT}=1,1e30,3", "--members", "processes")
    assert again.code == 0, again.err
    assert "step 20/20" not in again.err  # nothing is left to do
    before = (workdir / "sweep.json").read_bytes()
    other = sweep(config, workdir, f"{WEIGHT}=1,1e30,3", "loss=hinge", "--members", "processes")
    assert other.code == 2
    assert "member weight=1: this workdir holds another run: loss was " in other.err
    assert "--allow-change" not in other.err  # gan-jax sweep has no such option
    assert (workdir / "sweep.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["vmap", "processes"])
def test_halving_keeps_the_best(config, tmp_path, mode):
    """At each stage those with the best numbers go on. In processes, the last one is as by `gan-jax train`."""
    words = [f"{WEIGHT}=0.1,1,10,300", "steps=40", "--halving", "frechet", "--members", mode]
    outcome = sweep(config, tmp_path / "w", *words)
    assert outcome.code == 0, outcome.err
    assert "halving: members train in stages, by frechet: 4 to step 10, 2 to step 20, 1 to step 40" in outcome.err
    content = read(tmp_path / "w")
    assert content is not None
    found = {name: scores(tmp_path / "w", name, "frechet") for name in content["members"]}
    first = sorted(found, key=lambda name: found[name][10])
    assert {name for name, step in content["dropped"].items() if step == 10} == set(first[2:])
    second = sorted(first[:2], key=lambda name: found[name][20])
    assert {name: step for name, step in content["dropped"].items() if step == 20} == {second[1]: 20}
    assert sorted(found[second[0]]) == [10, 20, 30, 40]
    assert f"best: {second[0]} (frechet" in outcome.err
    if mode == "processes":
        override = f"{WEIGHT}={second[0].partition('=')[2]}"
        single = runs.call("train", config, override, "steps=40", "--workdir", tmp_path / "single")
        assert runs.call("digest", tmp_path / "w" / "members" / second[0]).out.strip() == single.digest
    again = sweep(config, tmp_path / "w", *words)
    assert again.code == 0, again.err
    assert read(tmp_path / "w") == content


@pytest.mark.slow
def test_optuna_chooses_members(config, tmp_path):
    """The same call goes on with the same proposals: two members, then one more."""
    words = [f"{WEIGHT}=0.1..100", "loss=hinge,non_saturating"]
    outcome = sweep(config, tmp_path / "w", *words, "--optuna", "2")
    assert outcome.code == 0, outcome.err
    first = set(read(tmp_path / "w")["members"])  # type: ignore[index]
    assert len(first) == 2
    assert all(re.fullmatch(r"weight=[\d.]+,loss=(hinge|non_saturating)", name) for name in first)
    outcome = sweep(config, tmp_path / "w", *words, "--optuna", "3")
    assert outcome.code == 0, outcome.err
    content = read(tmp_path / "w")
    assert content is not None
    assert first < set(content["members"])
    assert len(content["members"]) == 3
    best = min(content["members"], key=lambda name: scores(tmp_path / "w", name, "frechet")[20])
    assert f"best: {best} (frechet" in outcome.err
