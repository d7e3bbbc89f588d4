/** Calls between threads: each side serves functions to the other over one message port. Errors keep their code. */
import type { MessagePort, Worker as Thread, TransferListItem } from "node:worker_threads";
import { type ErrorCode, LockstepError, messageOf } from "../../core/errors.ts";

/** What a side serves. Values must survive a structured clone; a result may name what of it is moved, not copied. */
export type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

export interface Channel {
  /** Calls the other side and waits for its answer; rejects with its error. */
  call<T>(method: string, argument?: unknown, move?: readonly TransferListItem[]): Promise<T>;
  /** Tells the other side something, without an answer. */
  tell(method: string, argument?: unknown): void;
  /** Every call under way, and every later one, rejects with this. */
  fail(error: Error): void;
}

type Message =
  | { readonly kind: "call"; readonly id: number | null; readonly method: string; readonly argument: unknown }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number; readonly error: CarriedError };

interface CarriedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
}

/** An answer whose buffers are moved to the other thread. */
export class Moved<T> {
  readonly value: T;
  readonly move: readonly TransferListItem[];
  constructor(value: T, move: readonly TransferListItem[]) {
    this.value = value;
    this.move = move;
  }
}

export function openChannel(port: MessagePort | Thread, handlers: Handlers): Channel {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let next = 0;
  let failure: Error | null = null;
  const post = (message: Message, move: readonly TransferListItem[] = []) => port.postMessage(message, move);

  const answer = async (id: number | null, method: string, argument: unknown) => {
    try {
      const handler = handlers[method];
      if (!handler) throw new LockstepError("internal", `No thread serves "${method}".`);
      // Both sides are compiled together: a method's argument is what its handler takes.
      const result = await handler(argument as never);
      if (id === null) return;
      if (result instanceof Moved) post({ kind: "answer", id, value: result.value }, result.move);
      else post({ kind: "answer", id, value: result });
    } catch (error) {
      if (id === null) throw error;
      post({ kind: "error", id, error: carry(error) });
    }
  };

  port.on("message", (message: Message) => {
    if (message.kind === "call") {
      void answer(message.id, message.method, message.argument);
      return;
    }
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.kind === "answer")
      call?.resolve(message.value as never); // what the other side's handler returned
    else
      call?.reject(
        new LockstepError(
          message.error.code,
          message.error.message,
          message.error.hint ? { hint: message.error.hint } : {},
        ),
      );
  });

  return {
    call<T>(method: string, argument?: unknown, move?: readonly TransferListItem[]): Promise<T> {
      if (failure) return Promise.reject(failure);
      return new Promise<T>((resolve, reject) => {
        const id = next++;
        waiting.set(id, { resolve, reject });
        post({ kind: "call", id, method, argument }, move);
      });
    },
    tell: (method, argument) => post({ kind: "call", id: null, method, argument }),
    fail(error) {
      failure = error;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    },
  };
}

function carry(error: unknown): CarriedError {
  if (error instanceof LockstepError) return { code: error.code, message: error.message, hint: error.hint };
  const detail = error instanceof Error && error.stack ? error.stack : messageOf(error);
  return { code: "internal", message: detail, hint: undefined };
}
