/** Numbers for people. Never for files or digests: digits are lost. No locale: the same number reads the same everywhere. */

/** A metric's value with four significant digits: "0.5312", "12.35", "12,346", "1.235e-7", "NaN"; "–" for no value. */
export function formatValue(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 999_999.5) return shortExponential(value);
  // From 1,000 on, four digits would hide whole units.
  if (size >= 999.95) return formatCount(value);
  return value.toPrecision(4);
}

/** A whole number with thousands separated: "1,234". Fractions are rounded. */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return formatValue(count);
  const rounded = Math.round(count);
  if (Math.abs(rounded) >= 1e15) return shortExponential(rounded);
  const digits = String(Math.abs(rounded)).replaceAll(/\B(?=(\d{3})+$)/g, ",");
  return rounded < 0 ? `-${digits}` : digits;
}

/** A length of time in seconds: "0.42 s", "12.3 s", "1 min 05 s", "2 h 03 min", "3 d 04 h". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return twoUnits(whole, 60, "min", 1, "s");
  if (whole < 86_400) return twoUnits(whole, 3600, "h", 60, "min");
  return twoUnits(whole, 86_400, "d", 3600, "h");
}

/** Rounded down to the smaller unit, so that it never reads "1 h 60 min". */
function twoUnits(seconds: number, largeS: number, large: string, smallS: number, small: string): string {
  const rest = Math.floor((seconds % largeS) / smallS);
  return `${Math.floor(seconds / largeS)} ${large} ${String(rest).padStart(2, "0")} ${small}`;
}

/** "1e-7", "1.235e-7", "1.2e12": no zeros at the mantissa's end, no plus sign. */
function shortExponential(value: number): string {
  const [mantissa = "", exponent = ""] = value.toExponential(3).split("e");
  return `${mantissa.replace(/\.?0+$/, "")}e${exponent.replace("+", "")}`;
}

/** A size in bytes with three digits: "312 B", "4.56 kB", "301 MB". */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let value = bytes / 1000;
  // Not 1000: what would round up to "1000 kB" is "1.00 MB".
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toPrecision(3)} ${units[unit]}`;
}
