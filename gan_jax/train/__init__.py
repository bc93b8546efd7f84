"""Training: from a config and a workdir to a trained state, through any number of stops."""

from .start import train as train
