"""Networks from elsewhere become a workdir that samples, and that another run starts from."""

import numpy as np
import pytest

import runs
from gan_jax.checkpoint import Catalogue, read_arrays
from gan_jax.config.build import SampleSpec
from gan_jax.errors import UserError
from gan_jax.exchange.new_workdir import write_workdir
from gan_jax.pytree import host_array, named_leaves
from gan_jax.train.open_run import open_run
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def run(trained):
    return open_run(trained, None)


def arrays(tree):
    return {name: host_array(leaf) for name, leaf in named_leaves(tree).items()}


def write(run, workdir, **changed):
    parts = {
        "generator": arrays(run.state.ema),
        "discriminator": arrays(run.state.discriminator.variables),
        "spec": run.spec,
        **changed,
    }
    return write_workdir(
        workdir, run.config, parts["spec"], parts["generator"], parts["discriminator"], "a/net.safetensors"
    )


def test_the_workdir_has_the_networks_and_the_rest_is_new(run, trained, tmp_path):
    write(run, tmp_path / "new")
    manifest, there = read_arrays(Catalogue(tmp_path / "new" / "checkpoints"), 0)
    for name, array in arrays(run.state.ema).items():
        assert np.array_equal(there[f"state/ema/{name}"], array), name
        assert np.array_equal(there[f"state/generator/{name}"], array), name
    for name, array in arrays(run.state.discriminator.params).items():
        assert np.array_equal(there[f"state/discriminator/params/{name}"], array), name
    assert not any(np.any(leaf) for name, leaf in there.items() if "opt_state" in name)
    assert manifest["record"]["imported"] == "net.safetensors"
    for name, workdir in (("one", trained), ("two", tmp_path / "new")):
        assert call("sample", workdir, "--count", 3, "--out", tmp_path / f"{name}.npz").code == 0
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert np.array_equal(one["image"], two["image"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "one.npz", "two.npz"]


def test_a_run_starts_from_it_and_none_goes_on_in_it(run, config, tmp_path):
    write(run, tmp_path / "new", discriminator=None)
    outcome = call("train", config, "steps=2", f"init_from={tmp_path / 'new'}", "--workdir", tmp_path / "next")
    assert outcome.code == 0, outcome.err
    assert "init_from: step 0 of" in outcome.err
    assert "12 of 12 arrays taken" in outcome.err
    runs.sentence(
        call("train", config, "--workdir", tmp_path / "new"), "imported from net.safetensors", "--workdir"
    )


def test_training_does_not_go_on_where_the_data_are_the_same(run, config, tmp_path):
    """An exported run of ours says its data: they would not tell that the optimizers are new."""
    spec, networks = run.spec, arrays(run.state.ema)
    write_workdir(tmp_path / "new", run.config, spec, networks, None, "a/net.safetensors", data=run.data)
    outcome = call("train", config, "--workdir", tmp_path / "new")
    runs.sentence(outcome, "networks imported from net.safetensors", "init_from=")


def test_class_names_and_rates_are_kept(run, tmp_path):
    names = ("circle", "square")
    spec = SampleSpec((8, 8, 1), np.uint8, 2, names)
    write_workdir(tmp_path / "new", run.config, spec, arrays(run.state.ema), None, "a", data="some", rate=8000.0)
    opened = open_run(tmp_path / "new", None)
    assert (opened.spec.class_names, opened.data, opened.rate) == (names, "some", 8000.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("params/out/bias"), r"lacks params/out/bias"),
        (lambda a: a.update({"params/more": np.zeros(2)}), r"has params/more, which"),
        (lambda a: a.update({"params/out/bias": np.zeros(3, np.float32)}), r"of shape \(3,\), but .* \(64,\)"),
        (lambda a: a.update({"params/out/bias": np.zeros(64, complex)}), r"of type complex128, but"),
        (lambda a: a.update({"params/out/bias": np.full(64, np.nan, np.float32)}), r"not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(run, tmp_path, change, message):
    generator = arrays(run.state.ema)
    change(generator)
    with pytest.raises(UserError, match=rf"^the generator of a/net.safetensors .*{message}"):
        write(run, tmp_path / "new", generator=generator)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="there is something at"):
        write(run, tmp_path)
    assert runs.files(tmp_path) == {"mine.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    write(run, tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()
