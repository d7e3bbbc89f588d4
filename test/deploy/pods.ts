/** The pods of a cluster, with what owns them; and what is demanded of every one. */
import { type Manifest, nameOf, type Value } from "./manifests.ts";

export interface Pods {
  /** The workload's kind and name. */
  readonly owner: string;
  readonly workload: Manifest;
  readonly template: Value;
  /** Of what its disruption means: a process that stays, or a job that ends. */
  readonly stays: boolean;
}

export type Check = (manifests: readonly Manifest[]) => readonly string[];

export function podsOf(manifests: readonly Manifest[]): readonly Pods[] {
  return manifests.flatMap((workload): Pods[] => {
    const owner = nameOf(workload);
    if (workload.kind === "StatefulSet" || workload.kind === "Deployment")
      return [{ owner, workload, template: workload.spec.template, stays: true }];
    if (workload.kind === "CronJob")
      return [{ owner, workload, template: workload.spec.jobTemplate.spec.template, stays: false }];
    return [];
  });
}

export const containersOf = ({ template }: Pods): readonly Value[] => [
  ...(template.spec.initContainers ?? []),
  ...template.spec.containers,
];

/** Every pod's containers, each with a name for what is wrong with it. */
const eachContainer = (manifests: readonly Manifest[], look: (container: Value, pods: Pods) => readonly string[]) =>
  podsOf(manifests).flatMap((pods) =>
    containersOf(pods).flatMap((container) =>
      look(container, pods).map((why) => `${pods.owner}, ${container.name}: ${why}`),
    ),
  );

/** Volumes that Pod Security's `restricted` lets a pod have. */
const volumeKinds = [
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "persistentVolumeClaim",
  "projected",
  "secret",
];

/** Pod Security Standards, `restricted`; and that the namespace enforces them. */
export const restricted: Check = (manifests) => {
  const namespaces = manifests.filter(({ kind }) => kind === "Namespace");
  const labels = ["enforce", "audit", "warn"].map((mode) => `pod-security.kubernetes.io/${mode}`);
  const unlabelled = namespaces.flatMap((namespace) =>
    labels
      .filter((label) => namespace.metadata.labels?.[label] !== "restricted")
      .map((label) => `${nameOf(namespace)}: ${label}`),
  );
  const pods = podsOf(manifests).flatMap(({ owner, template: { spec } }) => [
    ...(spec.securityContext?.runAsNonRoot === true ? [] : [`${owner}: runAsNonRoot`]),
    ...(spec.securityContext?.runAsUser > 0 ? [] : [`${owner}: runAsUser`]),
    ...(spec.securityContext?.seccompProfile?.type === "RuntimeDefault" ? [] : [`${owner}: seccompProfile`]),
    ...["hostNetwork", "hostPID", "hostIPC"].filter((key) => spec[key]).map((key) => `${owner}: ${key}`),
    ...(spec.securityContext?.sysctls ? [`${owner}: sysctls`] : []),
    ...(spec.volumes ?? []).flatMap((volume: Value) =>
      Object.keys(volume)
        .filter((key) => key !== "name" && !volumeKinds.includes(key))
        .map((key) => `${owner}: the volume ${volume.name} is a ${key}`),
    ),
  ]);
  const containers = eachContainer(manifests, ({ securityContext: context, ports }) => [
    ...(context?.allowPrivilegeEscalation === false ? [] : ["allowPrivilegeEscalation"]),
    ...(context?.capabilities?.drop?.includes("ALL") && !context.capabilities.add ? [] : ["capabilities"]),
    ...(context?.privileged ? ["privileged"] : []),
    ...(context?.runAsUser === 0 || context?.runAsNonRoot === false ? ["runs as root"] : []),
    ...((ports ?? []).some((port: Value) => port.hostPort) ? ["hostPort"] : []),
  ]);
  return [...(namespaces.length === 1 ? [] : ["not one Namespace"]), ...unlabelled, ...pods, ...containers];
};

/** Beyond `restricted`: nothing to write to but volumes, and nothing to ask the API server with. */
export const closed: Check = (manifests) => [
  ...eachContainer(manifests, ({ securityContext }) =>
    securityContext?.readOnlyRootFilesystem === true ? [] : ["readOnlyRootFilesystem"],
  ),
  ...podsOf(manifests).flatMap(({ owner, template: { spec } }) => [
    ...(spec.automountServiceAccountToken === false ? [] : [`${owner}: automountServiceAccountToken`]),
    ...(spec.serviceAccountName ? [] : [`${owner}: serviceAccountName`]),
    ...(spec.enableServiceLinks === false ? [] : [`${owner}: enableServiceLinks`]),
  ]),
];

/** A tag that stays what it is. */
export const images: Check = (manifests) =>
  eachContainer(manifests, ({ image }) => {
    const tag = /:([^:/]+)$/.exec(image ?? "")?.[1];
    return tag === undefined || tag === "latest" ? [`its image is ${image}`] : [];
  });

/** Whoever starts again what hangs has to be told; and a rollout goes on when what was started takes part. */
export const probes: Check = (manifests) =>
  podsOf(manifests).flatMap((pods) => {
    if (!pods.stays) return [];
    const need = (container: Value, names: readonly string[]) => {
      const ports = (container.ports ?? []).map((port: Value) => port.name);
      return names.flatMap((name) => {
        const probe = container[name];
        if (!probe) return [`${pods.owner}, ${container.name}: no ${name}`];
        const port = probe.httpGet?.port;
        return port === undefined || ports.includes(port)
          ? []
          : [`${pods.owner}, ${container.name}: ${name} asks at ${port}`];
      });
    };
    const { containers, initContainers = [] } = pods.template.spec;
    return [
      ...containers.flatMap((one: Value) => need(one, ["startupProbe", "livenessProbe", "readinessProbe"])),
      ...initContainers
        .filter((one: Value) => one.restartPolicy === "Always")
        .flatMap((one: Value) => need(one, ["startupProbe"])),
    ];
  });

/** Everything says what it needs, and cannot take more memory than it says; GPUs stand in limits. */
export const resources: Check = (manifests) =>
  eachContainer(manifests, ({ resources: { requests = {}, limits = {} } = {} }) => [
    ...["cpu", "memory"].filter((key) => requests[key] === undefined).map((key) => `no request of ${key}`),
    ...(limits.memory === undefined ? ["no limit of memory"] : []),
    ...Object.keys(requests)
      .filter((key) => key.includes("/"))
      .map((key) => `${key} in requests`),
  ]);

/** What a fault of a node takes: nobody waits five minutes, and what it was doing is finished first. */
export const faults: Check = (manifests) =>
  podsOf(manifests).flatMap(({ owner, workload, template: { spec }, stays }) => {
    if (!stays) return [];
    const isEtcd = workload.metadata.name === "etcd";
    const tolerated = (key: string) =>
      (spec.tolerations ?? []).find(
        (one: Value) => one.key === `node.kubernetes.io/${key}` && one.effect === "NoExecute",
      );
    const late = ["unreachable", "not-ready"].filter((key) => {
      const seconds = tolerated(key)?.tolerationSeconds;
      return !(seconds >= 30 && seconds <= 60);
    });
    const grace = spec.terminationGracePeriodSeconds;
    return [
      ...(spec.priorityClassName ? [] : [`${owner}: no priorityClassName`]),
      ...(grace >= 30 ? [] : [`${owner}: its terminationGracePeriodSeconds are ${grace}`]),
      // A member of etcd is nowhere but where its disk is.
      ...(isEtcd ? [] : late.map((key) => `${owner}: tolerationSeconds of ${key}`)),
      ...(isEtcd || spec.topologySpreadConstraints ? [] : [`${owner}: all may be on one node`]),
      ...(workload.kind === "StatefulSet" && workload.spec.podManagementPolicy !== "Parallel"
        ? [`${owner}: one after the other`]
        : []),
    ];
  });

/** TensorFlow's and Node's shared memory is not the 64 MB of a container. */
export const sharedMemory: Check = (manifests) =>
  podsOf(manifests)
    .filter(({ workload }) => workload.metadata.name === "worker")
    .flatMap(({ owner, template: { spec } }) => {
      const mount = spec.containers[0].volumeMounts.find((one: Value) => one.mountPath === "/dev/shm");
      const volume = spec.volumes.find((one: Value) => one.name === mount?.name);
      return volume?.emptyDir?.medium === "Memory" ? [] : [`${owner}: /dev/shm is not in memory`];
    });
