/** The replicated states of a job, and their order: by lineage, era, step; of one step, the closed epoch comes last. */

export interface StatePlace {
  /** Raised when a run is resumed below what was published. */
  readonly lineage: number;
  /** Raised when etcd's data were lost or restored. */
  readonly era: number;
  /** Committed steps. */
  readonly step: number;
  /** Completed epochs. After an epoch's last step the state changes once more, when the epoch is closed. */
  readonly epoch: number;
}

/** A state's place in the order of states, and what it is. */
export interface StateName extends StatePlace {
  readonly digest: string;
}

/** A member of a forming generation has stopped and reaches all the others; this is its state, or null if it has none. */
export interface Report {
  readonly workerId: string;
  readonly state: StateName | null;
  /** The last running generation in which it had the generation's state; 0 when there was none. */
  readonly trainedIn: number;
  /** The state goes back to a copy of a member's, and no digest has been compared since. */
  readonly isCopy: boolean;
}

/** Negative if `a` comes before `b`, 0 if they are the same place, positive if it comes after. */
export function compareStates(a: StatePlace, b: StatePlace): number {
  return a.lineage - b.lineage || a.era - b.era || a.step - b.step || a.epoch - b.epoch;
}
