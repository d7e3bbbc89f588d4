/** What is deployed to Kubernetes, rendered: every overlay, and every component in a cluster that it makes sense in. */

import { readdirSync } from "node:fs";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { runProgram } from "../../src/adapters/system/programs.ts";
import type { Kustomize } from "../fixtures/kustomize.ts";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const folder = join(root, "deploy", "k8s");

/** A value of YAML; manifests are looked through by paths, and what is not there is undefined. */
// biome-ignore lint/suspicious/noExplicitAny: the schemas say what it is, and each check looks at what it needs.
export type Value = any;
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Value;
  readonly [key: string]: Value;
}

export const nameOf = ({ kind, metadata }: Manifest) => `${kind}/${metadata.name}`;
export const foldersIn = (kind: "overlays" | "components") => readdirSync(join(folder, kind)).sort();

/** Clusters beside the overlays, so that each component is rendered, and those that exclude each other with others. */
export const variants: Readonly<Record<string, readonly string[]>> = {
  "own disks": ["tls-secrets", "data-configmap", "examples"],
  "own disks, cert-manager, a volume of data": ["tls-cert-manager", "data-volume", "examples", "job-name"],
  "a shared volume": ["tls-secrets", "data-volume", "shared-checkpoints", "examples"],
  "object storage": ["tls-secrets", "data-configmap", "object-storage-checkpoints", "examples"],
  "GPUs with disks of their own": ["tls-secrets", "data-volume", "gpu", "monitoring", "examples"],
};

export async function renderFolder([program, ...words]: Kustomize, path: string): Promise<readonly Manifest[]> {
  const told = await runProgram(program, [...words, path]);
  if (!told.succeeded) throw new Error(`${relative(root, path)} cannot be rendered: ${told.failure}`);
  return parseManifests(told.output);
}

export function parseManifests(text: string): readonly Manifest[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as Manifest; // whether it is one, the schemas say
  });
}

export const overlay = (name: string) => join(folder, "overlays", name);

/** A kustomization of the base with these components, for as long as `use` takes. */
export async function renderVariant(command: Kustomize, components: readonly string[]): Promise<readonly Manifest[]> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "lockstep-variant-")));
  try {
    const where = (name: string) => (name === "examples" ? join(root, "examples") : join(folder, "components", name));
    const text = [
      "apiVersion: kustomize.config.k8s.io/v1beta1",
      "kind: Kustomization",
      "namespace: another",
      `resources: [${relative(directory, join(folder, "base"))}]`,
      "components:",
      ...components.map((name) => `  - ${relative(directory, where(name))}`),
    ];
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "kustomization.yaml"), `${text.join("\n")}\n`);
    return await renderFolder(command, directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
