"""Where the arrays of published PyTorch weights go: a file of tables for each architecture.

Each file has `GENERATORS` and `DISCRIMINATORS`, the layouts that it knows. `gan_jax.exchange.foreign` reads them.
Only names and shapes are here; `gan_jax.exchange.layout_changes` changes the order of the numbers.
"""
