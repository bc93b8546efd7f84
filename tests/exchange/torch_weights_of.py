"""Small networks in PyTorch, with the names of arrays that published code has. They are written from the papers.

A network is a function of `w`, which gives an array by its name and draws it when it is first asked for. So one
call writes the file's names and shapes. Layers of StudioGAN are PyTorch's own modules.
"""

import math

import torch
from torch.nn import functional as F

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


def leaky(x):
    return math.sqrt(2) * F.leaky_relu(x, 0.2)


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


def r3gan_generator(w, z, y, widths=(8, 8, 4), groups=(4, 2, 2), classes=3, blocks=2, embedding=5):
    if y is not None:
        z = torch.cat([z, one_hot(y, classes) @ w("EmbeddingLayer.weight", embedding, classes).T], 1)
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
    if y is None:
        return x[:, 0]
    return (x * (one_hot(y, classes) @ w("EmbeddingLayer.weight", out, classes).T)).sum(1)


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
