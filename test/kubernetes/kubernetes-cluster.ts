/** A cluster as `deploy/scripts/up --target k8s` makes it, in whatever Kubernetes KUBECONFIG names; and what is known of it. */
import { spawn } from "node:child_process";
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseLogLine } from "../../src/adapters/fs/process-log.ts";
import type { LogLine } from "../../src/core/log-reading.ts";
import type { ClusterStatus } from "../../src/core/status.ts";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const pollMs = 250;

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function ran(program: string, words: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(program, words, {
      cwd: root,
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", (error) => resolve({ code: 127, stdout, stderr: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, stdout, stderr }));
  });
}

async function sure(program: string, words: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const { code, stdout, stderr } = await ran(program, words, environment);
  if (code !== 0)
    throw new Error(`${program} ${words.join(" ")} ended with ${code}: ${stdout.slice(-2000)}${stderr.slice(-4000)}`);
  return stdout;
}

/** Why there is no Kubernetes to test on, or null. */
export async function whyNoKubernetes(): Promise<string | null> {
  if (!process.env.KUBECONFIG) return "KUBECONFIG names no cluster (test/kubernetes/kube makes one; see its README)";
  const { code, stderr } = await ran("kubectl", ["get", "--raw", "/readyz"]);
  return code === 0 ? null : `the cluster of KUBECONFIG does not answer (${stderr.trim().split("\n").at(-1)})`;
}

/** The program that loads images into nodes, and breaks them: `load FILE…`, `node stop|start|cut|join NAME`. */
export const nodeProgram = process.env.LOCKSTEP_KUBE ?? null;
export const nodes = (...words: string[]) => sure(nodeProgram!, words);

/** Brings the images into the nodes: those in $LOCKSTEP_IMAGES, or what is built now. */
export async function loadImages(): Promise<void> {
  const given = process.env.LOCKSTEP_IMAGES;
  const folder = given ?? (await mkdtemp(join(tmpdir(), "lockstep-images-")));
  try {
    if (!given) {
      const authorities = process.env.NODE_EXTRA_CA_CERTS ?? process.env.PIP_CERT;
      const built = await ran("deploy/docker/build", [
        "--save",
        folder,
        ...(authorities ? ["--certificates", authorities] : []),
      ]);
      assert.equal(built.code, 0, built.stderr.slice(-4000));
    }
    const archives = (await readdir(folder)).filter((name) => name.endsWith(".tar")).map((name) => join(folder, name));
    await nodes("load", ...archives);
  } finally {
    if (!given) await rm(folder, { recursive: true, force: true });
  }
}

export interface Pod {
  readonly name: string;
  readonly node: string;
  readonly ready: boolean;
  readonly restarts: number;
  /** Why its container ended last; "" if it never has. */
  readonly ended: string;
}

export class KubernetesCluster {
  readonly name = `test-${process.pid}`;
  readonly #home: string;

  private constructor(home: string) {
    this.#home = home;
  }

  static async open(): Promise<KubernetesCluster> {
    return new KubernetesCluster(await mkdtemp(join(tmpdir(), "lockstep-kubernetes-")));
  }

  /** Runs a script of deploy/scripts, and expects it to succeed. */
  script(verb: string, ...words: string[]): Promise<string> {
    return sure(join(root, "deploy/scripts", verb), [...words, ...this.#where], this.#environment);
  }

  kubectl(...words: string[]): Promise<string> {
    return sure("kubectl", ["--namespace", this.name, ...words]);
  }

  async pods(component: string): Promise<readonly Pod[]> {
    const list = await this.kubectl("get", "pods", "-l", `app.kubernetes.io/component=${component}`, "-o", "json");
    // biome-ignore lint/suspicious/noExplicitAny: kubectl's own words, of which these few are read.
    return JSON.parse(list).items.map(({ metadata, spec, status }: any) => ({
      name: metadata.name,
      node: spec.nodeName ?? "",
      ready: status.conditions?.some(
        (one: { type: string; status: string }) => one.type === "Ready" && one.status === "True",
      ),
      restarts: status.containerStatuses?.[0]?.restartCount ?? 0,
      ended: status.containerStatuses?.[0]?.lastState?.terminated?.reason ?? "",
    }));
  }

  /** What a coordinator says, or null while none answers. */
  async status(): Promise<ClusterStatus | null> {
    const { stdout } = await ran(join(root, "deploy/scripts/status"), ["--json", ...this.#where], this.#environment);
    return stdout.startsWith("{") ? (JSON.parse(stdout) as ClusterStatus) : null;
  }

  /** The first status that matches; a run that has failed, or is over too early, never will. */
  async when(what: string, matches: (status: ClusterStatus) => boolean, limitMs = 240_000): Promise<ClusterStatus> {
    let last: ClusterStatus | null = null;
    const found = await this.#poll(limitMs, async () => {
      last = (await this.status()) ?? last;
      if (last && matches(last)) return last;
      if (last?.state === "failed") throw new Error(`${what} did not happen: ${last.reason}\n${await this.logsTail()}`);
      return null;
    });
    if (found) return found;
    const pods = await this.kubectl("get", "pods", "-o", "wide").catch(String);
    throw new Error(
      `${what} did not happen in ${limitMs / 1000} s: ${JSON.stringify(last)}\n${pods}\n${await this.logsTail()}`,
    );
  }

  async whenPods(
    what: string,
    component: string,
    matches: (pods: readonly Pod[]) => boolean,
    limitMs = 240_000,
  ): Promise<readonly Pod[]> {
    const found = await this.#poll(limitMs, async () => {
      const pods = await this.pods(component);
      return matches(pods) ? pods : null;
    });
    if (found) return found;
    throw new Error(`${what} did not happen: ${await this.kubectl("get", "pods", "-o", "wide")}`);
  }

  async #poll<T>(limitMs: number, look: () => Promise<T | null>): Promise<T | null> {
    for (const untilMs = performance.now() + limitMs; performance.now() < untilMs; ) {
      const found = await look();
      if (found !== null) return found;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    return null;
  }

  /** What workers and coordinators have logged that are there, in the order of time; also before their containers were started last. */
  async logLines(): Promise<readonly LogLine[]> {
    const pods = [...(await this.pods("worker")), ...(await this.pods("coordinator"))];
    const texts = await Promise.all(
      pods.flatMap(({ name, restarts }) =>
        (restarts > 0 ? [["--previous"], []] : [[]]).map(async (words) => {
          const { stdout } = await ran("kubectl", [
            "--namespace",
            this.name,
            "logs",
            name,
            "--request-timeout=5s",
            ...words,
          ]);
          return stdout.split("\n").flatMap((line) => parseLogLine(name, line) ?? []);
        }),
      ),
    );
    return texts.flat().sort((a, b) => a.atMs - b.atMs);
  }

  async logsTail(): Promise<string> {
    const lines = await this.logLines().catch(() => []);
    return lines
      .slice(-60)
      .map((line) => JSON.stringify(line))
      .join("\n");
  }

  async close(): Promise<void> {
    await ran(join(root, "deploy/scripts/down"), ["--purge", ...this.#where], this.#environment);
    await ran("kubectl", ["delete", "namespace", this.name, "--ignore-not-found", "--wait=true", "--timeout=120s"]);
    await rm(this.#home, { recursive: true, force: true });
  }

  get #where(): readonly string[] {
    return ["--target", "k8s", "--name", this.name];
  }

  get #environment(): NodeJS.ProcessEnv {
    return { XDG_STATE_HOME: this.#home };
  }
}

/** Names of the workers that are members now. */
export function membersOf(status: ClusterStatus): readonly string[] {
  return status.processes
    .filter(({ role, rank }) => role === "worker" && rank !== null)
    .map(({ workerId }) => (workerId ?? "").split(".")[0]!)
    .sort();
}

export function leaderOf(status: ClusterStatus): string | null {
  return status.processes.find(({ leader }) => leader)?.workerId?.split(".")[0] ?? null;
}
