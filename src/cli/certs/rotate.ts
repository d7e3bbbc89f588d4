/** `lockstep certs rotate`: new keys and certificates that say what the old ones said. */
import { join, relative, resolve } from "node:path";
import { fileNames, parse, readTexts } from "../../adapters/tls/certificates.ts";
import { LockstepError } from "../../core/errors.ts";
import type { Arguments, Command } from "../command.ts";

const dayMs = 24 * 3600 * 1000;

export const certsRotate: Command = {
  name: "certs rotate",
  summary: "Make certificates anew, with new keys and the same names.",
  argument: { name: "DIR…", help: "folders that `lockstep certs issue` has made", most: 1000 },
  options: {
    authority: { value: "DIR", help: "the folder of the authority that signs; it may be another one than before" },
    before: {
      value: "DAYS",
      help: "only those that end within so many days, for a timer that runs every day (default: all)",
    },
    days: { value: "N", help: "for how many days (default: as many as before)" },
  },
  details:
    "Processes that use the folders take the new ones by themselves; what is connected stays connected. A certificate that\nis over already is made anew all the same.",
  run: runRotate,
};

async function runRotate(args: Arguments): Promise<number> {
  if (args.words.length === 0) {
    throw new LockstepError("usage", "No folder was named.", { hint: "See `lockstep certs rotate --help`." });
  }
  const before = args.whole("before", 0);
  const days = args.whole("days", 1);
  const { Authority, namesIn, writeCertificates } = await import("../../adapters/tls/authority.ts");
  const given = args.text("authority");
  if (given === undefined)
    throw new LockstepError("usage", "--authority is missing.", { hint: "Name the folder of the authority." });
  const authority = await Authority.open(resolve(given));
  for (const word of args.words) {
    const folder = resolve(word);
    const shown = relative(process.cwd(), folder) || ".";
    const { certificate } = await readTexts(folder);
    const [old] = parse(certificate, join(folder, fileNames.certificate));
    const untilMs = Date.parse(old!.validTo);
    if (before !== undefined && untilMs > Date.now() + before * dayMs) {
      process.stdout.write(`${shown} is valid until ${dateOf(untilMs)} and stays.\n`);
      continue;
    }
    const names = namesIn(old!);
    const fresh = await authority.issue(names, days ?? names.days);
    await writeCertificates(folder, fresh);
    const [made] = parse(fresh.certificate, fileNames.certificate);
    process.stdout.write(`${shown} is valid until ${dateOf(Date.parse(made!.validTo))}.\n`);
  }
  return 0;
}

function dateOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString().slice(0, 10);
}
