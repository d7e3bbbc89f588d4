/**
 * An exponential moving average without the pull towards zero at its beginning, as TensorBoard smooths curves. Gaps stay gaps.
 * @param weight 0, not smoothed, to below 1
 */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let sum = 0;
  let share = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}
