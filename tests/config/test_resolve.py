"""Tests `Call`, and how `resolve` finds the function or the class that a name means."""

import pytest

from gan_jax import config as configs
from gan_jax.config import HOMES, Call, resolve
from gan_jax.config.resolve import keywords
from gan_jax.errors import UserError
from trial import error_of


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
