/** That a cluster's parts fit each other: members of etcd, budgets, settings, certificates, and the options of lockstep. */
import { coordinator } from "../../src/cli/coordinator.ts";
import { worker } from "../../src/cli/worker.ts";
import { type Manifest, nameOf, type Value } from "./manifests.ts";
import { type Check, podsOf } from "./pods.ts";
import { selects, variablesOf } from "./references.ts";

const find = (manifests: readonly Manifest[], name: string) => {
  const found = manifests.find((one) => nameOf(one) === name);
  if (!found) throw new Error(`There is no ${name}.`);
  return found;
};
const containerOf = (manifests: readonly Manifest[], name: string): Value =>
  find(manifests, name).spec.template.spec.containers[0];
const variablesIn = (manifests: readonly Manifest[], name: string) =>
  variablesOf(containerOf(manifests, name), manifests);

/** As many members as etcd is told of, an odd number, each on a machine of its own; and everybody is told of the same ones. */
export const etcdMembers: Check = (manifests) => {
  const etcd = find(manifests, "StatefulSet/etcd");
  const variables = variablesIn(manifests, "StatefulSet/etcd");
  const initial = (variables.get("ETCD_INITIAL_CLUSTER") ?? "").split(",");
  const expected = initial.map((_, i) => `etcd-${i}=https://etcd-${i}.${etcd.spec.serviceName}:2380`);
  const endpoints = initial.map((_, i) => `https://etcd-${i}.${etcd.spec.serviceName}:2379`).join(",");
  const apart = etcd.spec.template.spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const told = ["StatefulSet/worker", "Deployment/coordinator"].filter(
    (one) => variablesIn(manifests, one).get("ETCD") !== endpoints,
  );
  const isTrue = (name: string) => variables.get(name) === "true";
  return [
    ...(etcd.spec.replicas === initial.length
      ? []
      : [`${etcd.spec.replicas} members, and etcd is told of ${initial.length}`]),
    ...(initial.length % 2 === 1 && initial.length >= 3 ? [] : [`${initial.length} members`]),
    ...(initial.join() === expected.join() ? [] : [`its members are ${initial.join()}`]),
    ...(apart.some((one: Value) => one.topologyKey === "kubernetes.io/hostname")
      ? []
      : ["two members may be on one machine"]),
    ...told.map((one) => `${one} is told of other members`),
    ...["ETCD_CLIENT_CERT_AUTH", "ETCD_PEER_CLIENT_CERT_AUTH"]
      .filter((one) => !isTrue(one))
      .map((one) => `${one} is off`),
    ...[...variables]
      .filter(([name, value]) => value.includes("http://") && name !== "ETCD_LISTEN_METRICS_URLS")
      .map(([name]) => `${name} is plain text`),
    ...(Number.parseInt(variables.get("ETCD_AUTO_COMPACTION_RETENTION") ?? "0", 10) > 0
      ? []
      : ["nothing is ever compacted"]),
  ];
};

/** A drain takes one pod at a time: never the majority of etcd, and never none at all, or it would not end. */
export const budgets: Check = (manifests) =>
  podsOf(manifests).flatMap(({ owner, workload, template, stays }) => {
    const { replicas } = workload.spec;
    if (!stays || replicas < 2) return [];
    const own = manifests.filter(
      (one) => one.kind === "PodDisruptionBudget" && selects(one.spec.selector, template.metadata.labels),
    );
    if (own.length !== 1) return [`${owner} has ${own.length} budgets`];
    const { minAvailable, maxUnavailable } = own[0]!.spec;
    const allowed = maxUnavailable ?? replicas - minAvailable;
    const most = workload.metadata.name === "etcd" ? Math.floor((replicas - 1) / 2) : replicas - 1;
    return allowed >= 1 && allowed <= most ? [] : [`${owner}: its budget lets ${allowed} of ${replicas} go`];
  });

/** What a start is told fits the workers that there are, and where they keep checkpoints. */
export const settings: Check = (manifests) => {
  const variables = variablesIn(manifests, "Deployment/coordinator");
  const [few = 0, most = few] = (variables.get("WORKERS") ?? "").split(":").map(Number);
  const shards = Number(variables.get("SHARDS"));
  const { replicas, volumeClaimTemplates } = find(manifests, "StatefulSet/worker").spec;
  const place = variablesIn(manifests, "StatefulSet/worker").get("CHECKPOINTS") ?? "";
  const isOwn = volumeClaimTemplates !== undefined;
  const copies = Number(variables.get("REPLICAS"));
  const sees = (name: string) =>
    (containerOf(manifests, name).volumeMounts ?? []).some((one: Value) => one.mountPath === place);
  return [
    ...(few >= 1 && few <= replicas ? [] : [`a start waits for ${few} of ${replicas} workers`]),
    ...(most <= shards ? [] : [`${most} workers for ${shards} shards`]),
    ...(Number(variables.get("THREADS")) >= 1 ? [] : ["no THREADS: they would be the coordinator's machine's"]),
    ...(variables.get("START") ? [] : ["the start has no name"]),
    ...(isOwn === copies > 0
      ? []
      : [`${copies} copies of checkpoints on ${isOwn ? "disks of their own" : "one place"}`]),
    ...(copies < most ? [] : [`${copies} copies for ${most} workers`]),
    ...(isOwn === (variables.get("SHARED") === "") ? [] : ["coordinators look for checkpoints where they are not"]),
    ...(place.includes("://") || sees("StatefulSet/worker") ? [] : [`workers do not have ${place}`]),
    ...(isOwn || place.includes("://") || sees("Deployment/coordinator") ? [] : [`coordinators do not have ${place}`]),
  ];
};

/** Certificates that cert-manager is asked for say who somebody is as docs/security.md has it. */
export const certificates: Check = (manifests) => {
  const asked = new Map(
    manifests.filter(({ kind }) => kind === "Certificate").map((one) => [one.metadata.name as string, one.spec]),
  );
  const worker = find(manifests, "StatefulSet/worker");
  const volume = worker.spec.template.spec.volumes.find(({ name }: Value) => name === "tls");
  const attributes = volume?.csi?.volumeAttributes ?? {};
  const of = (key: string) => attributes[`csi.cert-manager.io/${key}`];
  if (asked.size === 0) return volume?.csi ? ["workers alone ask cert-manager"] : [];
  const job = variablesIn(manifests, "StatefulSet/worker").get("JOB");
  const hosts: readonly string[] = asked.get("etcd-tls")?.dnsNames ?? [];
  const reached = ["etcd", "etcd-0.etcd", "etcd-1.etcd", "etcd-2.etcd", "localhost"];
  const expected: readonly (readonly [string, Value, Value])[] = [
    [
      "the coordinator's name",
      asked.get("coordinator-tls")?.uris?.join(),
      `spiffe://lockstep/job/${job}/coordinator/coordinator`,
    ],
    ["the coordinator's user of etcd", asked.get("coordinator-tls")?.commonName, job],
    ["the operator's name", asked.get("operator-tls")?.uris?.join(), "spiffe://lockstep/operator/operator"],
    ["the operator's user of etcd", asked.get("operator-tls")?.commonName, "root"],
    ["a worker's name", of("uri-sans"), `spiffe://lockstep/job/${job}/worker/\${POD_NAME}`],
    ["a worker's user of etcd", of("common-name"), job],
    ["a worker's group", of("fs-group"), String(worker.spec.template.spec.securityContext.fsGroup)],
  ];
  const both = ["server auth", "client auth"];
  return [
    ...expected
      .filter(([, now, then]) => now !== then)
      .map(([what, now, then]) => `${what} is ${now}, and ${then} was expected`),
    ...reached.filter((host) => !hosts.includes(host)).map((host) => `etcd's certificate is not good for ${host}`),
    ...[...asked]
      .filter(([name, { secretName }]) => name !== secretName)
      .map(([name]) => `${name} is in another Secret`),
    ...["etcd-tls", "coordinator-tls"]
      .filter((name) => !both.every((one) => asked.get(name)?.usages?.includes(one)))
      .map((name) => `${name} does not serve and call`),
    ...(both.every((one) => of("key-usages")?.split(",").includes(one)) ? [] : ["a worker does not serve and call"]),
  ];
};

/** What is typed to lockstep is what it knows. */
export const options: Check = (manifests) =>
  (
    [
      ["StatefulSet/worker", worker],
      ["Deployment/coordinator", coordinator],
    ] as const
  ).flatMap(([name, command]) => {
    const typed =
      containerOf(manifests, name)
        .args.join(" ")
        .match(/(?<=[\s+])--[a-z][a-z-]*/g) ?? [];
    const words = typed.map((word: string) => word.slice("--".length));
    return [
      ...words
        .filter((word: string) => !(word in command.options))
        .map((word: string) => `${name}: lockstep ${command.name} has no --${word}`),
      ...["tls", "job", "etcd", "http"].filter((word) => !words.includes(word)).map((word) => `${name}: no --${word}`),
    ];
  });
