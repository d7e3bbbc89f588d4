/** The coordinator's service for people and tools: status, stop, and how far the workers are. */
import { randomUUID } from "node:crypto";
import { Server, type ServerUnaryCall, type ServiceError, type sendUnaryData } from "@grpc/grpc-js";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { HistoryEditions } from "../../core/history-edition.ts";
import { type PeerRule, roles, workerNameOf } from "../../core/identity.ts";
import { decodeJson, encodeJson } from "../../core/json.ts";
import type { ClusterStatus, EpochHistory } from "../../core/status.ts";
import type { Wish } from "../../core/wishes.ts";
import type { AskReply } from "./generated/lockstep/v1/AskReply.ts";
import type { AskRequest, AskRequest__Output } from "./generated/lockstep/v1/AskRequest.ts";
import type { ProgressAck } from "./generated/lockstep/v1/ProgressAck.ts";
import type { ProgressReport__Output } from "./generated/lockstep/v1/ProgressReport.ts";
import type { StatusReply } from "./generated/lockstep/v1/StatusReply.ts";
import type { StatusRequest, StatusRequest__Output } from "./generated/lockstep/v1/StatusRequest.ts";
import type { StopReply } from "./generated/lockstep/v1/StopReply.ts";
import type { StopRequest__Output } from "./generated/lockstep/v1/StopRequest.ts";
import type { CertificateFolder } from "../tls/certificate-folder.ts";
import { channelCredentials, targetName } from "../tls/dial.ts";
import type { Security } from "../tls/security.ts";
import { plainReason } from "./reason.ts";
import { refusalOf, type Serving, serve } from "./serve.ts";
import { ControlClient, status as code, controlService } from "./services.ts";

/** What the service is made of: an active or standing-by coordinator. */
export interface ControlHandler {
  noteProgress(report: ProgressReport): void;
  status(): ClusterStatus;
  requestStop(reason: string): Promise<void>;
  /** "usage": what is wished cannot be. */
  ask(wish: Wish): Promise<void>;
}

export interface ProgressReport {
  readonly workerId: string;
  readonly generation: number;
  readonly epoch: number;
  readonly step: number;
  readonly stepInEpoch: number;
  readonly samplesPerSecond: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly leaseHeld: boolean;
}

/** How long somebody may take to show a certificate. */
const handshakeMs = 5000;

/**
 * Serves on "host:port" (port 0: any free one). The handler may come later; until then calls are UNAVAILABLE. With certificates
 * a worker speaks for itself alone, and only operators stop a run.
 */
export async function serveControl(
  listen: string,
  handler: () => ControlHandler | null,
  security: Security,
): Promise<Serving> {
  const server = new Server({ "grpc.enable_channelz": 0 });
  const editions = new HistoryEditions(randomUUID());
  const answer =
    <Request, Reply>(
      what: string,
      callersOf: (request: Request) => PeerRule,
      handle: (handler: ControlHandler, request: Request) => Reply | Promise<Reply>,
    ) =>
    (call: ServerUnaryCall<Request, Reply>, callback: sendUnaryData<Reply>): void => {
      const refusal = refusalOf(call, security, callersOf(call.request), what);
      if (refusal) {
        callback(refusal);
        return;
      }
      void (async () => {
        try {
          const ready = handler();
          if (!ready) throw new LockstepError("coordination-unavailable", "The coordinator is starting.");
          callback(null, await handle(ready, call.request));
        } catch (error) {
          callback(failureOf(error));
        }
      })();
    };
  server.addService(controlService, {
    ReportProgress: answer<ProgressReport__Output, ProgressAck>(
      "report a worker's progress",
      ({ workerId }) => ({ roles: ["worker"], name: workerNameOf(workerId) }),
      (ready, request) => {
        ready.noteProgress(request);
        return {};
      },
    ),
    GetStatus: answer<StatusRequest__Output, StatusReply>(
      "ask for the status",
      () => ({ roles }),
      (ready, { historyEdition, historyEpochs }) => {
        const { history, ...status } = ready.status();
        const { edition, from } = editions.tell(history, { edition: historyEdition, epochs: historyEpochs });
        const told = { ...status, history: history.slice(from) } satisfies ClusterStatus;
        return { statusJson: encodeJson(told), historyEdition: edition, historyFrom: from };
      },
    ),
    Stop: answer<StopRequest__Output, StopReply>(
      "stop a run",
      () => ({ roles: ["operator"] }),
      async (ready, request) => {
        await ready.requestStop(request.reason);
        return {};
      },
    ),
    Ask: answer<AskRequest__Output, AskReply>(
      "ask for other workers",
      () => ({ roles: ["operator"] }),
      async (ready, request) => {
        await ready.ask(wishIn(request));
        return {};
      },
    ),
  });
  return serve(server, listen, security, { roles }, handshakeMs);
}

function wishIn({ wish, workers = 0, drain = "", restart = "" }: AskRequest__Output): Wish {
  switch (wish) {
    case "workers":
      return { kind: "scale", workers };
    case "drain":
      return { kind: "drain", worker: drain };
    case "restart":
      return { kind: "restart", worker: restart };
    default:
      throw new LockstepError("usage", "Nothing was asked for.");
  }
}

/** What a caller did wrong is told apart from what may pass. The hint comes in a line of its own. */
function failureOf(error: unknown): Partial<ServiceError> {
  if (!(error instanceof LockstepError && error.code === "usage")) {
    return { code: code.UNAVAILABLE, details: messageOf(error) };
  }
  return { code: code.INVALID_ARGUMENT, details: [error.message, error.hint ?? ""].join("\n") };
}

export interface ControlConnection {
  status(): Promise<ClusterStatus>;
  stop(reason: string): Promise<void>;
  /** Fails with "usage" when what is wished cannot be. */
  ask(wish: Wish): Promise<void>;
  reportProgress(report: ProgressReport): Promise<void>;
  close(): void;
}

/** Calls a coordinator; a call that is not answered within `deadlineMs` fails with "coordination-unavailable". */
export function connectControl(
  address: string,
  deadlineMs: number,
  certificates: CertificateFolder | null,
): ControlConnection {
  const client = new ControlClient(address, channelCredentials(certificates, { roles: ["coordinator"] }), {
    ...targetName,
    "grpc.enable_channelz": 0,
    // Nothing is kept there, and a name server that does not answer would keep the process for half a minute.
    "grpc.service_config_disable_resolution": 1,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
  });
  /** As it was told last. */
  let known: { readonly edition: string; readonly history: readonly EpochHistory[] } = { edition: "", history: [] };
  const call = <Reply>(
    start: (deadline: { deadline: number }, done: (error: ServiceError | null, reply?: Reply) => void) => unknown,
  ) =>
    new Promise<Reply>((resolve, reject) => {
      start({ deadline: Date.now() + deadlineMs }, (error, reply) => {
        if (error?.code === code.INVALID_ARGUMENT) {
          const [message = "", hint = ""] = error.details.split("\n");
          reject(new LockstepError("usage", message, hint === "" ? {} : { hint }));
        } else if (error || !reply)
          reject(
            new LockstepError(
              "coordination-unavailable",
              `The coordinator at ${address} does not answer: ${plainReason(error?.details ?? "empty reply")}.`,
              { cause: error },
            ),
          );
        else resolve(reply);
      });
    });
  return {
    status: async () => {
      const { edition, history } = known;
      const request: StatusRequest = { historyEdition: edition, historyEpochs: history.length };
      const {
        statusJson = "null",
        historyEdition = "",
        historyFrom = 0,
      } = await call<StatusReply>((options, done) => client.GetStatus(request, options, done));
      const told = decodeJson<ClusterStatus>(statusJson);
      const status = { ...told, history: [...history.slice(0, historyFrom), ...told.history] };
      known = { edition: historyEdition, history: status.history };
      return status;
    },
    stop: async (reason) => {
      await call<StopReply>((options, done) => client.Stop({ reason }, options, done));
    },
    ask: async (wish) => {
      const asked: AskRequest =
        wish.kind === "scale"
          ? { workers: wish.workers }
          : wish.kind === "drain"
            ? { drain: wish.worker }
            : { restart: wish.worker };
      await call<AskReply>((options, done) => client.Ask(asked, options, done));
    },
    reportProgress: async (report) => {
      await call<ProgressAck>((options, done) =>
        client.ReportProgress({ ...report, metrics: { ...report.metrics } }, options, done),
      );
    },
    close: () => client.close(),
  };
}
