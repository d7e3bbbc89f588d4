/**
 * SHA-256 of large files, beside writing and reading them: hashing takes as long as either, so a thread of its own does it
 * where the bytes lie in memory that threads share. Small files, and other memory, are hashed where they are.
 */
import { createHash } from "node:crypto";
import { startThread, type RunningThread } from "../system/thread.ts";
import type { HashUpdate } from "./hash-thread.ts";

/** Less is hashed in the time that it takes to tell a thread of it. */
const leastForThreadBytes = 4 * 1024 * 1024;
/** A checkpoint has two large files. */
const mostThreads = 2;

export interface Hashing {
  /** The bytes must not change before the digest is there, nor be used again for others: see `beginHashing`. */
  update(pieces: readonly Uint8Array[]): void;
  /** 64 hexadecimal digits, of all pieces in their order. To be asked once. */
  digest(): Promise<string>;
  /** To be called in any case, when it is not needed any more. */
  end(): void;
}

/** @param stays of how many bytes that come the memory is shared between threads and stays as it is until the digest is there */
export function beginHashing(stays: number): Hashing {
  return stays < leastForThreadBytes ? hashHere() : leastBusyThread().begin();
}

/** How much of this memory is shared between threads. */
export function sharedBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + (isShared(part) ? part.length : 0), 0);
}

function isShared({ buffer }: Uint8Array): boolean {
  return buffer instanceof SharedArrayBuffer;
}

function hashHere(): Hashing {
  const hash = createHash("sha256");
  return {
    update(pieces) {
      for (const piece of pieces) hash.update(piece);
    },
    digest: async () => hash.digest("hex"),
    end() {},
  };
}

class HashThread {
  readonly #thread: RunningThread;
  #next = 0;
  busy = 0;

  constructor(onFailure: () => void) {
    this.#thread = startThread(new URL("./hash-thread.ts", import.meta.url), null, {}, onFailure);
    this.#thread.unref();
  }

  begin(): Hashing {
    const thread = this.#thread;
    const id = this.#next++;
    let isOver = false;
    this.busy += 1;
    // A process that has nothing else to do waits for what is being hashed, and not for an idle thread.
    thread.ref();
    thread.tell("begin", id);
    return {
      update(pieces) {
        // A view's whole memory would travel.
        const update: HashUpdate = { id, pieces: pieces.map((piece) => (isShared(piece) ? piece : piece.slice())) };
        thread.tell("update", update);
      },
      digest: () => thread.call<string>("digest", id),
      end: () => {
        if (isOver) return;
        isOver = true;
        this.busy -= 1;
        if (this.busy === 0) thread.unref();
        thread.tell("end", id);
      },
    };
  }
}

/** Started by the first that needs one, and kept: the next checkpoint is never far. */
const threads = new Set<HashThread>();

function leastBusyThread(): HashThread {
  const [first] = [...threads].sort((a, b) => a.busy - b.busy);
  if (first && (first.busy === 0 || threads.size === mostThreads)) return first;
  const started: HashThread = new HashThread(() => threads.delete(started));
  threads.add(started);
  return started;
}
