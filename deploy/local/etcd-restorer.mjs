// Prints where the program is that makes a member's data of a backup of etcd, for deploy/scripts/lib/target-ssh.sh; it is fetched
// first where this machine has none.
import { builtModule } from "../../bin/build.mjs";

const { prepareRestorer } = await import(await builtModule("adapters/system/etcd-program"));
try {
  process.stdout.write(`${await prepareRestorer((line) => process.stderr.write(`${line}\n`))}\n`);
} catch (error) {
  process.stderr.write(`${[error.message, error.hint].filter(Boolean).join(" ")}\n`);
  process.exitCode = 4;
}
