/**
 * A small GPT (Radford et al., 2018): a transformer that reads the last characters of Shakespeare's plays and predicts, at each of
 * them, the next one. The attention layer is written here: TensorFlow.js has none. At the end the best model writes some lines.
 * `--param layers=6 --param width=384 --param heads=6 --param context=256` is the size at which nanoGPT trains it on a GPU.
 */
import { readFileSync } from "node:fs";
import { dataset, defineJob, oneHot, type ReportContext } from "lockstep";

const text = readFileSync(new URL("data/shakespeare.txt", import.meta.url), "utf8");
const characters = [...new Set(text)].sort();
const codeOf = new Map(characters.map((character, code) => [character, code]));
const codes = Uint8Array.from(text, (character) => codeOf.get(character)!);

export default defineJob({ context: 48, layers: 2, width: 64, heads: 4, stride: 24 }, (size) => ({
  name: "gpt",
  seed: 5,
  data: dataset({
    name: "shakespeare",
    length: Math.floor((codes.length - 1 - size.context) / size.stride),
    get: (index) => {
      const begin = index * size.stride;
      const end = begin + size.context;
      return { features: codes.subarray(begin, end), label: codes.subarray(begin + 1, end + 1) };
    },
  }),
  preprocess: { features: oneHot(characters.length) },
  validation: { fraction: 0.1, take: "last" },
  model: (tf) => {
    type Tensor = ReturnType<typeof tf.tensor>;
    type Shape = (number | null)[];

    /** Adds a vector to each place, which is learned. */
    class Positions extends tf.layers.Layer {
      static className = "Positions";
      #table!: { read(): Tensor };

      override build(inputShape: Shape): void {
        const initializer = tf.initializers.randomNormal({ stddev: 0.02 });
        this.#table = this.addWeight("table", inputShape.slice(1), "float32", initializer);
        super.build(inputShape);
      }

      override call(inputs: Tensor | Tensor[]): Tensor {
        return tf.tidy(() => tf.add([inputs].flat()[0]!, this.#table.read()));
      }
    }

    /** Of each place's query, key and value, [samples, places, 3 × width], what it takes from the places up to itself. */
    class CausalAttention extends tf.layers.Layer {
      static className = "CausalAttention";

      override computeOutputShape([samples, places, width]: Shape): Shape {
        return [samples!, places!, width! / 3];
      }

      override call(inputs: Tensor | Tensor[]): Tensor {
        return tf.tidy(() => {
          const all = [inputs].flat()[0]!;
          const [, places = 0] = all.shape;
          const inHeads = (part: Tensor) =>
            part.reshape([-1, places, size.heads, size.width / size.heads]).transpose([0, 2, 1, 3]);
          const [query, key, value] = tf.split(all, 3, 2).map(inHeads) as [Tensor, Tensor, Tensor];
          const scores = tf.matMul(query, key, false, true).mul(1 / Math.sqrt(size.width / size.heads));
          // What comes later weighs nothing.
          const later = tf.sub(1, tf.linalg.bandPart(tf.ones([places, places]), -1, 0)).mul(-1e9);
          const taken = tf.matMul(tf.softmax(scores.add(later)), value);
          return taken.transpose([0, 2, 1, 3]).reshape([-1, places, size.width]);
        });
      }
    }

    type Node = ReturnType<typeof tf.input>;
    const through = (node: Node, ...layers: { apply(node: Node): unknown }[]): Node =>
      layers.reduce((before, layer) => layer.apply(before) as Node, node);
    const { dense, add, layerNormalization } = tf.layers;
    const input = tf.input({ shape: [size.context, characters.length] });
    let state = through(input, dense({ units: size.width, useBias: false }), new Positions({}));
    for (let layer = 0; layer < size.layers; layer++) {
      const attended = through(
        ...([state, layerNormalization(), dense({ units: 3 * size.width })] as const),
        ...[new CausalAttention({}), dense({ units: size.width })],
      );
      state = add().apply([state, attended]) as Node;
      const thought = through(
        ...([state, layerNormalization(), dense({ units: 4 * size.width, activation: "relu" })] as const),
        dense({ units: size.width }),
      );
      state = add().apply([state, thought]) as Node;
    }
    const output = through(state, layerNormalization(), dense({ units: characters.length, activation: "softmax" }));
    return tf.model({ inputs: input, outputs: output });
  },
  compile: {
    optimizer: { kind: "adam", learningRate: 0.002, weightDecay: 0.01 },
    loss: "sparseCategoricalCrossentropy",
    metrics: ["accuracy"],
    clip: { globalNorm: 1 },
  },
  checkpoint: { monitor: "val_loss" },
  batchSize: 64,
  epochs: 4,
  report: (context) => `What the best model writes:\n\n${write(context, "ROMEO:\n", 300, size.context)}`,
}));

/** Continues a text by `length` characters, each drawn from what the model thinks likely. */
function write(
  { tf, model, random, encodeFeatures }: ReportContext,
  beginning: string,
  length: number,
  context: number,
): string {
  let written = beginning;
  while (written.length < beginning.length + length) {
    // Places after the last character are not looked at by those before them, so anything may stand there.
    const seen = written.slice(-context);
    const row = Array.from(seen.padEnd(context, "\n"), (character) => codeOf.get(character)!);
    const all = tf.tidy(() => (model.predict(encodeFeatures([row])) as ReturnType<typeof tf.tensor>).dataSync());
    const next = all.subarray((seen.length - 1) * characters.length, seen.length * characters.length);
    let rest = random();
    const drawn = next.findIndex((likelihood) => {
      rest -= likelihood;
      return rest < 0;
    });
    written += characters[Math.max(drawn, 0)];
  }
  return written;
}
