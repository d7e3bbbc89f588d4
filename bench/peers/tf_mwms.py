"""Training steps of TensorFlow's MultiWorkerMirroredStrategy: ring collectives over gRPC, one thread a worker, Adam.

    python tf_mwms.py W

Starts itself W times. The global batch is shared out over the workers. Prints one JSON line a model.
"""

import json
import os
import statistics
import subprocess
import sys
import time

from free_port import free_port

BATCH = 256
WARM_UP_STEPS = 5
SAMPLES = 5

# name, units of both hidden layers, steps a sample
WORKS = [("step-mlp512", 512, 10), ("step-mlp2048", 2048, 3)]


def train(world: int, rank: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    ring = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=ring)
    rows = BATCH // world

    def measure(units: int, steps: int) -> list[float]:
        shapes = [(784, units), (units, units), (units, 10)]
        with strategy.scope():
            kernels = [tf.Variable(0.05 * tf.random.stateless_normal(shape, [1, 2])) for shape in shapes]
            biases = [tf.Variable(tf.zeros(shape[1:])) for shape in shapes]
            weights = [*kernels, *biases]
            means = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
            squares = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
        features = tf.random.normal([rows, 784])
        labels = tf.random.uniform([rows], 0, 10, tf.int32)

        def replica_step() -> tf.Tensor:
            with tf.GradientTape() as tape:
                values = features
                for kernel, bias in zip(kernels[:-1], biases[:-1]):
                    values = tf.nn.relu(values @ kernel + bias)
                logits = values @ kernels[-1] + biases[-1]
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            gradients = tape.gradient(loss, weights)
            gradients = tf.distribute.get_replica_context().all_reduce("mean", gradients, options=ring)
            for weight, gradient, mean, square in zip(weights, gradients, means, squares):
                mean.assign(0.9 * mean + 0.1 * gradient)
                square.assign(0.999 * square + 0.001 * gradient * gradient)
                weight.assign_sub(1e-3 * mean / (tf.sqrt(square) + 1e-7))
            return loss

        step = tf.function(lambda: strategy.run(replica_step))
        for _ in range(WARM_UP_STEPS):
            step().numpy()
        seconds = []
        for _ in range(SAMPLES):
            begun = time.perf_counter()
            for _ in range(steps):
                step().numpy()
            seconds.append((time.perf_counter() - begun) / steps)
        return seconds

    for work, units, steps in WORKS:
        seconds = measure(units, steps)
        if rank == 0:
            rate = rows * world / statistics.median(seconds)
            line = {"work": work, "world": world, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}
            print(json.dumps(line), flush=True)


def start(world: int, rank: int, addresses: list[str]) -> subprocess.Popen:
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    environment = {**os.environ, "TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.Popen([sys.executable, __file__, str(world), str(rank)], env=environment)


def main(world: int) -> int:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(world)]
    workers = [start(world, rank, addresses) for rank in range(world)]
    try:
        return max(worker.wait() for worker in workers)
    finally:
        for worker in workers:
            worker.kill()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train(int(sys.argv[1]), int(sys.argv[2]))
    else:
        sys.exit(main(int(sys.argv[1])))
