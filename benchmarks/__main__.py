"""`python -m benchmarks` runs the command `gan-jax benchmark`."""

import sys

from gan_jax.cli import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
