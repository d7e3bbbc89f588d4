/**
 * The candidate that `name` is most likely a misspelling of, or null when none is near. Case, "-", "_" and spaces do
 * not count; a beginning of a candidate ("acc" of "accuracy") counts as near; among equals the first one wins.
 */
export function nearestName(name: string, candidates: readonly string[]): string | null {
  const wanted = simplified(name);
  let nearest: string | null = null;
  let nearestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = distanceBetween(wanted, simplified(candidate));
    if (distance < nearestDistance) [nearest, nearestDistance] = [candidate, distance];
  }
  // One misspelling in three characters; in a name of one or two, any other would be near.
  const limit = wanted.length < 3 ? 0 : Math.floor(wanted.length / 3);
  return nearestDistance <= limit ? nearest : null;
}

/** Of the candidates, those that `name` is nearest to, however far: the nearest first, and at most `count`. */
export function nearestNames(name: string, candidates: readonly string[], count: number): readonly string[] {
  const wanted = simplified(name);
  return candidates
    .map((candidate) => ({ candidate, distance: distanceBetween(wanted, simplified(candidate)) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

function simplified(name: string): string {
  return name.toLowerCase().replace(/[-_\s]/g, "");
}

function distanceBetween(wanted: string, candidate: string): number {
  // Half a step: nearer than a misspelling, farther than an equal name.
  if (wanted.length >= 3 && candidate !== wanted && candidate.startsWith(wanted)) return 0.5;
  return editDistance(wanted, candidate);
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn one text into the other (Damerau, 1964). */
function editDistance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= from.length; row++) {
    const above = rows[row - 1]!;
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwap = from[row - 2] === to[column - 1] && from[row - 1] === to[column - 2];
      const swap = isSwap ? (rows[row - 2]?.[column - 2] ?? Number.POSITIVE_INFINITY) + 1 : Number.POSITIVE_INFINITY;
      const substitution = above[column - 1]! + (isSame ? 0 : 1);
      current.push(Math.min(substitution, swap, above[column]! + 1, current[column - 1]! + 1));
    }
    rows.push(current);
  }
  return rows[from.length]![to.length]!;
}
