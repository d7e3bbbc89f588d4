import assert from "node:assert/strict";
import { before, test } from "node:test";
import { kustomize } from "../fixtures/kustomize.ts";
import { brokenClusters, podOf, withCertManager } from "./broken.ts";
import { checks } from "./checks.ts";
import {
  foldersIn,
  type Manifest,
  nameOf,
  overlay,
  parseManifests,
  renderFolder,
  renderVariant,
  type Value,
  variants,
} from "./manifests.ts";
import { invalidKeys, invalidValues } from "./schemas.ts";

const found = await kustomize();
const skip = "reason" in found ? found.reason : false;

/** All clusters, rendered once. */
const clusters: Record<string, readonly Manifest[]> = {};
before(async () => {
  if ("reason" in found) return;
  for (const name of foldersIn("overlays")) clusters[name] = await renderFolder(found.command, overlay(name));
  for (const [name, components] of Object.entries(variants))
    clusters[name] = await renderVariant(found.command, components);
});

/** Where each check finds nothing, by the name of the cluster: an empty list for each. */
async function perCluster(look: (manifests: readonly Manifest[]) => readonly string[] | Promise<readonly string[]>) {
  assert.ok(Object.keys(clusters).length >= 8, "all clusters are rendered");
  for (const [name, manifests] of Object.entries(clusters)) assert.deepEqual(await look(manifests), [], name);
}

test("every component is in some cluster that is rendered", { skip }, () => {
  const rendered = new Set(Object.values(variants).flat());
  assert.deepEqual(
    foldersIn("components").filter((name) => !rendered.has(name)),
    [],
  );
});

test("every cluster's manifests are what Kubernetes' schemas say, values and all", { skip }, () =>
  perCluster(invalidValues),
);

test("no manifest has a key that Kubernetes does not know", { skip }, async () => {
  assert.deepEqual(await invalidKeys(clusters), []);
});

for (const [name, check] of Object.entries(checks))
  test(`every cluster passes the check of ${name}`, { skip }, () => perCluster(check));

test("another namespace is another everywhere", { skip }, () => {
  const cluster = clusters["own disks, cert-manager, a volume of data"]!;
  const wrong = cluster.filter(({ kind, metadata }) =>
    kind === "Namespace" ? metadata.name !== "another" : kind !== "PriorityClass" && metadata.namespace !== "another",
  );
  assert.deepEqual(wrong.map(nameOf), []);
});

/** A cluster with one manifest changed. Names of ConfigMaps are given without their hash. */
function changed(cluster: string, what: string, change: (manifest: Value) => void): readonly Manifest[] {
  const copy = structuredClone(clusters[cluster]!) as Manifest[];
  const is = (manifest: Manifest) =>
    nameOf(manifest) === what ||
    (what.startsWith("ConfigMap/") && nameOf(manifest).replace(/-[a-z0-9]{10}$/, "") === what);
  const one = copy.find(is);
  assert.ok(one, `${cluster} has a ${what}`);
  change(one);
  return copy;
}

test("each check sees what is made wrong for it, and each check is shown to", { skip }, () => {
  for (const { by, why, cluster, what, change } of brokenClusters) {
    const wrong = checks[by]?.(changed(cluster, what, change)) ?? [];
    assert.ok(
      wrong.some((line) => line.includes(why)),
      `${by} sees "${why}" in ${what}; it says ${JSON.stringify(wrong)}`,
    );
  }
  const shown = new Set(brokenClusters.map(({ by }) => by));
  assert.deepEqual(
    Object.keys(checks).filter((name) => !shown.has(name)),
    [],
  );
});

test("an unknown key is seen at every depth, in other groups' kinds too, and so is what has the wrong type or is missing", {
  skip,
}, async () => {
  const wrong: Record<string, readonly Manifest[]> = {
    top: changed("local", "StatefulSet/worker", (m) => {
      m.speck = {};
    }),
    deep: changed("local", "StatefulSet/worker", (m) => {
      podOf(m).containers[0].livenessProbe.httpGet.ports = 1;
    }),
    list: changed("local", "StatefulSet/etcd", (m) => {
      podOf(m).containers[0].env[0].valuesFrom = {};
    }),
    policy: changed("local", "NetworkPolicy/worker", (m) => {
      m.spec.egress[0].form = [];
    }),
    certificate: changed(withCertManager, "Certificate/etcd-tls", (m) => {
      m.spec.dnsName = "etcd";
    }),
    monitor: changed("gpu", "PodMonitor/etcd", (m) => {
      m.spec.podMetricsEndpoints[0].schema = "http";
    }),
    type: changed("local", "StatefulSet/worker", (m) => {
      m.spec.replicas = "3";
    }),
    word: changed("local", "StatefulSet/worker", (m) => {
      m.spec.podManagementPolicy = "AllAtOnce";
    }),
    missing: changed("local", "StatefulSet/worker", (m) => {
      delete m.spec.selector;
    }),
  };
  const said = await invalidKeys(wrong);
  for (const name of Object.keys(wrong))
    assert.equal(said.filter((line) => line.startsWith(`${name}: `)).length, 1, `${name}: ${said.join("\n")}`);
  const values = {
    replicas: changed("local", "StatefulSet/worker", (m) => {
      m.spec.replicas = 1.5;
    }),
    kind: changed("local", "StatefulSet/worker", (m) => {
      m.kind = "StatefulSets";
    }),
  };
  for (const [name, manifests] of Object.entries(values))
    assert.equal((await invalidValues(manifests)).length, 1, name);
});

test("YAML that says a key twice is refused", () => {
  assert.throws(() => parseManifests("kind: Pod\nkind: Job\n"), /unique/);
});
