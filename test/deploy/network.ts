/** Who may reach whom, as the network policies say together, against what deploy/README.md lists. */

import type { Manifest, Value } from "./manifests.ts";
import { type Check, podsOf } from "./pods.ts";
import { selects } from "./references.ts";

/** "from to port": what is needed, and nothing else may be. */
const needed = [
  "etcd etcd 2380",
  "etcd-backup etcd 2379",
  "coordinator etcd 2379",
  "worker etcd 2379",
  "coordinator coordinator 7070",
  "worker coordinator 7070",
  "coordinator worker 7071",
  "coordinator worker 7072",
  "worker worker 7071",
  "worker worker 7072",
];

const policiesOf = (manifests: readonly Manifest[]) => manifests.filter(({ kind }) => kind === "NetworkPolicy");

const portsOf = (rule: Value): readonly number[] => (rule.ports ?? []).map(({ port }: Value) => port);

/** What one side lets pass: who may be reached by these, or may reach them. Both sides have to. */
function podFlows(manifests: readonly Manifest[], way: "ingress" | "egress"): readonly string[] {
  const all = podsOf(manifests).map(({ template }) => template.metadata.labels);
  const name = (labels: Value) => labels["app.kubernetes.io/component"] as string;
  const peersOf = (rule: Value): readonly Value[] => rule[way === "ingress" ? "from" : "to"] ?? [];
  const flows = all.flatMap((own) =>
    policiesOf(manifests)
      .filter(({ spec }) => selects(spec.podSelector, own))
      .flatMap(({ spec }) => spec[way] ?? [])
      .flatMap((rule: Value) => {
        const peers = peersOf(rule).filter(({ podSelector, namespaceSelector }) => podSelector && !namespaceSelector);
        const others = all.filter((other) => peers.some(({ podSelector }) => selects(podSelector, other)));
        const [from, to] = way === "ingress" ? [others, [own]] : [[own], others];
        return from.flatMap((a) => to.flatMap((b) => portsOf(rule).map((port) => `${name(a)} ${name(b)} ${port}`)));
      }),
  );
  return [...new Set(flows)];
}

/** What policies let in from, or out to, elsewhere: "component to cidr or namespace, port". */
function outerFlows(manifests: readonly Manifest[]): readonly string[] {
  const where = (peer: Value) => peer.ipBlock?.cidr ?? Object.values(peer.namespaceSelector?.matchLabels ?? {})[0];
  return policiesOf(manifests).flatMap(({ metadata, spec }) =>
    (["ingress", "egress"] as const).flatMap((way) =>
      (spec[way] ?? []).flatMap((rule: Value) => {
        const peers = rule[way === "ingress" ? "from" : "to"];
        if (!peers || !rule.ports) return [`${metadata.name} ${way}: everything`];
        return peers
          .filter((peer: Value) => peer.ipBlock || peer.namespaceSelector)
          .flatMap((peer: Value) =>
            rule.ports.map((one: Value) => `${metadata.name} ${way} ${where(peer)} ${one.port}`),
          );
      }),
    ),
  );
}

const mayBeOuter = [
  "dns egress kube-system 53",
  "dns egress 169.254.20.10/32 53",
  "monitoring ingress monitoring 2381",
  "monitoring-http ingress monitoring 8080",
  "object-storage egress 0.0.0.0/0 443",
  "object-storage egress ::/0 443",
];

export const network: Check = (manifests) => {
  const denied = policiesOf(manifests).some(
    ({ spec }) =>
      Object.keys(spec.podSelector).length === 0 &&
      ["Ingress", "Egress"].every((way) => spec.policyTypes.includes(way)) &&
      !spec.ingress &&
      !spec.egress,
  );
  const ofPods = (["ingress", "egress"] as const).flatMap((way) => {
    const allowed = podFlows(manifests, way);
    return [
      ...needed.filter((flow) => !allowed.includes(flow)).map((flow) => `${way}: it is kept from ${flow}`),
      ...allowed.filter((flow) => !needed.includes(flow)).map((flow) => `${way}: it may ${flow}`),
    ];
  });
  const ofOthers = outerFlows(manifests).filter((flow) => !mayBeOuter.includes(flow));
  return [
    ...(denied ? [] : ["nothing denies what is not allowed"]),
    ...ofPods,
    ...ofOthers.map((flow) => `it may ${flow}`),
  ];
};
