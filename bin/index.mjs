// `import … from "lockstep"` in plain JavaScript, where nothing translates TypeScript: the compiled form of src/index.ts.
import { builtModule } from "./build.mjs";

export const {
  arrow,
  cifar,
  crop,
  csv,
  dataset,
  defineJob,
  flip,
  idx,
  images,
  jitter,
  jsonLines,
  launch,
  loadCheckpoint,
  LockstepError,
  npy,
  npz,
  oneHot,
  parquet,
  reshape,
  scale,
  standardize,
  text,
  tfrecord,
  vocabulary,
} = await import(await builtModule("index"));
