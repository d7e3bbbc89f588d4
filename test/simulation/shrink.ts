/**
 * Makes a failing schedule as short as it gets, by delta debugging (Zeller, Hildebrandt: "Simplifying and isolating
 * failure-inducing input", 2002): leave out ever smaller parts, keep what still breaks the same invariant.
 */
import { type Outcome, type Scenario, simulate } from "./simulation.ts";

export async function shrink(scenario: Scenario, failed: Outcome): Promise<{ scenario: Scenario; outcome: Outcome }> {
  let best = { scenario, outcome: failed };
  const stillFails = async (schedule: Scenario["schedule"]): Promise<boolean> => {
    const candidate = { ...scenario, schedule };
    const outcome = await simulate(candidate);
    if (outcome.violation?.invariant !== failed.violation?.invariant) return false;
    best = { scenario: candidate, outcome };
    return true;
  };
  if (await stillFails([])) return best;
  let parts = 2;
  while (best.scenario.schedule.length >= 2) {
    const { schedule } = best.scenario;
    const size = Math.ceil(schedule.length / parts);
    let isShorter = false;
    for (let begin = 0; begin < schedule.length && !isShorter; begin += size) {
      isShorter = await stillFails([...schedule.slice(0, begin), ...schedule.slice(begin + size)]);
    }
    if (isShorter) parts = Math.max(2, parts - 1);
    else if (size === 1) break;
    else parts = Math.min(schedule.length, parts * 2);
  }
  return best;
}
