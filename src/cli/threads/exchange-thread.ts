/** The thread that talks to the peers: gRPC, and the additions of the all-reduce. Computing never delays it. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { openTransport } from "../../adapters/grpc/transport.ts";
import { type Channel, Moved, openChannel } from "../../adapters/system/thread-channel.ts";
import { bucketLayout } from "../../core/bucket-layout.ts";
import type { Contribution, Reduction, Round } from "../../core/contribution.ts";
import { LockstepError } from "../../core/errors.ts";
import type { Membership, StateRequest, StateSnapshot, Transport } from "../../ports/transport.ts";
import { AllReduce } from "../../runtime/all-reduce.ts";

export interface ExchangeThreadData {
  readonly listen: string;
  readonly connectMs: number;
  readonly shards: number;
  /** Leads to the compute thread. */
  readonly compute: MessagePort;
}

export interface JoinRequest {
  readonly membership: Membership;
  /** Numbers in one reduction. */
  readonly values: number;
  readonly statistics: number;
}

const data = (workerData as { data: ExchangeThreadData }).data; // what start-worker-threads.ts put there
let transport: Transport | null = null;
let reduction: AllReduce | null = null;
let copying: AbortController | null = null;

openChannel(data.compute, {
  reduce({ round, own, into }: { round: Round; own: readonly Contribution[]; into: Reduction }): Promise<void> {
    // The generation ended between the computation and this call: the compute thread hears of it on its own.
    if (!reduction) return new Promise(() => {});
    return reduction.reduce(round, own, into);
  },
});

const agent: Channel = openChannel(parentPort!, {
  async listen(): Promise<string> {
    transport = await openTransport({ listen: data.listen, connectMs: data.connectMs });
    return transport.address;
  },
  join({ membership, values, statistics }: JoinRequest) {
    reduction?.close();
    const layout = bucketLayout(values, statistics);
    reduction = new AllReduce(opened(), membership, layout, data.shards, (rank, reason) =>
      agent.tell("broken", { generation: membership.generation, rank, reason }),
    );
  },
  leave() {
    reduction?.close();
    reduction = null;
  },
  serveState() {
    opened().serveState((request) => agent.call<StateSnapshot | string>("provideState", request));
  },
  async copyState({ from, request }: { from: string; request: StateRequest }) {
    copying = new AbortController();
    const state = await opened().copyState(from, request, copying.signal);
    return new Moved(state, [state.values.buffer as ArrayBuffer]);
  },
  cancelCopy: () => copying?.abort(),
  close: () => transport?.close(),
});

function opened(): Transport {
  if (!transport) throw new LockstepError("internal", "The exchange thread does not listen yet.");
  return transport;
}
