import type { Readable } from "node:stream";
import { assert } from "../../core/errors.ts";
import type { OpenFile } from "../fs/file-system.ts";

/** What the service answers to a request for an object, or for the rest of it. */
export interface ObjectAnswer {
  readonly ContentLength?: number | undefined;
  readonly ETag?: string | undefined;
  readonly Body?: unknown;
}

/** Asks for the object from this byte on; with the tag of what was read before. Null where there is none. */
export type Ask = (beginBytes: number, etag: string | undefined) => Promise<ObjectAnswer | null>;

/** So many broken connections in a row, with nothing read between them, are no passing trouble. */
const mostInterruptions = 3;

/** An object that is read once, from its beginning; a connection that breaks is opened again where it broke. */
export class ObjectReader implements OpenFile {
  readonly #ask: Ask;
  readonly #sizeBytes: number;
  readonly #etag: string | undefined;
  #stream: Readable;
  #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #positionBytes = 0;
  #interruptions = 0;

  private constructor(ask: Ask, answer: ObjectAnswer) {
    this.#ask = ask;
    this.#sizeBytes = answer.ContentLength ?? 0;
    this.#etag = answer.ETag;
    this.#stream = streamOf(answer);
    this.#chunks = this.#stream[Symbol.asyncIterator]();
  }

  static async open(ask: Ask): Promise<OpenFile | null> {
    const answer = await ask(0, undefined);
    return answer && new ObjectReader(ask, answer);
  }

  async sizeBytes(): Promise<number> {
    return this.#sizeBytes;
  }

  async read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    assert(positionBytes === this.#positionBytes, "an object is read from its beginning on");
    let filled = 0;
    for (const buffer of buffers) {
      for (let at = 0; at < buffer.length; ) {
        if (this.#rest.length === 0) this.#rest = await this.#next();
        if (this.#rest.length === 0) return filled;
        const piece = this.#rest.subarray(0, buffer.length - at);
        buffer.set(piece, at);
        this.#rest = this.#rest.subarray(piece.length);
        at += piece.length;
        filled += piece.length;
        this.#positionBytes += piece.length;
      }
    }
    return filled;
  }

  async write(): Promise<number> {
    throw new Error("an object that was opened for reading is not written");
  }

  async sync(): Promise<void> {}

  async close(): Promise<void> {
    this.#stream.destroy();
  }

  /** Nothing at the end. */
  async #next(): Promise<Uint8Array> {
    for (;;) {
      try {
        const { done, value } = await this.#chunks.next();
        if (!done && value.length === 0) continue;
        if (!done) {
          this.#interruptions = 0;
          return value;
        }
        if (this.#positionBytes >= this.#sizeBytes) return new Uint8Array(0);
        throw new Error(`the connection ended at byte ${this.#positionBytes} of ${this.#sizeBytes}`);
      } catch (error) {
        this.#interruptions += 1;
        if (this.#interruptions > mostInterruptions) throw error;
        const answer = await this.#ask(this.#positionBytes, this.#etag);
        if (answer === null) throw error;
        this.#stream.destroy();
        this.#stream = streamOf(answer);
        this.#chunks = this.#stream[Symbol.asyncIterator]();
      }
    }
  }
}

function streamOf({ Body }: ObjectAnswer): Readable {
  // In Node every body is one, with some functions added to it.
  return Body as Readable;
}
