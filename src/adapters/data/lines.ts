/** A text file line by line, however large it is. */
import { open } from "node:fs/promises";
import { isBlank } from "./csv-row.ts";
import { refuseUtf16, unreadable } from "./read-file.ts";

export interface Line {
  /** Without its end, which is LF or CRLF. */
  readonly text: string;
  /** From 1. */
  readonly number: number;
  readonly end: "\n" | "\r\n";
}

const chunkSizeBytes = 256 * 1024;

/** Blank lines at the end of the file are left out, as where a file is read at once, and a byte-order mark at its start. */
export async function* linesOf(file: string): AsyncGenerator<Line> {
  const handle = await open(file).catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  try {
    const decoder = new TextDecoder();
    const buffer = Buffer.alloc(chunkSizeBytes);
    let rest = "";
    let number = 0;
    let blank: Line[] = [];
    for (let positionBytes = 0; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, positionBytes).catch((cause: unknown) => {
        throw unreadable(file, cause);
      });
      if (positionBytes === 0) refuseUtf16(file, buffer.subarray(0, bytesRead));
      positionBytes += bytesRead;
      const isEnd = bytesRead === 0;
      const pieces = (rest + decoder.decode(buffer.subarray(0, bytesRead), { stream: !isEnd })).split("\n");
      rest = isEnd ? "" : pieces.pop()!;
      for (const piece of pieces) {
        const isWindows = piece.endsWith("\r");
        const text = isWindows ? piece.slice(0, -1) : piece;
        const line: Line = { text, number: ++number, end: isWindows ? "\r\n" : "\n" };
        if (isBlank(line.text)) {
          blank.push(line);
          continue;
        }
        yield* blank;
        blank = [];
        yield line;
      }
      if (isEnd) return;
    }
  } finally {
    await handle.close();
  }
}
