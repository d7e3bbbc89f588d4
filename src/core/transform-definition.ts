/** What a job file may say of its pre-processing. */

export type TransformList = Transform | readonly Transform[];

export type Transform =
  /** Multiplies every value. */
  | { readonly kind: "scale"; readonly factor: number }
  /** Subtracts the training split's mean and divides by its standard deviation, column by column. */
  | { readonly kind: "standardize" }
  /** Brings the training split's smallest value to 0 and its largest to 1, column by column. */
  | { readonly kind: "min-max" }
  /** Fills in what is missing, column by column: with what is usual in the training split, or with this number. */
  | { readonly kind: "impute"; readonly with: ImputeWith }
  /**
   * Replaces each value by its rank (from 1) among the training split's distinct values; 0 stands for all others. `maximum`: only
   * so many of them have a rank, the most frequent ones, and of two that are equally frequent the smaller one.
   */
  | { readonly kind: "vocabulary"; readonly maximum?: number }
  /** Adds a last dimension with a 1 at the value's index. `classes` is known after `vocabulary` and of a category, else must be given. */
  | { readonly kind: "one-hot"; readonly classes?: number }
  /** Gives each sample another shape with as many values. */
  | { readonly kind: "reshape"; readonly shape: readonly number[] }
  /** Divides each sample by the root of the sum of its squares; one of zeros stays as it is. */
  | { readonly kind: "normalize" }
  /** Cuts the last dimension to `length`, or fills it up with `value`. */
  | { readonly kind: "pad"; readonly length: number; readonly value: number }
  /** The job file's own function of one sample's values. */
  | { readonly kind: "map"; readonly apply: MapFunction }
  /** Others for single columns, by name; `rest` for each of those that are not named. Comes first. */
  | {
      readonly kind: "columns";
      readonly columns: Readonly<Record<string, readonly Transform[]>>;
      readonly rest: readonly Transform[];
    };

export type ImputeWith = "mean" | "median" | "mostFrequent" | number;

/** One sample's values, and as many in return. It must give the same for the same, whenever and wherever it is called. */
export type MapFunction = (values: Float32Array) => ArrayLike<number>;

/** Whether something among the transforms, at any depth, is of this kind. */
export function hasTransform(transforms: readonly Transform[], kinds: readonly Transform["kind"][]): boolean {
  return transforms.some(
    (transform) =>
      kinds.includes(transform.kind) ||
      (transform.kind === "columns" &&
        [...Object.values(transform.columns), transform.rest].some((list) => hasTransform(list, kinds))),
  );
}
