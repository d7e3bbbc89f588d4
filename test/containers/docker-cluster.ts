/** A cluster as `deploy/scripts/up --target docker` makes it, and what happens to containers: kills, cuts, restarts. */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ClusterStatus } from "../../src/core/status.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pollMs = 250;

export interface Ran {
  readonly code: number;
  readonly output: string;
}

/** Runs a program to its end; its output, both streams in one. */
export function ran(program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, env: { ...process.env, ...environment } });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => resolve({ code: 127, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)("docker", args, { maxBuffer: 64 << 20 });
  return stdout.trim();
}

/** Why containers cannot be run here, or null. */
export async function whyNoEngine(): Promise<string | null> {
  const { code, output } = await ran("docker", ["info", "--format", "{{.ServerVersion}}"]);
  return code === 0 ? null : `no Docker engine answers (${output.trim().split("\n").at(-1)})`;
}

export class DockerCluster {
  readonly name = `test-${process.pid}`;
  readonly #home: string;

  private constructor(home: string) {
    this.#home = home;
  }

  static async open(): Promise<DockerCluster> {
    return new DockerCluster(await mkdtemp(join(tmpdir(), "lockstep-containers-")));
  }

  /** Runs a script of deploy/scripts, and expects it to succeed. */
  async script(verb: string, ...args: string[]): Promise<string> {
    const { code, output } = await this.tryScript(verb, ...args);
    if (code !== 0) throw new Error(`${verb} ${args.join(" ")} ended with ${code}: ${output}`);
    return output;
  }

  tryScript(verb: string, ...args: string[]): Promise<Ran> {
    const words = [...args, "--target", "docker", "--name", this.name];
    return ran(join(root, "deploy/scripts", verb), words, { XDG_STATE_HOME: this.#home });
  }

  container(node: string): string {
    return `${this.name}-${node}`;
  }

  /** What the active coordinator says, or null while none answers. */
  async status(): Promise<ClusterStatus | null> {
    const { stdout } = await promisify(execFile)(
      join(root, "deploy/scripts/status"),
      ["--json", "--target", "docker", "--name", this.name],
      { env: { ...process.env, XDG_STATE_HOME: this.#home } },
    ).catch(() => ({ stdout: "" }));
    return stdout.startsWith("{") ? (JSON.parse(stdout) as ClusterStatus) : null;
  }

  /** The first status that matches; a run that has failed never will. */
  async when(what: string, matches: (status: ClusterStatus) => boolean, limitMs = 180_000): Promise<ClusterStatus> {
    const untilMs = performance.now() + limitMs;
    for (let last: ClusterStatus | null = null; ; ) {
      last = (await this.status()) ?? last;
      if (last && matches(last)) return last;
      if (last?.state === "failed" || performance.now() > untilMs) {
        throw new Error(`${what} did not happen: ${JSON.stringify(last)}\n${await this.logs()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  async logs(): Promise<string> {
    const { output } = await this.tryScript("logs");
    return output.split("\n").slice(-60).join("\n");
  }

  async close(): Promise<void> {
    await this.tryScript("down", "--purge");
    await rm(this.#home, { recursive: true, force: true });
  }
}

/** Names of the workers that are members now. */
export function membersOf(status: ClusterStatus): string[] {
  return status.processes
    .filter(({ role, rank }) => role === "worker" && rank !== null)
    .map(({ workerId }) => (workerId ?? "").split(".")[0]!)
    .sort();
}

export function leaderOf(status: ClusterStatus): string | null {
  return status.processes.find(({ leader }) => leader)?.workerId?.split(".")[0] ?? null;
}
