import json
import subprocess
import sys
from dataclasses import replace

import pytest

from gan_jax import config as configs
from gan_jax.config import HOMES, Call, Config, Home, Term, load, override, resolve
from gan_jax.config.resolve import keywords
from gan_jax.errors import UserError

CONFIG = Config(
    name="trial",
    conditional=True,
    generator=Call("dcgan", width=16, channels=(64, 32), norm=None),
    discriminator_terms=(
        Term(10.0, Call("r1"), every=16),
        Term(Call("linear", start=0.0, end=1e-3), Call("gp", target=1.0)),
    ),
    discriminator_optimizer=Call("adam", learning_rate=Call("linear", start=2e-4, end=0.0)),
)

FAKE_HOMES = {
    "fake_losses.py": """
from collections.abc import Callable
from functools import partial as partial
def hinge(): pass
def non_saturating(real_label: float = 1.0): pass
def adam(learning_rate: float | Callable = 2e-4, b1: float = 0.9, unbounded=1, **others): pass
def linear(start: float, end: float): pass
def normal(size: int = 100): pass
def identity(): pass
def r1(): pass
def gp(target: float | None = 1.0, kind: "NoSuchType" = "one", pair: tuple[int, int] = (1, 2)): pass
def digits(path: str = "", fraction: float = 1.0): pass
def classifier(): pass
def _private(): pass
class Loss: pass
""",
    "fake_models/__init__.py": "",
    "fake_models/layers.py": "raise RuntimeError('choices must not import what is not asked for')",
    "fake_models/dcgan.py": """
from dataclasses import dataclass
@dataclass
class Generator:
    width: int = 64
    channels: tuple[int, ...] = ()
    norm: str | None = "batch"
    parent: object = None
    name: str | None = None
class Discriminator: pass
""",
    "fake_models/resnet.py": "from .dcgan import Generator as Generator\n",
    "fake_models/broken.py": "import no_such_module\nclass Generator: pass\n",
}


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Every home replaced by real modules in a folder on the path."""
    for name, text in FAKE_HOMES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for field, home in HOMES.items():
        module = "fake_models" if home.attribute else "fake_losses"
        monkeypatch.setitem(HOMES, field, Home(module, home.attribute))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


def error_of(function, *args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


# ---- Call and resolve


def test_call_is_a_value():
    call = Call("adam", learning_rate=2e-4, betas=[0.0, 0.99])
    assert call == Call("adam", betas=(0.0, 0.99), learning_rate=2e-4)
    assert hash(call) == hash(Call("adam", betas=(0.0, 0.99), learning_rate=2e-4))
    assert call != Call("adam", learning_rate=2e-4)
    assert repr(Call("adam", learning_rate=2e-4)) == "Call('adam', learning_rate=0.0002)"
    assert Call("tfds", name="mnist").kwargs == {"name": "mnist"}
    call.kwargs["learning_rate"] = 1.0
    assert call.kwargs["learning_rate"] == 2e-4


def test_resolve_finds_functions_of_a_module_and_modules_of_a_package(homes):
    assert resolve("hinge", "fake_losses").__name__ == "hinge"
    assert resolve("dcgan", "fake_models", "Generator").__module__ == "fake_models.dcgan"
    assert configs.choices("fake_models", "Generator") == ["broken", "dcgan", "resnet"]
    assert configs.choices("fake_models", "Discriminator") == ["dcgan"]
    known = configs.choices("fake_losses")
    assert "hinge" in known
    assert not {"partial", "_private", "Loss"} & set(known)


def test_resolve_in_a_package_defaults_to_the_name_itself(homes):
    (homes / "fake_data").mkdir()
    (homes / "fake_data/digits.py").write_text("def digits(): return 7\n")
    assert resolve("digits", "fake_data")() == 7


@pytest.mark.parametrize(
    ("field", "name", "keyword"),
    [
        ("loss", "non_saturating", "real_label"),
        ("latent", "normal", "size"),
        ("generator_optimizer", "adam", "learning_rate"),
        ("discriminator_terms.penalty", "wgan_gp", "target"),
        ("schedule", "linear", "images"),
        ("augment", "identity", None),
    ],
)
def test_the_real_homes_are_known(field, name, keyword):
    home = HOMES[field]
    assert name in configs.choices(home.module)
    taken, open_ended = keywords(resolve(name, home.module, home.attribute, allow=()))
    assert not open_ended
    assert keyword is None or keyword in taken


def test_resolve_names_what_is_near_and_where_it_looked(homes):
    assert error_of(resolve, "hing", "fake_losses") == "no 'hing' in fake_losses: did you mean 'hinge'?"
    message = error_of(resolve, "dcgam", "fake_models", "Generator")
    assert message == "no 'dcgam' in fake_models: did you mean 'dcgan'?"
    message = error_of(resolve, "xyz", "fake_models", "Discriminator")
    assert message == "no 'xyz' in fake_models: there are dcgan"
    assert "'partial'" in error_of(resolve, "partial", "fake_losses")


def test_resolve_says_what_cannot_be_imported(homes):
    message = error_of(resolve, "broken", "fake_models", "Generator")
    assert "cannot import 'fake_models.broken'" in message
    assert "No module named 'no_such_module'" in message
    assert "cannot import 'no_home'" in error_of(resolve, "x", "no_home")
    assert "cannot import 'no_pkg.a'" in error_of(resolve, "no_pkg.a:b", "fake_losses")
    assert error_of(resolve, "fake_losses:hing", "json") == (
        "no function 'hing' in fake_losses: did you mean 'hinge'?"
    )


def test_resolve_keeps_names_from_a_workdir_inside(homes):
    name = "os.path:join"
    assert resolve(name, "fake_losses") is __import__("os").path.join
    assert "add `--allow os`" in error_of(resolve, name, "fake_losses", allow=())
    assert "add `--allow os`" in error_of(resolve, name, "fake_losses", allow=["o", "os.path"])
    assert callable(resolve(name, "fake_losses", allow=["os"]))
    assert callable(resolve("fake_models.dcgan:Generator", "fake_models", "Generator", allow=()))
    for other in ("fake_models.dcgan:Generator", "fake_losses:_private", "fake_losses:Loss"):
        assert "--allow" in error_of(resolve, other, "fake_losses", allow=())
    # A module of ours that is no home is as foreign: not every function here is meant for a config.
    assert "--allow" in error_of(resolve, "gan_jax.report:save_png", "gan_jax.losses", allow=())
    with pytest.raises(UserError):
        resolve("os.path", "fake_models", "join", allow=())


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


# ---- overrides

PENALTY = "discriminator_terms.1.penalty."


def first(config):
    return config.discriminator_terms[0]


def second(config):
    return config.discriminator_terms[1]


GOOD = [
    ("steps=20", lambda c: c.steps, 20),
    ("ema.half_life=1e-4", lambda c: c.ema.half_life, 1e-4),
    ("ema.half_life=500", lambda c: c.ema.half_life, 500.0),
    ("ema.ramp_up=none", lambda c: c.ema.ramp_up, None),
    ("ema.ramp_up=0.1", lambda c: c.ema.ramp_up, 0.1),
    ("deterministic=true", lambda c: c.deterministic, True),
    ("share_latents=False", lambda c: c.share_latents, False),
    ("name=a=b c", lambda c: c.name, "a=b c"),
    ("precision=bfloat16", lambda c: c.precision, "bfloat16"),
    ("data.resident=auto", lambda c: c.data.resident, "auto"),
    ("data.resident=false", lambda c: c.data.resident, False),
    ("discriminator_terms.0.weight=5", lambda c: first(c).weight, 5.0),
    ("discriminator_terms.1.weight.end=2", lambda c: second(c).weight.kwargs["end"], 2.0),
    ("discriminator_terms.0.weight=linear", lambda c: first(c).weight, Call("linear")),
    (PENALTY + "target=none", lambda c: second(c).penalty.kwargs["target"], None),
    (PENALTY + "pair=3,4", lambda c: second(c).penalty.kwargs["pair"], (3, 4)),
    (PENALTY + "kind=two", lambda c: second(c).penalty.kwargs["kind"], "two"),
    ("discriminator_terms=()", lambda c: c.discriminator_terms, ()),
    ("steps=1e3", lambda c: c.steps, 1000),
    ("steps=2_000", lambda c: c.steps, 2000),
    ("latent.size=3e1", lambda c: c.latent.kwargs["size"], 30),
    ("discriminator_terms.0.weight=1e1", lambda c: c.discriminator_terms[0].weight, 10.0),
    ("loss=hinge", lambda c: c.loss, Call("hinge")),
    ("loss.real_label=1", lambda c: c.loss, Call("non_saturating", real_label=1.0)),
    ("latent=normal", lambda c: c.latent, Call("normal", size=100)),
    ("generator=resnet", lambda c: c.generator, Call("resnet")),
    ("generator.width=32", lambda c: c.generator.kwargs["width"], 32),
    ("generator.norm=layer", lambda c: c.generator.kwargs["norm"], "layer"),
    ("generator.channels=(8,4)", lambda c: c.generator.kwargs["channels"], (8, 4)),
    ("generator_optimizer.eps=1e-6", lambda c: c.generator_optimizer.kwargs["eps"], 1e-6),
    ("generator_optimizer.unbounded=2.5", lambda c: c.generator_optimizer.kwargs["unbounded"], 2.5),
    ("discriminator_optimizer.learning_rate.end=1", lambda c: c.discriminator_optimizer,
     Call("adam", learning_rate=Call("linear", start=2e-4, end=1.0))),
    ("generator_optimizer.learning_rate=linear", lambda c: c.generator_optimizer,
     Call("adam", learning_rate=Call("linear"), b1=0.5)),
    ("data.source.path=/a/1", lambda c: c.data.source, Call("digits", path="/a/1")),
]  # fmt: skip


@pytest.mark.parametrize(("item", "get", "wanted"), GOOD, ids=[item for item, _, _ in GOOD])
def test_override_is_typed(homes, item, get, wanted):
    got = get(override(CONFIG, [item]))
    assert got == wanted
    assert type(got) is type(wanted)


BAD = [
    ("steps=abc", "steps wants an int, got 'abc'"),
    ("steps=1.5", "steps wants an int, got '1.5'"),
    ("steps=", "steps wants an int, got ''"),
    ("steps=1e400", "steps wants an int, got '1e400'"),
    ("steps=nan", "steps wants an int, got 'nan'"),
    ("steps=1.5e0", "steps wants an int, got '1.5e0'"),
    ("ema.half_life=nan", "ema.half_life wants a float or a Call, got 'nan'"),
    ("ema.ramp_up=no", "ema.ramp_up wants a float or none, got 'no'"),
    ("deterministic=1", "deterministic wants true or false, got '1'"),
    ("precision=float16", "precision wants 'float32' or 'bfloat16', got 'float16'"),
    ("data.resident=maybe", "data.resident wants true or false or 'auto', got 'maybe'"),
    ("ema.halflife=3", "unknown field 'ema.halflife': did you mean 'ema.half_life'?"),
    ("emma=3", "unknown field 'emma': did you mean"),
    ("half_life=3", "unknown field 'half_life': did you mean 'ema.half_life'?"),
    ("steps.more=3", "unknown field 'steps.more': did you mean 'steps'?"),
    ("ema=3", "ema is a group, set one of its fields: ema.half_life, ema.ramp_up"),
    ("steps", "the override 'steps' is not of the form field=value"),
    ("=3", "the override '=3' is not of the form field=value"),
    ("loss=hingee", "loss=hingee: no 'hingee' in fake_losses: did you mean 'hinge'?"),
    ("loss.real_lable=1", "unknown field 'loss.real_lable': did you mean 'loss.real_label'?"),
    ("loss.real_label=x", "loss.real_label wants a float, got 'x'"),
    ("latent.size=1.5", "latent.size wants an int, got '1.5'"),
    ("latent.radius=1", "unknown field 'latent.radius': there are latent.size"),
    ("generator_terms.0.every=2", "unknown field 'generator_terms.0.every'"),
    (
        "discriminator_terms.0.penalty.target=1",
        "unknown field 'discriminator_terms.0.penalty.target': r1 takes no keywords",
    ),
    (
        "generator_optimizer.learning_rate=nan",
        "generator_optimizer.learning_rate wants a number or a schedule, got 'nan'",
    ),
    ("generator.widht=3", "unknown field 'generator.widht': did you mean 'generator.width'?"),
    ("generator.parent=3", "unknown field 'generator.parent': there are"),
    ("generator=broken", "generator=broken: cannot import 'fake_models.broken'"),
    ("discriminator_terms.0.weight=x", "discriminator_terms.0.weight=x: no 'x' in fake_losses"),
    ("discriminator_terms.2.weight=1", "unknown field 'discriminator_terms.2.weight': did you mean"),
    (
        "discriminator_terms.-1.weight=1",
        "unknown field 'discriminator_terms.-1.weight': did you mean",
    ),
    ("discriminator_terms=r1", "discriminator_terms wants ()"),
    ("discriminator_terms.1.penalty.pair=3", "discriminator_terms.1.penalty.pair wants a list of 2 values"),
]


@pytest.mark.parametrize(("item", "wanted"), BAD, ids=[item for item, _ in BAD])
def test_override_mistakes(homes, item, wanted):
    assert error_of(override, CONFIG, [item]).startswith(wanted)


def test_overrides_apply_in_turn_and_the_first_mistake_is_told(homes):
    changed = override(CONFIG, ["loss=non_saturating", "loss.real_label=0.9", "steps=7"])
    assert (changed.loss, changed.steps) == (Call("non_saturating", real_label=0.9), 7)
    assert error_of(override, CONFIG, ["steps=7", "batch=x", "sed=1"]).startswith("batch wants")
    assert "--allow os" in error_of(override, CONFIG, ["loss=os:getcwd"], allow=())
    assert override(CONFIG, ["loss=os:getcwd"]).loss == Call("os:getcwd")


def test_a_plain_override_imports_no_home():
    program = (
        "import sys; from gan_jax.config import *; from gan_jax.config import Config;"
        "before = set(sys.modules); override(Config(name='x'), ['steps=3', 'ema.half_life=2']);"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}; sys.exit(str(new) if new else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
    "steps", "data.resident", "data.workers", "data.prefetch", "parallel.mode", "parallel.devices",
    "parallel.params", "health.returns", "health.warn",
    "log.every", "log.tensorboard", "sample.every", "sample.count", "sample.truncation", "sample.gif",
    "checkpoint.every", "checkpoint.keep", "checkpoint.best",
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
