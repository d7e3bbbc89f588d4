/** Does what a schedule says, counts what really happened, and mends everything when the faults are over. */
import { type Generation, memberIds } from "../../src/core/membership.ts";
import { decodeJson } from "../../src/core/json.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import type { StoreImage } from "../../src/adapters/memory/coordination.ts";
import type { Cluster } from "./cluster.ts";
import type { Disk } from "./disk.ts";
import { fairWeather, type SimulatedEtcd, type Weather } from "./etcd.ts";
import type { Network } from "./network.ts";
import type { Moment, Observer } from "./observer.ts";
import type { Fault } from "./schedule.ts";
import { keys } from "./worker-process.ts";
import type { World } from "./world.ts";

export interface InjectorParts {
  readonly world: World;
  readonly cluster: Cluster;
  readonly etcd: SimulatedEtcd;
  readonly network: Network;
  readonly disk: Disk;
  readonly observer: Observer;
}

const mostWorkers = 7;

/** A copy of etcd's data, with what was seen until then. */
interface Backup {
  readonly image: StoreImage;
  readonly generation: number;
}

export class Injector {
  readonly #parts: InjectorParts;
  /** Faults that wait for their moment. */
  #armed: Fault[] = [];
  #cuts: (readonly [string, string])[] = [];
  #isOver = false;
  readonly #hasArchive: boolean;
  /** What etcd held after each write; kept only where such a copy is put back. */
  readonly #backups: Backup[] = [];
  readonly #keepsBackups: boolean;

  constructor(parts: InjectorParts, schedule: readonly Fault[], hasArchive: boolean) {
    this.#parts = parts;
    this.#hasArchive = hasArchive;
    this.#keepsBackups = schedule.some(({ kind }) => kind === "etcd-restored" || kind === "etcd-set-back");
    const { world, observer } = parts;
    for (const fault of schedule) {
      world.at(fault.atMs, null, () => {
        if (fault.on) this.#armed.push(fault);
        else this.#inject(fault);
      });
    }
    observer.onMoment = (moment) => this.#momentCame(moment);
  }

  /** Called after every write. */
  wrote(): void {
    if (!this.#keepsBackups) return;
    this.#backups.push({ image: this.#parts.etcd.store.image(), generation: this.#generation()?.generation ?? 0 });
  }

  /** Nothing goes wrong any more, and who was sent away or stopped is back. */
  healAll(): void {
    const { world, cluster, etcd, network, disk } = this.#parts;
    this.#isOver = true;
    this.#armed = [];
    Object.assign(etcd.weather, fairWeather);
    for (const [from, to] of this.#cuts.splice(0)) network.heal(from, to);
    network.onCopy = () => {};
    disk.failing.clear();
    disk.slowness = 1;
    for (const name of cluster.slots.keys()) etcd.heal(name);
    cluster.heal();
    world.trace.note("-", "the faults are over");
  }

  #momentCame(moment: Moment): void {
    const due = this.#armed.filter(({ on }) => on?.moment === moment);
    if (due.length === 0) return;
    this.#armed = this.#armed.filter((fault) => !due.includes(fault));
    for (const fault of due) this.#parts.world.after(fault.on!.afterMs, null, () => this.#inject(fault));
  }

  #inject(fault: Fault): void {
    if (this.#isOver || this.#parts.observer.store.has(keys.done)) return;
    if (this.#happens(fault)) this.#parts.observer.injected(fault.kind);
  }

  /** Whether there was anything to break. */
  #happens(fault: Fault): boolean {
    const { cluster, disk, etcd, network } = this.#parts;
    const { kind, forMs } = fault;
    const workers = cluster.namesOf("worker");
    const coordinators = cluster.namesOf("coordinator");
    const worker = nth(workers, fault.target);
    const coordinator = nth(coordinators, fault.target);
    const leader = this.#leader();
    switch (kind) {
      case "kill-worker":
        return worker !== null && cluster.kill(worker);
      case "kill-leader":
        return leader !== null && cluster.kill(leader);
      case "kill-coordinator":
        return coordinator !== null && cluster.kill(coordinator);
      case "kill-two":
        return workers.length >= 2 && this.#killAll([worker!, nth(workers, fault.target + 1)!]);
      case "kill-all-but-one":
        return workers.length >= 2 && this.#killAll(workers.filter((name) => name !== worker));
      case "kill-all":
        return this.#killAll(workers);
      case "lose-machine":
        return worker !== null && cluster.kill(worker, true);
      case "crash-loop":
        return worker !== null && cluster.crashLoop(worker, forMs);
      case "stop-worker":
        return worker !== null && cluster.stop(worker, forMs);
      case "stop-leader":
        return leader !== null && cluster.stop(leader, forMs);
      case "stop-coordinator":
        return coordinator !== null && cluster.stop(coordinator, forMs);
      case "hang":
        return this.#canCompare(worker) && cluster.hang(worker);
      case "flip-bit":
        return this.#canCompare(worker) && cluster.flip(worker, fault.other, fault.target);
      case "damaged-copy":
        network.onCopy = (values) => this.#damage(fault, values);
        return false; // counted when there was one
      case "etcd-outage":
        etcd.goDown(forMs);
        return this.#note(`etcd is down for ${forMs} ms`);
      case "etcd-election":
        etcd.elect(Math.min(forMs, 2500));
        return this.#note("etcd elects a leader");
      case "etcd-late-expiry":
        etcd.stretchLeases(forMs);
        return this.#note(`leases last ${forMs} ms longer`);
      case "etcd-requests-lost":
        return this.#weather({ requestLost: 0.4 }, forMs);
      case "etcd-requests-late":
        return this.#weather({ requestLate: 0.3 }, forMs);
      case "etcd-replies-lost":
        return this.#weather({ replyLost: 0.4 }, forMs);
      case "etcd-hints-lost":
        return this.#weather({ hintLost: 1 }, forMs);
      case "etcd-hints-late":
        return this.#weather({ hintLateMs: 1500 }, forMs);
      case "etcd-hints-doubled":
        return this.#weather({ hintDoubled: 1 }, forMs);
      case "etcd-compaction":
        this.#compact(fault, [...workers, ...coordinators]);
        return false; // counted when a watch was hit
      case "cut-peers":
      case "cut-peers-one-way":
        return worker !== null && this.#cutPeers(fault, worker, workers);
      case "cut-etcd":
      case "cut-etcd-one-way":
        return this.#cutEtcd(fault, [...workers, ...coordinators]);
      case "drain":
        return workers.length >= 2 && worker !== null && cluster.drain(worker);
      case "drain-all":
        return cluster.drainAll();
      case "scale-up":
        if (workers.length >= mostWorkers) return false;
        cluster.add("worker", `w${cluster.slots.size + 1}`);
        return this.#note("one more worker is started");
      case "pin":
        return this.#pin(fault);
      case "disk-failing":
        if (worker === null) return false;
        disk.failing.add(worker);
        this.#later(forMs, () => disk.failing.delete(worker));
        return this.#note(`writes of ${worker} fail for ${forMs} ms`);
      case "corrupt-latest":
        return this.#corruptLatest();
      case "lose-disk":
        return worker !== null && this.#loseDisk(worker);
      case "damage-copy":
        return this.#damageCopy(fault);
      case "etcd-lost":
        return this.#loseData(forMs);
      case "etcd-restored":
      case "etcd-set-back":
        return this.#restoreData(fault);
      case "disk-slow":
        disk.slowness = 40;
        this.#later(forMs, () => {
          disk.slowness = 1;
        });
        return this.#note(`the disk is slow for ${forMs} ms`);
    }
  }

  /** An operator pins one of the checkpoints that are there. */
  #pin({ target }: Fault): boolean {
    const { observer, cluster } = this.#parts;
    const id = nth(
      [...observer.store.keys()].filter((key) => key.startsWith(keys.checkpoints)),
      target,
    );
    if (id === null) return false;
    cluster.pin(id.slice(keys.checkpoints.length));
    return true;
  }

  /** One bit of one copy, once. */
  #damage({ kind, target, other }: Fault, values: Float32Array): void {
    const { network, observer } = this.#parts;
    network.onCopy = () => {};
    const bits = new Uint32Array(values.buffer);
    bits[target % bits.length]! ^= 1 << (12 + other);
    this.#note("a bit of a copied state turns over on its way");
    observer.injected(kind);
  }

  /** Whether it has a peer who can tell that something is wrong, and a published state to go back to. */
  #canCompare(worker: string | null): worker is string {
    const { store } = this.#parts.observer;
    const generation = this.#generation();
    // Of one that forms with a newcomer, only one may have the state.
    const members = generation?.kind === "running" ? memberIds(generation) : [];
    return store.has(keys.latest) && members.length > 1 && members.some((id) => id.startsWith(`${worker}.`));
  }

  /** What `latest` names is not any more what was written; something before it is whole. */
  #corruptLatest(): boolean {
    const { disk, observer } = this.#parts;
    const latest = observer.store.get(keys.latest);
    if (!latest) return false;
    const { id } = decodeJson<CheckpointPointer>(latest);
    const others = [...observer.store].filter(([key, value]) => {
      const other = key.startsWith(keys.checkpoints) ? key.slice(keys.checkpoints.length) : id;
      return other !== id && value.includes('"live"') && !disk.corrupt.has(other) && disk.wholeOf(other) !== null;
    });
    // Of several copies none is missed: see "damage-copy".
    if (others.length === 0 || disk.corrupt.size > 0 || disk.isSeparate) return false;
    disk.corrupt.add(id);
    return this.#note(`${id} is corrupt`);
  }

  /** Its process dies with it. Only while all that lies there has another whole copy: else it would be lost for good. */
  #loseDisk(worker: string): boolean {
    const { disk, cluster } = this.#parts;
    if (!disk.isAnywhereElse(worker) || !cluster.kill(worker)) return false;
    disk.lose(worker);
    return this.#note(`the disk of ${worker} is lost`);
  }

  /** A bit of one copy of what `latest` names turns over; another copy is whole. */
  #damageCopy({ target }: Fault): boolean {
    const { disk, observer } = this.#parts;
    const latest = observer.store.get(keys.latest);
    if (!latest) return false;
    const { id } = decodeJson<CheckpointPointer>(latest);
    const holders = disk.holdersOf(id);
    const holder = nth(holders, target);
    if (holder === null || holders.length < 2) return false;
    disk.damage(holder, id);
    return this.#note(`the copy of ${id} of ${holder} is damaged`);
  }

  #loseData(forMs: number): boolean {
    const { etcd, observer } = this.#parts;
    if (!this.#isInMemory()) return false;
    this.#note(`etcd is killed, and is back without its data after ${forMs} ms`);
    etcd.replaceData(forMs, null);
    observer.replaced(new Map(), this.#hasArchive);
    return true;
  }

  /** As it was in a generation before, or earlier in the same one. */
  #restoreData({ kind, target, other, forMs }: Fault): boolean {
    const { etcd, observer, cluster } = this.#parts;
    const now = this.#generation()?.generation ?? 0;
    // What fewer writes have made, those of processes that come back may hide (Not covered in rule 7).
    const hidden = 2 * (cluster.namesOf("worker").length + cluster.namesOf("coordinator").length);
    const isOlder = ({ generation, image }: Backup) =>
      kind === "etcd-restored"
        ? generation < now
        : generation === now && image.revision + hidden < etcd.store.moment.revision;
    const older = this.#backups.filter(isOlder);
    if (!this.#isInMemory()) return false;
    const backup = older[Math.floor(((target * 12 + other) / 144) * older.length)];
    if (!backup) return false;
    const image = other % 2 === 0 ? backup.image : withoutLeases(backup.image);
    this.#note(
      `etcd is killed, and is back after ${forMs} ms as it was at revision ${image.revision} of ${etcd.store.moment.revision}, in ${backup.generation} of ${now} generations`,
    );
    etcd.replaceData(forMs, image);
    observer.replaced(new Map([...image.entries].map(([key, { value }]) => [key, value])), this.#hasArchive);
    return true;
  }

  /** Whether what is lost can be known: from checkpoints, or from workers, who have all taken the state by then. */
  #isInMemory(): boolean {
    return this.#hasArchive || this.#parts.observer.store.has(keys.latest);
  }

  #generation(): Generation | null {
    const value = this.#parts.observer.store.get(keys.generation);
    return value ? decodeJson<Generation>(value) : null;
  }

  #leader(): string | null {
    const value = this.#parts.observer.store.get(keys.leader);
    return value ? ((JSON.parse(value) as { workerId: string }).workerId.split(".")[0] ?? null) : null;
  }

  #killAll(names: readonly string[]): boolean {
    return names.filter((name) => this.#parts.cluster.kill(name)).length > 0;
  }

  #weather(change: Partial<Weather>, forMs: number): boolean {
    const { weather } = this.#parts.etcd;
    Object.assign(weather, change);
    this.#later(forMs, () => {
      for (const name of Object.keys(change) as (keyof Weather)[]) weather[name] = 0;
    });
    return this.#note(`etcd: ${JSON.stringify(change)} for ${forMs} ms`);
  }

  /** The watches of one process take nothing for a while, and what they lack is compacted away before they go on. */
  #compact({ kind, target, forMs }: Fault, names: readonly string[]): void {
    const name = nth(names, target);
    if (name === null) return;
    const { etcd, observer } = this.#parts;
    etcd.stall(name);
    this.#later(forMs, () => {
      const ended = etcd.compactBefore(name);
      if (ended === 0) return;
      this.#note(`a compaction ends ${ended} watches of ${name}`);
      observer.injected(kind);
    });
  }

  /** From one worker to one other, or to all others. */
  #cutPeers({ kind, other, forMs }: Fault, worker: string, workers: readonly string[]): boolean {
    const { network } = this.#parts;
    const others = workers.filter((name) => name !== worker);
    const cutOff = other % 3 === 0 ? others : others.slice(other % Math.max(1, others.length)).slice(0, 1);
    if (cutOff.length === 0) return false;
    const links = cutOff.flatMap((name): [string, string][] =>
      kind === "cut-peers"
        ? [
            [worker, name],
            [name, worker],
          ]
        : [[worker, name]],
    );
    for (const [from, to] of links) network.cut(from, to);
    this.#cuts.push(...links);
    this.#later(forMs, () => {
      for (const [from, to] of links) network.heal(from, to);
    });
    return this.#note(`cut for ${forMs} ms: ${links.map((link) => link.join(">")).join(" ")}`);
  }

  #cutEtcd({ kind, target, other, forMs }: Fault, names: readonly string[]): boolean {
    const name = nth(names, target);
    if (name === null) return false;
    const { etcd } = this.#parts;
    const link = etcd.linkOf(name);
    if (kind === "cut-etcd" || other % 2 === 0) link.to = false;
    if (kind === "cut-etcd" || other % 2 === 1) link.from = false;
    this.#later(forMs, () => etcd.heal(name));
    return this.#note(`etcd and ${name} are cut for ${forMs} ms: ${JSON.stringify(link)}`);
  }

  #later(ms: number, action: () => void): void {
    this.#parts.world.after(ms, null, () => {
      if (!this.#isOver) action();
    });
  }

  #note(what: string): true {
    this.#parts.world.trace.note("-", what);
    return true;
  }
}

/** As when the backup is put back after all of its leases have ended. */
function withoutLeases({ entries, revision }: StoreImage): StoreImage {
  return { entries: new Map([...entries].filter(([, { leaseId }]) => leaseId === null)), leases: new Map(), revision };
}

function nth(names: readonly string[], n: number): string | null {
  return names[n % Math.max(1, names.length)] ?? null;
}
