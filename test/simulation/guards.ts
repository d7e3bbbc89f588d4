/** While a simulation runs, whoever reaches for real time or real chance fails at once, and so does who forgets an error. */

type Global = Record<string, unknown>;

function forbidden(name: string): () => never {
  return () => {
    throw new Error(`${name} was used inside a simulation, where time and chance come from the seed`);
  };
}

const names = ["setTimeout", "setInterval", "setImmediate"];

export async function withGuards<T>(
  run: (onUnhandled: (handle: (reason: unknown) => void) => void) => Promise<T>,
): Promise<T> {
  const global = globalThis as unknown as Global;
  const kept = new Map(names.map((name) => [name, global[name]]));
  const { random } = Math;
  const RealDate = Date;
  for (const name of names) global[name] = forbidden(name);
  Math.random = forbidden("Math.random");
  globalThis.Date = guardedDate(RealDate);
  let handle: (reason: unknown) => void = () => {};
  const onRejection = (reason: unknown) => handle(reason);
  process.on("unhandledRejection", onRejection);
  try {
    return await run((handler) => {
      handle = handler;
    });
  } finally {
    process.off("unhandledRejection", onRejection);
    for (const [name, value] of kept) global[name] = value;
    Math.random = random;
    globalThis.Date = RealDate;
  }
}

/** A date made of a given time is only a way to write it; one of now is not allowed. */
function guardedDate(RealDate: DateConstructor): DateConstructor {
  return new Proxy(RealDate, {
    construct: (target, args, newTarget) => {
      if (args.length === 0) forbidden("new Date()")();
      return Reflect.construct(target, args, newTarget) as object;
    },
    get: (target, name, receiver) => (name === "now" ? forbidden("Date.now") : Reflect.get(target, name, receiver)),
  });
}
