/** Mutual TLS with real sockets: who is let in, who is refused, and what changes while a process runs. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { type CallEnd, StreamingClient } from "../../src/adapters/grpc/client.ts";
import { connectControl, type ControlHandler, serveControl } from "../../src/adapters/grpc/control.ts";
import { type ServerCall, StreamingServer } from "../../src/adapters/grpc/server.ts";
import { openTransport } from "../../src/adapters/grpc/transport.ts";
import { Authority, namesIn, writeCertificates } from "../../src/adapters/tls/authority.ts";
import { CertificateFolder } from "../../src/adapters/tls/certificate-folder.ts";
import { type CertificateTexts, parse } from "../../src/adapters/tls/certificates.ts";
import { hostAndPort } from "../../src/core/addresses.ts";
import type { Role } from "../../src/core/identity.ts";
import { Refusals } from "../../src/core/refusals.ts";
import type { EpochHistory } from "../../src/core/status.ts";
import {
  heardRefusals,
  quietNotices,
  securityWith,
  TestCertificates,
  useCertificates,
} from "../fixtures/certificates.ts";

const limit = { timeout: 60_000 };
// So long that whatever comes at once cannot be the end of this time.
const silenceMs = 600_000;
const path = "/test/Stream";
const workers = { roles: ["worker"] } as const;
const own = useCertificates();
/** A connection that stays would keep the test's process. */
const clients: StreamingClient[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
function dialling(address: string, certificates: CertificateFolder, name?: string): StreamingClient {
  const client = new StreamingClient(address, silenceMs, certificates, {
    ...workers,
    ...(name !== undefined && { name }),
  });
  clients.push(client);
  return client;
}

interface Served {
  readonly server: StreamingServer;
  readonly address: string;
  readonly calls: ServerCall[];
}

/** Serves calls that go on until they are ended. */
async function serving(certificates: CertificateFolder, refusals: Refusals, handshakeMs = silenceMs): Promise<Served> {
  const calls: ServerCall[] = [];
  const take = (call: ServerCall) => {
    calls.push(call);
    call.accept();
  };
  const server = new StreamingServer(handshakeMs, new Map([[path, take]]), { certificates, refusals }, workers);
  return { server, address: await server.listen("127.0.0.1:0"), calls };
}

/** A call of a friend, and what it has heard. */
function calling(client: StreamingClient): {
  readonly accepted: Promise<void>;
  next(): Promise<string>;
  readonly end: Promise<CallEnd>;
} {
  const heard: string[] = [];
  let tell: () => void = () => {};
  let taken: () => void = () => {};
  let over: (end: CallEnd) => void = () => {};
  const accepted = new Promise<void>((resolve) => {
    taken = resolve;
  });
  const end = new Promise<CallEnd>((resolve) => {
    over = resolve;
  });
  client.call(path, new Uint8Array(0), 0, {
    onAccepted: taken,
    place: (_head, bytes) => new Uint8Array(bytes),
    arrived(_head, rest) {
      heard.push(Buffer.from(rest ?? []).toString());
      tell();
    },
    onEnd: over,
  });
  return {
    accepted,
    end,
    async next() {
      while (heard.length === 0) {
        await new Promise<void>((resolve) => {
          tell = resolve;
        });
      }
      return heard.shift()!; // there is one
    },
  };
}

/** Resolves when the other side has ended the connection. */
async function ended(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  socket.resume();
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
}

function tlsTo(address: string, texts: CertificateTexts | null, more: ConnectionOptions = {}): Socket {
  return connectTls({
    ...hostAndPort(address),
    ...(texts && { cert: texts.certificate, key: texts.key }),
    ...{ ALPNProtocols: ["h2"], rejectUnauthorized: false, ...more },
  });
}

function plainTo(address: string, words: string): Socket {
  const socket = connect(hostAndPort(address));
  socket.write(words);
  return socket;
}

test(
  "strangers are refused, counted and told of once, whatever they try; a friend's call goes on meanwhile",
  limit,
  async (context) => {
    const { told, refusals } = heardRefusals();
    const { server, address, calls } = await serving(await own().open("worker", "b"), refusals);
    context.after(() => server.close());
    const friend = dialling(address, await own().open("worker", "a"), "b");
    const call = calling(friend);
    await call.accepted;
    assert.deepEqual(calls[0]!.peer, { role: "worker", job: "digits", name: "a" });
    const others = await TestCertificates.make();
    context.after(() => others.remove());
    const good = await own().issue("worker", "c");
    const issued = {
      foreign: await others.issue("worker", "a"),
      over: await own().issue("worker", "a", "digits", -0.001),
      job: await own().issue("worker", "a", "letters"),
      operator: await own().issue("operator", "anna"),
      etcd: await own().authority.issue({ commonName: "etcd", uris: [], hosts: ["127.0.0.1"], serves: true }, 1),
    };
    const attempts: readonly [kind: string, attempt: () => Socket][] = [
      ["plain text on a port for TLS", () => plainTo(address, "GET / HTTP/1.1\r\n\r\n")],
      ["plain text on a port for TLS", () => plainTo(address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
      ["plain text on a port for TLS", () => plainTo(address, "\x80\x00".repeat(500))],
      ["no certificate", () => tlsTo(address, null)],
      ["a certificate that is not trusted", () => tlsTo(address, issued.foreign)],
      ["a certificate that is over", () => tlsTo(address, issued.over)],
      ["the certificate of somebody else", () => tlsTo(address, issued.job)],
      ["the certificate of somebody else", () => tlsTo(address, issued.operator)],
      ["the certificate of somebody else", () => tlsTo(address, issued.etcd)],
      ["TLS that is too old", () => tlsTo(address, good, { maxVersion: "TLSv1.2" })],
      ["another protocol", () => tlsTo(address, good, { ALPNProtocols: ["http/1.1"] })],
      ["another protocol", () => tlsTo(address, good, { ALPNProtocols: [] })],
    ];
    const expected: Record<string, number> = {};
    for (const [i, [kind, attempt]] of attempts.entries()) {
      await ended(attempt());
      expected[kind] = (expected[kind] ?? 0) + 1;
      assert.deepEqual(refusals.counts, expected, `attempt ${i}`);
      calls[0]!.send(new Uint8Array(0), Buffer.from(`${i}`));
      assert.equal(await call.next(), `${i}`);
    }
    assert.deepEqual(
      told.map(({ kind, count }) => [kind, count]),
      Object.keys(expected).map((kind) => [kind, 1]),
    );
    assert.equal(calls.length, 1, "nobody else's call got through");
  },
);

test(
  "thousands who connect and say nothing keep no friend out, and cost a few lines of log",
  limit,
  async (context) => {
    const { told, refusals } = heardRefusals();
    const { server, address, calls } = await serving(await own().open("worker", "b"), refusals);
    context.after(() => server.close());
    const strangers: Socket[] = [];
    let open = 0;
    let tell: () => void = () => {};
    const untilOpen = async (most: number) => {
      while (open > most) {
        await new Promise<void>((resolve) => {
          tell = resolve;
        });
      }
    };
    // As many at a time as the system keeps for a server that has not looked yet.
    while (strangers.length < 2000) {
      const next = Array.from({ length: 200 }, () => connect(hostAndPort(address)));
      open += next.length;
      for (const socket of next) {
        socket.on("error", () => {});
        socket.on("close", () => {
          open--;
          tell();
        });
        socket.resume();
      }
      strangers.push(...next);
      await Promise.all(next.map((socket) => new Promise<void>((resolve) => socket.once("connect", resolve))));
    }
    await calling(dialling(address, await own().open("worker", "a"), "b")).accepted;
    assert.equal(calls.length, 1);
    await untilOpen(256);
    const count = refusals.counts["too many connections without a certificate"] ?? 0;
    assert.ok(count >= 1744, `${count} had to go`);
    assert.ok(told.length <= 4, `${told.length} lines`);
    for (const socket of strangers) socket.destroy();
  },
);

test("who does not show a certificate in time is cut off, however it keeps busy", limit, async (context) => {
  const { refusals } = heardRefusals();
  const { server, address } = await serving(await own().open("worker", "b"), refusals, 200);
  context.after(() => server.close());
  // The beginning of a client's hello, of a length that never comes.
  const slow = connect(hostAndPort(address));
  slow.write(Buffer.from("160301020001", "hex"));
  const drip = setInterval(() => slow.write("\x00"), 20);
  context.after(() => clearInterval(drip));
  await ended(slow);
  assert.deepEqual(refusals.counts, { "no certificate in time": 1 });
});

test(
  "whoever answers with another's certificate, or in plain text, is not talked to, and the reason says so",
  limit,
  async (context) => {
    const { server, address } = await serving(await own().open("worker", "b"), new Refusals(() => {}));
    context.after(() => server.close());
    const a = await own().open("worker", "a");
    const endOf = async (client: StreamingClient) => {
      const end = await calling(client).end;
      return end.kind === "broken" ? end.reason : end.kind;
    };
    assert.match(await endOf(dialling(address, a, "c")), /the worker "b", and the worker "c" was expected/);
    const stranger = dialling(address, await own().open("worker", "a", "letters"));
    assert.match(await endOf(stranger), /of the job "digits", and this is "letters"/);
    // It takes whoever answers, and hears why it is not taken itself.
    const operator = dialling(address, await own().open("operator", "anna"));
    assert.match(await endOf(operator), /refused: the certificate of somebody else/);
  },
);

test(
  "a worker that calls in another's name is refused and counted; the one whose name it is gets in",
  limit,
  async (context) => {
    const { refusals } = heardRefusals();
    const ids = ["a.1", "b.1"];
    const security = async (name: string) => securityWith(await own().open("worker", name));
    const open = async (name: string) =>
      openTransport({ listen: "127.0.0.1:0", connectMs: silenceMs, security: await security(name) });
    const one = await openTransport({
      ...{ listen: "127.0.0.1:0", connectMs: silenceMs },
      security: { certificates: await own().open("worker", "a"), refusals },
    });
    const [thief, two] = [await open("thief"), await open("b")];
    context.after(() => Promise.all([one, thief, two].map((transport) => transport.close())));
    const joined = (transport: typeof one, rank: number, addresses: readonly string[], generation: number) =>
      new Promise<string>((resolve) => {
        const membership = { generation, rank, address: addresses[rank]!, addresses, workerIds: ids };
        transport.join(membership, {
          ...{ roundBytes: 0, place: () => null, onMessage: () => {}, onOpen: () => resolve("open") },
          onBroken: (_rank, reason) => resolve(reason),
        });
      });
    // The thief has put its own address where that of b belongs, and calls as b.
    const stolen = [one.address, thief.address];
    const [victim, refused] = await Promise.all([joined(one, 0, stolen, 1), joined(thief, 1, stolen, 1)]);
    assert.match(victim, /the worker "thief", and the worker "b" was expected/);
    assert.match(refused, /the worker "thief" calls as the worker "b"/);
    assert.deepEqual(refusals.counts, { "a call in another's name": 1 });
    const right = [one.address, two.address];
    assert.deepEqual(await Promise.all([joined(one, 0, right, 2), joined(two, 1, right, 2)]), ["open", "open"]);
  },
);

test(
  "of a coordinator everybody may ask the status, workers report for themselves, and operators stop the run",
  limit,
  async (context) => {
    const done: string[] = [];
    // Of the status only that there is one matters here.
    const handler = {
      noteProgress: ({ workerId }) => void done.push(workerId),
      status: () => ({ history: [] as readonly EpochHistory[] }),
      requestStop: async (reason) => void done.push(reason),
    } as ControlHandler;
    const { refusals } = heardRefusals();
    const server = await serveControl("127.0.0.1:0", () => handler, {
      certificates: await own().open("coordinator", "main"),
      refusals,
    });
    context.after(() => server.close());
    const as = async (role: Role, name: string, job = "digits") => {
      const control = connectControl(server.address, 20_000, await own().open(role, name, job));
      context.after(() => control.close());
      return control;
    };
    const report = {
      ...{ workerId: "a.1", generation: 1, epoch: 0, step: 1, stepInEpoch: 1, samplesPerSecond: 1 },
      ...{ metrics: {}, leaseHeld: true },
    };
    const [a, b] = [await as("worker", "a"), await as("worker", "b")];
    const anna = await as("operator", "anna");
    await a.reportProgress(report);
    await anna.stop("enough");
    await Promise.all([a, b, anna].map((control) => control.status()));
    assert.deepEqual(done, ["a.1", "enough"]);
    await assert.rejects(b.reportProgress(report), /the worker "b" may not report/);
    await assert.rejects(a.stop("mine"), /the worker "a" may not stop a run/);
    assert.deepEqual([done.length, refusals.counts], [2, { "a call in another's name": 2 }]);
    await assert.rejects((await as("worker", "a", "letters")).status(), { code: "coordination-unavailable" });
    await assert.rejects(
      connectControl(server.address, 20_000, null).status(),
      { code: "coordination-unavailable" },
      "in plain text nobody is answered",
    );
  },
);

test(
  "new certificates are used for new connections, also when a link is moved as Kubernetes does it; what is open lives on",
  limit,
  async (context) => {
    const folder = join(own().folder, "mounted");
    const version = async (name: string, texts: CertificateTexts) => {
      await mkdir(join(folder, name), { recursive: true });
      await writeCertificates(join(folder, name), texts);
    };
    const swap = async (name: string) => {
      await symlink(name, join(folder, "..data_tmp"));
      await rename(join(folder, "..data_tmp"), join(folder, "..data"));
    };
    const first = await own().issue("worker", "b");
    await version("..1", first);
    await swap("..1");
    for (const name of ["ca.crt", "tls.crt", "tls.key"]) await symlink(`..data/${name}`, join(folder, name));
    const notices: string[] = [];
    const note = (message: string) => void notices.push(message);
    let warned = (_message: string): void => {};
    const warn = (message: string) => {
      note(message);
      warned(message);
    };
    const certificates = await CertificateFolder.open(folder, { info: note, warn });
    const { server, address, calls } = await serving(certificates, new Refusals(() => {}));
    context.after(async () => {
      certificates.close();
      await server.close();
    });
    const a = await own().open("worker", "a");
    const shownBy = async () => {
      const socket = connectTls({
        ...hostAndPort(address),
        ...{ cert: a.current.certificate, key: a.current.key, rejectUnauthorized: false, ALPNProtocols: ["h2"] },
      });
      await once(socket, "secureConnect");
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const serialOf = ({ certificate }: CertificateTexts) => parse(certificate, "")[0]!.serialNumber;
    const before = dialling(address, a);
    const call = calling(before);
    await call.accepted;
    assert.equal(await shownBy(), serialOf(first));
    const second = await own().issue("worker", "b");
    await version("..2", second);
    const changed = new Promise<void>((resolve) => certificates.onChange(resolve));
    await swap("..2");
    await changed;
    assert.equal(await shownBy(), serialOf(second));
    calls[0]!.send(new Uint8Array(0), Buffer.from("still here"));
    assert.equal(await call.next(), "still here");
    // A key of one and the certificate of another: not used, and said only when it stays so.
    const third = await own().issue("worker", "b");
    const warning = new Promise<string>((resolve) => {
      warned = resolve;
    });
    await writeFile(join(folder, "..2", "tls.key"), third.key);
    for (const _ of [1, 2]) await certificates.look();
    assert.deepEqual(notices, ["new certificates are in use"], "it may be about to be whole");
    assert.match(await warning, /not taken/);
    assert.equal(await shownBy(), serialOf(second));
    await writeFile(join(folder, "..2", "tls.crt"), third.certificate);
    await certificates.look();
    assert.equal(await shownBy(), serialOf(third));
  },
);

test("an authority takes over from another while everybody stays reachable", limit, async (context) => {
  const next = await Authority.init(join(own().folder, "next"), 30);
  const a = await own().open("worker", "a");
  const b = await own().open("worker", "b");
  const { server, address } = await serving(b, new Refusals(() => {}));
  context.after(() => server.close());
  const reaches = async () => {
    const client = dialling(address, a, "b");
    const call = calling(client);
    const how = await Promise.race([call.accepted.then(() => "open"), call.end.then(({ kind }) => kind)]);
    client.close();
    return how;
  };
  const names = (of: CertificateFolder) => namesIn(parse(of.current.certificate, "")[0]!);
  const write = async (of: CertificateFolder, texts: CertificateTexts) => {
    await writeCertificates(of.folder, texts);
    await of.look();
  };
  const both = `${own().authority.certificates}${next.certificates}`;
  assert.equal(await reaches(), "open");
  // Each step for one after the other: nobody changes at the same moment as the others.
  for (const of of [a, b]) {
    await write(of, { ...of.current, ca: both });
    assert.equal(await reaches(), "open", "both are trusted");
  }
  for (const of of [b, a]) {
    await write(of, { ...(await next.issue(names(of), 1)), ca: both });
    assert.equal(await reaches(), "open", "the next one has signed");
  }
  for (const of of [a, b]) {
    await write(of, { ...of.current, ca: next.certificates });
    assert.equal(await reaches(), "open", "the old one is not trusted any more");
  }
  await write(a, { ...(await own().authority.issue(names(a), 1)), ca: both });
  assert.equal(await reaches(), "broken", "its certificates are worth nothing now");
});

test("a folder that cannot be used is refused with what is wrong", limit, async () => {
  const folder = await own().folderOf("worker", "wrong");
  const whole = await own().issue("worker", "wrong");
  const others = await TestCertificates.make();
  const foreign = await others.issue("worker", "wrong");
  await others.remove();
  const etcd = await own().authority.issue({ commonName: "a", uris: [], hosts: ["a.example.org"], serves: true }, 1);
  const future = await own().issue("worker", "wrong", "digits", -0.001);
  const cases: readonly [texts: CertificateTexts, expected: RegExp][] = [
    [{ ...whole, certificate: "nonsense" }, /tls\.crt is no certificate: it has no PEM certificate/],
    [{ ...whole, ca: "" }, /ca\.crt is no certificate/],
    [{ ...whole, key: "nonsense" }, /tls\.key is no private key/],
    [{ ...whole, key: foreign.key }, /tls\.key is not the key of .*tls\.crt/],
    [{ ...whole, ca: foreign.ca }, /signed by none of the authorities/],
    [etcd, /does not say whose it is; its names are DNS:a\.example\.org/],
    [future, /was valid until .*, which is over/],
  ];
  for (const [texts, expected] of cases) {
    await writeCertificates(folder, texts);
    await assert.rejects(CertificateFolder.open(folder, quietNotices), { code: "bad-certificate", message: expected });
  }
  await rm(join(folder, "tls.key"));
  await assert.rejects(CertificateFolder.open(folder, quietNotices), {
    code: "bad-certificate",
    message: /tls\.key cannot be read/,
  });
});

test(
  "certificates that are made anew say what the old ones said, and only their owner reads the keys",
  limit,
  async () => {
    const folder = await own().folderOf("worker", "again");
    const before = parse(await readFile(join(folder, "tls.crt"), "utf8"), "")[0]!;
    await writeCertificates(folder, await own().authority.issue(namesIn(before), 2));
    const after = parse(await readFile(join(folder, "tls.crt"), "utf8"), "")[0]!;
    assert.notEqual(after.serialNumber, before.serialNumber);
    assert.notEqual(after.fingerprint256, before.fingerprint256);
    const { days: _before, ...was } = namesIn(before);
    const { days, ...is } = namesIn(after);
    assert.deepEqual(is, was);
    assert.equal(days, 2);
    assert.deepEqual(is.uris, ["spiffe://lockstep/job/digits/worker/again"]);
    await assert.rejects(Authority.init(join(own().folder, "authority"), 1), /There is an authority/);
    const { mode } = await import("node:fs/promises").then(({ stat }) => stat(join(folder, "tls.key")));
    assert.equal(mode & 0o777, 0o600);
  },
);
