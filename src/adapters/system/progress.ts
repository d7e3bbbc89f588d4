/** Nothing that takes longer than two seconds stays silent. */

/** Where set-up tells a person what it is doing: one line, without its line break. */
export type Say = (line: string) => void;

const intervalMs = 2_000;

/** Waits for `work`, and says `describe(elapsed seconds)` every two seconds until then. */
export async function withProgress<T>(
  say: Say,
  describe: (elapsedSeconds: number) => string | Promise<string>,
  work: Promise<T>,
): Promise<T> {
  const startedMs = performance.now();
  const timer = setInterval(() => {
    const line = describe(Math.round((performance.now() - startedMs) / 1_000));
    // A description that cannot be had (a folder that has just gone) is no reason to fail the work.
    Promise.resolve(line).then(say, () => {});
  }, intervalMs);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

/** "12.3 MB", or "12.3 of 273.8 MB" where the total is known. */
export function formatMegabytes(sizeBytes: number, totalBytes: number | null = null): string {
  const megabytes = (sizeBytes / 1e6).toFixed(1);
  return totalBytes === null ? `${megabytes} MB` : `${megabytes} of ${(totalBytes / 1e6).toFixed(1)} MB`;
}
