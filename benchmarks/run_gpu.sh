#!/usr/bin/env bash
# Runs all measurements on one H200 in under nine minutes, the most valuable first. Each part has its own time limit
# and its own log. JSON lines, logs and charts go to $OUT. $PYTHON is an interpreter with jax[cuda], flax, optax, orbax,
# torch and matplotlib. TOY=1 runs every part at toy sizes on any machine; its figures mean nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-benchmarks/results/gpu}
mkdir -p "$OUT"
rm -f "$OUT"/*.jsonl "$OUT"/*.json "$OUT"/*.log
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
# PyTorch uses the same GPU, so JAX must not reserve three quarters of its memory at the start.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
failed=0

# Usage: part SECONDS NAME COMMAND. A part that fails or takes too long does not stop the others; what it measured
# before is in its file.
part() {
  local limit=$(($1 * slack)) log=$OUT/$2.log begin=$SECONDS
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1 || { echo "FAILED, or took over $limit s: $*"; failed=1; }
  echo "== $(basename "$log" .log), $((SECONDS - begin)) of $limit s"
  tail -n 5 "$log"
}

if [ -n "${TOY:-}" ]; then
  slack=3 # of the time limits: a CPU with two cores may have other work
  export TORCHDYNAMO_DISABLE=1 XLA_FLAGS="${XLA_FLAGS:-} --xla_backend_optimization_level=0"
  toy=--toy layers_s=10 dcgan="mlp28 4 8 --no-check" r3gan="mlp28 4" recipes="digits=4" sample_s=0.01 case=mlp28 batch=256
else
  slack=1 toy="" layers_s=90 dcgan="dcgan64 64 1024 256" r3gan="r3gan64 64 256 1024" recipes="" sample_s=0.4
  case=dcgan64 batch=64
fi

# All modes of a step agree, and a resumed run ends with the same bits.
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_deterministic_ops=true" part 70 check "$PYTHON" -m benchmarks.check $toy
# Each convolution and resampling of the models, in each direction and spelling: the source of `ops.FORMULATIONS`.
part 115 formulations "$PYTHON" -m benchmarks.formulations $toy --seconds $layers_s --json "$OUT/formulations.jsonl"
# Beside PyTorch, at three batch sizes each.
part 85 dcgan64 "$PYTHON" -m benchmarks.batches $dcgan --seconds $sample_s --json "$OUT/peers.jsonl"
part 125 r3gan64 "$PYTHON" -m benchmarks.batches $r3gan --no-check --seconds $sample_s --json "$OUT/peers.jsonl"
# Images a second and utilisation of whole recipes, and the bounds of their programs beside that.
part 85 recipes "$PYTHON" -m benchmarks.recipes $recipes --seconds $sample_s --json "$OUT/recipes.jsonl" \
  --programs "$OUT/programs.jsonl"
part 10 predicted "$PYTHON" -m benchmarks.predicted --records "$OUT/recipes.jsonl" --programs "$OUT/programs.jsonl"
# Command buffers are off, because the profiler shows each of them as one operation.
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_command_buffer=" part 35 profile \
  "$PYTHON" -m benchmarks.profile $case --batch $batch --precision bfloat16 --json "$OUT/profile.json"
part 12 plot "$PYTHON" -m benchmarks.plot "$OUT/peers.jsonl" "$OUT"
exit $failed
