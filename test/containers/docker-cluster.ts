/** A cluster as `deploy/scripts/up --target docker` makes it. */
import { DeployedCluster, ran, sure } from "../fixtures/deployed-cluster.ts";

/** Standard output of `docker …words`. */
export async function docker(...words: string[]): Promise<string> {
  return (await sure("docker", words)).trim();
}

/** Why containers cannot be run here, or null. */
export async function whyNoEngine(): Promise<string | null> {
  const { code, stdout, stderr } = await ran("docker", ["info", "--format", "{{.ServerVersion}}"]);
  return code === 0 ? null : `no Docker engine answers (${`${stdout}${stderr}`.trim().split("\n").at(-1)})`;
}

export class DockerCluster extends DeployedCluster {
  static async open(): Promise<DockerCluster> {
    return new DockerCluster("docker", await DeployedCluster.makeHome());
  }

  container(node: string): string {
    return `${this.name}-${node}`;
  }

  /** What `docker ps` has of it. */
  ps(...words: string[]): Promise<string> {
    return docker("ps", "--quiet", "--filter", `label=lockstep.cluster=${this.name}`, ...words);
  }
}
