/** Hosts for a test: containers, each with a systemd, an sshd and an address of its own, and an operator who can log in. */
import { randomInt } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { findProgram } from "../../src/adapters/system/programs.ts";
import { type Ran, ran, root, sure } from "../fixtures/deployed-cluster.ts";
import { docker, whyNoEngine } from "./docker-cluster.ts";

const image = "lockstep-ssh-host:test";
const bootLimitMs = 60_000;
/** A folder that all hosts have, as on a network file system. */
export const sharedFolder = "/shared";

/**
 * What systemd needs of a machine's rights. Not `--privileged`: that wants all that the kernel knows, and machines that are
 * virtual themselves may lack some.
 */
const rights = [
  ...["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "SETFCAP"],
  ...[
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYSLOG",
  ],
  ...["SYS_CHROOT", "SYS_PTRACE", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_TTY_CONFIG", "MKNOD", "LEASE"],
  ...["AUDIT_WRITE", "AUDIT_CONTROL"],
];
const systemdOptions = [
  ...rights.flatMap((right) => ["--cap-add", right]),
  ...["seccomp", "apparmor", "systempaths"].flatMap((what) => ["--security-opt", `${what}=unconfined`]),
  ...["--cgroupns", "private", "--tmpfs", "/run:exec", "--tmpfs", "/run/lock", "--env", "container=docker"],
];

/** Why there can be no such hosts on this machine; null if there can. */
export async function whyNoHosts(): Promise<string | null> {
  for (const program of ["docker", "ssh", "ssh-keygen"]) {
    if (findProgram(program) === null) return `${program} is not on PATH`;
  }
  if (process.getuid?.() !== 0) return "its base image is made by root only (deploy/docker/base)";
  return whyNoEngine();
}

export interface Hosts {
  readonly folder: string;
  /** For `deploy/scripts`: the state of the cluster, and how ssh is called. */
  readonly environment: NodeJS.ProcessEnv;
  address(name: string): string;
  /** Runs a shell line in a host, as root. */
  sh(name: string, line: string): Promise<Ran>;
  /** A host as good as switched off: all that it runs is gone at once. */
  powerCut(name: string): Promise<void>;
  /** It starts as any machine starts; returns when its systemd has. */
  powerOn(name: string): Promise<void>;
  /** One that has an sshd and no systemd. */
  addWithoutSystemd(name: string): Promise<void>;
  remove(): Promise<void>;
}

export async function startHosts(names: readonly string[]): Promise<Hosts> {
  await buildImage();
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-hosts-"));
  const id = path.basename(folder).slice("lockstep-hosts-".length).toLowerCase();
  const network = `lockstep-hosts-${id}`;
  const containers = new Set<string>();
  const addresses = new Map<string, string>();
  const container = (name: string) => `${network}-${name}`;
  const remove = async () => {
    if (containers.size > 0) await docker("rm", "--force", "--volumes", ...[...containers].map(container));
    await ran("docker", ["network", "rm", network]);
    await ran("docker", ["volume", "rm", network]);
    await rm(folder, { recursive: true, force: true });
  };
  const sh = (name: string, line: string) => ran("docker", ["exec", container(name), "bash", "-c", line]);

  /** With the address that it has for good: a host that was off comes back where others know it. */
  const start = async (name: string, options: readonly string[], command: readonly string[]) => {
    const address = `${subnet}.${10 + addresses.size}`;
    containers.add(name);
    addresses.set(name, address);
    const where = ["--name", container(name), "--hostname", name, "--network", network, "--ip", address];
    await docker("run", "--detach", ...where, ...options, image, ...command);
    for (const user of ["root", "ops", "guest"]) {
      const home = user === "root" ? "/root" : `/home/${user}`;
      await docker("cp", path.join(folder, "key.pub"), `${container(name)}:${home}/.ssh/authorized_keys`);
      await sh(name, `chown ${user}: ${home}/.ssh/authorized_keys && chmod 600 ${home}/.ssh/authorized_keys`);
    }
    await writeSshConfig();
  };
  const writeSshConfig = async () => {
    const hosts = [...addresses].map(([name, address]) => `Host ${name}\n  HostName ${address}\n`);
    const all = ["Host *", `IdentityFile ${folder}/key`, "IdentitiesOnly yes", `UserKnownHostsFile ${folder}/known`];
    await writeFile(
      path.join(folder, "config"),
      `${hosts.join("")}${all.join("\n  ")}\n  StrictHostKeyChecking accept-new\n`,
    );
  };
  const untilBooted = async (name: string) => {
    const limitMs = systemClock.monotonicMs() + bootLimitMs;
    for (;;) {
      const { stdout } = await sh(name, "systemctl is-system-running");
      const ssh = await ran("ssh", ["-F", `${folder}/config`, "-o", "BatchMode=yes", `root@${name}`, "true"]);
      if (/^(running|degraded)/.test(stdout) && ssh.code === 0) return;
      if (systemClock.monotonicMs() > limitMs) {
        const log = await docker("logs", "--tail", "20", container(name)).catch(String);
        throw new Error(`${name} has not booted within ${bootLimitMs / 1000} s: ${stdout} ${ssh.stderr}\n${log}`);
      }
      await systemClock.sleep(200);
    }
  };

  let subnet = "";
  try {
    await sure("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path.join(folder, "key")]);
    await chmod(path.join(folder, "key"), 0o600);
    subnet = await makeNetwork(network);
    for (const name of names) await start(name, [...systemdOptions, "--volume", `${network}:${sharedFolder}`], []);
    await Promise.all(names.map(untilBooted));
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    folder,
    environment: {
      ...process.env,
      XDG_STATE_HOME: path.join(folder, "state"),
      LOCKSTEP_SSH: `ssh -F ${folder}/config`,
    },
    address: (name) => addresses.get(name)!, // it was started above
    sh,
    remove,
    powerCut: async (name) => {
      await docker("kill", container(name));
    },
    powerOn: async (name) => {
      await docker("start", container(name));
      await untilBooted(name);
    },
    addWithoutSystemd: async (name) => {
      await start(name, [], ["bash", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D"]);
      const limitMs = systemClock.monotonicMs() + bootLimitMs;
      while ((await ran("ssh", ["-F", `${folder}/config`, "-o", "BatchMode=yes", `root@${name}`, "true"])).code !== 0) {
        if (systemClock.monotonicMs() > limitMs) throw new Error(`${name} has no sshd that answers`);
        await systemClock.sleep(200);
      }
    },
  };
}

/** A network whose addresses nobody else here has; returns the first three numbers of them. */
async function makeNetwork(name: string): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    const subnet = `10.${randomInt(64, 128)}.${randomInt(0, 256)}`;
    const { code, stderr } = await ran("docker", ["network", "create", "--subnet", `${subnet}.0/24`, name]);
    if (code === 0) return subnet;
    if (attempt === 5) throw new Error(`No network for the hosts can be made: ${stderr.trim()}`);
  }
}

/** Debian as debootstrap makes it here where no image can be pulled, and the Dockerfile beside this file. */
async function buildImage(): Promise<void> {
  const base = await ran("docker", ["image", "inspect", "lockstep-base:bookworm"]);
  if (base.code !== 0) await sure(path.join(root, "deploy/docker/base"), []);
  const dockerfile = path.join(root, "test/containers/ssh-host.Dockerfile");
  const context = path.join(root, "test/containers");
  await sure("docker", ["build", "--network", "host", "--file", dockerfile, "--tag", image, context]);
}

/** Resolves with the first value that fits; rejects, with the last one, when none has within the limit. */
export async function until<Value>(
  what: string,
  read: () => Promise<Value>,
  fits: (value: Value) => boolean,
  describe: (value: Value) => unknown = (value) => value,
  limitMs = 120_000,
): Promise<Value> {
  const endMs = systemClock.monotonicMs() + limitMs;
  for (;;) {
    const value = await read();
    if (fits(value)) return value;
    if (systemClock.monotonicMs() > endMs) {
      throw new Error(`${what}: not within ${limitMs / 1000} s; last: ${JSON.stringify(describe(value))}`);
    }
    await systemClock.sleep(100);
  }
}
