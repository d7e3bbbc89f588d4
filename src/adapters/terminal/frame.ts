import type { Writable } from "node:stream";
import { visibleWidth } from "./lines.ts";

const showCursor = "\u001b[?25h";
const hideCursor = "\u001b[?25l";
const clearToLineEnd = "\u001b[K";
const clearBelow = "\u001b[J";

/**
 * A few lines at the bottom of a terminal that are redrawn in place, below lines that stay. Every change is one write,
 * and nothing is erased before its replacement is there, so that nothing flickers. Lines must be narrower than the
 * terminal. The cursor is hidden from the first drawing to the end, also when the process ends without one.
 */
export class Frame {
  readonly #stdout: Writable;
  readonly #columns: () => number;
  #drawn: readonly string[] = [];
  #open = false;
  readonly #restore = (): void => {
    this.#stdout.write(showCursor);
  };

  constructor(stdout: Writable, columns: () => number) {
    this.#stdout = stdout;
    this.#columns = columns;
  }

  /** Puts `lines` in place of those that are drawn, and `above`, to stay, on top of them. */
  draw(lines: readonly string[], above: readonly string[] = []): void {
    const same = lines.length === this.#drawn.length && lines.every((line, index) => line === this.#drawn[index]);
    if (same && above.length === 0) return;
    if (lines.length === 0 && this.#drawn.length === 0) {
      this.#write(above.map((line) => `${line}\n`).join(""));
      return;
    }
    // Lines that stay may be wider than the terminal, and then fill rows that the frame had: those are erased first.
    const stay = above.length === 0 ? "" : clearBelow + above.map((line) => `${line}\n`).join("");
    const move = lines.map((line) => line + clearToLineEnd).join("\n");
    this.#write(this.#begin() + stay + move + clearBelow);
    this.#drawn = [...lines];
  }

  /** Lines that stay, above the frame. */
  print(above: readonly string[]): void {
    this.draw(this.#drawn, above);
  }

  /** Leaves the lines as they are, or takes them away, and gives the cursor back. May be called again. */
  end(leave: "keep" | "erase"): void {
    if (!this.#open) return;
    this.#write(leave === "keep" ? `\n${showCursor}` : `${this.#begin()}${clearBelow}${showCursor}`);
    process.off("exit", this.#restore);
    this.#drawn = [];
    this.#open = false;
  }

  /** Codes that bring the cursor to the frame's first column of its first line. */
  #begin(): string {
    let codes = "";
    if (!this.#open) {
      this.#open = true;
      process.once("exit", this.#restore);
      codes = hideCursor;
    }
    if (this.#drawn.length === 0) return codes;
    // A terminal that was made narrower since has broken the lines into more rows.
    const columns = Math.max(1, this.#columns());
    const rows = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(visibleWidth(line) / columns)), 0);
    return `${codes}\r${rows > 1 ? `\u001b[${rows - 1}A` : ""}`;
  }

  #write(text: string): void {
    if (!this.#stdout.destroyed && !this.#stdout.writableEnded) this.#stdout.write(text);
  }
}
