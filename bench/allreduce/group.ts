/** Processes that all-reduce together, in turns with others: lockstep's, or Gloo's. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { localCertificates } from "../../src/cli/local-certificates.ts";
import type { WireFormat } from "../../src/core/wire.ts";
import { peerProgram, pythonCommand } from "../python.ts";

/** What rank.ts is told, one JSON line each. */
export type Order =
  /** All get ready to leave each other, and say where they are. */
  | { readonly kind: "open" }
  | {
      readonly kind: "join";
      /** Of the row in memory, and in what form it travels. */
      readonly sizeBytes: number;
      readonly wire: WireFormat;
      readonly rank: number;
      readonly addresses: readonly string[];
    }
  | { readonly kind: "reduce"; readonly repeats: number };

/** What it answers. */
export type Answer =
  | { readonly address: string }
  | { readonly joined: true }
  /** Of one all-reduce. */
  | { readonly milliseconds: number };

export interface Group {
  /** Rows of another size from now on. Gloo knows one form. */
  begin(sizeBytes: number, wire: WireFormat): Promise<void>;
  /** Milliseconds of one of `repeats` all-reduces, as the last to end has measured. */
  reduce(repeats: number): Promise<number>;
  close(): Promise<void>;
}

const rankProgram = fileURLToPath(new URL("rank.ts", import.meta.url));
const glooProgram = peerProgram("gloo_allreduce.py");

/**
 * Lockstep's own. One thread a rank sums rows of one size after the other, so that its code is as warm for the large ones as
 * in a training of many steps.
 *
 * @param tls a folder of certificates for each rank; null: in plain text
 */
export function lockstepGroup(world: number, tls: readonly string[] | null): Group {
  const children = Array.from(
    { length: world },
    (_, rank) => new Child(process.execPath, ["--import", "tsx", rankProgram, ...(tls ? [tls[rank]!] : [])]),
  );
  const all = (orderOf: (rank: number) => Order) =>
    Promise.all(children.map((child, rank) => child.ask(JSON.stringify(orderOf(rank)))));
  return {
    async begin(sizeBytes, wire) {
      const answers = await all(() => ({ kind: "open" }));
      const addresses = answers.map((text) => (JSON.parse(text) as { address: string }).address);
      await all((rank) => ({ kind: "join", sizeBytes, wire, rank, addresses }));
    },
    async reduce(repeats) {
      const answers = await all(() => ({ kind: "reduce", repeats }));
      return Math.max(...answers.map((text) => (JSON.parse(text) as { milliseconds: number }).milliseconds));
    },
    close: () => closeAll(children),
  };
}

/** Certificates for all ranks, in folders below `folder`. */
export async function certificatesFor(world: number, folder: string): Promise<string[]> {
  const { folderFor, operator } = await localCertificates(join(folder, `world-${world}`), "bench", null);
  operator.close();
  return Promise.all(Array.from({ length: world }, (_, rank) => folderFor("worker", `worker-${rank}`)));
}

/** In `folder` its ranks find each other. */
export async function glooGroup(world: number, folder: string): Promise<Group> {
  const file = join(folder, `gloo-${world}`);
  const words = (rank: number) => ["-B", glooProgram, String(rank), String(world), file];
  const children = Array.from({ length: world }, (_, rank) => new Child(pythonCommand("python"), words(rank)));
  const all = async (line: string) => (await Promise.all(children.map((child) => child.ask(line)))).map(Number);
  let size = 0;
  try {
    await Promise.all(children.map((child) => child.next()));
  } catch (error) {
    await closeAll(children);
    throw error;
  }
  return {
    async begin(sizeBytes) {
      size = sizeBytes;
      await all(`${size} 1`);
    },
    reduce: async (repeats) => Math.max(...(await all(`${size} ${repeats}`))),
    close: () => closeAll(children),
  };
}

async function closeAll(children: readonly Child[]): Promise<void> {
  await Promise.all(children.map((child) => child.close()));
}

/** A process that answers each line by one. */
class Child {
  readonly #process: ChildProcess;
  readonly #reader: Interface;
  readonly #lines: AsyncIterator<string>;
  readonly #program: string;

  constructor(program: string, words: readonly string[]) {
    this.#program = words.includes(rankProgram) ? "rank.ts" : "gloo_allreduce.py";
    this.#process = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
    this.#process.on("error", () => undefined); // its output ends, and that is reported
    this.#process.stdin!.on("error", () => undefined);
    this.#reader = createInterface({ input: this.#process.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  ask(line: string): Promise<string> {
    this.#process.stdin!.write(`${line}\n`);
    return this.next();
  }

  async next(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`${this.#program} has ended`);
    return value;
  }

  /** Whoever waits for others that have ended does not end by itself. */
  async close(): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode === null && signalCode === null && this.#process.pid !== undefined) {
      const ended = new Promise((resolve) => this.#process.once("close", resolve));
      this.#process.kill("SIGKILL");
      await ended;
    }
    this.#reader.close();
  }
}
