/** The other end of a copy of a state: puts it together from its parts. */
import { decodeJson } from "../../core/json.ts";
import type { ServedState } from "../../ports/transport.ts";
import type { StreamingClient } from "./client.ts";
import { collectiveService } from "./services.ts";

const { CopyState } = collectiveService;

/** Rejects when the call ends in any way but in order, or is aborted. */
export function receiveState(
  from: StreamingClient,
  request: Parameters<typeof CopyState.requestSerialize>[0],
  signal: AbortSignal,
): Promise<ServedState> {
  return new Promise((resolve, reject) => {
    const parts: Uint8Array[] = [];
    const cancel = () => {
      call.cancel();
      reject(new Error("it was cancelled"));
    };
    signal.addEventListener("abort", cancel, { once: true });
    const call = from.call(CopyState.path, CopyState.requestSerialize(request), 0, {
      onAccepted: () => {},
      place: (_head, bytes) => new Uint8Array(bytes),
      arrived: (_head, part) => void (part && parts.push(part)),
      onEnd(end) {
        signal.removeEventListener("abort", cancel);
        const [head, ...values] = parts;
        if (end.kind !== "ended") return reject(new Error(end.reason));
        if (!head) return reject(new Error("it ended without a state"));
        const bytes = new Uint8Array(values.reduce((sum, part) => sum + part.length, 0));
        let at = 0;
        for (const part of values) {
          bytes.set(part, at);
          at += part.length;
        }
        const { progress, digest } = decodeJson<Omit<ServedState, "values">>(Buffer.from(head).toString());
        resolve({ progress, digest, values: new Float32Array(bytes.buffer) });
      },
    });
  });
}
