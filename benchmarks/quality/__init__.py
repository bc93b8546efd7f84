"""Compares models that trained for the same time on one core, on Fashion-MNIST: `python -m benchmarks.quality`."""
