"""Training steps of TensorFlow's MultiWorkerMirroredStrategy: ring collectives over gRPC, one thread a worker, Adam.

    python tf_mwms.py W [WORK ...]

Starts itself W times. The global batch is shared out over the workers. Measures the models of these works, or all; prints one JSON
line a model. Adam is TensorFlow's fused operation, which is faster here than single ones.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

from free_port import free_port

WARM_UP_STEPS = 5
SAMPLES = 5


def perceptron(tf, values, kernels, biases):
    for kernel, bias in zip(kernels[:-1], biases[:-1]):
        values = tf.nn.relu(values @ kernel + bias)
    return values @ kernels[-1] + biases[-1]


def convolutional(tf, values, kernels, biases):
    for kernel, bias in zip(kernels[:2], biases[:2]):
        values = tf.nn.relu(tf.nn.conv2d(values, kernel, 1, "VALID") + bias)
    values = tf.reshape(tf.nn.max_pool2d(values, 2, 2, "VALID"), [values.shape[0], 9216])
    return perceptron(tf, values, kernels[2:], biases[2:])


def dense(units: int) -> list[tuple[int, ...]]:
    return [(784, units), (units, units), (units, 10)]


# name, model, shapes of its kernels, shape of a sample, global batch, steps a sample
WORKS = [
    ("step-mlp512", perceptron, dense(512), (784,), 256, 10),
    ("step-mlp2048", perceptron, dense(2048), (784,), 256, 3),
    ("step-cnn", convolutional, [(3, 3, 1, 32), (3, 3, 32, 64), (9216, 128), (128, 10)], (28, 28, 1), 128, 3),
]


def train(world: int, rank: int, chosen: list[str]) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    ring = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=ring)

    def measure(model, shapes, sample, rows: int, steps: int) -> list[float]:
        with strategy.scope():
            kernels = [tf.Variable(0.05 * tf.random.stateless_normal(shape, [1, 2])) for shape in shapes]
            biases = [tf.Variable(tf.zeros(shape[-1:])) for shape in shapes]
            weights = [*kernels, *biases]
            means = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
            squares = [tf.Variable(tf.zeros_like(weight)) for weight in weights]
            powers = [tf.Variable(0.9), tf.Variable(0.999)]
        features = tf.random.normal([rows, *sample])
        labels = tf.random.uniform([rows], 0, 10, tf.int32)

        def replica_step() -> tf.Tensor:
            with tf.GradientTape() as tape:
                logits = model(tf, features, kernels, biases)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            gradients = tape.gradient(loss, weights)
            gradients = tf.distribute.get_replica_context().all_reduce("mean", gradients, options=ring)
            for weight, gradient, mean, square in zip(weights, gradients, means, squares):
                tf.raw_ops.ResourceApplyAdam(
                    var=weight.handle, m=mean.handle, v=square.handle, beta1_power=powers[0], beta2_power=powers[1],
                    lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-7, grad=gradient,
                )
            powers[0].assign(0.9 * powers[0])
            powers[1].assign(0.999 * powers[1])
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

    for work, model, shapes, sample, batch, steps in WORKS:
        if work not in chosen:
            continue
        rows = batch // world
        seconds = measure(model, shapes, sample, rows, steps)
        if rank == 0:
            rate = rows * world / statistics.median(seconds)
            line = {"work": work, "world": world, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}
            print(json.dumps(line), flush=True)


def start(rank: int, addresses: list[str]) -> subprocess.Popen:
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    environment = {**os.environ, "TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.Popen([sys.executable, *sys.argv], env=environment)


def main(world: int) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # who gives up leaves no workers behind
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(world)]
    workers = [start(rank, addresses) for rank in range(world)]
    try:
        return max(worker.wait() for worker in workers)
    finally:
        for worker in workers:
            worker.kill()


if __name__ == "__main__":
    world, chosen = int(sys.argv[1]), sys.argv[2:] or [work for work, *_ in WORKS]
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task")
    if task is None:
        sys.exit(main(world))
    train(world, task["index"], chosen)
