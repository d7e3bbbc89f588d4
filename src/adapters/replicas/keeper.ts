/** What a worker does for others with the checkpoints of its own: keeps copies, and gives them. */
import { LockstepError } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import type { CheckpointsHandler, FileRequest, KeepRequest } from "../grpc/checkpoints.ts";
import type { Copies, ReplicatedStorage } from "./replicated-storage.ts";

export class Keeper implements CheckpointsHandler {
  readonly #run: string;
  readonly #files: Copies;
  readonly #storage: ReplicatedStorage;
  constructor(run: string, files: Copies, storage: ReplicatedStorage) {
    this.#run = run;
    this.#files = files;
    this.#storage = storage;
  }

  async keep(request: KeepRequest, onReceived: (bytes: number) => void, over: AbortSignal): Promise<void> {
    if (request.run !== this.#run) throw otherRun(request.run, this.#run);
    await this.#storage.keep(request, onReceived, over);
  }

  async *fetch({ run, id, file }: FileRequest): AsyncGenerator<Uint8Array> {
    if (run !== this.#run) throw new CheckpointError("missing", otherRun(run, this.#run).message);
    yield* this.#files.read(id, file);
  }
}

/** Whoever had this address before was another worker. */
function otherRun(asked: string, own: string): LockstepError {
  return new LockstepError("process-failed", `It keeps checkpoints of ${own}, not of ${asked}.`);
}
