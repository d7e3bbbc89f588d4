/** `launch` for programs: the launch of the command line, with a view that hands on events instead of printing them. */
import "./quiet-grpc.ts";
import { fileURLToPath } from "node:url";
import type { LaunchView } from "../adapters/terminal/view.ts";
import { LockstepError, messageOf } from "../core/errors.ts";
import { type LaunchOptions, launchWords, type Run, RunEvents } from "../core/run-events.ts";
import type { RunResult } from "../core/run-result.ts";
import { RunEventHub } from "../runtime/run-event-hub.ts";
import { parseCommand } from "./command.ts";
import { launch, readSettings, train } from "./launch.ts";
import type { Session } from "./session.ts";
import { StopRequest } from "./stop-request.ts";

/** Resolves once the run is found or begun; rejects with what keeps it from that. */
export async function launchRun(options: LaunchOptions): Promise<Run> {
  const job = options.job instanceof URL ? fileURLToPath(options.job) : options.job;
  const args = parseCommand(launch, [job, ...launchWords(options)]);
  const settings = await readSettings(args);
  const hub = new RunEventHub();
  const events = new RunEvents();
  const view: LaunchView = {
    say: (text) => hub.tell({ type: "message", text }),
    // Programs have an event for each of them, with the first update.
    earlier: () => {},
    update: (status) => {
      for (const event of events.news(status)) hub.tell(event);
    },
    // Told when every process has ended: nothing comes after it.
    finished: () => {},
    close: () => {},
  };
  const stop = new StopRequest((line) => view.say(line), { hearsSignals: false });
  let begun: (session: Session) => void = () => {};
  const session = new Promise<Session>((resolve) => {
    begun = resolve;
  });
  const finished = ending(train(args, settings, { view, stop, onSession: begun }), hub, stop);
  const { record, status, ask } = await Promise.race([session, finished.then(neverBegun)]);
  return {
    job: record.job,
    run: record.run,
    on: (type, listener) => hub.on(type, listener),
    [Symbol.asyncIterator]: () => hub[Symbol.asyncIterator](),
    status,
    scale: (workers) => ask({ kind: "scale", workers }),
    async stop() {
      stop.request();
      await finished.catch(() => undefined);
    },
    finished,
  };
}

/** What the launch comes to; whoever listens hears of the end too. */
function ending(training: Promise<RunResult | null>, hub: RunEventHub, stop: StopRequest): Promise<RunResult> {
  const finished = (async () => {
    try {
      const result = await training;
      if (result === null) throw new LockstepError("interrupted", "The run was stopped before its last epoch.");
      hub.tell({ type: "finished", result });
      hub.end(null);
      return result;
    } catch (error) {
      const known =
        error instanceof LockstepError ? error : new LockstepError("internal", messageOf(error), { cause: error });
      hub.end(known);
      throw known;
    } finally {
      stop.close();
    }
  })();
  finished.catch(() => undefined); // whoever waits for it is told; nobody has to
  return finished;
}

function neverBegun(): never {
  throw new LockstepError("internal", "The launch has ended without a run.");
}
