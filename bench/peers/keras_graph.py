"""Training steps of Keras as one graph (tf.function), one process with one thread, Adam: an LSTM on text.

    python keras_graph.py

Prints a JSON line. The LSTM is unrolled, and one op runs at a time: both are faster here than the defaults.
"""

import json
import os
import statistics
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import tensorflow as tf

BATCH = 64
WINDOW = 32
CHARACTERS = 65
WARM_UP_STEPS = 5
SAMPLES = 5
STEPS = 12


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras.Sequential([
        keras.layers.Input((WINDOW,)),
        keras.layers.Embedding(CHARACTERS, 32),
        keras.layers.LSTM(64, unroll=True),
        keras.layers.Dense(CHARACTERS, activation="softmax"),
    ])
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.CategoricalCrossentropy()
    text = tf.random.uniform([BATCH, WINDOW], 0, CHARACTERS, tf.int32)
    labels = tf.one_hot(tf.random.uniform([BATCH], 0, CHARACTERS, tf.int32), CHARACTERS)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(text, training=True))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    for _ in range(WARM_UP_STEPS):
        step().numpy()
    seconds = []
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        for _ in range(STEPS):
            step().numpy()
        seconds.append((time.perf_counter() - begun) / STEPS)
    rate = BATCH / statistics.median(seconds)
    print(json.dumps({"work": "step-lstm", "world": 1, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}))


if __name__ == "__main__":
    main()
