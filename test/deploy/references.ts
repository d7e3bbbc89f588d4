/** What names something else: that it is there, or is documented to come from outside. */

import { type Manifest, nameOf, type Value } from "./manifests.ts";
import { type Check, containersOf, podsOf } from "./pods.ts";

type Labels = Readonly<Record<string, string>>;

/** What a cluster is given, as docs/deploy/kubernetes.md says, rather than has: by gen-certs, by cert-manager, by an operator. */
const fromOutside = (manifests: readonly Manifest[]) => [
  ...["etcd-tls", "coordinator-tls", "operator-tls", "worker-tls"].map((name) => `Secret/${name}`),
  "Secret/checkpoints-s3",
  "Secret/http-token",
  ...(manifests.some(({ kind }) => kind === "Certificate") ? ["Issuer/lockstep"] : []),
];

/** All that is named in a manifest, as "Kind/name". */
function namedIn(manifests: readonly Manifest[]): readonly (readonly [by: string, what: string])[] {
  const ofPods = podsOf(manifests).flatMap((pods) => {
    const { spec } = pods.template;
    const ofVolumes = (spec.volumes ?? []).flatMap((volume: Value) => [
      volume.configMap && `ConfigMap/${volume.configMap.name}`,
      volume.secret && `Secret/${volume.secret.secretName}`,
      volume.persistentVolumeClaim && `PersistentVolumeClaim/${volume.persistentVolumeClaim.claimName}`,
      volume.csi && `Issuer/${volume.csi.volumeAttributes?.["csi.cert-manager.io/issuer-name"]}`,
    ]);
    const ofContainers = containersOf(pods).flatMap(({ env = [], envFrom = [] }) => [
      ...envFrom.map((from: Value) =>
        from.configMapRef ? `ConfigMap/${from.configMapRef.name}` : `Secret/${from.secretRef.name}`,
      ),
      ...env.flatMap(({ valueFrom }: Value) => [
        valueFrom?.configMapKeyRef && `ConfigMap/${valueFrom.configMapKeyRef.name}`,
        valueFrom?.secretKeyRef && `Secret/${valueFrom.secretKeyRef.name}`,
      ]),
    ]);
    const others = [
      spec.serviceAccountName && `ServiceAccount/${spec.serviceAccountName}`,
      spec.priorityClassName && `PriorityClass/${spec.priorityClassName}`,
      pods.workload.spec.serviceName && `Service/${pods.workload.spec.serviceName}`,
    ];
    return [...ofVolumes, ...ofContainers, ...others]
      .filter(Boolean)
      .map((what: string) => [pods.owner, what] as const);
  });
  const ofCertificates = manifests
    .filter(({ kind }) => kind === "Certificate")
    .map((manifest) => [nameOf(manifest), `${manifest.spec.issuerRef.kind}/${manifest.spec.issuerRef.name}`] as const);
  return [...ofPods, ...ofCertificates];
}

export const references: Check = (manifests) => {
  const there = new Set([...manifests.map(nameOf), ...fromOutside(manifests)]);
  return namedIn(manifests)
    .filter(([, what]) => !there.has(what))
    .map(([by, what]) => `${by} names ${what}, which is not there`);
};

/** Every volume that is mounted is there, and every one that is there is mounted; nothing is mounted twice at one path. */
export const mounts: Check = (manifests) =>
  podsOf(manifests).flatMap((pods) => {
    const claims = (pods.workload.spec.volumeClaimTemplates ?? []).map(({ metadata }: Value) => metadata.name);
    const volumes = [...(pods.template.spec.volumes ?? []).map(({ name }: Value) => name), ...claims];
    const mounted = containersOf(pods).flatMap(({ name, volumeMounts = [] }) =>
      volumeMounts.map((mount: Value) => ({ name: mount.name as string, at: `${name} ${mount.mountPath}` })),
    );
    const twice = mounted.map(({ at }) => at).filter((at, i, all) => all.indexOf(at) !== i);
    return [
      ...mounted.filter(({ name }) => !volumes.includes(name)).map(({ name }) => `${pods.owner}: no volume ${name}`),
      ...volumes
        .filter((name) => !mounted.some((one) => one.name === name))
        .map((name) => `${pods.owner}: ${name} is mounted nowhere`),
      ...twice.map((at) => `${pods.owner}: two volumes at ${at}`),
    ];
  });

export function selects({ matchLabels = {}, matchExpressions = [] }: Value, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values }: Value) => {
      if (operator !== "In") throw new Error(`The operator ${operator} is not understood here.`);
      return values.includes(labels[key]);
    })
  );
}

/** A selector that selects no pod does nothing, and nobody would notice. */
export const selectors: Check = (manifests) => {
  const pods = podsOf(manifests);
  const labelsOf = pods.map(({ template }) => template.metadata.labels as Labels);
  const nothing = (selector: Value) => !labelsOf.some((labels) => selects(selector, labels));
  const wrong: string[] = [];
  for (const manifest of manifests) {
    const { kind, spec } = manifest;
    const name = nameOf(manifest);
    if (kind === "Service") {
      const selected = pods.filter(({ template }) => selects({ matchLabels: spec.selector }, template.metadata.labels));
      if (selected.length === 0) wrong.push(`${name} selects no pod`);
      const ports = selected.flatMap((one) =>
        containersOf(one).flatMap((c) => (c.ports ?? []).map((port: Value) => port.name)),
      );
      for (const { targetPort } of spec.ports)
        if (!ports.includes(targetPort)) wrong.push(`${name}: there is no port ${targetPort}`);
    }
    if (kind === "PodDisruptionBudget" && nothing(spec.selector)) wrong.push(`${name} selects no pod`);
    if (kind === "NetworkPolicy" && nothing(spec.podSelector)) wrong.push(`${name} selects no pod`);
    if (kind === "PodMonitor" && nothing(spec.selector)) wrong.push(`${name} selects no pod`);
  }
  for (const { owner, workload, template, stays } of pods) {
    const labels = template.metadata.labels;
    if (stays && !selects(workload.spec.selector, labels)) wrong.push(`${owner} does not select its own pods`);
    const { affinity, topologySpreadConstraints = [] } = template.spec;
    const anti = affinity?.podAntiAffinity ?? {};
    const terms = [
      ...(anti.requiredDuringSchedulingIgnoredDuringExecution ?? []),
      ...(anti.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((one: Value) => one.podAffinityTerm),
      ...topologySpreadConstraints,
    ];
    if (!terms.every(({ labelSelector }: Value) => selects(labelSelector, labels)))
      wrong.push(`${owner} is not spread from itself`);
    const service = manifests.find((one) => nameOf(one) === `Service/${workload.spec.serviceName}`);
    if (
      workload.kind === "StatefulSet" &&
      !(service?.spec.clusterIP === "None" && service.spec.publishNotReadyAddresses)
    )
      wrong.push(`${owner}: its service gives no pod a name before it is ready`);
  }
  return wrong;
};

/** The variables that a container has, with their values as far as manifests say them. */
export function variablesOf(container: Value, manifests: readonly Manifest[]): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const { configMapRef } of container.envFrom ?? []) {
    const map = manifests.find((one) => nameOf(one) === `ConfigMap/${configMapRef?.name}`);
    for (const [key, value] of Object.entries(map?.data ?? {})) variables.set(key, String(value));
  }
  for (const { name, value } of container.env ?? []) variables.set(name, value ?? "");
  return variables;
}

/** `$(NAME)` that Kubernetes puts in, and `$NAME` that a shell does, stand for something. */
export const variables: Check = (manifests) =>
  podsOf(manifests).flatMap((pods) =>
    containersOf(pods).flatMap((container) => {
      const known = variablesOf(container, manifests);
      const words = [...(container.command ?? []), ...(container.args ?? [])];
      const text = [...words, ...(container.env ?? []).map((one: Value) => one.value ?? "")].join("\n");
      const named = Array.from(text.matchAll(/\$\(([A-Z_]+)\)/g), ([, name]) => name!);
      // What a script sets itself has small letters.
      const script = words.includes("-euc")
        ? Array.from(text.matchAll(/\$\{?([A-Z][A-Z_]*)/g), ([, name]) => name!)
        : [];
      return [...named, ...script]
        .filter((name) => !known.has(name))
        .map((name) => `${pods.owner}, ${container.name}: ${name} is set nowhere`);
    }),
  );
