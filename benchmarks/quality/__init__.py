"""Models side by side on Fashion-MNIST at an equal time on one core: `python -m benchmarks.quality`."""
