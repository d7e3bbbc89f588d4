/** Words and numbers, as the terminal writes them too. */
export { formatBytes, formatCount, formatDuration, formatValue } from "../../src/core/number-format.ts";
export { plural, shellWord } from "../../src/core/summary-table.ts";

/** "worker-1" of "worker-1.ab12cd34". */
export function nameOf(workerId: string): string {
  return workerId.replace(/\.[^.]*$/, "");
}

const sameDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const otherDay = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A time of today as a time, and another one with its day. */
export function timeText(ms: number): string {
  const date = new Date(ms);
  return (date.toDateString() === new Date().toDateString() ? sameDay : otherDay).format(date);
}

export function wholeTimeText(ms: number): string {
  return whole.format(new Date(ms));
}

/** "0–3", as shards are shown; the end of a range is not in it. */
export function shardsText({ begin, end }: { readonly begin: number; readonly end: number }): string {
  return end - begin === 1 ? String(begin) : `${begin}–${end - 1}`;
}
