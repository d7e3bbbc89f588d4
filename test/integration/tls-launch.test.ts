/** A cluster whose processes talk TLS alone, while it trains: strangers at every port, and a worker that dies. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { type ControlConnection, connectControl } from "../../src/adapters/grpc/control.ts";
import { CertificateFolder } from "../../src/adapters/tls/certificate-folder.ts";
import { hostAndPort } from "../../src/core/addresses.ts";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { useUser } from "../fixtures/cli.ts";
import { quietNotices, useCertificates } from "../fixtures/certificates.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";

const theUser = useUser();
const others = useCertificates();

async function statusWhen(control: ControlConnection, matches: (status: ClusterStatus) => boolean) {
  for (;;) {
    const status = await control.status().catch(() => null); // it answers too late when there is much to do
    if (status && matches(status)) return status;
  }
}

test("launch --tls trains on while strangers try every port and a worker dies; who looks at it needs no options", {
  timeout: 240_000,
}, async () => {
  const user = theUser();
  await user.write("job.ts", smallJob());
  await user.write("small.csv", smallData(48));
  const words = [
    "--tls",
    "--json",
    "--workers",
    "2",
    "--engine",
    "cpu",
    "--epochs",
    "100000",
    "--directory",
    user.at("run"),
  ];
  const launch = user.start("launch", "job.ts", ...words);
  await launch.whenLine("its first epoch", ({ event }) => event === "epoch");
  const whole = (status: ClusterStatus) => status.processes.filter(({ rank }) => rank !== null).length === 2;
  const shown = await user.run("status", "--json");
  assert.deepEqual([shown.code, shown.stderr], [0, ""]);
  const { address } = (JSON.parse(shown.stdout) as ClusterStatus).processes.find(({ role }) => role === "coordinator")!;
  const operator = await CertificateFolder.open(user.at("run", "tls", "operator"), quietNotices);
  const control = connectControl(address!, 5000, operator); // a coordinator has one
  const status = await statusWhen(control, whole);
  const foreign = await others().issue("worker", "worker-0", "small");
  const called = status.processes.filter(({ role }) => role === "worker" || role === "coordinator");
  assert.equal(called.length, 3);
  for (const { address } of called) {
    const place = hostAndPort(address!); // these have one
    const plain = connect(place);
    plain.write("GET / HTTP/1.1\r\n\r\n");
    const options = { cert: foreign.certificate, key: foreign.key, rejectUnauthorized: false, ALPNProtocols: ["h2"] };
    for (const stranger of [plain, connectTls({ ...place, ...options })]) {
      stranger.on("error", () => {});
      stranger.resume();
      await new Promise((resolve) => stranger.once("close", resolve));
    }
  }
  const victim = status.processes.find(({ role }) => role === "worker")!; // there are two
  process.kill(victim.pid!, "SIGKILL");
  await statusWhen(control, (now) => whole(now) && now.generation > status.generation && now.step > status.step);
  control.close();
  operator.close();
  launch.kill("SIGINT");
  const { code, stderr } = await launch.exited;
  assert.equal(code, exitCodes.interrupted, stderr);
  assert.doesNotMatch(stderr, /Warning: /);
  for (const name of ["coordinator", "worker-0", "worker-1"]) {
    const text = await readFile(join(user.at("run"), "logs", `${name}.log`), "utf8");
    for (const kind of ["plain text on a port for TLS", "a certificate that is not trusted"]) {
      assert.equal(text.split("\n").filter((line) => line.includes(`"kind":"${kind}"`)).length, 1, `${name}: ${kind}`);
    }
  }
  const listed = await user.run("checkpoints", "list", "--job", "small", "--directory", user.at("run"));
  assert.deepEqual([listed.code, listed.stderr], [0, ""]);
  assert.match(listed.stdout, /latest/);
  assert.deepEqual(await user.leftovers(), []);
});
