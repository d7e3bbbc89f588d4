/** What is made wrong in a cluster, one thing at a time, for the check that has to see it. */
import type { Value } from "./manifests.ts";

export interface Broken {
  /** The check, and what it says. */
  readonly by: string;
  readonly why: string;
  readonly cluster: string;
  /** The manifest, without the hash in its name. */
  readonly what: string;
  readonly change: (manifest: Value) => void;
}

export const withCertManager = "own disks, cert-manager, a volume of data";
const namespace = "Namespace/lockstep";
const worker = "StatefulSet/worker";
const etcd = "StatefulSet/etcd";
const coordinator = "Deployment/coordinator";
const backup = "CronJob/etcd-backup";
const component = "app.kubernetes.io/component";

export const podOf = ({ spec }: Value): Value => (spec.jobTemplate?.spec ?? spec).template.spec;
const first = (manifest: Value): Value => podOf(manifest).containers[0];
const sidecar = (manifest: Value): Value => podOf(manifest).initContainers[0];
const volume = (manifest: Value, name: string): Value =>
  podOf(manifest).volumes.find((one: Value) => one.name === name);

const cases: Value[] = [];
/** In the overlay local, or another cluster. */
function broken(by: string, why: string, what: string, change: (manifest: Value) => void, cluster = "local"): void {
  cases.push({ by, why, cluster, what, change } satisfies Broken);
}
/** Changes of one value: given the object that has it. */
const put = (find: (manifest: Value) => Value, key: string, value: Value) => (manifest: Value) => {
  find(manifest)[key] = value;
};
const drop = (find: (manifest: Value) => Value, key: string) => (manifest: Value) => {
  delete find(manifest)[key];
};
const add = (find: (manifest: Value) => Value, value: Value) => (manifest: Value) => {
  find(manifest).push(value);
};
const variable = (name: string, value: string) =>
  put((m) => first(m).env.find((one: Value) => one.name === name), "value", value);

const labels = (m: Value) => m.metadata.labels;
broken("restricted", "enforce", namespace, drop(labels, "pod-security.kubernetes.io/enforce"));
broken(
  "restricted",
  "runAsNonRoot",
  worker,
  put((m) => podOf(m).securityContext, "runAsNonRoot", false),
);
broken(
  "restricted",
  "seccompProfile",
  etcd,
  drop((m) => podOf(m).securityContext, "seccompProfile"),
);
broken("restricted", "hostNetwork", worker, put(podOf, "hostNetwork", true));
broken(
  "restricted",
  "is a hostPath",
  worker,
  add((m) => podOf(m).volumes, { name: "host", hostPath: { path: "/" } }),
);
const context = (m: Value) => first(m).securityContext;
broken("restricted", "allowPrivilegeEscalation", coordinator, put(context, "allowPrivilegeEscalation", true));
broken(
  "restricted",
  "capabilities",
  worker,
  put((m) => sidecar(m).securityContext.capabilities, "drop", []),
);
broken(
  "restricted",
  "runs as root",
  backup,
  put((m) => sidecar(m).securityContext, "runAsUser", 0),
);

broken("closed", "readOnlyRootFilesystem", backup, drop(context, "readOnlyRootFilesystem"));
broken("closed", "automountServiceAccountToken", worker, drop(podOf, "automountServiceAccountToken"));
broken("images", "lockstep:latest", worker, put(first, "image", "lockstep:latest"));
broken("images", "example.org:5000/lockstep", worker, put(first, "image", "example.org:5000/lockstep"));
broken("probes", "no readinessProbe", worker, drop(first, "readinessProbe"));
broken("probes", "no startupProbe", worker, drop(sidecar, "startupProbe"));
broken(
  "probes",
  "livenessProbe asks at",
  etcd,
  put((m) => first(m).livenessProbe.httpGet, "port", "health"),
);
broken(
  "resources",
  "no limit of memory",
  coordinator,
  drop((m) => first(m).resources, "limits"),
);
broken(
  "resources",
  "no request of cpu",
  worker,
  drop((m) => sidecar(m).resources.requests, "cpu"),
);
broken("faults", "tolerationSeconds of unreachable", worker, put(podOf, "tolerations", []));
broken("faults", "terminationGracePeriodSeconds", worker, put(podOf, "terminationGracePeriodSeconds", 5));
broken("faults", "no priorityClassName", etcd, drop(podOf, "priorityClassName"));
broken(
  "faults",
  "one after the other",
  worker,
  put((m) => m.spec, "podManagementPolicy", "OrderedReady"),
);
broken(
  "sharedMemory",
  "/dev/shm",
  worker,
  put((m) => volume(m, "shm"), "emptyDir", {}),
);

broken(
  "references",
  "names Service/workers",
  worker,
  put((m) => m.spec, "serviceName", "workers"),
);
const settingsMap = (m: Value) => first(m).envFrom[0].configMapRef;
broken("references", "names ConfigMap/settings", worker, put(settingsMap, "name", "settings"));
broken(
  "references",
  "names Secret/own",
  coordinator,
  put((m) => volume(m, "tls").secret, "secretName", "own"),
);
const claim = (m: Value) => volume(m, "backup").persistentVolumeClaim;
broken("references", "names PersistentVolumeClaim/backups", backup, put(claim, "claimName", "backups"));
const mountsOf = (m: Value) => first(m).volumeMounts;
broken("mounts", "no volume jobs", worker, add(mountsOf, { name: "jobs", mountPath: "/jobs" }));
broken(
  "mounts",
  "unused is mounted nowhere",
  worker,
  add((m) => podOf(m).volumes, { name: "unused", emptyDir: {} }),
);
broken("mounts", "two volumes at", worker, add(mountsOf, { name: "tmp", mountPath: "/job" }));
broken(
  "selectors",
  "selects no pod",
  "Service/coordinator",
  put((m) => m.spec.selector, component, "leader"),
);
broken(
  "selectors",
  "there is no port grpc",
  "Service/worker",
  put((m) => m.spec.ports[0], "targetPort", "grpc"),
);
const templateLabels = (m: Value) => m.spec.template.metadata.labels;
broken("selectors", "does not select its own pods", coordinator, put(templateLabels, component, "other"));
broken(
  "selectors",
  "before it is ready",
  "Service/etcd",
  drop((m) => m.spec, "publishNotReadyAddresses"),
);
broken(
  "variables",
  "JOBNAME is set nowhere",
  worker,
  add((m) => first(m).args, "--job=$(JOBNAME)"),
);
broken(
  "variables",
  "STARTS is set nowhere",
  coordinator,
  add((m) => first(m).args, '"$STARTS"'),
);

const spec = (m: Value) => m.spec;
broken("network", "nothing denies", "NetworkPolicy/deny-all", put(spec, "policyTypes", ["Ingress"]));
broken("network", "kept from worker coordinator 7070", "NetworkPolicy/coordinator", drop(spec, "ingress"));
broken(
  "network",
  "may worker etcd 2380",
  "NetworkPolicy/worker",
  add((m) => m.spec.egress[0].ports, { port: 2380 }),
);
const toWorkers = (m: Value) => m.spec.ingress[0].from[0].podSelector.matchExpressions[0].values;
broken("network", "may etcd worker 7071", "NetworkPolicy/worker", add(toWorkers, "etcd"));
broken(
  "network",
  "may etcd ingress: everything",
  "NetworkPolicy/etcd",
  add((m) => m.spec.ingress, {}),
);
const outside = { to: [{ ipBlock: { cidr: "10.0.0.0/8" } }], ports: [{ port: 443 }] };
broken(
  "network",
  "may worker egress 10.0.0.0/8 443",
  "NetworkPolicy/worker",
  add((m) => m.spec.egress, outside),
);

broken("etcdMembers", "5 members", etcd, put(spec, "replicas", 5));
broken("etcdMembers", "its members are", etcd, variable("ETCD_INITIAL_CLUSTER", "etcd-0=a,etcd-1=b,etcd-2=c"));
broken("etcdMembers", "on one machine", etcd, drop(podOf, "affinity"));
broken("etcdMembers", "is plain text", etcd, variable("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379"));
broken("etcdMembers", "CERT_AUTH is off", etcd, variable("ETCD_CLIENT_CERT_AUTH", "false"));
broken("etcdMembers", "nothing is ever compacted", etcd, variable("ETCD_AUTO_COMPACTION_RETENTION", "0"));
broken(
  "etcdMembers",
  "told of other members",
  "ConfigMap/lockstep",
  put((m) => m.data, "ETCD", "https://etcd:2379"),
);
broken("budgets", "lets 2 of 3 go", "PodDisruptionBudget/etcd", put(spec, "maxUnavailable", 2));
broken("budgets", "lets 0 of 2 go", "PodDisruptionBudget/coordinator", put(spec, "minAvailable", 2));
const selected = (m: Value) => m.spec.selector.matchLabels;
broken("budgets", "has 0 budgets", "PodDisruptionBudget/worker", put(selected, component, "etcd"));
broken("settings", "a start waits for 2 of 1", worker, put(spec, "replicas", 1));
broken("settings", "copies of checkpoints on one place", worker, drop(spec, "volumeClaimTemplates"));
broken(
  "settings",
  "3 workers for 2 shards",
  "ConfigMap/start",
  put((m) => m.data, "SHARDS", "2"),
);
broken(
  "settings",
  "no THREADS",
  "ConfigMap/start",
  put((m) => m.data, "THREADS", ""),
);
const etcdHosts = put(spec, "dnsNames", ["etcd", "etcd-0.etcd", "etcd-1.etcd", "localhost"]);
broken("certificates", "not good for etcd-2.etcd", "Certificate/etcd-tls", etcdHosts, withCertManager);
const otherJob = put((m) => m.data, "JOB", "other");
broken("certificates", "a worker's user of etcd", "ConfigMap/lockstep", otherJob, withCertManager);
const callsOnly = put(spec, "usages", ["client auth"]);
broken("certificates", "does not serve and call", "Certificate/coordinator-tls", callsOnly, withCertManager);
broken(
  "options",
  "has no --named",
  worker,
  add((m) => first(m).args, "--named=x"),
);
broken("options", "no --tls", worker, put(first, "args", ["worker", "--job=x", "--etcd=x", "--http=x"]));

export const brokenClusters: readonly Broken[] = cases;
