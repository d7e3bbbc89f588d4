/** Which published checkpoints lie in storage, and how large they are; looked up seldom, and only while somebody asks. */
import { contentBytes } from "../core/manifest.ts";
import type { Clock } from "../ports/clock.ts";
import type { StoredCheckpoint } from "../ports/checkpoint-storage.ts";

/** While one is not there and nothing was published, storage is asked again after this. */
const lookAgainMs = 30_000;
/**
 * For so long it may be that what is listed is on its way out: it is deleted just after etcd has condemned it, and whoever
 * read etcd before that looks for it in vain.
 */
const patienceMs = 10_000;

export class SeenCheckpoints {
  readonly #list: () => Promise<readonly StoredCheckpoint[]>;
  readonly #clock: Clock;
  readonly #sizes = new Map<string, number>();
  /** By id: when it was looked for in vain first. */
  readonly #absentSinceMs = new Map<string, number>();
  #lookedMs = Number.NEGATIVE_INFINITY;
  #looked = "";

  constructor(list: () => Promise<readonly StoredCheckpoint[]>, clock: Clock) {
    this.#list = list;
    this.#clock = clock;
  }

  /** Asks storage when there is an id that was not seen yet. Storage that does not answer changes nothing. */
  async look(ids: readonly string[]): Promise<void> {
    if (ids.every((id) => this.#sizes.has(id))) return;
    const nowMs = this.#clock.monotonicMs();
    const wanted = ids.join(" ");
    if (wanted === this.#looked && nowMs - this.#lookedMs < lookAgainMs) return;
    this.#looked = wanted;
    this.#lookedMs = nowMs;
    const stored = await this.#list().catch(() => null);
    if (stored === null) return;
    this.#sizes.clear();
    for (const { id, manifest } of stored) {
      this.#sizes.set(id, contentBytes(manifest));
    }
    const before = new Map(this.#absentSinceMs);
    this.#absentSinceMs.clear();
    for (const id of ids) if (!this.#sizes.has(id)) this.#absentSinceMs.set(id, before.get(id) ?? nowMs);
  }

  /** In bytes, all files together; null where it was not seen. */
  sizeOf(id: string): number | null {
    return this.#sizes.get(id) ?? null;
  }

  /** It was looked for in vain more than once, over longer than deleting one takes. */
  isMissing(id: string): boolean {
    const sinceMs = this.#absentSinceMs.get(id);
    return sinceMs !== undefined && this.#lookedMs - sinceMs >= patienceMs;
  }
}
