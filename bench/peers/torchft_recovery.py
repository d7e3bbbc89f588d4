"""torchft: one of three replicas is killed with SIGKILL and started again a quarter of a second later.

    python torchft_recovery.py RUNS JOIN_TIMEOUT_MS

The lighthouse waits for stragglers as long as the join timeout: 60000 is torchft's default, 100 its quickest. Prints
one JSON line a run: the undisturbed step; from the kill to the first step that a survivor commits without the killed
one; and from the start of the replacement's process to its first committed step. Nulls: not within a minute.

The kill comes at the beginning of a step. One that comes during the all-reduce ends both survivors of torchft 0.2.0,
by an assertion in its hook for DistributedDataParallel; so it was in each of seven runs.
"""

import json
import os
import select
import statistics
import subprocess
import sys
import time
from datetime import timedelta

from free_port import free_port

REPLICAS, KILLED, WATCHED = 3, 1, 0
WARM_UP_STEPS = 20
KILL_AFTER_STEP = 120
RESTART_PAUSE_S = 0.25
LIMIT_S = 60


def train(replica: str, lighthouse: str) -> None:
    import torch
    import torch.distributed as dist
    from torch import nn
    from torchft import DistributedDataParallel, Manager, Optimizer, ProcessGroupGloo

    from recovery_model import make_batch, make_model

    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    model = make_model()
    inner = torch.optim.Adam(model.parameters())

    def load(state: dict) -> None:
        model.load_state_dict(state["model"])
        inner.load_state_dict(state["optimizer"])

    manager = Manager(
        pg=ProcessGroupGloo(timeout=timedelta(seconds=10)),
        load_state_dict=load,
        state_dict=lambda: {"model": model.state_dict(), "optimizer": inner.state_dict()},
        min_replica_size=2,
        rank=0,
        world_size=1,
        store_addr="127.0.0.1",
        store_port=store.port,
        lighthouse_addr=lighthouse,
        replica_id=f"replica{replica}_",
        hostname="127.0.0.1",
        timeout=timedelta(seconds=20),
        quorum_timeout=timedelta(seconds=30),
        connect_timeout=timedelta(seconds=10),
    )
    ddp, optimizer = DistributedDataParallel(manager, model), Optimizer(manager, inner)
    features, labels = make_batch()
    while True:
        before = manager.current_step()
        optimizer.zero_grad()
        nn.functional.cross_entropy(ddp(features), labels).backward()
        optimizer.step()
        step = manager.current_step()
        if step > before:
            print(json.dumps({"at": time.time(), "step": step, "present": manager.num_participants()}), flush=True)


class Cluster:
    """A lighthouse and three replicas, whose steps are read as they are committed."""

    def __init__(self, join_timeout_ms: str) -> None:
        address = f"127.0.0.1:{free_port()}"
        program = os.path.join(os.path.dirname(sys.executable), "torchft_lighthouse")
        words = ["--bind", address, "--min_replicas", "2", "--join_timeout_ms", join_timeout_ms]
        self.lighthouse = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.address = f"http://{address}"
        self.replicas: dict[int, subprocess.Popen] = {}
        self.unread: dict[int, bytes] = {}

    def start(self, replica: int) -> None:
        command = [sys.executable, __file__, "worker", str(replica), self.address]
        self.replicas[replica] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.unread[replica] = b""

    def steps(self, deadline: float):
        """(replica, line) of every step until the deadline; None now and then when there is none."""
        while time.time() < deadline:
            outputs = {process.stdout: replica for replica, process in self.replicas.items() if process.poll() is None}
            ready = select.select(list(outputs), [], [], 0.02)[0]
            if not ready:
                yield None
            for output in ready:
                replica = outputs[output]
                *lines, self.unread[replica] = (self.unread[replica] + os.read(output.fileno(), 65536)).split(b"\n")
                for line in lines:
                    yield replica, json.loads(line)

    def close(self) -> None:
        for process in [*self.replicas.values(), self.lighthouse]:
            process.kill()
            process.wait()


def undisturbed(cluster: Cluster) -> tuple[list[float], int] | None:
    """Trains until the moment of the kill: the times of the steps so far."""
    times = []
    for seen in cluster.steps(time.time() + LIMIT_S):
        if seen is None or seen[0] != WATCHED:
            continue
        line = seen[1]
        times = [*times, line["at"]] if line["present"] == REPLICAS else []
        if len(times) >= KILL_AFTER_STEP:
            return times, line["step"]
    return None


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in zip(times, times[1:])]


def run(join_timeout_ms: str) -> dict:
    result = {"step_ms": None, "survivors_ms": None, "start_ms": None}
    cluster = Cluster(join_timeout_ms)
    try:
        for replica in range(REPLICAS):
            cluster.start(replica)
        before = undisturbed(cluster)
        if before is None:
            return result
        times, last = before
        result["step_ms"] = 1000 * statistics.median(gaps(times[WARM_UP_STEPS:]))
        killed = time.time()
        cluster.replicas[KILLED].kill()
        cluster.replicas[KILLED].wait()
        restarted = None
        for seen in cluster.steps(killed + LIMIT_S):
            if restarted is None and time.time() >= killed + RESTART_PAUSE_S:
                restarted = time.time()
                cluster.start(KILLED)
            if seen is not None:
                replica, line = seen
                if replica == WATCHED and line["at"] <= killed:
                    last = line["step"]
                # The killed one may have given its part of the step after the last one, but not of any later.
                elif replica == WATCHED and line["step"] > last + 1 and result["survivors_ms"] is None:
                    result["survivors_ms"] = 1000 * (line["at"] - killed)
                elif replica == KILLED and restarted is not None and result["start_ms"] is None:
                    result["start_ms"] = 1000 * (line["at"] - restarted)
            if result["survivors_ms"] is not None and result["start_ms"] is not None:
                break
        return result
    finally:
        cluster.close()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        train(sys.argv[2], sys.argv[3])
    else:
        for _ in range(int(sys.argv[1])):
            print(json.dumps(run(sys.argv[2])), flush=True)
