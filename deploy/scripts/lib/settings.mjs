// What `up --set FIELD=VALUE --param NAME=VALUE` makes of a job, before anything is started: says in one sentence what is wrong with
// it, or that it is not what the cluster's run was begun with, and ends with the code that `lockstep` has for that.
//
//   node deploy/scripts/lib/settings.mjs JOB.ts [WORD…] [--before [WORD…]]      WORD: --set=FIELD=VALUE or --param=NAME=VALUE
import { builtModule } from "../../../bin/build.mjs";

const [{ loadJob }, { jobFields }, { parseSettings, settingsHint }, { LockstepError, messageOf }] = await Promise.all(
  ["adapters/job-file/load-job", "core/job-fields", "core/settings", "core/errors"].map(
    async (name) => import(await builtModule(name)),
  ),
);
const [jobFile, ...words] = process.argv.slice(2);
const end = words.indexOf("--before");
const [now, before] = end === -1 ? [words, null] : [words.slice(0, end), words.slice(end + 1)];

/** The settings that such words give. */
function settingsOf(list) {
  const valuesOf = (option) => list.filter((word) => word.startsWith(option)).map((word) => word.slice(option.length));
  return parseSettings(valuesOf("--set="), valuesOf("--param="));
}

/** The fields that decide the bits; null where the job, as it is now, does not take what it was begun with. */
async function fieldsBefore(settings) {
  try {
    return jobFields((await loadJob(jobFile, settings)).job);
  } catch {
    return null;
  }
}

try {
  const settings = settingsOf(now);
  const fields = jobFields((await loadJob(jobFile, settings)).job);
  const old = before && (await fieldsBefore(settingsOf(before)));
  const names = old === null ? [] : [...new Set([...Object.keys(fields), ...Object.keys(old)])];
  const changes = names
    .filter((name) => fields[name] !== old[name])
    .map((name) => `${name} was ${old[name] ?? "(nothing)"} and is ${fields[name] ?? "(nothing)"}`);
  if (changes.length > 0) {
    throw new LockstepError("incompatible", `The run cannot go on as before: ${changes.join("; ")}.`, {
      hint: `${settingsHint(settingsOf(before), settings)}, or go on with --allow-change (the result is then equivalent, not bit-exact), or start anew with --resume never.`,
    });
  }
} catch (error) {
  const hint = error instanceof LockstepError && error.hint ? ` ${error.hint}` : "";
  process.stderr.write(`up: ${messageOf(error)}${hint}\n`);
  process.exitCode = error instanceof LockstepError ? error.exitCode : 1;
}
