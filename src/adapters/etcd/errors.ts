import {
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCInvalidArgumentError,
  GRPCOutOfRangeError,
  GRPCResourceExhastedError,
  GRPCUnauthenticatedError,
} from "etcd3";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { plainReason } from "../grpc/reason.ts";

/** What was asked of etcd, for messages: `transact (put "/a", delete "/b")`. */
export interface CallDescription {
  readonly what: string;
  readonly endpoint: string;
  readonly elapsedMs: number;
  /** Whether the call may have changed something although it failed. */
  readonly changes: boolean;
}

/** The one place where errors of etcd3 and gRPC become lockstep's, decided by their class and never by their text. */
export function translateError(error: unknown, call: CallDescription): LockstepError {
  if (error instanceof LockstepError) return error;
  const where = `etcd at ${call.endpoint}`;
  if (error instanceof EtcdLeaseInvalidError) {
    return new LockstepError("fenced-off", `${where} refused to ${call.what}: its lease has expired or was revoked.`, {
      hint: "The process was away for longer than its lease; it has to join again under a new identity.",
      cause: error,
    });
  }
  if (error instanceof GRPCInvalidArgumentError || error instanceof GRPCOutOfRangeError) {
    return new LockstepError("internal", `${where} refused to ${call.what}: ${reasonOf(error)}.`, { cause: error });
  }
  const elapsed = `after ${Math.round(call.elapsedMs)} ms`;
  const outcome = call.changes ? " Whether it took effect is unknown." : "";
  return new LockstepError(
    "coordination-unavailable",
    `${where} failed to ${call.what} ${elapsed}: ${reasonOf(error)}.${outcome}`,
    { hint: hintFor(error), cause: error },
  );
}

/** The error's message as part of a sentence. */
export function reasonOf(error: unknown): string {
  return plainReason(messageOf(error));
}

function hintFor(error: unknown): string {
  if (error instanceof GRPCResourceExhastedError)
    return "etcd is out of space: compact, defragment or raise its quota.";
  if (error instanceof EtcdPermissionDeniedError || error instanceof GRPCUnauthenticatedError) {
    return "etcd asks for credentials, or for others than these; `lockstep etcd-roles JOB` lets a job at its own keys.";
  }
  return "Check that etcd is running, that its endpoints are right and that most of its members are up.";
}
