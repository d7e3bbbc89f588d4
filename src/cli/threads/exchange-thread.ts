/** The thread that talks to the peers: gRPC, and the additions of the all-reduce. Computing never delays it. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { type CountedTransport, openTransport } from "../../adapters/grpc/transport.ts";
import type { TrafficCounts } from "../../adapters/grpc/traffic.ts";
import { systemClock } from "../../adapters/system/clock.ts";
import { type Channel, Moved, openChannel } from "../../adapters/system/thread-channel.ts";
import { CertificateFolder } from "../../adapters/tls/certificate-folder.ts";
import { Arena } from "../../adapters/wasm/arena.ts";
import { assert } from "../../core/errors.ts";
import { failureBudget } from "../../core/failure-budget.ts";
import { Refusals } from "../../core/refusals.ts";
import { plainMemory } from "../../core/row-memory.ts";
import type { LogFields } from "../../ports/log.ts";
import type { Membership, ServedState, StateRequest } from "../../ports/transport.ts";
import { type OnBroken, PeerExchange, type ReductionSize } from "../../runtime/peer-exchange.ts";
import { receivedOpening, receivedWork, type SentOpening, type SentWork } from "./sent-rows.ts";

export interface ExchangeThreadData {
  /** Leads to the compute thread. */
  readonly compute: MessagePort;
  /** Where both threads have their rows; null where it cannot be had. */
  readonly rows: WebAssembly.Memory | null;
}

export interface ListenRequest {
  readonly listen: string;
  /** The folder of this worker's certificates; null: in plain text. */
  readonly tls: string | null;
  readonly budgetMs: number;
}

/** Since the thread was started. */
export interface ExchangeCounts extends TrafficCounts {
  /** See `PeerExchange`. */
  readonly earlyBuckets: number;
  /** By kind. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** What this thread has to say about the certificates; the agent has looked at the same ones. */
export interface CertificateNotice {
  readonly level: "debug" | "warn";
  readonly message: string;
  readonly fields: LogFields | undefined;
}

const data = (workerData as { data: ExchangeThreadData }).data; // what start-worker-threads.ts put there
const arena = data.rows && new Arena(data.rows);
let budget = failureBudget();
let transport: CountedTransport | null = null;
let refusals: Refusals | null = null;
let certificates: CertificateFolder | null = null;
let exchange: PeerExchange | null = null;
let copying: AbortController | null = null;

openChannel(data.compute, {
  openRound: (opening: SentOpening) => opened().openRound(receivedOpening(opening, arena)),
  reduce: (work: SentWork) => opened().reduce(receivedWork(work, arena)),
  computes: ({ generation, computing }: { generation: number; computing: boolean }) =>
    opened().computes(generation, computing),
});

const agent: Channel = openChannel(parentPort!, {
  async listen({ listen, tls, budgetMs }: ListenRequest): Promise<string> {
    budget = failureBudget(budgetMs);
    refusals = new Refusals((refusal) => agent.tell("refused", refusal));
    const notice = (level: CertificateNotice["level"]) => (message: string, fields?: LogFields) =>
      agent.tell("certificates", { level, message, fields } satisfies CertificateNotice);
    certificates =
      tls === null ? null : await CertificateFolder.open(tls, { info: notice("debug"), warn: notice("warn") });
    transport = await openTransport({ listen, connectMs: budget.connectMs, security: { certificates, refusals } });
    return transport.address;
  },
  /** Once, when the model is known. */
  open(size: ReductionSize) {
    assert(transport !== null, "the exchange thread listens before it is opened");
    const onBroken: OnBroken = (broken) => agent.tell("broken", broken);
    exchange = new PeerExchange({
      transport,
      size,
      memory: arena ?? plainMemory,
      budget,
      clock: systemClock,
      onBroken,
    });
  },
  join: (membership: Membership) => opened().join(membership),
  leave: () => opened().leave(),
  serveState: () => opened().serveState((request) => agent.call<ServedState | string>("provideState", request)),
  async copyState({ from, request }: { from: string; request: StateRequest }) {
    copying = new AbortController();
    const state = await opened().copyState(from, request, copying.signal);
    return new Moved(state, [state.values.buffer as ArrayBuffer]);
  },
  counts: (): ExchangeCounts => ({
    ...(transport?.traffic ?? { sentBytes: 0, receivedBytes: 0 }),
    earlyBuckets: exchange?.earlyBuckets ?? 0,
    refusals: refusals?.counts ?? {},
  }),
  cancelCopy: () => copying?.abort(),
  close() {
    certificates?.close();
    return transport?.close();
  },
});

function opened(): PeerExchange {
  assert(exchange !== null, "the exchange thread is opened before it is used");
  return exchange;
}
