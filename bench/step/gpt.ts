/**
 * A small GPT for the step benchmark, as nanoGPT trains one on a CPU (github.com/karpathy/nanoGPT, README: 64 characters, 4 layers,
 * 4 heads, width 128, 12 texts a step), with relu for its gelu. It learns from every place of a text.
 */
import { RandomStream } from "../../src/core/random.ts";
import type { StepModel } from "./models.ts";

/** What its texts and those of the LSTM are made of. */
export const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,";

const [context, width, layers, heads] = [64, 128, 4, 4];

/** Texts follow each other, each one character longer than what is read of it, since every place has a next one. */
function texts(samples: number): string {
  const random = new RandomStream(1, "report");
  return Array.from({ length: samples * (context + 1) }, () => characters[random.nextBelow(characters.length)]).join(
    "",
  );
}

const top = `
import { readFileSync } from "node:fs";
const written = readFileSync(new URL("samples", import.meta.url), "utf8");
const characters = ${JSON.stringify(characters)};
const codes = Uint8Array.from(written, (character) => characters.indexOf(character));
const get = (index) => {
  const begin = index * ${context + 1};
  return { features: codes.subarray(begin, begin + ${context}), label: codes.subarray(begin + 1, begin + ${context + 1}) };
};
`;

const model = `{
    class Positions extends tf.layers.Layer {
      static className = "Positions";
      #table;
      build(shape) {
        this.#table = this.addWeight("table", shape.slice(1), "float32", tf.initializers.randomNormal({ stddev: 0.02 }));
        super.build(shape);
      }
      call(inputs) {
        return tf.tidy(() => tf.add([inputs].flat()[0], this.#table.read()));
      }
    }
    class CausalAttention extends tf.layers.Layer {
      static className = "CausalAttention";
      computeOutputShape([samples, places, all]) {
        return [samples, places, all / 3];
      }
      call(inputs) {
        return tf.tidy(() => {
          const inHeads = (part) => part.reshape([-1, ${context}, ${heads}, ${width / heads}]).transpose([0, 2, 1, 3]);
          const [query, key, value] = tf.split([inputs].flat()[0], 3, 2).map(inHeads);
          const scores = tf.matMul(query, key, false, true).mul(${1 / Math.sqrt(width / heads)});
          const later = tf.sub(1, tf.linalg.bandPart(tf.ones([${context}, ${context}]), -1, 0)).mul(-1e9);
          const taken = tf.matMul(tf.softmax(scores.add(later)), value);
          return taken.transpose([0, 2, 1, 3]).reshape([-1, ${context}, ${width}]);
        });
      }
    }
    const { add, dense, embedding, layerNormalization } = tf.layers;
    const through = (node, ...all) => all.reduce((before, layer) => layer.apply(before), node);
    const [inputDim, outputDim] = [${characters.length}, ${width}];
    const input = tf.input({ shape: [${context}] });
    let state = through(input, embedding({ inputDim, outputDim, inputLength: ${context} }), new Positions({}));
    for (let layer = 0; layer < ${layers}; layer++) {
      const attention = [layerNormalization(), dense({ units: ${3 * width} }), new CausalAttention({}), dense({ units: ${width} })];
      state = add().apply([state, through(state, ...attention)]);
      const thought = [layerNormalization(), dense({ units: ${4 * width}, activation: "relu" }), dense({ units: ${width} })];
      state = add().apply([state, through(state, ...thought)]);
    }
    const output = through(state, layerNormalization(), dense({ units: ${characters.length}, activation: "softmax" }));
    return tf.model({ inputs: input, outputs: output });
  }`;

export const gpt: StepModel = {
  work: "step-gpt",
  batch: 12,
  top,
  data: `dataset({ name: "texts", length: Math.floor(codes.length / ${context + 1}), get })`,
  preprocess: "",
  model,
  loss: "sparseCategoricalCrossentropy",
  write: texts,
};
