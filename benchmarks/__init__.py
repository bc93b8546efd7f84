"""Steps per second: of gan_jax's modes, against its peers, on the machine at hand. See README.md here."""
