/** A cluster as `deploy/scripts/up --target k8s` makes it, in whatever Kubernetes KUBECONFIG names; and what is known of it. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseLogLine } from "../../src/adapters/fs/process-log.ts";
import type { LogLine } from "../../src/core/log-reading.ts";
import { authorityWords, DeployedCluster, firstWithin, ran, sure } from "../fixtures/deployed-cluster.ts";

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
      const built = await ran("deploy/docker/build", ["--save", folder, ...authorityWords()]);
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

export class KubernetesCluster extends DeployedCluster {
  static async open(): Promise<KubernetesCluster> {
    return new KubernetesCluster("k8s", await DeployedCluster.makeHome());
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

  async whenPods(
    what: string,
    component: string,
    matches: (pods: readonly Pod[]) => boolean,
    limitMs = 240_000,
  ): Promise<readonly Pod[]> {
    const found = await firstWithin(limitMs, async () => {
      const pods = await this.pods(component);
      return matches(pods) ? pods : null;
    });
    if (found) return found;
    throw new Error(`${what} did not happen: ${await this.kubectl("get", "pods", "-o", "wide")}`);
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

  override async logsTail(): Promise<string> {
    const pods = await this.kubectl("get", "pods", "-o", "wide").catch(String);
    const lines = (await this.logLines().catch(() => [])).slice(-60).map((line) => JSON.stringify(line));
    return [pods, ...lines].join("\n");
  }

  override async close(): Promise<void> {
    await super.close();
    await ran("kubectl", ["delete", "namespace", this.name, "--ignore-not-found", "--wait=true", "--timeout=120s"]);
  }
}
