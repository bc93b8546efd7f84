"""SNGAN and BigGAN in PyTorch, with the names of arrays that published code has; see `torch_weights_of`."""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from torch_weights_of import CHANNELS, one_hot

# -- BigGAN-PyTorch


def normed(w, at, shape, bias=True, **draw):
    """Returns a weight over its singular value after one power iteration, and a bias."""
    weight = w(f"{at}.weight", *shape, **draw)
    w(f"{at}.sv0", 1)
    matrix = weight.flatten(1)
    v = F.normalize(w(f"{at}.u0", 1, shape[0]) @ matrix)
    u = F.normalize(v @ matrix.T)
    return weight / (v @ matrix.T @ u.T).squeeze(), w(f"{at}.bias", shape[0], scale=0.2) if bias else None


def biggan_attention(w, at, x):
    n, c, side, _ = x.shape

    def conv(name, y, out):
        return F.conv2d(y, normed(w, f"{at}.{name}", (out, y.shape[1], 1, 1), bias=False)[0])

    query = conv("theta", x, c // 8).flatten(2)
    key = F.max_pool2d(conv("phi", x, c // 8), 2).flatten(2)
    value = F.max_pool2d(conv("g", x, c // 2), 2).flatten(2)
    scores = torch.softmax(query.transpose(1, 2) @ key, -1)
    mixed = (value @ scores.transpose(1, 2)).reshape(n, c // 2, side, side)
    return w(f"{at}.gamma", mean=0.7) * conv("o", mixed, c) + x


def biggan_norm(w, at, x, c):
    mean, var = w(f"{at}.stored_mean", x.shape[1]), w(f"{at}.stored_var", x.shape[1], scale=0.1, mean=1.0)
    x = F.batch_norm(x, mean, var, eps=1e-5)
    gain, bias = (c @ normed(w, f"{at}.{n}", (x.shape[1], c.shape[1]), bias=False)[0].T for n in ("gain", "bias"))
    return x * (1 + gain)[:, :, None, None] + bias[:, :, None, None]


def biggan_generator(w, z, y, widths=(16, 16, 8), attention=1, classes=3, embedding=5):
    blocks = len(widths) - 1
    chunks = z.chunk(blocks + 1, 1)
    label = w("shared.weight", classes, embedding)[y]
    weight, bias = normed(w, "linear", (16 * widths[0], chunks[0].shape[1]))
    x = F.linear(chunks[0], weight, bias).reshape(len(z), widths[0], 4, 4)
    for i in range(blocks):
        at, c, out = f"blocks.{i}.0", torch.cat([label, chunks[i + 1]], 1), widths[i + 1]
        h = F.relu(biggan_norm(w, f"{at}.bn1", x, c)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        h = F.conv2d(h, *normed(w, f"{at}.conv1", (out, x.shape[1], 3, 3)), padding=1)
        h = F.relu(biggan_norm(w, f"{at}.bn2", h, c))
        h = F.conv2d(h, *normed(w, f"{at}.conv2", (out, out, 3, 3)), padding=1)
        skip = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = h + F.conv2d(skip, *normed(w, f"{at}.conv_sc", (out, x.shape[1], 1, 1)))
        if i + 1 == attention:
            x = biggan_attention(w, f"blocks.{i}.1", x)
    at, width = "output_layer.0", widths[-1]
    mean, var = w(f"{at}.stored_mean", width), w(f"{at}.stored_var", width, scale=0.1, mean=1.0)
    x = F.batch_norm(x, mean, var, w(f"{at}.gain", width), w(f"{at}.bias", width), eps=1e-5)
    return torch.tanh(F.conv2d(F.relu(x), *normed(w, "output_layer.2", (CHANNELS, width, 3, 3)), padding=1))


def biggan_discriminator(w, x, y, widths=(8, 16, 16), classes=3, attention=1):
    for i, out in enumerate(widths):
        at, width, halve = f"blocks.{i}.0", x.shape[1], i < len(widths) - 1
        h = F.relu(x) if i else x
        h = F.conv2d(h, *normed(w, f"{at}.conv1", (out, width, 3, 3)), padding=1)
        h = F.conv2d(F.relu(h), *normed(w, f"{at}.conv2", (out, out, 3, 3)), padding=1)
        skip = x
        if halve or width != out:
            skip = F.conv2d(x, *normed(w, f"{at}.conv_sc", (out, width, 1, 1)))
        x = F.avg_pool2d(h + skip, 2) if halve else h + skip
        if i + 1 == attention:
            x = biggan_attention(w, f"blocks.{i}.1", x)
    x = F.relu(x).sum((2, 3))
    table = normed(w, "embed", (classes, widths[-1]), bias=False)[0]
    return F.linear(x, *normed(w, "linear", (1, widths[-1])))[:, 0] + (table[y] * x).sum(1)


# -- PyTorch-StudioGAN


def plain(layer):
    return layer


def spectral(layer):
    return nn.utils.spectral_norm(layer, eps=1e-6)


class ClassNorm(nn.Module):
    """Conditional batch norm, from a table per class (`embed0`) or from a linear layer (`gain`)."""

    def __init__(self, inputs, width, wrap, table):
        super().__init__()
        self.bn, self.table = nn.BatchNorm2d(width, eps=1e-4, affine=False), table
        for name in ("embed0", "embed1") if table else ("gain", "bias"):
            layer = nn.Embedding(inputs, width) if table else nn.Linear(inputs, width, bias=False)
            setattr(self, name, wrap(layer))

    def forward(self, x, c):
        gain, bias = (self.embed0, self.embed1) if self.table else (self.gain, self.bias)
        return self.bn(x) * (1 + gain(c))[:, :, None, None] + bias(c)[:, :, None, None]


class PlainNorm(nn.BatchNorm2d):
    def forward(self, x, c=None):
        return super().forward(x)


class GeneratorBlock(nn.Module):
    def __init__(self, before, after, norm, wrap):
        super().__init__()
        self.bn1, self.bn2 = norm(before), norm(after)
        self.conv2d0 = wrap(nn.Conv2d(before, after, 1))
        self.conv2d1, self.conv2d2 = (wrap(nn.Conv2d(n, after, 3, padding=1)) for n in (before, after))

    def forward(self, x, c):
        h = self.conv2d1(F.interpolate(F.relu(self.bn1(x, c)), scale_factor=2))
        return self.conv2d2(F.relu(self.bn2(h, c))) + self.conv2d0(F.interpolate(x, scale_factor=2))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        sizes = {"theta": (width, width // 8), "phi": (width, width // 8), "g": (width, width // 2)}
        for name, (inputs, outputs) in {**sizes, "attn": (width // 2, width)}.items():
            setattr(self, f"conv1x1_{name}", spectral(nn.Conv2d(inputs, outputs, 1, bias=False)))
        self.sigma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, x, c=None):
        query = self.conv1x1_theta(x).flatten(2)
        key, value = (F.max_pool2d(m(x), 2).flatten(2) for m in (self.conv1x1_phi, self.conv1x1_g))
        mixed = value @ torch.softmax(query.transpose(1, 2) @ key, -1).transpose(1, 2)
        return x + self.sigma * self.conv1x1_attn(mixed.reshape(len(x), -1, *x.shape[2:]))


class StudioGenerator(nn.Module):
    """SNGAN, or with `embedding` BigGAN, in StudioGAN's names."""

    def __init__(self, latents=6, widths=(16, 16, 8), classes=None, embedding=None, table=True):
        super().__init__()
        wrap = plain if embedding is None else spectral
        blocks = len(widths) - 1
        self.chunk = latents if embedding is None else latents // (blocks + 1)
        inputs = classes if embedding is None else embedding + self.chunk
        self.classes, self.hierarchical, self.table = classes, embedding is not None, table

        def norm(width):
            if classes is None:
                return PlainNorm(width, eps=1e-4)
            return ClassNorm(inputs, width, wrap, table and embedding is None)

        self.width = widths[0]
        self.linear0 = wrap(nn.Linear(self.chunk, 16 * widths[0]))
        if embedding is not None:
            self.shared = nn.Embedding(classes, embedding)
        members = []
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            members.append(GeneratorBlock(before, after, norm, wrap))
            if embedding is not None and i == 0:
                members.append(Attention(after))
        self.blocks = nn.ModuleList([nn.ModuleList([member]) for member in members])
        self.bn4 = nn.BatchNorm2d(widths[-1], eps=1e-4)
        self.conv2d5 = wrap(nn.Conv2d(widths[-1], CHANNELS, 3, padding=1))

    def forward(self, z, y=None):
        chunks = z.split(self.chunk, 1)
        if self.hierarchical:
            conditions = [torch.cat([self.shared(y), chunk], 1) for chunk in chunks[1:]]
        else:
            conditions = [y if y is None or self.table else one_hot(y, self.classes)] * len(self.blocks)
        x = self.linear0(chunks[0]).reshape(len(z), self.width, 4, 4)
        conditions = iter(conditions)
        for (member,) in self.blocks:
            x = member(x, None if isinstance(member, Attention) else next(conditions))
        return torch.tanh(self.conv2d5(F.relu(self.bn4(x))))


class CriticBlock(nn.Module):
    def __init__(self, before, after, halve, first):
        super().__init__()
        self.conv2d1 = spectral(nn.Conv2d(before, after, 3, padding=1))
        self.conv2d2 = spectral(nn.Conv2d(after, after, 3, padding=1))
        if halve or before != after:
            self.conv2d0 = spectral(nn.Conv2d(before, after, 1))
        self.halve, self.first = halve, first

    def forward(self, x):
        x = x if self.first else F.relu(x)  # the published code changes x in place
        h, skip = self.conv2d2(F.relu(self.conv2d1(x))), x
        if hasattr(self, "conv2d0"):
            skip = self.conv2d0(x)
        return F.avg_pool2d(h + skip, 2) if self.halve else h + skip


class StudioDiscriminator(nn.Module):
    def __init__(self, widths=(8, 16, 16), halvings=2, classes=None, attention=False):
        super().__init__()
        members, before = [], CHANNELS
        for i, after in enumerate(widths):
            members.append(CriticBlock(before, after, i < halvings, i == 0))
            before = after
            if attention and i == 0:
                members.append(Attention(after))
        self.blocks = nn.ModuleList([nn.ModuleList([member]) for member in members])
        self.linear1 = spectral(nn.Linear(before, 1))
        if classes is not None:
            self.embedding = spectral(nn.Embedding(classes, before))

    def forward(self, x, y=None):
        for (member,) in self.blocks:
            x = member(x)
        x = F.relu(x).sum((2, 3))
        logits = self.linear1(x)[:, 0]
        return logits if y is None else logits + (self.embedding(y) * x).sum(1)


def warmed(network, *inputs):
    """Returns a network of modules after passes in training: its statistics and vectors are no first values."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(*inputs)
    return network.eval()


def numpy_of(tensor):
    return np.asarray(tensor.detach().numpy(), np.float32)
