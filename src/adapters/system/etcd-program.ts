/**
 * Where etcd's programs come from, in this order: ETCD_BIN; PATH; the cache; the distribution's own package, unpacked
 * into the cache without installing it (Debian and Ubuntu by apt, Homebrew by its bottle); the official release, pinned
 * by its SHA-256. None of it needs root or changes the machine outside the cache.
 */
import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { arch, platform } from "node:os";
import { basename, dirname, join } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { extractTar, extractZip } from "./archives.ts";
import { buildEntry, type CacheEntry, entryDirectory, findEntry } from "./cache.ts";
import { download } from "./download.ts";
import { findProgram, isExecutable, runProgram } from "./programs.ts";
import { type Say, withProgress } from "./progress.ts";

export interface EtcdProgram {
  /** Absolute path of the server's executable. */
  readonly path: string;
  /** "3.6.5" */
  readonly version: string;
}

/** What is fetched: the server, or the program that makes a member's data of a backup. */
type Part = "server" | "restorer";
/**
 * Its executables, the first that there is. etcdutl is there since etcd 3.5, and since 3.6 it alone restores.
 */
const executables: Readonly<Record<Part, readonly string[]>> = { server: ["etcd"], restorer: ["etcdutl", "etcdctl"] };

interface Source {
  /** As it is named in messages. */
  readonly title: string;
  /** The name of its cache entries, below `etcd/` and `etcd-tools/`. */
  readonly name: string;
  /** Fetches what has the part, below the scratch folder, and returns the folder of its executables. */
  readonly fetch: (part: Part, scratch: string, say: Say) => Promise<string>;
}

const releaseVersion = "3.6.5";
/** Of the release's archives, by `{os}-{architecture}` as they are named. */
const releaseSha256: Readonly<Record<string, string>> = {
  "linux-amd64": "66bad39ed920f6fc15fd74adcb8bfd38ba9a6412f8c7852d09eb11670e88cac3",
  "linux-arm64": "7010161787077b07de29b15b76825ceacbbcedcb77fe2e6832f509be102cab6b",
  "darwin-amd64": "ab1286184ea8f27a921730d494b7dea4f9a0d3b176e70ab48fcdf77448e1ac57",
  "darwin-arm64": "14d7743f9ed07950a8e85491646e067e394a09e049e42083e2f6473fefa717a8",
};
/** ETCD_MIRROR replaces it, for networks that cannot reach it. */
const releaseAddress = "https://github.com/etcd-io/etcd/releases/download";

const versionTimeoutMs = 20_000;

const sources: readonly Source[] = [
  { title: "the Debian package", name: `debian-${arch()}`, fetch: fetchFromDebian },
  { title: "Homebrew's bottle", name: `homebrew-${arch()}`, fetch: fetchFromHomebrew },
  { title: `the release ${releaseVersion}`, name: `release-${releaseVersion}-${arch()}`, fetch: fetchRelease },
];

/**
 * An etcd server of version 3.4 or newer, fetched if need be. Silent when one is there already.
 * "coordination-unavailable" if ETCD_BIN does not name one, or with each source that was tried and why it failed.
 */
export async function prepareEtcd(say: Say): Promise<EtcdProgram> {
  const failures: string[] = [];
  const found = await findWithFailures(failures);
  if (found !== null) return found;
  for (const source of sources) {
    try {
      const fill = async (directory: string, scratch: string) => {
        const path = await fetchInto(directory, source, "server", scratch, say);
        return { version: await checkVersion(path) };
      };
      return programOf(await buildEntry(`etcd/${source.name}`, fill));
    } catch (error) {
      failures.push(`${source.title}: ${messageOf(error)}`);
    }
  }
  throw new LockstepError("coordination-unavailable", `No etcd program can be had. Tried: ${failures.join("; ")}.`, {
    hint: "Install etcd 3.4 or newer, or name its program in ETCD_BIN, or name a running etcd with --etcd.",
  });
}

/** The etcd that is there already, without fetching anything; null if there is none. Throws as `prepareEtcd` on ETCD_BIN. */
export async function findEtcd(): Promise<EtcdProgram | null> {
  return findWithFailures([]);
}

/**
 * The program that makes a member's data of a backup, by `snapshot restore`. First choice is what belongs to the etcd that
 * `prepareEtcd` gives: beside it, or fetched from the same source earlier; then what is on PATH; then it is fetched.
 * "coordination-unavailable" if it cannot be had.
 */
export async function prepareRestorer(say: Say): Promise<string> {
  const server = dirname((await prepareEtcd(say)).path);
  const beside = executableIn(server, "restorer");
  if (beside !== null) return beside;
  const source = sources.find(({ name }) => entryDirectory(`etcd/${name}`) === server);
  const entry = source && (await findEntry(`etcd-tools/${source.name}`));
  if (entry) return executableIn(entry.directory, "restorer")!; // it was put there
  const onPath = executables.restorer.map(findProgram).find((path) => path !== null);
  if (onPath) return onPath;
  const lacking = `There is no ${executables.restorer.join(" or ")} beside ${server}/etcd, nor on PATH`;
  const hint = "Install etcdutl, or etcdctl of etcd 3.4 or 3.5 (on Debian: etcd-client).";
  if (source === undefined) throw new LockstepError("coordination-unavailable", `${lacking}.`, { hint });
  try {
    const made = await buildEntry(`etcd-tools/${source.name}`, async (directory, scratch) => {
      const path = await fetchInto(directory, source, "restorer", scratch, say);
      const result = await runProgram(path, ["version"], { timeoutMs: versionTimeoutMs });
      if (!result.succeeded) throw new Error(`${path} does not run: ${result.failure}`);
      return {};
    });
    return executableIn(made.directory, "restorer")!; // it was put there
  } catch (cause) {
    const why = `${source.title} gives none: ${messageOf(cause)}`;
    throw new LockstepError("coordination-unavailable", `${lacking}; ${why}.`, { hint, cause });
  }
}

function executableIn(folder: string, part: Part): string | null {
  return executables[part].map((name) => join(folder, name)).find(isExecutable) ?? null;
}

async function findWithFailures(failures: string[]): Promise<EtcdProgram | null> {
  const chosen = process.env.ETCD_BIN;
  if (chosen !== undefined && chosen !== "") return checkChosen(chosen);
  const onPath = findProgram("etcd");
  try {
    if (onPath !== null) return { path: onPath, version: await checkVersion(onPath) };
    failures.push("PATH: it holds no etcd");
  } catch (error) {
    failures.push(`PATH: ${messageOf(error)}`);
  }
  for (const { name } of sources) {
    const cached = await findEntry(`etcd/${name}`);
    if (cached !== null) return programOf(cached);
  }
  return null;
}

async function checkChosen(path: string): Promise<EtcdProgram> {
  try {
    if (!isExecutable(path)) throw new Error("it is not there, or no file that can be executed");
    return { path, version: await checkVersion(path) };
  } catch (error) {
    throw new LockstepError(
      "coordination-unavailable",
      `ETCD_BIN names ${path}, which is no usable etcd: ${messageOf(error)}.`,
      {
        hint: "Let ETCD_BIN name an etcd 3.4 or newer, or unset it.",
        cause: error,
      },
    );
  }
}

/** Asks a program for its version; throws an Error that says what is wrong with it. */
async function checkVersion(path: string): Promise<string> {
  const result = await runProgram(path, ["--version"], { timeoutMs: versionTimeoutMs });
  if (!result.succeeded) throw new Error(`${path} does not run: ${result.failure}`);
  const version = /^etcd Version: (\d+\.\d+\.\d+)/m.exec(result.output)?.[1];
  if (version === undefined) throw new Error(`${path} does not say its version`);
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  if (major < 3 || (major === 3 && minor < 4)) throw new Error(`${path} is etcd ${version}, older than 3.4`);
  if (major === 3 && minor === 5 && patch <= 2)
    throw new Error(`${path} is etcd ${version}, which is known to lose data`);
  return version;
}

/** Puts the part's executable into a folder of the cache; returns its path there. */
async function fetchInto(directory: string, source: Source, part: Part, scratch: string, say: Say): Promise<string> {
  const folder = await source.fetch(part, scratch, say);
  const executable = executableIn(folder, part);
  if (executable === null) throw new Error(`it holds no ${executables[part].join(" or ")}`);
  const path = join(directory, basename(executable));
  await copyFile(executable, path);
  return path;
}

function programOf(entry: CacheEntry): EtcdProgram {
  return { path: join(entry.directory, "etcd"), version: entry.facts.version ?? "" };
}

/** apt with lists, cache and state of its own; it only reads the machine's sources and settings. */
async function fetchFromDebian(part: Part, scratch: string, say: Say): Promise<string> {
  const apt = findProgram("apt-get");
  const unpack = findProgram("dpkg-deb");
  if (apt === null || unpack === null) throw new Error(`${apt === null ? "apt-get" : "dpkg-deb"} is not on PATH`);
  const packageName = part === "server" ? "etcd-server" : "etcd-client";
  say(`Fetching etcd from the Debian package ${packageName}, once per user.`);
  const configuration = join(scratch, "apt.conf");
  await Promise.all(
    ["lists/partial", "archives/partial", "state"].map((folder) => mkdir(join(scratch, folder), { recursive: true })),
  );
  await writeFile(join(scratch, "state", "status"), "");
  await writeFile(configuration, aptConfiguration(scratch));
  const run = async (what: string, programArguments: readonly string[]) => {
    const work = runProgram(apt, ["-c", configuration, "-qq", ...programArguments], { directory: scratch });
    const result = await withProgress(say, (seconds) => `${what}: ${seconds} s`, work);
    if (!result.succeeded) throw new Error(`${what} failed: ${result.failure}`);
  };
  await run("apt-get update", ["update"]);
  await run(`apt-get download ${packageName}`, ["download", packageName]);
  const archive = (await readdir(scratch)).find((name) => name.endsWith(".deb"));
  if (archive === undefined) throw new Error("apt-get download left no package");
  const result = await runProgram(unpack, ["-x", join(scratch, archive), join(scratch, "unpacked")]);
  if (!result.succeeded) throw new Error(`dpkg-deb failed: ${result.failure}`);
  return join(scratch, "unpacked", "usr", "bin");
}

/** Read after the machine's own settings, so that its hooks, which may clean the machine's caches, do not run. */
function aptConfiguration(scratch: string): string {
  const settings = {
    "Dir::State": join(scratch, "state"),
    "Dir::State::lists": join(scratch, "lists"),
    "Dir::State::status": join(scratch, "state", "status"),
    "Dir::Cache": scratch,
    "Dir::Cache::archives": join(scratch, "archives"),
    "Dir::Cache::pkgcache": "",
    "Dir::Cache::srcpkgcache": "",
    "Dir::Log": scratch,
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    // apt would change to a user who may not look into this user's cache.
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "true",
  };
  const hooks = [
    "APT::Update::Pre-Invoke",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "DPkg::Post-Invoke",
  ];
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";`);
  return `${[...hooks.map((hook) => `#clear ${hook};`), ...lines].join("\n")}\n`;
}

/** Homebrew's ready-made archive, fetched but not installed. */
async function fetchFromHomebrew(_part: Part, scratch: string, say: Say): Promise<string> {
  const brew = findProgram("brew");
  if (brew === null) throw new Error("brew is not on PATH");
  say("Fetching etcd from Homebrew, once per user.");
  const environment = { HOMEBREW_NO_AUTO_UPDATE: "1", HOMEBREW_CACHE: join(scratch, "homebrew") };
  const fetching = runProgram(brew, ["fetch", "--force-bottle", "etcd"], { environment });
  const fetched = await withProgress(say, (seconds) => `brew fetch etcd: ${seconds} s`, fetching);
  if (!fetched.succeeded) throw new Error(`brew fetch etcd failed: ${fetched.failure}`);
  const where = await runProgram(brew, ["--cache", "--force-bottle", "etcd"], { environment });
  if (!where.succeeded) throw new Error(`brew --cache etcd failed: ${where.failure}`);
  const unpacked = join(scratch, "unpacked");
  await extractTar(where.output.trim(), unpacked);
  const versions = await readdir(join(unpacked, "etcd"));
  return join(unpacked, "etcd", versions[0] ?? "", "bin");
}

async function fetchRelease(part: Part, scratch: string, say: Say): Promise<string> {
  const target = `${platform()}-${{ x64: "amd64", arm64: "arm64" }[arch()] ?? arch()}`;
  const sha256 = releaseSha256[target];
  if (sha256 === undefined) throw new Error(`there is none for ${target}`);
  say(`Fetching etcd ${releaseVersion} from its official release, once per user.`);
  const name = `etcd-v${releaseVersion}-${target}`;
  const file = target.startsWith("darwin") ? `${name}.zip` : `${name}.tar.gz`;
  const destination = join(scratch, file);
  const address = process.env.ETCD_MIRROR || releaseAddress;
  await download(`${address}/v${releaseVersion}/${file}`, { destination, sha256, label: "downloading etcd", say });
  const unpacked = join(scratch, "unpacked");
  if (file.endsWith(".zip"))
    await extractZip(destination, unpacked, (path) => executables[part].includes(basename(path)));
  else await extractTar(destination, unpacked);
  return join(unpacked, name);
}
