#!/usr/bin/env bash
# Runs all measurements on one GPU in under nine minutes: correctness, then gan_jax and its peers, then a profile.
# Writes JSON lines and charts to $OUT. $PYTHON is an interpreter with jax[cuda], flax, optax, orbax, torch and matplotlib.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-benchmarks/results/gpu}
mkdir -p "$OUT"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
# PyTorch uses the same GPU, so JAX must not reserve three quarters of its memory at the start.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
failed=0

# Each part has its own time limit in seconds, so that a slow part does not use up the time of the others.
part() {
  local limit=$1 log=$2
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$OUT/$log" 2>&1 || { echo "failed, or took over ${limit} s: $*"; failed=1; }
  tail -n 4 "$OUT/$log"
}

XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_deterministic_ops=true" part 90 check.log "$PYTHON" -m benchmarks.check
rm -f "$OUT"/*.jsonl
for precision in bfloat16 float32; do
  for batch in 64 256 1024; do
    part 50 "peers_${precision}_$batch.log" "$PYTHON" -m benchmarks --suite full --only peers --case dcgan64 \
      --batch "$batch" --precision "$precision" --rounds 5 --json "$OUT/peers.jsonl"
  done
done
part 40 r3gan64.log "$PYTHON" -m benchmarks --suite full --only peers --case r3gan64 --precision bfloat16 \
  --batch 64 --rounds 5 --json "$OUT/peers.jsonl"
part 40 parts.log "$PYTHON" -m benchmarks --suite quick --only dispatch --only convolutions --json "$OUT/parts.jsonl"
# Command buffers are off, because the profiler shows each of them as one operation.
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_command_buffer=" part 40 profile.log \
  "$PYTHON" -m benchmarks.profile dcgan64 --precision bfloat16 --json "$OUT/profile.json"
part 20 plot.log "$PYTHON" -m benchmarks.plot "$OUT/peers.jsonl" "$OUT"
exit $failed
