/**
 * Training steps of two workers on two machines with a network of a given rate between them, beside PyTorch's DistributedDataParallel
 * on the same machines. They are network namespaces of this one, so root and Linux are wanted; who computes has the same two cores
 * whatever the network does.
 *
 *     npm run bench -- link [--rate 1gbit] [--rounds N] [--models step-mlp2048,…] [--json FILE] [--no-peers]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LockstepError, messageOf } from "../src/core/errors.ts";
import { gaps, stepTimes } from "../src/core/log-reading.ts";
import { Link, LinkedCluster } from "../test/fixtures/link.ts";
import { peerProgram, pythonCommand, whyNoPeers } from "./python.ts";
import { load, machine, median, publish, resultsOf, type Skipped, versions, writeReport } from "./results.ts";
import { jobFile, modelNamed, type StepModel, steps, warmUpSteps, writeJob } from "./step/models.ts";
import { commonOptions, wholeNumber } from "./words.ts";

const peerPort = 29_500;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: {
      rate: { type: "string", default: "1gbit" },
      rounds: { type: "string", default: "3" },
      models: { type: "string", default: "step-mlp2048,step-cnn" },
      ...commonOptions,
    },
  });
  const rounds = wholeNumber("rounds", values.rounds);
  const models = values.models.split(",").map(modelNamed);
  const why = whyNoPeers(values["no-peers"]);
  const skipped: Skipped[] = why === null ? [] : [{ peer: "torch DDP", why }];
  const link = await Link.open(values.rate).catch((error: unknown) => {
    throw new LockstepError("usage", `There can be no link of ${values.rate} here: ${messageOf(error)}.`, {
      hint: "It takes Linux, root, and the programs ip and tc; a rate is a number and a unit, as 1gbit or 100mbit.",
    });
  });
  const loadBefore = load();
  const readings = models.map((model) => ({ model, own: [] as number[], ddp: [] as number[] }));
  const report = () => ({
    ...{ benchmark: "link", machine: machine(loadBefore), versions: versions(), skipped },
    results: readings.flatMap(({ model, own, ddp }) =>
      resultsOf(
        { work: model.work.replace("step", "link"), world: 2, unit: "ms", samples: own },
        why === null ? [{ peer: "torch DDP", samples: ddp, goal: null }] : [],
      ),
    ),
  });
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  try {
    for (const model of models) await writeJob(folder, model);
    for (let round = 1; round <= rounds; round++) {
      for (const { model, own, ddp } of readings) {
        process.stderr.write(`round ${round} of ${rounds}, ${model.work}\n`);
        own.push(await measure(link, jobFile(folder, model)));
        if (why === null) ddp.push(await measureDdp(link, model));
        await writeReport(report(), values.json);
      }
    }
  } finally {
    await link.close();
    await rm(folder, { recursive: true, force: true });
  }
  const remark = `milliseconds a step, ${values.rate} each way; a sample is the median of the ${steps - warmUpSteps} steps after ${warmUpSteps}`;
  await publish(report(), [remark], values.json);
}

async function measure(link: Link, file: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  const cluster = new LinkedCluster(link);
  try {
    await cluster.start({ folder, jobFile: file });
    for (const name of ["worker-0", "worker-1"]) await cluster.whenLine(name, ({ message }) => message === "left");
    const times = stepTimes(cluster.lines, "worker-0", 0, Number.POSITIVE_INFINITY);
    return median(gaps(times).slice(warmUpSteps));
  } finally {
    await cluster.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Its ranks are told where they are by their environment, as its launcher would tell them. */
async function measureDdp(link: Link, { work }: StepModel): Promise<number> {
  const outputs = ([0, 1] as const).map(async (side) => {
    const meeting = {
      MASTER_ADDR: link.address(0),
      MASTER_PORT: String(peerPort),
      GLOO_SOCKET_IFNAME: link.device(side),
    };
    const environment = { ...meeting, WORLD_SIZE: "2", RANK: String(side), LOCAL_RANK: "0", OMP_NUM_THREADS: "1" };
    const child = link.spawn(side, [pythonCommand("python"), peerProgram("torch_ddp.py"), work], environment);
    let output = "";
    child.stdout!.on("data", (text) => {
      output += text;
    });
    child.stderr!.resume();
    const code = await new Promise((resolve) => child.once("close", resolve));
    if (code !== 0) throw new Error(`torch DDP's rank ${side} ended with ${code}`);
    return output;
  });
  const [first] = await Promise.all(outputs);
  return median((JSON.parse(first!) as { samples_ms: number[] }).samples_ms); // what the program's first rank prints
}
