/** A thread that hashes what other threads have in memory that it shares, or give it a copy of. */
import { createHash, type Hash } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { openChannel } from "../system/thread-channel.ts";

export interface HashUpdate {
  readonly id: number;
  readonly pieces: readonly Uint8Array[];
}

const hashes = new Map<number, Hash>();

openChannel(parentPort!, {
  begin(id: number) {
    hashes.set(id, createHash("sha256"));
  },
  update({ id, pieces }: HashUpdate) {
    for (const piece of pieces) hashes.get(id)!.update(piece);
  },
  /** 64 hexadecimal digits. */
  digest(id: number): string {
    return hashes.get(id)!.digest("hex");
  },
  end(id: number) {
    hashes.delete(id);
  },
});
