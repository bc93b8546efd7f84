"""Spectral norm that keeps v, against PyTorch's rule in NumPy and, where it is installed, against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from filled import filled
from gan_jax.models import biggan, dcgan, sagan, sngan
from gan_jax.models.layers import Conv, ConvTranspose, Dense, spectral_refresh

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
LAYERS = {
    "dense": (Dense(5, spectral="uv"), (4, 7)),
    "conv": (Conv(5, spectral="uv"), (2, 4, 4, 3)),
    "conv_transpose": (ConvTranspose(5, spectral="uv"), (2, 3, 3, 4)),
}


def unit(vector):
    return vector / np.linalg.norm(vector)


class PyTorchsRule:
    """`torch.nn.utils.spectral_norm` in NumPy, float64: it keeps u and v, and sigma is u . W v.

    W is `[O, fan-in]`, v <- W^T u / |.|, then u <- W v / |.|; a pass in evaluation mode moves neither.
    """

    def __init__(self, u, v):
        self.u, self.v = np.asarray(u, np.float64), np.asarray(v, np.float64)

    def sigma(self, kernel, training):
        matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]).T
        if training:
            self.v = unit(matrix.T @ self.u)
            self.u = unit(matrix @ self.v)
        return self.u @ matrix @ self.v

    def gradient(self, kernel, upstream, sigma):
        """Returns the gradient with respect to W of `sum(upstream * W / sigma)`, in the shape of the kernel."""
        outer = np.outer(self.v, self.u).reshape(kernel.shape)
        return upstream / sigma - np.sum(upstream * np.asarray(kernel, np.float64)) / sigma**2 * outer


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_it_is_pytorchs_rule(kind):
    """Kernels move between the passes, as in training, and once more without an iteration, as in an EMA."""
    layer, shape = LAYERS[kind]
    x = jax.random.normal(KEY, shape)
    variables = layer.init(KEY, x)
    plain = layer.clone(spectral=False)
    rule = PyTorchsRule(variables["spectral"]["u"], variables["spectral"]["v"])
    refresh = jax.jit(
        lambda v: {n: t["layer"] for n, t in spectral_refresh({n: {"layer": t} for n, t in v.items()}).items()}
    )
    output = jax.jit(lambda params, vectors: layer.apply({"params": params, "spectral": vectors}, x).sum())
    gradient = jax.jit(jax.grad(output))
    rng = np.random.default_rng(0)
    for training in (True, True, True, False):
        params = variables["params"]
        moved = params["kernel"] + 0.5 * jnp.asarray(rng.normal(size=params["kernel"].shape), jnp.float32)
        variables = {**variables, "params": {**params, "kernel": moved}}
        if training:
            variables = refresh(variables)
        sigma = rule.sigma(moved, training)
        normed = {**variables["params"], "kernel": jnp.asarray(moved / sigma, jnp.float32)}
        upstream = jax.grad(lambda p: plain.apply({"params": p}, x).sum())(normed)["kernel"]
        found = gradient(variables["params"], variables["spectral"])["kernel"]
        np.testing.assert_allclose(
            layer.apply(variables, x), plain.apply({"params": normed}, x), rtol=1e-4, atol=1e-4
        )
        expected = rule.gradient(moved, np.asarray(upstream, np.float64), sigma)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(variables["spectral"]["u"], rule.u, atol=1e-5)
        np.testing.assert_allclose(variables["spectral"]["v"], rule.v, atol=1e-5)
    # The other rule is half an iteration ahead, which is far more than rounding.
    ahead = layer.clone(spectral="u").apply({**variables, "spectral": {"u": variables["spectral"]["u"]}}, x)
    assert np.abs(ahead / layer.apply(variables, x) - 1).min() > 0.01


@pytest.mark.parametrize("kind", LAYERS)
def test_it_is_pytorch_itself(kind):
    torch = pytest.importorskip("torch")
    layer, shape = LAYERS[kind]
    x = jax.random.normal(KEY, shape)
    variables = layer.init(KEY, x)
    kernel = np.asarray(variables["params"]["kernel"])  # [..., I, O]
    make = {
        "dense": lambda: torch.nn.Linear(7, 5),
        "conv": lambda: torch.nn.Conv2d(3, 5, 3, padding=1),
        "conv_transpose": lambda: torch.nn.ConvTranspose2d(4, 5, 4, stride=2, padding=1),
    }
    # Their axes of a kernel; a transposed convolution of ours has its taps in the same order as theirs.
    axes = {"dense": (1, 0), "conv": (3, 2, 0, 1), "conv_transpose": (2, 3, 0, 1)}[kind]
    theirs = make[kind]()
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(kernel.transpose(axes).copy()))
        theirs.bias.zero_()
    theirs = torch.nn.utils.spectral_norm(theirs)
    with torch.no_grad():
        theirs.weight_u.copy_(torch.from_numpy(np.array(variables["spectral"]["u"])))
    image = torch.from_numpy(np.array(x if kind == "dense" else x.transpose(0, 3, 1, 2)))
    for training in (True, True, False):
        theirs.train(training)
        expected = theirs(image).detach().numpy()
        if training:
            nested = spectral_refresh({name: {"layer": tree} for name, tree in variables.items()})
            variables = {name: tree["layer"] for name, tree in nested.items()}
        found = np.asarray(layer.apply(variables, x))
        np.testing.assert_allclose(found if kind == "dense" else found.transpose(0, 3, 1, 2), expected, atol=1e-5)
        np.testing.assert_allclose(variables["spectral"]["u"], theirs.weight_u.numpy(), atol=1e-6)
        with torch.no_grad():  # as an optimizer does
            theirs.weight_orig.mul_(1.5).add_(0.1)
        moved = 1.5 * variables["params"]["kernel"] + 0.1
        variables = {**variables, "params": {**variables["params"], "kernel": moved}}


def places(tree, leaf):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path[:-1]) for path, _ in found if path[-1].key == leaf}


SMALL = {"widths": (8, 8), "classes": 3}
NETWORKS = {
    "sngan D": (functools.partial(sngan.Discriminator, **SMALL), (2, 8, 8, 3)),
    "sagan G": (functools.partial(sagan.Generator, (8, 8, 3), **SMALL), (2, 6)),
    "sagan D": (functools.partial(sagan.Discriminator, **SMALL), (2, 8, 8, 3)),
    "biggan G": (functools.partial(biggan.Generator, (8, 8, 3), **SMALL), (2, 6)),
    "biggan D": (functools.partial(biggan.Discriminator, **SMALL), (2, 8, 8, 3)),
    "dcgan G": (functools.partial(dcgan.Generator, (8, 8, 3), width=4, norm="spectral"), (2, 6)),
    "dcgan D": (functools.partial(dcgan.Discriminator, width=4, norm="spectral"), (2, 8, 8, 3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_normalised_kernel_of_a_network_keeps_v(name):
    make, shape = NETWORKS[name]
    train = {} if name in ("sngan D", "sagan D", "biggan D") else {"train": False}

    def vectors(**keywords):
        label = jnp.asarray([0, 1])
        return jax.eval_shape(lambda: make(**keywords).init(KEY, jnp.ones(shape), label, **train))["spectral"]

    default, both = vectors(), vectors(spectral_vectors="uv")
    assert places(both, "v") == places(both, "u") == places(default, "u") != set()
    assert places(default, "v") == set()


def test_a_step_moves_u_and_v_of_both_networks():
    """Each network iterates at the start of its own update, on the weights from before it."""
    sgd = gan_jax.optimizers.sgd(0.1)
    shared = {"width": 2, "norm": "spectral", "spectral_vectors": "uv"}
    generator, discriminator = dcgan.Generator((16, 16, 1), **shared), dcgan.Discriminator(**shared)
    gan = gan_jax.GAN(generator, discriminator, gan_jax.losses.hinge(), sgd, sgd, gan_jax.latents.normal(4))
    batch = {"image": jax.random.uniform(KEY, (4, 16, 16, 1), minval=-1.0)}
    state = filled(jax.eval_shape(lambda: gan_jax.init(gan, KEY, batch)))
    before = jax.device_get(state)
    after = jax.device_get(gan_jax.jit_step(gan_jax.make_train_step(gan))(state, batch)[0])
    for player, name in (("generator", "project"), ("discriminator", "logit")):
        old, new = getattr(before, player), getattr(after, player)
        kernel = np.asarray(old.params[name]["kernel"])
        rule = PyTorchsRule(*(old.model_state["spectral"][name][vector] for vector in "uv"))
        rule.sigma(kernel, training=True)
        vectors = new.model_state["spectral"][name]
        np.testing.assert_allclose(vectors["u"], rule.u, atol=1e-5)
        np.testing.assert_allclose(vectors["v"], rule.v, atol=1e-5)
    assert set(after.ema["spectral"]["project"]) == {"u", "v"}
