"""WAV files of 16 bits."""

import io
import wave

import numpy as np

from ..pixels import to_float

_LARGEST = 32767


def to_floats(audio: np.ndarray) -> np.ndarray:
    """Returns audio, floats or uint8, as float64. What is not finite becomes 0."""
    floats = np.asarray(to_float(np.asarray(audio)), np.float64)  # type: ignore[arg-type]
    return np.nan_to_num(floats, nan=0.0, posinf=0.0, neginf=0.0)


def wav_bytes(audio: np.ndarray, rate: float) -> bytes:
    """Returns audio `[T, C]` in [-1, 1] as the content of a WAV file: clipped, and 0 where it is not finite.

    Args:
        rate: samples a second.
    """
    values = np.clip(to_floats(audio), -1, 1)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(values.shape[1])
        file.setsampwidth(2)
        file.setframerate(round(rate))
        file.writeframes(np.rint(values * _LARGEST).astype("<i2").tobytes())
    return content.getvalue()
