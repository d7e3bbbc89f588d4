"""torchrun and DistributedDataParallel: one of three workers is killed with SIGKILL; torchrun starts all of them again.

    python torchrun_recovery.py RUNS

Prints one JSON line a run: the undisturbed step, the time from the kill to the next finished step, and how many steps
were finished but not in the checkpoint (one every ten steps) and had to be done again. Nulls: no step within a minute.

By default torchrun's workers keep the addresses of their rendezvous in a store that outlives a restart; the workers of
the next attempt then find those of the dead, and on a busy machine none of four runs came back. Here every attempt gets
a store of its own, so that there is something to measure.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

WORKERS = 3
KILLED_RANK = 1
WARM_UP_STEPS = 50
KILL_AFTER_STEP = 150
CHECKPOINT_EVERY = 10
LIMIT_S = 60


def train(checkpoint: str) -> None:
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    from recovery_model import make_batch, make_model

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model = DistributedDataParallel(make_model())
    optimizer = torch.optim.Adam(model.parameters())
    features, labels = make_batch()
    step = 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    say({"rank": rank, "pid": os.getpid(), "step": step})
    while True:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()
        step += 1
        if rank != 0:
            continue
        say({"at": time.time(), "pid": os.getpid(), "step": step})
        if step % CHECKPOINT_EVERY == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, f"{checkpoint}.new")
            os.replace(f"{checkpoint}.new", checkpoint)


def say(line: dict) -> None:
    os.write(1, f"{json.dumps(line)}\n".encode())  # in one piece: the workers share the pipe


def run(folder: str) -> dict:
    torchrun = os.path.join(os.path.dirname(sys.executable), "torchrun")
    words = ["--standalone", "--nproc-per-node", str(WORKERS), "--max-restarts", "3"]
    cluster = subprocess.Popen(
        [torchrun, *words, __file__, "worker", os.path.join(folder, "checkpoint")],
        env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TMPDIR": folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    alarm = threading.Timer(LIMIT_S, stop, [cluster])
    alarm.start()
    target = first = killed = None  # the pids of the rank to kill and of rank 0, and when the kill was
    times, last = [], 0
    kill_after = KILL_AFTER_STEP + random.randrange(CHECKPOINT_EVERY)
    result = {"step_ms": None, "survivors_ms": None, "steps_lost": None}
    try:
        for text in cluster.stdout:
            line = json.loads(text)
            if "rank" in line:
                if line["rank"] == KILLED_RANK and killed is None:
                    target = line["pid"]
                continue
            if killed is None:
                first, last = line["pid"], line["step"]
                times.append(line["at"])
                if last >= kill_after:
                    result["step_ms"] = 1000 * statistics.median(gaps(times[WARM_UP_STEPS:]))
                    time.sleep(random.random() * result["step_ms"] / 1000)
                    killed = time.time()
                    os.kill(target, signal.SIGKILL)
                    alarm.cancel()
                    alarm = threading.Timer(LIMIT_S, stop, [cluster])
                    alarm.start()
            elif line["pid"] == first:
                last = line["step"]  # what rank 0 had finished before it was ended
            else:
                result["survivors_ms"] = 1000 * (line["at"] - killed)
                result["steps_lost"] = last - line["step"] + 1
                break
    finally:
        alarm.cancel()
        stop(cluster)
    return result


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in zip(times, times[1:])]


def stop(cluster: subprocess.Popen) -> None:
    """Ends torchrun, which ends its workers; then whatever of its session is left."""
    cluster.terminate()
    try:
        cluster.wait(10)
    except subprocess.TimeoutExpired:
        cluster.kill()
    try:
        os.killpg(cluster.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main(runs: int) -> None:
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        train(sys.argv[2])
    else:
        main(int(sys.argv[1]))
