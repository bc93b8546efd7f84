"""Tests overrides such as `steps=20`: each value gets the type of its field, and each mistake is one sentence."""

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from gan_jax.config import Call, Config, Data, load, override, to_text
from gan_jax.config.recipes import recipes
from gan_jax.errors import UserError
from trial import CONFIG, error_of

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


def test_a_field_comes_before_what_is_below_it():
    items = ["steps=3", "data.source.path=bmp", "data.source=folder", "data.source.size=8", "steps=4"]
    changed = override(STACKED, items)
    assert changed.data.source == Call("folder", path="bmp", size=8)
    assert changed.steps == 4  # of one field the last one stands
    alone = error_of(override, STACKED, ["data.source.path=bmp"])
    assert "because data.source=stacked: set data.source=folder data.source.path=bmp" in alone


STACKED = Config(name="nested", data=Data(source=Call("stacked", source=Call("digits", size=8))))
MODULE = """
from gan_jax.config import Call
def mixed(sources: tuple = (Call("digits"), Call("digits", size=8)), any=None, level=Call("constant", value=1.0)):
    return sources, any, level
"""


@pytest.mark.parametrize(
    ("items", "wanted"),
    [
        (["source.source=tfds"], Call("stacked", source=Call("tfds"))),
        (["source.source=tfds", "source.source.name=mnist"], Call("stacked", source=Call("tfds", name="mnist"))),
        (["source.source.size=12"], Call("stacked", source=Call("digits", size=12))),
        (["source.source=digits"], STACKED.data.source),
        (["source.source=gan_jax.data.digits:digits"], Call("stacked", source=Call("gan_jax.data.digits:digits"))),
        (
            ["source.source=stacked", "source.source.source=npz", "source.source.source.path=1"],
            Call("stacked", source=Call("stacked", source=Call("npz", path="1"))),
        ),
        (["source=parts:mixed", "source.level=2"], Call("parts:mixed", level=2)),
        (
            ["source=parts:mixed", "source.any=tfds", "source.sources.1.size=9"],
            Call("parts:mixed", any="tfds", sources=(Call("digits"), Call("digits", size=9))),
        ),
        (
            ["source=parts:mixed", "source.sources.0=tfds", "source.sources.0.name=mnist"],
            Call("parts:mixed", sources=(Call("tfds", name="mnist"), Call("digits", size=8))),
        ),
    ],
)
def test_calls_inside_calls(items, wanted, tmp_path, monkeypatch):
    (tmp_path / "parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert override(STACKED, [f"data.{item}" for item in items]).data.source == wanted


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("data.source.source=linear", "data.source.source=linear: no 'linear' in gan_jax.data"),
        ("data.source.source=5", "data.source.source wants the name of a function, got '5'"),
        ("data.source.source.widht=5", "unknown field 'data.source.source.widht': "),
        ("data.source.source.name=mnist", "unknown field 'data.source.source.name': "),
        (
            "generator_optimizer.learning_rate.start=1",
            "generator_optimizer.learning_rate names no function yet",
        ),
    ],
)
def test_mistakes_in_calls_inside_calls(item, wanted):
    assert error_of(override, STACKED, [item]).startswith(wanted)
    empty = dataclasses.replace(STACKED, data=Data(source=Call("stacked")))
    start = "data.source.source names no function yet: say data.source.source=NAME first"
    assert error_of(override, empty, ["data.source.source.name=mnist"]) == start


def bare(node: Any) -> Any:
    """Returns a config whose Calls have lost all keywords."""
    if isinstance(node, Call):
        return Call(node.name)
    if isinstance(node, tuple):
        return tuple(map(bare, node))
    if not dataclasses.is_dataclass(node):
        return node
    return dataclasses.replace(
        node, **{one.name: bare(getattr(node, one.name)) for one in dataclasses.fields(node)}
    )


@pytest.mark.parametrize("recipe", recipes())
def test_every_field_of_a_recipe_can_be_set(recipe):
    """At any depth: each line of its text is an override."""
    wanted = load(recipe)
    assert override(bare(wanted), to_text(wanted).splitlines()) == wanted


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


@pytest.mark.parametrize(
    ("item", "way_out"),
    [
        ("lr=1e-4", "set generator_optimizer.learning_rate=1e-4 and discriminator_optimizer.learning_rate=1e-4"),
        ("batch_size=8", "unknown field 'batch_size': set batch=8"),
        ("epochs=5", "where N is epochs [*] images / batch"),
        ("resolution=64", "set data.source.size=64"),
        ("data=photos", "data is a group of fields: set data.source=folder data.source.path=photos"),
        ("path=my PATH", "data.source.path=my PATH [(]or"),
        ("gpus=2", "set parallel.devices=2"),
        ("Z-Dim=2", "set latent.size=2"),
    ],
)
def test_names_of_other_programs_have_a_way_out(item, way_out):
    with pytest.raises(UserError, match=way_out):
        override(Config("a"), [item])
