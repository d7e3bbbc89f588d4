/**
 * Rows of bytes, all of one length, by their number: in memory, or in a file where they would take more memory than they may. A
 * row of a file is read when it is asked for, and the system keeps what is read often.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { assert, LockstepError } from "../../core/errors.ts";

export interface RowStore {
  readonly count: number;
  /**
   * Fills `into` with what is in the row from the byte `begin` on: from its first, where it is left out. What it has no room for is
   * taken from the rows behind it, which must be there.
   */
  read(row: number, into: Uint8Array, begin?: number): void;
  /** All rows, some whole ones at a time, to be looked at before the next ones are asked for. */
  pieces(): Iterable<Uint8Array>;
}

const blockBytes = 1 << 22;
/** Of a file, read at once where all of it is gone through; or one row that is larger. */
const pieceBytes = 1 << 20;

/** Rows in memory, in blocks, so that adding some never copies the others. */
export class MemoryRows implements RowStore {
  readonly #rowBytes: number;
  readonly #rowsInBlock: number;
  readonly #blocks: Uint8Array[] = [];
  #count = 0;

  /** @param mostRows there will be no more: no block is larger than they are */
  constructor(rowBytes: number, mostRows = Number.POSITIVE_INFINITY) {
    this.#rowBytes = rowBytes;
    this.#rowsInBlock = Math.max(1, Math.floor(Math.min(blockBytes / rowBytes, mostRows)));
  }

  get count(): number {
    return this.#count;
  }

  get sizeBytes(): number {
    return this.#count * this.#rowBytes;
  }

  /** Whole rows, one after the other. */
  append(rows: Uint8Array): void {
    assert(rows.length % this.#rowBytes === 0, "rows are added whole");
    for (let at = 0; at < rows.length; ) {
      const inBlock = this.#count % this.#rowsInBlock;
      if (inBlock === 0) this.#blocks.push(new Uint8Array(this.#rowsInBlock * this.#rowBytes));
      const room = (this.#rowsInBlock - inBlock) * this.#rowBytes;
      const part = rows.subarray(at, at + room);
      this.#blocks.at(-1)!.set(part, inBlock * this.#rowBytes); // there is a block with room
      this.#count += part.length / this.#rowBytes;
      at += part.length;
    }
  }

  /** The rows where they lie: whoever changes what is in a piece changes them. */
  *pieces(): Generator<Uint8Array> {
    for (let first = 0; first < this.#count; first += this.#rowsInBlock) {
      const count = Math.min(this.#rowsInBlock, this.#count - first);
      yield this.#blocks[first / this.#rowsInBlock]!.subarray(0, count * this.#rowBytes);
    }
  }

  read(row: number, into: Uint8Array, begin = 0): void {
    checkRow(row, this.#count);
    let block = Math.floor(row / this.#rowsInBlock);
    let at = (row % this.#rowsInBlock) * this.#rowBytes + begin;
    for (let filled = 0; filled < into.length; at = 0) {
      const part = this.#blocks[block++]!.subarray(at, at + into.length - filled); // the rows are there
      into.set(part, filled);
      filled += part.length;
    }
  }
}

// Whoever has let go of the rows cannot read them any more, so the file may be closed.
const closing = new FinalizationRegistry<number>(closeSync);

/** Rows of a file that nobody changes while it is open, the first of them after `offsetBytes`. */
export class FileRows implements RowStore {
  readonly count: number;
  readonly #rowBytes: number;
  readonly #offsetBytes: number;
  readonly #file: string;
  readonly #descriptor: number;

  constructor(file: string, rowBytes: number, count: number, offsetBytes = 0) {
    this.#file = file;
    this.#rowBytes = rowBytes;
    this.#offsetBytes = offsetBytes;
    this.count = count;
    this.#descriptor = openSync(file, "r");
    closing.register(this, this.#descriptor);
  }

  *pieces(): Generator<Uint8Array> {
    const most = Math.max(1, Math.floor(pieceBytes / this.#rowBytes));
    for (let row = 0; row < this.count; row += most) {
      const piece = new Uint8Array(Math.min(most, this.count - row) * this.#rowBytes);
      this.#fill(row, piece, 0);
      yield piece;
    }
  }

  read(row: number, into: Uint8Array, begin = 0): void {
    checkRow(row, this.count);
    this.#fill(row, into, begin);
  }

  #fill(row: number, into: Uint8Array, begin: number): void {
    for (let filled = 0; filled < into.length; ) {
      const place = this.#offsetBytes + row * this.#rowBytes + begin + filled;
      const read = readSync(this.#descriptor, into, filled, into.length - filled, place);
      if (read === 0) {
        throw new LockstepError(
          "invalid-data",
          `${this.#file} has become shorter while it was in use: row ${row} is gone.`,
          {
            hint: "Leave data files alone while a job trains on them.",
          },
        );
      }
      filled += read;
    }
  }
}

function checkRow(row: number, count: number): void {
  if (row >= 0 && row < count) return;
  throw new LockstepError("internal", `Sample ${row} was asked for; there are ${count}.`);
}
