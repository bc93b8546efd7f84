"""The wavelet filters of ADA's pipeline, as constant matrices along one side of an image.

Daubechies, "Ten lectures on wavelets", 1992: sym6 (12 taps) is for resampling, sym2 (4 taps) for the bands. Images
are reflected beyond their border without end; each matrix includes the reflection, so it acts on the pixels only.
"""

import functools

import numpy as np

SYM6 = np.array([
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
])  # fmt: skip
SYM2 = np.array([1 - 3**0.5, 3 - 3**0.5, 3 + 3**0.5, 1 + 3**0.5]) / (4 * 2**0.5)


def mirrored(i, n: int):
    """Returns the pixel (of n) that reflection puts at index i: 2 1 | 0 1 2 | 1 0, with period 2 (n - 1)."""
    return n - 1 - abs(i % max(2 * (n - 1), 1) - (n - 1))


@functools.cache
def upsampling(n: int) -> np.ndarray:
    """Returns `[4 (n - 1), n]`: maps n pixels to one period of their reflection at twice the resolution.

    Pixel j lies at index 2 j:
    `u[m] = sqrt(2) sum_k f[k] z[m + 5 - k]` with `z[2 j] = x[j]`, `z[2 j + 1] = 0` and f = sym6.
    """
    matrix = np.zeros((4 * (n - 1), n))
    for m in range(len(matrix)):
        for k in range(12):
            if (m + 5 - k) % 2 == 0:
                matrix[m, mirrored((m + 5 - k) // 2, n)] += 2**0.5 * SYM6[k]
    return matrix


@functools.cache
def downsampling(n: int) -> np.ndarray:
    """Returns `[n, 2 n + 10]`: half the transpose of upsampling, on indices -5 to 2 n + 4 of the fine grid.

    `y[j] = sum_k f[k] / sqrt(2) u[2 j - 5 + k]`. It inverts `upsampling`, because f is orthonormal.
    """
    matrix = np.zeros((n, 2 * n + 10))
    for j in range(n):
        matrix[j, 2 * j : 2 * j + 12] = SYM6 / 2**0.5
    return matrix


@functools.cache
def filter_bank() -> np.ndarray:
    """Returns `[4, 43]`: symmetric filters of the bands [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi].

    They sum to a unit impulse. With sym2's lowpass h, `L(z) = h(z) h(1/z) / 2` and `H(z) = 1 - L(z)`, they are,
    from high to low, `H(z)`, `L(z) H(z^2)`, `L(z) L(z^2) H(z^4)` and `L(z) L(z^2) L(z^4)`. Karras et al., 2020,
    appendix B.3.
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = -low
    high[3] += 1.0
    bands, lowpass = [], np.ones(1)
    for level in range(3):
        bands.append(np.convolve(lowpass, _dilated(high, 2**level)))
        lowpass = np.convolve(lowpass, _dilated(low, 2**level))
    widths = [(43 - len(band)) // 2 for band in [*bands, lowpass]]
    return np.stack([np.pad(band, w) for band, w in zip([*bands, lowpass], widths)])[::-1]


def _dilated(taps: np.ndarray, factor: int) -> np.ndarray:
    out = np.zeros((len(taps) - 1) * factor + 1)
    out[::factor] = taps
    return out


@functools.cache
def band_filters(n: int) -> np.ndarray:
    """Returns `[4, n, n]`: the filter bank along a side of n pixels."""
    bank = filter_bank()
    matrices = np.zeros((4, n, n))
    for i in range(n):
        for t in range(43):
            matrices[:, i, mirrored(i + t - 21, n)] += bank[:, t]
    return matrices
