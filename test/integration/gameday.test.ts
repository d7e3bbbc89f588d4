import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { FaultName } from "../../src/core/gameday.ts";
import { digitsJob, type Line, useUser } from "../fixtures/cli.ts";

/** The machine may have other things to do; how fast it is when it has not, the benchmark says. */
const slack = "10";
const limit = { timeout: 600_000 };

/** What each fault's proof must say, so that none passes without having happened. */
const proofs: Readonly<Record<FaultName, RegExp>> = {
  "kill-worker": /\(pid \d+\) ended by SIGKILL after step \d+/,
  restart: /started again as pid \d+, it copied step \d+ from worker-\d\./,
  "kill-leader": /in the middle of an epoch; worker-\d was elected/,
  "kill-leader-arrival": /with its arrival at epoch \d+ in etcd and no record of it; worker-\d was elected/,
  "kill-leader-writing": /its half of the checkpoint of step \d+ is still there; worker-\d was elected/,
  "kill-coordinator": /ended by SIGKILL; two epochs were committed without one/,
  "kill-coordinator-standby": /coordinator-2 was active after \d+ ms/,
  "kill-coordinator-worker":
    /coordinator \(pid \d+\) and worker-\d \(pid \d+\) ended by SIGKILL; generation \d+ stood for \d{4,} ms, .* ran \d+ ms after/,
  "kill-two": /worker-\d \(pid \d+\) and worker-\d \(pid \d+\) ended by SIGKILL/,
  "kill-all-but-one": /worker-\d \(pid \d+\) and worker-\d \(pid \d+\) ended by SIGKILL/,
  "kill-all-workers": /3 new processes went on from latest, step \d+/,
  "etcd-member": /a follower of etcd \(pid \d+\) ended by SIGKILL; epoch \d+ was committed by the others/,
  "etcd-leader": /the leader of etcd \(pid \d+\) ended by SIGKILL; epoch \d+ was committed by the others/,
  "etcd-outage": /stayed away for 2\d{4} ms, in which \d+ steps were taken/,
  "stop-worker": /its lease ran out and epoch \d+ was committed without it; awake, it said ".*joining again/,
  "stop-leader": /its lease ran out and epoch \d+ was committed without it; awake, it said ".*joining again/,
  "cut-peers": /[1-9]\d* bytes were swallowed .* epoch \d+ was committed without worker-\d/,
  "cut-one-way": /[1-9]\d* bytes were swallowed .* epoch \d+ was committed without worker-\d/,
  "cut-one-way-in": /[1-9]\d* bytes were swallowed .* epoch \d+ was committed without worker-\d/,
  "cut-etcd-one-way": /[1-9]\d* bytes were swallowed .* epoch \d+ was committed without worker-\d/,
  "cut-etcd": /[1-9]\d* bytes were swallowed .* epoch \d+ was committed without worker-\d/,
  hang: /has not contributed for \d+ ms.*itself answered and said "evicted/,
  "flip-bit": /was flipped after step \d+; the workers' states differ at .*all went back to step \d+/,
  "flip-bit-two": /both go back to step \d+; after the second the run stopped: .*nobody can tell who is right/,
  scale: /2 in generation \d+, 4 in generation \d+, 1 in generation \d+, 3 in generation \d+/,
  sigterm: /gone \d+ ms after SIGTERM, with code 0; the coordinator said ".* is leaving/,
  "crash-loop": /were killed as they started; they came after pauses of \d+, \d+, \d+ ms, then worker-\d was given up/,
};

const groups: readonly (readonly [promise: string, faults: readonly FaultName[]])[] = [
  [
    "promises 1 to 3: a worker and the leader at three moments are killed, and one is started again",
    ["kill-worker", "restart", "kill-leader", "kill-leader-arrival", "kill-leader-writing"],
  ],
  [
    "promises 1, 2 and 6: coordinators and several workers at once are killed",
    [
      ...(["kill-coordinator", "kill-coordinator-standby", "kill-coordinator-worker"] as const),
      ...(["kill-two", "kill-all-but-one", "kill-all-workers"] as const),
    ],
  ],
  [
    "promises 1, 4 and 6: etcd is away in part and as a whole; a worker and the leader sleep for longer than their leases",
    ["etcd-member", "etcd-leader", "etcd-outage", "stop-worker", "stop-leader"],
  ],
  [
    "promises 1, 4 and 6: a worker is cut off from its peers and from etcd, and one hangs",
    ["cut-peers", "cut-one-way", "cut-one-way-in", "cut-etcd", "cut-etcd-one-way", "hang"],
  ],
  [
    "promises 1, 2 and 7: bits flip, the cluster grows and shrinks, workers leave, and one never gets going",
    ["flip-bit", "scale", "sigterm", "crash-loop", "flip-bit-two"],
  ],
];

const user = useUser();

describe("gameday", () => {
  for (const [promise, faults] of groups) {
    test(promise, limit, async () => {
      const words = ["--faults", faults.join(","), "--slack", slack, "--json"];
      const { code, stdout, stderr } = await user().run("gameday", digitsJob, ...words);
      const lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Line);
      const { run, failed, skipped, faults: counts } = lines.at(-1)!;
      assert.deepEqual([code, run, failed, skipped], [0, faults.length, 0, 0], `${stderr}\n${stdout}`);
      assert.deepEqual(counts, Object.fromEntries(faults.map((fault) => [fault, 1])));
      for (const finding of lines.filter(({ event }) => event === "fault")) {
        assert.match(String(finding.proof), proofs[finding.fault as FaultName]);
      }
      const exact = lines.find(({ event, title }) => event === "promise" && title === "Exact");
      assert.equal(exact?.verdict, "pass");
      assert.match(String(exact?.shown), /epochs equal the undisturbed run's in every bit/);
    });
  }

  test("an unknown fault is one sentence that lists the names", limit, async () => {
    const { code, stderr } = await user().run("gameday", digitsJob, "--faults", "flood");
    assert.equal(code, 2);
    assert.match(stderr, /^lockstep: --faults names "flood"; there are kill-worker, .*flip-bit-two\.\n/);
  });
});

test("every fault is in one of the groups", () => {
  assert.deepEqual(groups.flatMap(([, faults]) => faults).sort(), Object.keys(proofs).sort());
});
