"""Small networks in PyTorch, with the names of arrays that published code has. They are written from the papers.

A network is a function of `w`, which gives an array by its name and draws it when it is first asked for. So one
call writes the file's names and shapes. Layers of StudioGAN are PyTorch's own modules.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

CHANNELS = 3


class Weights(dict):
    """Arrays by name, drawn from a seed; `scale` of the standard normal."""

    def __init__(self, seed=0):
        super().__init__()
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, name, *shape, scale=1.0, mean=0.0):
        if name not in self:
            self[name] = mean + scale * torch.randn(shape, generator=self._random)
        assert self[name].shape == shape, (name, shape)
        return self[name]


def leaky(x, gain=math.sqrt(2)):
    return gain * F.leaky_relu(x, 0.2)


def filtered(x, up):
    """Doubles or halves the maps with the filter [1, 3, 3, 1]."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (taps[:, None] * taps / 64).expand(x.shape[1], 1, 4, 4)
    if not up:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, stride=2, groups=x.shape[1])
    return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])


def one_hot(y, classes):
    return F.one_hot(y, classes).float()


# -- R3GAN


def r3gan_block(w, at, x, groups):
    width, hidden = x.shape[1], 2 * x.shape[1]
    h = F.conv2d(x, w(f"{at}.LinearLayer1.Layer.weight", hidden, width, 1, 1, scale=0.3))
    h = F.leaky_relu(h + w(f"{at}.NonLinearity1.Bias", hidden)[:, None, None], 0.2)
    shape = (hidden, hidden // groups, 3, 3)
    h = F.conv2d(h, w(f"{at}.LinearLayer2.Layer.weight", *shape, scale=0.2), padding=1, groups=groups)
    h = F.leaky_relu(h + w(f"{at}.NonLinearity2.Bias", hidden)[:, None, None], 0.2)
    return x + F.conv2d(h, w(f"{at}.LinearLayer3.Layer.weight", width, hidden, 1, 1, scale=0.3))


def r3gan_generator(w, z, y, widths=(8, 8, 4), groups=(4, 2, 2), classes=3, blocks=2):
    if y is not None:
        z = torch.cat([z, one_hot(y, classes) @ w("EmbeddingLayer.weight", 5, classes).T], 1)
    style = z @ w("MainLayers.0.Layers.0.LinearLayer.weight", widths[0], z.shape[1]).T
    x = w("MainLayers.0.Layers.0.Basis", widths[0], 4, 4) * style[:, :, None, None]
    for i, width in enumerate(widths):
        if i:
            if width != x.shape[1]:
                name = f"MainLayers.{i}.Layers.0.LinearLayer.Layer.weight"
                x = F.conv2d(x, w(name, width, x.shape[1], 1, 1, scale=0.4))
            w(f"MainLayers.{i}.Layers.0.Resampler.Kernel", 4, 4)
            x = filtered(x, up=True)
        for j in range(1, blocks + 1):
            x = r3gan_block(w, f"MainLayers.{i}.Layers.{j}", x, groups[i])
    return F.conv2d(x, w("AggregationLayer.Layer.weight", CHANNELS, widths[-1], 1, 1, scale=0.2))


def r3gan_discriminator(w, x, y, widths=(4, 8, 8), groups=(2, 2, 4), classes=3, blocks=2):
    x = F.conv2d(x, w("ExtractionLayer.Layer.weight", widths[0], CHANNELS, 1, 1))
    for i in range(len(widths)):
        for j in range(blocks):
            x = r3gan_block(w, f"MainLayers.{i}.Layers.{j}", x, groups[i])
        at = f"MainLayers.{i}.Layers.{blocks}"
        if i < len(widths) - 1:
            x = filtered(x, up=False)
            if widths[i + 1] != widths[i]:
                shape = (widths[i + 1], widths[i], 1, 1)
                x = F.conv2d(x, w(f"{at}.LinearLayer.Layer.weight", *shape, scale=0.4))
    x = F.conv2d(x, w(f"{at}.Basis.weight", widths[-1], 1, 4, 4), groups=widths[-1]).flatten(1)
    out = 1 if y is None else widths[-1]
    x = x @ w(f"{at}.LinearLayer.weight", out, widths[-1]).T
    return x[:, 0] if y is None else (x * (one_hot(y, classes) @ w("EmbeddingLayer.weight", out, classes).T)).sum(1)


# -- StyleGAN2, in the authors' layout and in rosinality's


def normalised(x):
    return x * torch.rsqrt((x**2).mean(1, keepdim=True) + 1e-8)


def equal_dense(w, at, x, out, lr=1.0, active=False, mean=0.0):
    weight = w(f"{at}.weight", out, x.shape[1], scale=1 / lr)
    bias = w(f"{at}.bias", out, scale=0.3 / lr, mean=mean / lr)
    x = x @ (weight * lr / math.sqrt(x.shape[1])).T + bias * lr
    return leaky(x) if active else x


def equal_conv(x, weight, bias=None, down=False, active=True):
    weight = weight / math.sqrt(weight[0].numel())
    if down:
        x = F.conv2d(blurred(x, (weight.shape[-1] + 1) // 2), weight, stride=2)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    x = x if bias is None else x + bias[:, None, None]
    return leaky(x) if active else x


def blurred(x, pad, gain=1.0):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = gain * (taps[:, None] * taps / 64).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (pad,) * 4), kernel, groups=x.shape[1])


def modulated(x, weight, style, demodulate=True, up=False):
    """One sample at a time: each has its own kernel `[O, I, k, k]`."""
    maps = []
    for one, s in zip(x, style):
        kernel = weight * s[None, :, None, None]
        if demodulate:
            kernel = kernel * torch.rsqrt((kernel**2).sum((1, 2, 3), keepdim=True) + 1e-8)
        if up:
            y = F.conv_transpose2d(one[None], kernel.transpose(0, 1), stride=2)
            maps.append(blurred(y, 1, gain=4.0))
        else:
            maps.append(F.conv2d(one[None], kernel, padding=weight.shape[-1] // 2))
    return torch.cat(maps)


class StyleNames:
    """The names of a layer's arrays in the authors' layout."""

    style, weight, bias, strength = "affine", "weight", "bias", "noise_strength"
    first = ()

    def conv(self, side, kind):
        return f"synthesis.b{side}.conv{0 if kind == 'up' else 1}"

    def to_rgb(self, side):
        return f"synthesis.b{side}.torgb"


class RosinalityNames(StyleNames):
    style, weight, bias, strength = "conv.modulation", "conv.weight", "activate.bias", "noise.weight"
    first = (1,)

    def conv(self, side, kind):
        i = int(math.log2(side)) - 3
        return "conv1" if side == 4 else f"convs.{2 * i + (kind != 'up')}"

    def to_rgb(self, side):
        return "to_rgb1" if side == 4 else f"to_rgbs.{int(math.log2(side)) - 3}"


def styled(w, names, at, x, style_of, out, up=False):
    style = equal_dense(w, f"{at}.{names.style}", style_of, x.shape[1], mean=1.0)
    weight = w(f"{at}.{names.weight}", *names.first, out, x.shape[1], 3, 3)
    w(f"{at}.{names.strength}", *names.first)
    x = modulated(x, weight.reshape(weight.shape[-4:]), style, up=up)
    return leaky(x + w(f"{at}.{names.bias}", out, scale=0.3)[:, None, None])


def to_rgb(w, names, at, x, style_of):
    style = equal_dense(w, f"{at}.{names.style}", style_of, x.shape[1], mean=1.0) / math.sqrt(x.shape[1])
    weight = w(f"{at}.{names.weight}", *names.first, CHANNELS, x.shape[1], 1, 1)
    bias = w(f"{at}.bias", *names.first, CHANNELS, *names.first, *names.first, scale=0.3)
    return modulated(x, weight.reshape(weight.shape[-4:]), style, demodulate=False) + bias.reshape(-1, 1, 1)


def synthesis(w, names, start, w_of, widths):
    x = start.expand(len(w_of), *start.shape[-3:])
    image = None
    for side, width in widths.items():
        if side > 4:
            x = styled(w, names, names.conv(side, "up"), x, w_of, width, up=True)
        x = styled(w, names, names.conv(side, "conv"), x, w_of, width)
        rgb = to_rgb(w, names, names.to_rgb(side), x, w_of)
        image = rgb if image is None else filtered(image, up=True) + rgb
    return image


WIDTHS = {4: 8, 8: 8, 16: 4}  # min(64 // side, 8)


def ada_mapping(w, z, y, size, layers, classes=3):
    parts = [] if z is None else [normalised(z)]
    if y is not None:
        parts.append(normalised(equal_dense(w, "mapping.embed", one_hot(y, classes), size)))
    x = torch.cat(parts, 1)
    for i in range(layers):
        x = equal_dense(w, f"mapping.fc{i}", x, size, lr=0.01, active=True)
    return x


def ada_generator(w, z, y, psi=1.0):
    x = ada_mapping(w, z, y, size=6, layers=2)
    mean = w("mapping.w_avg", 6, scale=0.1)
    for side in WIDTHS:
        for kind in ("up", "conv"):
            if kind == "conv" or side > 4:
                w(f"{StyleNames().conv(side, kind)}.noise_const", side, side)
                w(f"{StyleNames().conv(side, kind)}.resample_filter", 4, 4)
    return synthesis(w, StyleNames(), w("synthesis.b4.const", 8, 4, 4), mean + psi * (x - mean), WIDTHS)


def rosinality_generator(w, z, y=None, psi=1.0, mean=None):
    x = normalised(z)
    for i in (1, 2, 3):
        x = equal_dense(w, f"style.{i}", x, z.shape[1], lr=0.01, active=True)
    x = x if mean is None else mean + psi * (x - mean)
    for i, side in enumerate((4, 8, 8, 16, 16)):
        w(f"noises.noise_{i}", 1, 1, side, side)
    w("convs.0.conv.blur.kernel", 4, 4)
    return synthesis(w, RosinalityNames(), w("input.input", 1, 8, 4, 4), x, WIDTHS)


def deviation(x, group):
    """Appends the mean standard deviation of groups of every (B / group)-th sample."""
    y = x.reshape(group, -1, *x.shape[1:])
    y = torch.sqrt(y.var(0, unbiased=False) + 1e-8).mean((1, 2, 3)).repeat(group)
    return torch.cat([x, y[:, None, None, None].expand(-1, 1, 4, 4)], 1)


def down_block(x, parts):
    """Returns a residual block of the discriminator; `parts` are weights and biases of both convolutions, skip."""
    (a, b), (c, d), skip = parts
    shortcut = equal_conv(x, skip, down=True, active=False)
    return (equal_conv(equal_conv(x, a, b), c, d, down=True) + shortcut) / math.sqrt(2)


def ada_discriminator(w, x, y, group=4):
    widths = {side: WIDTHS[side] for side in sorted(WIDTHS, reverse=True)}
    x = equal_conv(x, w("b16.fromrgb.weight", widths[16], CHANNELS, 1, 1), w("b16.fromrgb.bias", widths[16]))
    for side in (16, 8):
        own, below = widths[side], widths[side // 2]
        first = w(f"b{side}.conv0.weight", own, own, 3, 3), w(f"b{side}.conv0.bias", own)
        second = w(f"b{side}.conv1.weight", below, own, 3, 3), w(f"b{side}.conv1.bias", below)
        x = down_block(x, (first, second, w(f"b{side}.skip.weight", below, own, 1, 1)))
    x = equal_conv(deviation(x, group), w("b4.conv.weight", 8, 9, 3, 3), w("b4.conv.bias", 8))
    x = equal_dense(w, "b4.fc", x.flatten(1), 8, active=True)
    if y is None:
        return equal_dense(w, "b4.out", x, 1)[:, 0]
    return (equal_dense(w, "b4.out", x, 8) * ada_mapping(w, None, y, 8, 2)).sum(1) / math.sqrt(8)


def rosinality_discriminator(w, x, y=None, group=4):
    x = equal_conv(x, w("convs.0.0.weight", 4, CHANNELS, 1, 1), w("convs.0.1.bias", 4))
    for i, (own, below) in enumerate([(4, 8), (8, 8)], 1):
        first = w(f"convs.{i}.conv1.0.weight", own, own, 3, 3), w(f"convs.{i}.conv1.1.bias", own)
        second = w(f"convs.{i}.conv2.1.weight", below, own, 3, 3), w(f"convs.{i}.conv2.2.bias", below)
        w(f"convs.{i}.conv2.0.kernel", 4, 4)
        x = down_block(x, (first, second, w(f"convs.{i}.skip.1.weight", below, own, 1, 1)))
    x = equal_conv(deviation(x, group), w("final_conv.0.weight", 8, 9, 3, 3), w("final_conv.1.bias", 8))
    x = equal_dense(w, "final_linear.0", x.flatten(1), 8, active=True)
    return equal_dense(w, "final_linear.1", x, 1)[:, 0]


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
    gain = 1 + c @ normed(w, f"{at}.gain", (x.shape[1], c.shape[1]), bias=False)[0].T
    return x * gain[:, :, None, None] + (c @ normed(w, f"{at}.bias", (x.shape[1], c.shape[1]), bias=False)[0].T)[
        :, :, None, None
    ]


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
        h = F.conv2d(F.relu(biggan_norm(w, f"{at}.bn2", h, c)), *normed(w, f"{at}.conv2", (out, out, 3, 3)), padding=1)
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
        for i, (before, after) in enumerate(zip(widths, widths[1:])):
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
    """Returns a network of modules after passes in training, so that statistics and vectors are no first values."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(*inputs)
    return network.eval()


def numpy_of(tensor):
    return np.asarray(tensor.detach().numpy(), np.float32)
