/** `lockstep setup`: gets the engine and etcd, so that the first launch need not. */
import { prepareEtcd, prepareRestorer } from "../adapters/system/etcd-program.ts";
import { prepareEngine, prepareForGpus } from "../adapters/tfjs/prepare-engine.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import type { Arguments, Command } from "./command.ts";
import { shared, wishOf } from "./common.ts";

export const setup: Command = {
  name: "setup",
  summary: "Get the engine and etcd onto this machine, into the user's cache.",
  argument: null,
  options: {
    engine: shared.engine,
    device: shared.device,
    "for-gpus": {
      value: null,
      help: "fetch what GPUs need though there is none here, as where an image is made; and no etcd",
    },
  },
  details: "A launch does the same on first use. What is there already is kept.",
  run: runSetup,
};

async function runSetup(args: Arguments): Promise<number> {
  const say = (line: string) => process.stdout.write(`${line}\n`);
  if (args.flag("for-gpus")) {
    const other = (["engine", "device"] as const).find((name) => args.text(name) !== undefined);
    if (other) {
      throw new LockstepError(
        "usage",
        `--for-gpus is for the native engine on GPUs, and --${other} asks for something else.`,
        {
          hint: "Give one of the two.",
        },
      );
    }
    say(`Engine: ${await prepareForGpus(say)} (native, gpu)`);
    return 0;
  }
  const choice = await prepareEngine(wishOf(args), say);
  if (choice.notice) say(choice.notice);
  say(`Engine: ${choice.library} (${choice.kind}, ${choice.device})`);
  const etcd = await prepareEtcd(say);
  say(`etcd: ${etcd.version}, ${etcd.path}`);
  // Only whoever puts a backup back needs it, so nothing else has to stop without it.
  say(`For backups of etcd: ${await prepareRestorer(say).catch(messageOf)}`);
  return 0;
}
