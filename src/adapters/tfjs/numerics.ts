/**
 * Two nodes with the same library may still round differently: a matrix product is cut into blocks whose sizes follow
 * the processor's caches, and a mathematical function may be another on another processor. No setting rules all of it
 * out, so a node computes something small and the result is compared: equal digests are evidence, different digests are
 * proof.
 */
import { createHash } from "node:crypto";
import type { Tensor4D } from "@tensorflow/tfjs";
import type { Engine, Tensor } from "../../ports/engine.ts";
import { probeKernels } from "./probe.ts";

/** Hexadecimal digits of the digest: enough to tell any two roundings apart, short enough to read. */
const digestLength = 16;

/**
 * A digest of what this engine makes of fixed numbers: long and short matrix products, the gradients of a convolution
 * (where the engine has them), and the functions that losses and activations are made of. Takes about a fifth of
 * a second with a native engine, and half a second in pure JavaScript, whose rounding does not depend on sizes.
 */
export function numericsDigest(engine: Engine): string {
  const { tf } = engine;
  const size = engine.description.kind === "native" ? 1 : 8;
  const hash = createHash("sha256");
  const add = (tensor: Tensor) => {
    const values = tensor.dataSync();
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  };
  tf.tidy(() => {
    const next = numbers();
    const tensor = (...shape: number[]) =>
      tf.tensor(Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, next), shape);
    for (const [rows, inner, columns] of [
      [256, 784, 512],
      [48, 4_096, 40],
      [64, 64, 64],
    ] as const) {
      add(tf.matMul(tensor(rows / size, inner / size), tensor(inner / size, columns / size)));
    }
    const values = tensor(2_048);
    for (const of of [tf.exp, tf.tanh, tf.sigmoid, tf.softplus]) add(of(values));
    add(tf.log(tf.abs(values)));
    add(tf.sqrt(tf.abs(values)));
    add(tf.softmax(tf.reshape(values, [32, 64])));
    add(tf.mean(values));
    const images = tensor(32 / size, 14, 14, 8);
    const filter = tensor(3, 3, 8, 16);
    // Both have rank 4, which `tensor` does not say.
    const loss = (x: Tensor, w: Tensor) => tf.sum(tf.square(tf.conv2d(x as Tensor4D, w as Tensor4D, 1, "same")));
    const missing = probeKernels(engine, () => {
      for (const gradient of tf.grads(loss)([images, filter])) add(gradient);
    });
    hash.update(missing ?? "");
  });
  return hash.digest("hex").slice(0, digestLength);
}

/** The same numbers in (-0.5, 0.5) every time. */
function numbers(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647 - 0.5;
  };
}
