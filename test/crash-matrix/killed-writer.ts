/** The process that the matrix kills: it leads, publishes one epoch, and sends itself SIGKILL at the point it was told. */
import { openEtcd } from "../../src/adapters/etcd/etcd-coordination.ts";
import { nodeFileSystem } from "../../src/adapters/fs/file-system.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { Point } from "./process.ts";
import { Scene } from "./scene.ts";

export interface KillOrder {
  readonly endpoint: string;
  readonly directory: string;
  readonly run: number;
  readonly losses: readonly number[];
  readonly epoch: number;
  readonly point: string;
  /** A write: when half of it is done. */
  readonly halfway: boolean;
}

const order = JSON.parse(process.argv[2]!) as KillOrder; // what kill-cells.ts wrote
const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const scene = new Scene({
  directory: order.directory,
  disk: nodeFileSystem,
  clock: systemClock,
  run: order.run,
  losses: order.losses,
  connect: (clock) =>
    openEtcd({ endpoints: [order.endpoint], requestTimeoutMs: 10_000, log, clock, leaseMarginMs: 300 }),
});
await scene.readGeneration();
await scene.markOld();
const worker = scene.enter("killed");
const leader = await scene.leader(worker);
await leader.stand();
const isIt = ({ name }: Point) => name === order.point;
const die = () => process.kill(process.pid, "SIGKILL");
worker.disturb({
  at: (point) => isIt(point) && !order.halfway && die(),
  alter: (point, buffers) =>
    isIt(point) && order.halfway ? [buffers[0]!.subarray(0, Math.ceil(buffers[0]!.length / 2))] : buffers,
  afterWrite: (point) => isIt(point) && order.halfway && die(),
});
leader.add(order.epoch);
await leader.work();
// Not reached when the point is one of those that this epoch passes.
process.exitCode = 3;
await leader.leave();
await worker.coordination.close();
await scene.observer.close();
