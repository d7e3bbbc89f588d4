/** Another gradient for `tile`, which TensorFlow.js' layer normalization takes. */
import type { Tensor, TensorFlow } from "../../ports/engine.ts";

/**
 * TensorFlow.js adds the copies up one by one, with two operations for each: a layer normalization of 64 texts of 48 places has 3,072
 * of them, and a recorded step would have as many nodes. One sum does the same, in another order.
 */
export function replaceTileGradient(tf: TensorFlow): void {
  tf.unregisterGradient("Tile");
  tf.registerGradient({
    kernelName: "Tile",
    inputsToSave: ["x"],
    gradFunc(gradient, saved, attributes) {
      const { shape } = saved[0]!; // x, as it is saved
      const { reps } = attributes as unknown as { reps: readonly number[] }; // as tile has them
      // Each axis is cut into one of copies and one of what is copied; what has one element alone needs none.
      const cut: number[] = [];
      const copies: number[] = [];
      for (const [axis, size] of shape.entries()) {
        const times = reps[axis]!;
        if (times > 1) copies.push(cut.length);
        cut.push(...[times, size].filter((length) => length > 1));
      }
      return {
        x: () =>
          (gradient as Tensor)
            .reshape(cut)
            .sum(copies)
            .reshape([...shape]),
      }; // one output, one gradient
    },
  });
}
