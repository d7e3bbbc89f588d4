import { contentBytes } from "../../core/manifest.ts";
import type { CheckpointStorage } from "../../ports/checkpoint-storage.ts";
import type { Clock } from "../../ports/clock.ts";
import type { WrittenCheckpoint } from "./worker-metrics.ts";

export interface WriteEvents {
  written(checkpoint: WrittenCheckpoint): void;
  writeFailed(): void;
}

/** The same storage; what is written is told, with how long that took. */
export function measuredStorage(storage: CheckpointStorage, clock: Clock, events: WriteEvents): CheckpointStorage {
  return {
    async write(content) {
      const begunMs = clock.monotonicMs();
      try {
        const stored = await storage.write(content);
        events.written({ writeMs: clock.monotonicMs() - begunMs, sizeBytes: contentBytes(stored.manifest) });
        return stored;
      } catch (error) {
        events.writeFailed();
        throw error;
      }
    },
    load: (id, over) => storage.load(id, over),
    check: (id) => storage.check(id),
    list: () => storage.list(),
    delete: (id) => storage.delete(id),
    ...(storage.unfinished && { unfinished: () => storage.unfinished!() }),
    ...(storage.copies && { copies: (id, manifestSha256) => storage.copies!(id, manifestSha256) }),
  };
}
