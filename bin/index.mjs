// `import … from "lockstep"` in plain JavaScript, where nothing translates TypeScript: the compiled form of src/index.ts.
import { builtModule } from "./build.mjs";

export const {
  csv,
  dataset,
  defineJob,
  idx,
  jsonLines,
  launch,
  loadCheckpoint,
  LockstepError,
  npy,
  npz,
  oneHot,
  reshape,
  scale,
  standardize,
  text,
  vocabulary,
} = await import(await builtModule("index"));
