/** Where things lie in etcd. One run of one job owns everything under its prefix. */
export interface Keys {
  readonly prefix: string;
  /**
   * What every worker acts on lies under this prefix, and nothing else does: a report or an arrival, of which there is one
   * a worker, wakes only those who wait for it.
   */
  readonly now: string;
  /** What the run is: see JobRecord. Written by the coordinator. */
  readonly record: string;
  /** Where the lineage under way begins: see Origin. Absent in the first. */
  readonly origin: string;
  /** The history of epochs whose records etcd has lost; absent unless it has. */
  readonly remembered: string;
  /** The beginnings of all lineages but the first. */
  readonly lineages: string;
  lineage(lineage: number): string;
  /** The fingerprint that every worker must have. */
  readonly fingerprint: string;
  /** Why the run is only equivalent; absent while it is bit-exact. */
  readonly equivalences: string;
  /** The active coordinator; leased. Its create revision is the coordinator's fencing token. */
  readonly coordinator: string;
  /** The leader; leased. Its create revision is the leader's fencing token. */
  readonly leader: string;
  /** The one value that says who is in: Forming or Running. */
  readonly generation: string;
  /** The last replay that a divergence led to. */
  readonly replay: string;
  /** The epoch that was committed last: a hint that its record is there. */
  readonly committed: string;
  readonly latest: string;
  readonly best: string;
  /** What an operator wishes of the processes: see Wishes. Written by the coordinator. */
  readonly wishes: string;
  /** Up to where the job file's callbacks were told: see Told. Written by the coordinator that calls them. */
  readonly told: string;
  /** Present when somebody asked the run to stop in order. */
  readonly stop: string;
  /** Present when the run cannot go on; holds the reason. */
  readonly failed: string;
  /** Present when the last epoch's checkpoint is published. */
  readonly done: string;
  readonly members: string;
  readonly refusals: string;
  readonly checkpoints: string;
  /** All pins of all checkpoints, each under its checkpoint's id. */
  readonly pins: string;
  pin(id: string, name: string): string;
  member(workerId: string): string;
  refusal(workerId: string): string;
  reports(generation: number): string;
  report(generation: number, workerId: string): string;
  suspicions(generation: number): string;
  suspicion(generation: number, suspect: string, by: string): string;
  /** Where the members' states differed in this generation. */
  divergence(generation: number): string;
  /** All arrivals of all generations. */
  readonly arrived: string;
  arrivals(generation: number, point: string): string;
  arrival(generation: number, point: string, rank: number): string;
  /** The records of all lineages. */
  readonly epochs: string;
  epoch(lineage: number, epoch: number): string;
  checkpoint(id: string): string;
  /** Those of all lineages. */
  readonly saves: string;
  save(lineage: number, step: number): string;
  /**
   * How the memberships were, for people: see TimelineEntry. Beside the run's prefix and not under it, since the coordinator
   * reads all that is under it again and again.
   */
  readonly timeline: string;
  timelineEntry(generation: number): string;
}

/** Everything of a job's, and nothing of another's, lies under it. */
export function jobPrefix(job: string): string {
  return `/lockstep/${job}/`;
}

/** The number of the run that the job trains, or trained last. */
export function runKey(job: string): string {
  return `${jobPrefix(job)}run`;
}

export function keysOf(job: string, run: number): Keys {
  const prefix = `${jobPrefix(job)}runs/${run}/`;
  const timeline = `${jobPrefix(job)}timelines/${run}/`;
  const at = (...parts: (string | number)[]) => prefix + parts.join("/");
  return {
    prefix,
    now: at("now", ""),
    committed: at("now", "committed"),
    arrived: at("arrive", ""),
    record: at("record"),
    origin: at("origin"),
    remembered: at("remembered"),
    lineages: at("lineages", ""),
    lineage: (lineage) => at("lineages", String(lineage).padStart(6, "0")),
    fingerprint: at("fingerprint"),
    equivalences: at("equivalences"),
    coordinator: at("coordinator"),
    leader: at("now", "leader"),
    generation: at("now", "generation"),
    replay: at("replay"),
    latest: at("now", "latest"),
    best: at("now", "best"),
    wishes: at("now", "wishes"),
    told: at("told"),
    stop: at("now", "stop"),
    failed: at("now", "failed"),
    done: at("now", "done"),
    members: at("members", ""),
    refusals: at("now", "refusals", ""),
    checkpoints: at("checkpoints", ""),
    pins: at("pins", ""),
    pin: (id, name) => at("pins", id, name),
    member: (workerId) => at("members", workerId),
    refusal: (workerId) => at("now", "refusals", workerId),
    reports: (generation) => at("reports", generation, ""),
    report: (generation, workerId) => at("reports", generation, workerId),
    suspicions: (generation) => at("suspicions", generation, ""),
    suspicion: (generation, suspect, by) => at("suspicions", generation, suspect, by),
    divergence: (generation) => at("divergence", generation),
    arrivals: (generation, point) => at("arrive", generation, point, ""),
    arrival: (generation, point, rank) => at("arrive", generation, point, rank),
    epochs: at("epochs", ""),
    // Padded, so that etcd's key order is the epochs' order.
    epoch: (lineage, epoch) => at("epochs", lineage, String(epoch).padStart(8, "0")),
    checkpoint: (id) => at("checkpoints", id),
    saves: at("saves", ""),
    save: (lineage, step) => at("saves", lineage, String(step).padStart(12, "0")),
    timeline,
    timelineEntry: (generation) => timeline + String(generation).padStart(8, "0"),
  };
}
