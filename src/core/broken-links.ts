/** Links between the members of a generation that do not work, and whom to leave out for them. */

/** A member cannot reach another one. Whose fault it is, nobody can know. */
export interface Suspicion {
  readonly by: string;
  readonly suspect: string;
}

/**
 * Whom to leave out so that no broken link remains: again and again the one with the most broken links; of equals the
 * one that more others cannot reach, then the one with the highest rank. `ids` are in rank order.
 */
export function unreachable(suspicions: readonly Suspicion[], ids: readonly string[]): Map<string, string[]> {
  const out = new Map<string, string[]>();
  const staying = new Set(ids);
  let links = suspicions.filter(({ by, suspect }) => by !== suspect && staying.has(by) && staying.has(suspect));
  while (links.length > 0) {
    const accusers = new Map(ids.map((id) => [id, [] as string[]]));
    const peers = new Map(ids.map((id) => [id, new Set<string>()]));
    for (const { by, suspect } of links) {
      accusers.get(suspect)!.push(by);
      peers.get(suspect)!.add(by);
      peers.get(by)!.add(suspect);
    }
    const score = (id: string) => peers.get(id)!.size + accusers.get(id)!.length / (ids.length + 1);
    const worst = ids.reduce((top, id) => (score(id) >= score(top) ? id : top));
    out.set(worst, accusers.get(worst)!);
    links = links.filter(({ by, suspect }) => by !== worst && suspect !== worst);
  }
  return out;
}
