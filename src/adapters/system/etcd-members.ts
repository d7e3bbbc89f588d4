/**
 * etcd for one job, of one member or of several. Several find each other by the ports that they had at first, so these
 * are written down beside their data:
 *
 *     etcd/                one member: its data
 *     etcd/members.json    several: their ports, and
 *     etcd/member-0/ …     the data of each
 */
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";
import {
  type EtcdExit,
  type EtcdPorts,
  type EtcdServer,
  type EtcdServerOptions,
  freePorts,
  newEtcdName,
  schemeOf,
  startEtcd,
} from "./etcd-process.ts";

export interface EtcdMembersOptions extends Omit<EtcdServerOptions, "member" | "onExit"> {
  /** How many there are to be; null: as many as there were, or one. */
  readonly count: number | null;
  /** Called when a member ends without having been stopped; it may then be restarted. */
  readonly onExit: (index: number, exit: EtcdExit) => void;
}

export interface EtcdMembers {
  readonly members: readonly EtcdServer[];
  readonly endpoints: readonly string[];
  /** The index of the member that leads the others, as the first of them that answers says; null when none does. */
  leader(): Promise<number | null>;
  stop(): Promise<void>;
}

const askLimitMs = 1_000;

/** As it is written down. */
interface MemberPlace extends EtcdPorts {
  /** Left out by those who knew only "http". */
  readonly scheme?: "http" | "https";
}

/** Starts all members and returns when they answer. */
export async function startEtcdMembers(options: EtcdMembersOptions): Promise<EtcdMembers> {
  const { count, onExit, dataDirectory, ...rest } = options;
  const scheme = schemeOf(rest.tls ?? null);
  const ports = await portsOf(dataDirectory, count, scheme);
  const places = ports?.map((own) => ({ name: newEtcdName(), ports: own })) ?? [null];
  const cluster = places.map((place) => place && `${place.name}=${scheme}://127.0.0.1:${place.ports.peer}`).join(",");
  const starting = places.map((place, index) =>
    startEtcd({
      ...rest,
      dataDirectory: place ? join(dataDirectory, `member-${index}`) : dataDirectory,
      onExit: (exit) => onExit(index, exit),
      ...(place && { member: { ...place, cluster } }),
    }),
  );
  const started = await Promise.allSettled(starting);
  const members = started.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  const stop = async () => {
    await Promise.all(members.map((member) => member.stop()));
  };
  const failure = started.find((outcome) => outcome.status === "rejected");
  if (failure) {
    await stop();
    throw failure.reason;
  }
  return {
    members,
    get endpoints() {
      return members.map(({ endpoint }) => endpoint);
    },
    leader: () => leaderOf(members),
    stop,
  };
}

/** Null for one member. */
async function portsOf(
  dataDirectory: string,
  wanted: number | null,
  scheme: "http" | "https",
): Promise<readonly EtcdPorts[] | null> {
  const file = join(dataDirectory, "members.json");
  const text = await readFile(file, "utf8").catch(() => null);
  const known = text === null ? null : (JSON.parse(text) as readonly MemberPlace[]); // written below
  const alone = !known && (await stat(join(dataDirectory, "member")).catch(() => null)) !== null;
  const before = known?.length ?? (alone ? 1 : null);
  if (before !== null && wanted !== null && wanted !== before) {
    throw new LockstepError(
      "usage",
      `The etcd in ${dataDirectory} has ${before} member${before === 1 ? "" : "s"}; ${wanted} were asked for.`,
      {
        hint: "The number is fixed when a job's folder is made; leave --etcd-members out, or use another --directory.",
      },
    );
  }
  const schemeBefore = known?.[0]?.scheme ?? "http";
  if (known && schemeBefore !== scheme) {
    throw new LockstepError(
      "usage",
      `The members of the etcd in ${dataDirectory} know each other by ${schemeBefore}, and ${scheme} was asked for.`,
      {
        hint: `That is fixed when a job's folder is made: ${schemeBefore === "https" ? "give" : "leave out"} --tls, or use another --directory.`,
      },
    );
  }
  if (known || alone || wanted === null || wanted === 1) return known;
  const free = await Promise.all(Array.from({ length: wanted }, freePorts));
  const ports: readonly MemberPlace[] = free.map((own) => ({ ...own, scheme }));
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    await writeFile(`${file}.new`, `${JSON.stringify(ports)}\n`);
    await rename(`${file}.new`, file);
  } catch (cause) {
    throw new LockstepError("coordination-unavailable", `Cannot write ${file}: ${messageOf(cause)}.`, { cause });
  }
  return ports;
}

async function leaderOf(members: readonly EtcdServer[]): Promise<number | null> {
  const statuses = await Promise.all(
    members.map(async (member) => {
      try {
        const signal = AbortSignal.timeout(askLimitMs);
        const { header, leader } = JSON.parse(await member.ask("POST", "/v3/maintenance/status", signal));
        return { own: String(header.member_id), leader: String(leader) };
      } catch {
        return null; // it is away
      }
    }),
  );
  const named = statuses.find((status) => status !== null)?.leader;
  const index = statuses.findIndex((status) => status?.own === named && named !== undefined);
  return index < 0 ? null : index;
}
