"""Training steps of Keras as one graph (tf.function), one process with one thread, Adam: an LSTM and a GPT on text.

    python keras_graph.py [WORK …]

Measures the models of these works, or all; prints a JSON line each. The LSTM is unrolled, and one op runs at a time: both are faster
here than the defaults.
"""

import json
import os
import statistics
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import tensorflow as tf

CHARACTERS = 64
GPT_CONTEXT, GPT_WIDTH, GPT_LAYERS, GPT_HEADS = 64, 128, 4, 4
WARM_UP_STEPS = 5
SAMPLES = 5
STEPS = 12


def recurrent() -> keras.Model:
    return keras.Sequential([
        keras.layers.Input((32,)),
        keras.layers.Embedding(CHARACTERS, 32),
        keras.layers.LSTM(64, unroll=True),
        keras.layers.Dense(CHARACTERS, activation="softmax"),
    ])


class Positions(keras.layers.Layer):
    def build(self, shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer=keras.initializers.RandomNormal(stddev=0.02))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.table


def gpt() -> keras.Model:
    layers = keras.layers
    text = keras.Input((GPT_CONTEXT,))
    state = Positions()(layers.Embedding(CHARACTERS, GPT_WIDTH)(text))
    for _ in range(GPT_LAYERS):
        normal = layers.LayerNormalization()(state)
        attention = layers.MultiHeadAttention(GPT_HEADS, GPT_WIDTH // GPT_HEADS)
        state = state + attention(normal, normal, use_causal_mask=True)
        thought = layers.Dense(4 * GPT_WIDTH, activation="relu")(layers.LayerNormalization()(state))
        state = state + layers.Dense(GPT_WIDTH)(thought)
    output = layers.Dense(CHARACTERS, activation="softmax")(layers.LayerNormalization()(state))
    return keras.Model(text, output)


# name, model, shape of a batch, places of a text that have a label (none: the text as a whole has one)
WORKS = [
    ("step-lstm", recurrent, (64, 32), ()),
    ("step-gpt", gpt, (12, GPT_CONTEXT), (GPT_CONTEXT,)),
]


def measure(model: keras.Model, shape: tuple[int, int], places: tuple[int, ...]) -> list[float]:
    """Seconds a step, one figure a sample."""
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.CategoricalCrossentropy()
    text = tf.random.uniform(shape, 0, CHARACTERS, tf.int32)
    labels = tf.one_hot(tf.random.uniform((shape[0], *places), 0, CHARACTERS, tf.int32), CHARACTERS)

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
    return seconds


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    chosen = sys.argv[1:] or [work for work, *_ in WORKS]
    for work, model, shape, places in WORKS:
        if work not in chosen:
            continue
        seconds = measure(model(), shape, places)
        rate = shape[0] / statistics.median(seconds)
        line = {"work": work, "world": 1, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
