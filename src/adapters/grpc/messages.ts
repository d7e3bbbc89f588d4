/**
 * gRPC's messages inside of a stream's data: a byte that says whether it is compressed, four with its length, the message.
 * What follows the first `headBytes` of a message is read to where its receiver wants it.
 */
import { LockstepError } from "../../core/errors.ts";
import { maxMessageBytes } from "../../core/limits.ts";

const prefixBytes = 5;

export interface MessageEvents {
  /** A message begins; says where the rest of it is wanted, or null where it is not. */
  place(head: Uint8Array, restBytes: number): Uint8Array | null;
  /** All of it is there. */
  arrived(head: Uint8Array, rest: Uint8Array | null): void;
}

/** What stands before the bytes of a message: to be sent in front of them. */
export function messagePrefix(head: Uint8Array, restBytes: number): Uint8Array {
  const bytes = new Uint8Array(prefixBytes + head.byteLength);
  new DataView(bytes.buffer).setUint32(1, head.byteLength + restBytes);
  bytes.set(head, prefixBytes);
  return bytes;
}

export class MessageReader {
  readonly #headBytes: number;
  readonly #events: MessageEvents;
  readonly #mostBytes: number;
  /** Prefix and head, as far as they are there. */
  #begun: Uint8Array;
  #begunGot = 0;
  /** Where the rest goes; null while there is none, or nobody wants it. */
  #into: Uint8Array | null = null;
  /** Of the rest. */
  #got = 0;
  #restBytes: number | null = null;

  constructor(headBytes: number, events: MessageEvents, mostBytes = maxMessageBytes) {
    this.#headBytes = headBytes;
    this.#mostBytes = mostBytes;
    this.#events = events;
    this.#begun = new Uint8Array(prefixBytes + headBytes);
  }

  room(): Uint8Array | null {
    return this.#restBytes !== null && this.#into ? this.#into.subarray(this.#got) : null;
  }

  read(count: number): void {
    this.#got += count;
    this.#finish();
  }

  feed(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.byteLength) {
      if (this.#restBytes !== null) {
        const part = bytes.subarray(at, at + this.#restBytes - this.#got);
        this.#into?.set(part, this.#got);
        at += part.byteLength;
        this.read(part.byteLength);
        continue;
      }
      const part = bytes.subarray(at, at + this.#beginBytes - this.#begunGot);
      this.#begun.set(part, this.#begunGot);
      this.#begunGot += part.byteLength;
      at += part.byteLength;
      if (this.#begunGot >= prefixBytes && this.#begunGot === this.#beginBytes) this.#begin();
    }
  }

  /** Of prefix and head: a message may be shorter than its head should be. */
  get #beginBytes(): number {
    if (this.#begunGot < prefixBytes) return prefixBytes;
    return prefixBytes + Math.min(this.#headBytes, this.#messageBytes);
  }

  get #messageBytes(): number {
    return new DataView(this.#begun.buffer).getUint32(1);
  }

  #begin(): void {
    const bytes = this.#messageBytes;
    if (this.#begun[0] !== 0) throw new LockstepError("incompatible", "A peer sent a compressed message.");
    if (bytes > this.#mostBytes) {
      throw new LockstepError(
        "incompatible",
        `A peer sent a message of ${bytes} bytes; ${this.#mostBytes} are allowed.`,
      );
    }
    const head = this.#begun.subarray(prefixBytes, this.#begunGot);
    this.#restBytes = bytes - head.byteLength;
    this.#got = 0;
    this.#into = this.#events.place(head, this.#restBytes);
    this.#finish();
  }

  #finish(): void {
    if (this.#got < this.#restBytes!) return;
    const head = this.#begun.subarray(prefixBytes, this.#begunGot);
    const into = this.#into;
    this.#begun = new Uint8Array(prefixBytes + this.#headBytes);
    this.#begunGot = 0;
    this.#into = null;
    this.#restBytes = null;
    this.#events.arrived(head, into);
  }
}
