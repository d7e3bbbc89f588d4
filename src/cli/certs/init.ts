/** `lockstep certs init`: a new authority. */
import { join, relative, resolve } from "node:path";
import type { Arguments, Command } from "../command.ts";

const defaultDays = 3650;

export const certsInit: Command = {
  name: "certs init",
  summary: "Make the authority of a cluster.",
  argument: { name: "DIR", help: "the folder to make it in" },
  options: { days: { value: "N", help: `for how many days (default: ${defaultDays})` } },
  details:
    "Writes ca.crt and ca.key. Whoever has ca.key can be anybody in the cluster: keep it where no process of the cluster runs.",
  async run(args: Arguments) {
    const { Authority } = await import("../../adapters/tls/authority.ts");
    const folder = resolve(args.argument);
    await Authority.init(folder, args.whole("days", 1) ?? defaultDays);
    const shown = relative(process.cwd(), folder) || ".";
    process.stdout.write(
      `The authority is in ${shown}: ${join(shown, "ca.key")} signs, ${join(shown, "ca.crt")} is what others trust.\n`,
    );
    return 0;
  },
};
