"""The launch scripts of docs/scaling.md start again what died, and end where a person must mend something.

The texts come from the document. Small programs stand for those of the scheduler: `srun` and `gcloud` start two
processes on this machine, `scontrol` leaves a file. A `gan-jax` before them on the path notes each start, and says
where the other process is (under SLURM, JAX finds it).
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import runs
from host_processes import SMALL, free_port
from snippets import ROOT, blocks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]
SCALING = ROOT / "docs" / "scaling.md"

CONFIG = SMALL.replace("steps=60", "steps=30")
SOURCE = '''
import os, signal
from pathlib import Path
from gan_jax.data.digits import digits as real_digits
from gan_jax.errors import UserError

class Digits:
    """The digits. Process 1 kills itself once, when it reads a batch late in the run."""

    def __init__(self):
        self.source, self.reads = real_digits(), 0
        self.shape, self.dtype, self.classes = self.source.shape, self.source.dtype, self.source.classes
        self.fingerprint = self.source.fingerprint

    def __len__(self):
        return len(self.source)

    def read(self, indices):
        self.reads += 1
        done, dies = Path(os.environ["KILLED"]), (os.environ["FAULT"], os.environ["INDEX"]) == ("killed", "1")
        if dies and self.reads > 20 and not done.exists():
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read(indices)

def digits():
    if os.environ["FAULT"] == "mistake" and os.environ["INDEX"] in os.environ["WHERE_MISTAKEN"]:
        raise UserError("the disk with the digits is not mounted here")
    return Digits()
'''
PROGRAMS = {
    "gan-jax": f'''
echo "$INDEX" >> "$STARTS"
[ -n "$SLURM_PROCID" ] || set -- "$@" --coordinator "127.0.0.1:$PORT" --processes 2 --process "$INDEX"
exec "{sys.executable}" -m gan_jax "$@" data.source=elsewhere:digits data.resident=false
''',
    "srun": """
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
for i in 0 1; do INDEX=$i SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
highest=0
for pid in "${pids[@]}"; do wait "$pid"; code=$?; [ $code -gt $highest ] && highest=$code; done
exit $highest
""",
    "scontrol": '[ "$*" = "requeue $SLURM_JOB_ID" ] && touch "$REQUEUED"',
    "gcloud": """
command="${@: -1}"
for i in 0 1; do INDEX=$i bash -c "${command#--command=}" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
exit ${failed:-0}
""",
}


class Ended(NamedTuple):
    """What a scheduler left: how often it started process 0 and 1, the last exit code, standard error."""

    starts: tuple[int, int]
    code: int
    err: str

    @property
    def digest(self) -> str:
        (found,) = re.findall(r"state digest ([0-9a-f]{32})$", self.err, re.MULTILINE)
        return found


class Cluster:
    """A folder with the programs, and the environment of all processes."""

    def __init__(self, folder: Path, fault: str):
        self.folder = folder
        config = runs.write_config(folder, CONFIG)
        self.names = {"configs/ffhq256_r3gan.py": str(config)}
        for path in ("/shared/ffhq256", "/mnt/shared/ffhq256"):
            self.names[path] = str(folder / "run")
        (folder / "elsewhere.py").write_text(SOURCE)
        (folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}")
            (folder / "bin" / name).chmod(0o755)
        self.environment = {
            **os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{folder}:{ROOT}",
            "JAX_PLATFORMS": "cpu", "PORT": str(free_port()), "FAULT": fault, "WHERE_MISTAKEN": "1",
            **{name.upper(): str(folder / name) for name in ("starts", "killed", "requeued")},
        }  # fmt: skip

    def text(self, language: str, words: str) -> str:
        """Returns the block of the document that has `words`, with the paths of this test."""
        (text,) = [block.text for block in blocks(SCALING, language) if words in block.text]
        # The longest name first: one contains another.
        for name in sorted(self.names, key=len, reverse=True):
            assert name in text or name.startswith(("/shared", "/mnt"))
            text = text.replace(name, self.names[name])
        return text

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        with (self.folder / "err").open("ab") as err:
            return subprocess.Popen(
                words, env={**self.environment, **environment}, cwd=self.folder, stdout=subprocess.DEVNULL,
                stderr=err, start_new_session=True,
            )  # fmt: skip

    def ended(self, code: int) -> Ended:
        starts = (self.folder / "starts").read_text().split()
        return Ended((starts.count("0"), starts.count("1")), code, (self.folder / "err").read_text())


def wait(process: subprocess.Popen) -> int:
    try:
        return process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def slurm(cluster: Cluster) -> Ended:
    script, requeued = cluster.text("bash", "srun"), cluster.folder / "requeued"
    job = str(free_port() % 4096)  # JAX computes the port from the job's number
    for restart in range(4):
        requeued.unlink(missing_ok=True)
        code = wait(cluster.start("bash", "-c", script, SLURM_JOB_ID=job, SLURM_RESTART_COUNT=str(restart)))
        if not requeued.exists():
            break
    return cluster.ended(code)


def jobset(cluster: Cluster) -> Ended:
    """Each restart starts all pods again, unless a rule of the job matched an exit code."""
    spec = yaml.safe_load(cluster.text("yaml", "kind: JobSet"))["spec"]
    (rule,) = spec["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    job = spec["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    (failure,) = job["podFailurePolicy"]["rules"]
    assert (failure["action"], failure["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert failure["onExitCodes"]["containerName"] == container["name"]
    assert job["backoffLimit"] == 0
    codes = []
    for _ in range(min(spec["failurePolicy"]["maxRestarts"], 3) + 1):
        pods = [cluster.start(*container["command"], INDEX=str(index)) for index in range(job["completions"])]
        codes = [wait(pod) for pod in pods]
        if not any(codes) or any(code in failure["onExitCodes"]["values"] for code in codes):
            break
    return cluster.ended(max(codes))


def tpu_pod(cluster: Cluster) -> Ended:
    cluster.environment["WHERE_MISTAKEN"] = "01"  # a mistake of one host alone would last as long as the tries
    return cluster.ended(wait(cluster.start("bash", "-c", cluster.text("bash", "gcloud"))))


SCHEDULERS = [slurm, jobset, tpu_pod]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> str:
    ended = slurm(Cluster(tmp_path_factory.mktemp("undisturbed"), "none"))
    assert (ended.starts, ended.code) == ((1, 1), 0), ended.err
    return ended.digest


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_killed_process_is_started_again(scheduler, undisturbed, tmp_path):
    ended = scheduler(Cluster(tmp_path, "killed"))
    assert (tmp_path / "killed").exists()
    assert (ended.starts, ended.code) == ((2, 2), 0), ended.err
    assert "resuming at step " in ended.err
    assert ended.digest == undisturbed


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_mistake_ends_the_job_after_one_try(scheduler, tmp_path):
    ended = scheduler(Cluster(tmp_path, "mistake"))
    assert ended.code != 0
    assert ended.starts == (1, 1), ended.err
    assert "gan-jax: the disk with the digits is not mounted here" in ended.err


SAVES = """
trap 'sleep 0.5; touch "$SAVED"; exit 75' TERM
touch "$BEGUN"
while :; do sleep 0.05; done
"""


def test_slurm_waits_for_the_save(tmp_path):
    """SLURM sends SIGTERM to all processes of a task. When the first, the shell, ends, it kills the rest."""
    cluster = Cluster(tmp_path, "none")
    srun = '''setsid -w bash -c 'echo $$ > "$GROUP"; exec "$@"' - "$@"'''
    for name, text in {"gan-jax": SAVES, "srun": srun}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}")
    files = {name.upper(): str(tmp_path / name) for name in ("saved", "begun", "group")}
    job = cluster.start("bash", "-c", cluster.text("bash", "srun"), SLURM_JOB_ID="7", **files)
    until = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(int((tmp_path / "group").read_text()), signal.SIGTERM)
    assert wait(job) == 75
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").exists()
