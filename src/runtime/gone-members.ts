/**
 * Which of some members are known to be gone. A survivor of several deaths at once has more broken links than any of the
 * dead, so that the links alone would have it left out; their addresses, which refuse, say who is to be.
 */
import type { Clock } from "../ports/clock.ts";
import type { Liveness } from "../ports/liveness.ts";

/** Their ids. Takes `limitMs` unless all of them are gone: silence proves nothing. */
export async function goneAmong(
  members: readonly { readonly workerId: string; readonly address: string }[],
  liveness: Liveness,
  clock: Clock,
  limitMs: number,
): Promise<readonly string[]> {
  const gone: string[] = [];
  const all = new AbortController();
  const watches = members.map(({ workerId, address }) =>
    liveness.watch(address, () => {
      gone.push(workerId);
      if (gone.length === members.length) all.abort();
    }),
  );
  await clock.sleep(limitMs, all.signal).catch(() => undefined);
  for (const watch of watches) watch.close();
  return gone;
}
