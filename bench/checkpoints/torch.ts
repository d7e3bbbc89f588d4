/** `torch.save` and `torch.load` of the same state, when asked: bench/peers/torch_checkpoint.py, which waits for words. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import { peerProgram, pythonCommand } from "../python.ts";

export class Torch {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  private constructor(file: string, weightCount: number) {
    const words = ["-B", peerProgram("torch_checkpoint.py"), file, String(weightCount)];
    this.#process = spawn(pythonCommand("python"), words, { stdio: ["pipe", "pipe", "inherit"] });
    this.#reader = createInterface({ input: this.#process.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** The reason in words where it does not start. */
  static async open(file: string, weightCount: number): Promise<Torch | string> {
    const torch = new Torch(file, weightCount);
    try {
      await torch.#next();
      return torch;
    } catch (error) {
      await torch.close();
      return String(error);
    }
  }

  /** Durable, as a checkpoint is: with fsync. In milliseconds. */
  save(): Promise<number> {
    return this.#ask("save");
  }

  /** In milliseconds. */
  load(): Promise<number> {
    return this.#ask("load");
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("close", resolve));
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.stdin!.end();
      await ended;
    }
    this.#reader.close();
  }

  async #ask(word: string): Promise<number> {
    this.#process.stdin!.write(`${word}\n`);
    return Number(await this.#next());
  }

  async #next(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error("torch_checkpoint.py has ended");
    return value;
  }
}
