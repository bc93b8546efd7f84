"""`python -m benchmarks` is `gan-jax benchmark`."""

import sys

from gan_jax.cli import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
