"""Spectrograms of audio above its waveform."""

import itertools

import numpy as np

from .colours import BACKGROUND, POINT
from .wav import to_floats

FLOOR = -80  # dB, and below: black
_HEIGHT, _WAVE, _WIDTH = 128, 32, 192  # pixels of a spectrogram and of a waveform, and the width of both
_LARGEST, _SMALLEST = 512, 16  # samples in a window
# From silence to full scale. Each is lighter than the one before, so that it reads in grey too.
_COLOURS = np.array([(0, 0, 0), (38, 32, 110), (150, 44, 120), (236, 112, 66), (255, 240, 190)], np.float64)


def decibels(audio: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Returns a log-magnitude spectrogram, float64 `[..., frames, window // 2 + 1]`, of audio `[..., T]`.

    The window is Hann's, and bin k is the frequency k / window of the rate. Values are decibels: a sine of
    amplitude 1 at the centre of a bin is 0. Audio shorter than a window is padded with silence.
    """
    audio = np.asarray(audio, np.float64)
    short = max(0, window - audio.shape[-1])
    audio = np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, short)])
    frames = np.lib.stride_tricks.sliding_window_view(audio, window, axis=-1)[..., ::hop, :]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitudes = np.abs(np.fft.rfft(frames * hann, axis=-1)) / (hann.sum() / 2)
    return 20 * np.log10(np.maximum(magnitudes, 1e-10))


def cell_size(channels: int) -> tuple[int, int]:
    """Returns height and width in pixels of the cell of a sample with so many channels."""
    return channels * (_HEIGHT + _WAVE), _WIDTH


def cells(audio: np.ndarray) -> np.ndarray:
    """Returns a cell of each sample, uint8 `[N, H, W, 3]`, of audio `[N, T, C]` in [-1, 1].

    Each channel is its spectrogram, low frequencies at the bottom, above its waveform. A number in the corner
    counts the samples from 1.
    """
    shown = [np.concatenate([_channel(channel) for channel in sample.T]) for sample in to_floats(audio)]
    return np.stack([_numbered(cell, index + 1) for index, cell in enumerate(shown)])


def _channel(audio: np.ndarray) -> np.ndarray:
    return np.concatenate([_spectrum(audio), _waveform(audio)])


def _spectrum(audio: np.ndarray) -> np.ndarray:
    """Draws the spectrogram of audio `[T]`, uint8 `[128, 192, 3]`."""
    window = _LARGEST
    while window > _SMALLEST and 8 * window > len(audio):
        window //= 2
    values = decibels(audio, window, max(1, min(window // 2, (len(audio) - window) // (_WIDTH - 1))))
    values = _fit(_fit(values, _WIDTH, 0), _HEIGHT, 1)
    return _colour(values.T[::-1])


def _fit(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Makes an axis `length` long: of several values it keeps the largest, so that no sine is lost."""
    edges = np.arange(length + 1) * values.shape[axis] // length
    parts = [values.take(range(a, max(b, a + 1)), axis).max(axis) for a, b in itertools.pairwise(edges)]
    return np.stack(parts, axis)


def _colour(values: np.ndarray) -> np.ndarray:
    """Returns the colours of decibels, uint8 `[..., 3]`, in steps of 2 dB, so that PNG files are small."""
    at = np.clip(1 - 2 * np.round(values / 2) / FLOOR, 0, 1) * (len(_COLOURS) - 1)
    channels = [np.interp(at, range(len(_COLOURS)), channel) for channel in _COLOURS.T]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def _waveform(audio: np.ndarray) -> np.ndarray:
    """Draws audio `[T]`, uint8 `[32, 192, 3]`: in each column a line from the least to the largest value."""
    audio = np.clip(audio, -1, 1)[:, None]
    low, high = (
        np.rint((1 - value[:, 0]) / 2 * (_WAVE - 1))
        for value in (-_fit(-audio, _WIDTH, 0), _fit(audio, _WIDTH, 0))
    )
    rows = np.arange(_WAVE)[:, None]
    drawn = (rows >= high) & (rows <= low)
    return np.where(drawn[..., None], np.array(POINT), BACKGROUND).astype(np.uint8)


def _numbered(cell: np.ndarray, number: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.fromarray(cell)
    ImageDraw.Draw(image).text((5, 3), str(number), fill=(255, 255, 255), font_size=20)
    return np.asarray(image)
