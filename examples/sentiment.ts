/**
 * Text classification with an LSTM: whether a sentence praises. The sentences are made here, from a small grammar with negations
 * ("the plot was not at all dull"), so the same words praise in one order and blame in another. The classes are equally frequent.
 */
import { dataset, defineJob, oneHot } from "lockstep";

const things = ["film", "plot", "music", "cast", "ending", "story", "picture", "dialogue"];
const good = ["great", "moving", "clever", "charming", "funny", "brilliant"];
const bad = ["dull", "weak", "boring", "clumsy", "awful", "silly"];
const turns = ["not", "never", "hardly"];
const fillers = ["really", "quite", "at", "all", "to", "me", "again", "today"];
const words = ["", "the", "a", "was", "and", "but", ...things, ...good, ...bad, ...turns, ...fillers];
const longest = 16;

/** A sentence, and whether it praises; both follow from the index alone. */
function sentence(index: number): { words: string[]; praises: boolean } {
  let state = (index * 2654435761 + 12345) >>> 0;
  const draw = (below: number) => {
    // xorshift (Marsaglia, 2003): integers alone, so that every machine makes the same sentences.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return (state >>> 8) % below;
  };
  for (let i = 0; i < 4; i++) draw(2); // the first few are still near the index
  const one = (list: readonly string[]) => list[draw(list.length)]!;
  const some = () => Array.from({ length: draw(3) }, () => one(fillers));
  // What is said last counts: "the film was dull but the music was great" praises.
  const clauses = 1 + draw(2);
  let praises = false;
  const said: string[] = [];
  for (let clause = 0; clause < clauses; clause++) {
    const isGood = draw(2) === 1;
    const isTurned = draw(2) === 1;
    if (clause > 0) said.push("but");
    said.push("the", one(things), "was", ...(isTurned ? [one(turns)] : []), ...some(), one(isGood ? good : bad));
    praises = isGood !== isTurned;
  }
  return { words: said.slice(-longest), praises };
}

const samples = (name: string, length: number, first: number) =>
  dataset({
    name,
    length,
    get: (index) => {
      const made = sentence(first + index);
      const numbers = made.words.map((word) => words.indexOf(word));
      // Padded in front, so that the last word is what the LSTM reads last.
      return { features: [...Array<number>(longest - numbers.length).fill(0), ...numbers], label: made.praises };
    },
  });

export default defineJob({ units: 24 }, ({ units }) => ({
  name: "sentiment",
  seed: 3,
  data: samples("sentences", 4000, 0),
  preprocess: { features: oneHot(words.length) },
  validation: { fraction: 0.1 },
  model: (tf, { features }) =>
    tf.sequential({
      layers: [
        tf.layers.dense({ units: 12, useBias: false, inputShape: [...features] }),
        tf.layers.lstm({ units }),
        tf.layers.dense({ units: 1, activation: "sigmoid" }),
      ],
    }),
  compile: {
    optimizer: { kind: "adam", learningRate: 0.01 },
    loss: "binaryCrossentropy",
    metrics: ["accuracy"],
  },
  checkpoint: { monitor: "val_accuracy" },
  batchSize: 64,
  epochs: 8,
  test: samples("other sentences", 1000, 4000),
}));
