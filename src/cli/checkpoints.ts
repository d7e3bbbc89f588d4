/** `lockstep checkpoints …`: what a run has kept, whether it is whole, and what to make of it. */
import type { CommandGroup } from "./command.ts";

export const checkpoints: CommandGroup = {
  name: "checkpoints",
  summary: "List, show, verify, export, prune and pin the checkpoints of a job.",
  commands: {
    list: async () => (await import("./checkpoints/list.ts")).list,
    show: async () => (await import("./checkpoints/show.ts")).show,
    verify: async () => (await import("./checkpoints/verify.ts")).verify,
    export: async () => (await import("./checkpoints/export.ts")).exportCheckpoint,
    prune: async () => (await import("./checkpoints/prune.ts")).prune,
    pin: async () => (await import("./checkpoints/pin.ts")).pin,
    unpin: async () => (await import("./checkpoints/pin.ts")).unpin,
  },
  details: `An ID is a checkpoint's whole id, a part of it that no other one has, or \`best\` or \`latest\`. The run is the newest one
of the job in the job file, of --job, or of the only job in runs/. With --checkpoints alone etcd is not asked, and so
nobody knows what is published, best, latest or pinned.`,
};
