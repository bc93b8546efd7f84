"""The commands of `gan-jax`, one a file."""
