"""Tests how a config becomes JSON and text, how it is validated and loaded, and what may change on resume."""

import json
from dataclasses import replace

import pytest

from gan_jax import config as configs
from gan_jax.config import Call, Config, Term, load, override
from trial import CONFIG, error_of

# ---- JSON and text


def test_json_round_trip_is_exact():
    tree = configs.to_json(CONFIG)
    assert configs.from_json(json.loads(json.dumps(tree, allow_nan=False))) == CONFIG
    assert tree["discriminator_terms"][1]["weight"] == {
        "call": "linear",
        "with": {"start": 0.0, "end": 1e-3},
    }
    assert configs.from_json({"name": "old"}) == Config(name="old")


def test_json_mistakes():
    tree = configs.to_json(CONFIG)
    message = error_of(configs.from_json, {**tree, "ema": {"halflife": 3}})
    assert message == "unknown field 'ema.halflife': did you mean 'ema.half_life'?"
    assert "unknown field 'discriminator_terms.0.wait'" in error_of(
        configs.from_json,
        {**tree, "discriminator_terms": [{"weight": 1.0, "penalty": {"call": "r1", "with": {}}, "wait": 1}]},
    )
    assert "'name' is missing" in error_of(configs.from_json, {})
    bad = replace(CONFIG, generator=Call("dcgan", norm=len))
    assert "generator.norm cannot be kept in a file" in error_of(configs.to_json, bad)
    assert "generator.norm" in error_of(configs.validate, bad)


def test_text_is_what_override_takes(homes):
    text = configs.to_text(CONFIG)
    assert "discriminator_terms.1.weight.end = 0.001\n" in text
    assert "generator.norm = none\n" in text
    assert "conditional = true\n" in text
    assert "generator.channels = (64, 32)\n" in text
    blank = replace(CONFIG, name="x", generator=Call("dcgan"), conditional=False, seed=3)
    assert override(blank, text.splitlines()) == CONFIG


# ---- validate, load, resume


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"steps": "many"}, "steps wants an int, got 'many'"),
        ({"steps": True}, "steps wants an int, got True"),
        ({"name": ""}, "name must not be empty"),
        ({"name": "../../evil"}, "name must be a plain file name, got '../../evil'"),
        ({"name": ".."}, "name must be a plain file name, got '..'"),
        ({"name": "a\\b"}, "name must be a plain file name"),
        ({"name": "a\nb"}, "name must be a plain file name"),
        *(
            ({player: Call("adam", learning_rate=rate)}, f"{player}.learning_rate must not be negative")
            for player in ("generator_optimizer", "discriminator_optimizer")
            for rate in (-1e-4, -2)
        ),
        ({"microbatches": 3}, "microbatches must divide batch: 3 does not divide 64"),
        *(
            ({"inputs": Call("image"), "latent": Call(name, size=3)}, f"inputs is set, so latent={name} would not")
            for name in ("uniform", "normal")
        ),
        ({"ema": configs.Ema(half_life=0)}, "ema.half_life must be above 0 images, got 0"),
        ({"log": configs.Log(every=0)}, "log.every must be at least 1, got 0"),
        ({"parallel": configs.Parallel(fuse=0)}, "parallel.fuse must be at least 1, got 0"),
        ({"parallel": configs.Parallel(mode="tpu")}, "parallel.mode wants 'auto' or 'jit'"),  # type: ignore[arg-type]
        ({"loss": "hinge"}, "loss wants a Call, got 'hinge'"),
        ({"data": None}, "data wants a Data, got None"),
        ({"generator_terms": [1]}, "generator_terms wants a tuple of Term, got [1]"),
        ({"generator_terms": (Term(1.0, Call("r1"), every=0),)}, "generator_terms.0.every must be at"),
        ({"generator_terms": (Term(float("inf"), Call("r1")),)}, "generator_terms.0.weight wants"),
    ],
)  # fmt: skip
def test_validate(change, wanted):
    configs.validate(CONFIG)
    assert error_of(configs.validate, replace(CONFIG, **change)).startswith(wanted)


@pytest.mark.parametrize("latent", [Config.latent, Call("normal")])
def test_inputs_go_with_the_latent_that_nobody_set(latent):
    configs.validate(replace(CONFIG, inputs=Call("image"), latent=latent))


def test_load(tmp_path):
    path = tmp_path / "digits_dcgan.py"
    path.write_text("from gan_jax.config import Config\ndef get_config():\n    return Config(name='d', batch=8)\n")
    assert load(path) == Config(name="d", batch=8)
    message = error_of(load, tmp_path / "digit_dcgan.py")
    assert message.startswith("no config file")
    assert f"did you mean {path}?" in message
    assert "did you mean" not in error_of(load, tmp_path / "entirely_else.py")
    assert error_of(load, tmp_path) == f"'{tmp_path}' is a folder: name a config file in it: {path}"
    (tmp_path / "empty").mkdir()
    assert error_of(load, tmp_path / "empty").endswith("empty' is a folder: name a config file")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x = 3\n", "has no function get_config()"),
        ("def get_config():\n    return 3\n", "must return a gan_jax.config.Config, got int"),
        ("def get_config(:\n", "line 1: SyntaxError: "),
        ("\nimport no_such_module\n", "line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "from gan_jax.config import Config\ndef get_config():\n    return Config(nam='x')\n",
            "line 3: TypeError",
        ),
    ],
)
def test_load_mistakes(tmp_path, text, wanted):
    path = tmp_path / "mine.py"
    path.write_text(text)
    message = error_of(load, path)
    assert str(path) in message
    assert wanted in message


FREE = {
    "steps", "remat", "data.resident", "data.workers", "data.prefetch", "parallel.mode", "parallel.devices",
    "parallel.params", "health.returns", "health.warn",
    "log.every", "log.tensorboard", "log.to", "log.checkpoints",
    "sample.every", "sample.count", "sample.truncation", "sample.gif",
    "checkpoint.every", "checkpoint.keep", "checkpoint.best", "checkpoint.archive_every", "init_from",
    "metrics.every", "metrics.names", "metrics.features", "metrics.count", "metrics.reference",
}  # fmt: skip


def test_what_may_change_on_resume_is_exactly_this():
    other = configs.from_json(_all_changed(configs.to_json(CONFIG)))
    changed = configs.differences(CONFIG, other)
    assert {path for path, _, _, free in changed if free} == FREE
    assert len(changed) == len(configs.to_text(CONFIG).splitlines())


def _all_changed(tree):
    if isinstance(tree, dict):
        return {key: _all_changed(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_all_changed(value) for value in tree] or [1]
    return not tree if isinstance(tree, bool) else tree + 1 if isinstance(tree, int | float) else f"{tree}!"


def test_check_resume(homes):
    free = override(CONFIG, ["steps=600", "parallel.mode=pmap", "log.every=1", "data.workers=0"])
    configs.check_resume(CONFIG, free)
    bound = override(free, ["batch=32", "generator.width=32", "discriminator_terms.0.weight=1"])
    assert error_of(configs.check_resume, CONFIG, bound) == (
        "this workdir holds another run: batch was 64 and is now 32, generator.width was 16 and is now 32, "
        "discriminator_terms.0.weight was 10.0 and is now 1.0; use another --workdir, or set them back"
    )
    grid = ["checkpoint.every=7", "metrics.every=9"]
    configs.check_resume(CONFIG, override(CONFIG, grid))
    returns = override(CONFIG, ["health.returns=3"])
    said = error_of(configs.check_resume, returns, override(returns, [*grid, "log.every=1"]))
    assert "checkpoint.every was 1000 and is now 7, metrics.every was 0 and is now 9; use" in said
    fused = override(CONFIG, ["parallel.fuse=4"])
    assert "parallel.fuse was 1 and is now 4; use another --workdir, or set it back" in error_of(
        configs.check_resume, CONFIG, fused
    )
    added = override(CONFIG, ["loss.real_label=0.9"])
    assert configs.differences(CONFIG, added) == [("loss.real_label", configs.NOT_SET, 0.9, False)]
    error_of(configs.check_resume, CONFIG, added)
