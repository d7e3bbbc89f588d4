/** A model's layers for people, as Keras' `summary` has them. */
import { formatCount } from "./number-format.ts";
import { plural, table } from "./summary-table.ts";

export interface LayerSummary {
  readonly name: string;
  /** Its class, as "Dense". */
  readonly kind: string;
  /** Null stands for the number of samples. Of several outputs, the first. */
  readonly outputShape: readonly (number | null)[];
  readonly weights: number;
  /** Of those, what training changes. */
  readonly trainable: number;
}

/** Lines: the layers, then what they have together. */
export function modelSummary(layers: readonly LayerSummary[]): string[] {
  const sum = (of: (layer: LayerSummary) => number) => layers.reduce((total, layer) => total + of(layer), 0);
  const all = sum(({ weights }) => weights);
  const trainable = sum((layer) => layer.trainable);
  const rows = layers.map(({ name, kind, outputShape, weights, trainable }) => [
    name,
    kind,
    `[${outputShape.map((size) => size ?? "samples").join(", ")}]`,
    formatCount(weights),
    trainable === weights ? "" : trainable === 0 ? "frozen" : `${formatCount(trainable)} of them are trained`,
  ]);
  return [
    ...table([["layer", "kind", "output", "weights", ""], ...rows], [3]).split("\n"),
    `${plural(all, "weight")}: ${formatCount(trainable)} trained, ${formatCount(all - trainable)} not.`,
  ];
}
