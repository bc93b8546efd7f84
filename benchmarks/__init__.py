"""Measures the training step of gan_jax and of its peers on this computer. Read README.md in this folder."""
