"""Loggers: where the log of a run goes besides the workdir, such as TensorBoard, wandb, Trackio and MLflow.

Each file with a class `Logger` is one, and `log.to` names it by its file. `protocol.py` says what such a class
has.

**Every step once.** A run may be killed at any instant. Steps after its newest checkpoint are then made again, so
whatever was sent of them would be there twice. Therefore:

1. The files of the workdir are the truth: `metrics.jsonl`, `evaluations.jsonl`, the grids in `samples/`. A resumed
   run cuts them back to its checkpoint. Each logger has a thread (`follower.py`) that reads these files and sends
   what is new; loggers with large packages live in a process of their own (`apart.py`). The training loop only
   says how far a step is settled, so no store can slow a step, and what waits to be sent waits on the disk.
2. A step is *settled* when a complete checkpoint of it, or of a later one, is on the disk, and all that the run
   writes of it is written. No kill undoes such a step. Only settled steps are sent. A step is sent in one call.
   If the newest checkpoint is damaged, a resumed run makes settled steps again, with the same numbers, and sends
   none of them twice.
3. The store says which step it has last, where it can: wandb's files, Trackio's and MLflow's tables. A resumed run
   sends what comes after that step. So a kill between sending and writing down what was sent does no harm.
   For a store that cannot tell, `loggers.json` in the workdir has the last step that was sent. It is written after
   the logger has flushed, so a kill in between sends a step twice; a logger of your own should ask its store.
4. TensorBoard is *live*: it gets lines as soon as they are written. Its files can take back steps. A resumed run
   takes back what comes after the last settled step in `loggers.json`, and sends that again.

`loggers.json` also has the identity of the run, made once, so that a resumed run goes on in the same run of each
store. Only process 0 logs. A logger that fails is named in one note, and the run goes on. It is tried again
after a minute, then more rarely, and once more at the end. What it lacks then is sent when the same command
starts again.
"""
