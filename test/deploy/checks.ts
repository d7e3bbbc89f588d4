/** All checks of a cluster's manifests, by name; one that finds nothing wrong answers with an empty list. */
import { budgets, certificates, etcdMembers, options, settings } from "./cluster.ts";
import type { Manifest } from "./manifests.ts";
import { network } from "./network.ts";
import { type Check, closed, faults, images, probes, resources, restricted, sharedMemory } from "./pods.ts";
import { mounts, references, selectors, variables } from "./references.ts";

export const checks: Readonly<Record<string, Check>> = {
  restricted,
  closed,
  images,
  probes,
  resources,
  faults,
  sharedMemory,
  references,
  mounts,
  selectors,
  variables,
  network,
  etcdMembers,
  budgets,
  settings,
  certificates,
  options,
};

export const allFaults: Check = (manifests: readonly Manifest[]) =>
  Object.entries(checks).flatMap(([name, check]) => check(manifests).map((why) => `${name}: ${why}`));
