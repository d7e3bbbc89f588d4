/** The status as it travels, with real sockets: what an asker has of the history is not sent to it again. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { connectControl, type ControlHandler, serveControl } from "../../src/adapters/grpc/control.ts";
import { ControlClient } from "../../src/adapters/grpc/services.ts";
import { channelCredentials } from "../../src/adapters/tls/dial.ts";
import { plainText } from "../../src/adapters/tls/security.ts";
import type { ClusterStatus, EpochHistory } from "../../src/core/status.ts";

const row = (epoch: number, loss = 1 / epoch): EpochHistory => ({
  ...{ epoch, step: epoch * 4, lineage: 1, era: 1, improved: true, metrics: { loss } },
});

/** A coordinator whose history is what the test says; and somebody who asks it again and again. */
async function serving(context: TestContext) {
  const history: EpochHistory[] = [];
  // All that is read of it.
  const handler = { status: () => ({ history: [...history] }) as unknown as ClusterStatus } as ControlHandler;
  const server = await serveControl("127.0.0.1:0", () => handler, plainText());
  context.after(() => server.close());
  const control = connectControl(server.address, 20_000, null);
  context.after(() => control.close());
  return { history, control, address: server.address, ask: async () => (await control.status()).history };
}

test("whoever asks again has the whole history, row for row, whatever becomes of it meanwhile", async (context) => {
  const { history, ask } = await serving(context);
  assert.deepEqual(await ask(), []);
  history.push(row(1), row(2));
  const before = await ask();
  assert.deepEqual(before, history);
  history.push(row(3, Number.NaN));
  const after = await ask();
  assert.deepEqual(after, history);
  assert.ok(
    before.every((one, i) => one === after[i]),
    "what was there is what it was",
  );
  history.splice(1, 2, row(2, 7));
  assert.deepEqual(await ask(), history, "a lineage that went back");
  history.pop();
  assert.deepEqual(await ask(), history);
  history[0] = row(1, 9);
  history.push(row(2), row(3));
  assert.deepEqual(await ask(), history);
});

test("another asker, and one whose coordinator is another now, are told all of it", async (context) => {
  const [one, other] = [await serving(context), await serving(context)];
  one.history.push(row(1), row(2));
  other.history.push(row(1, 5), row(2, 6), row(3));
  assert.deepEqual(await one.ask(), one.history);
  const second = connectControl(one.address, 20_000, null);
  context.after(() => second.close());
  assert.deepEqual((await second.status()).history, one.history);
  const edition = await asked(context, one.address, { historyEdition: "", historyEpochs: 0 });
  const elsewhere = await asked(context, other.address, { ...edition, historyEpochs: 2 });
  assert.equal(elsewhere.sent.length, 3);
});

test("what is sent is what the asker has not", async (context) => {
  const { history, address } = await serving(context);
  history.push(row(1), row(2));
  const { historyEdition, sent } = await asked(context, address, { historyEdition: "", historyEpochs: 0 });
  assert.equal(sent.length, 2);
  history.push(row(3));
  const next = await asked(context, address, { historyEdition, historyEpochs: 2 });
  assert.deepEqual(next, { historyEdition, historyFrom: 2, sent: [row(3)] });
  const ahead = await asked(context, address, { historyEdition, historyEpochs: 9 });
  assert.deepEqual(ahead, { historyEdition, historyFrom: 3, sent: [] });
});

/** The reply as it travels. */
async function asked(
  context: TestContext,
  address: string,
  request: { historyEdition: string; historyEpochs: number },
) {
  const client = new ControlClient(address, channelCredentials(null, { roles: ["coordinator"] }));
  context.after(() => client.close());
  return new Promise<{ historyEdition: string; historyFrom: number; sent: readonly EpochHistory[] }>(
    (resolve, reject) =>
      client.GetStatus(request, (error, reply) => {
        if (error || !reply) return reject(error);
        const { historyEdition = "", historyFrom = 0, statusJson = "" } = reply;
        resolve({ historyEdition, historyFrom, sent: (JSON.parse(statusJson) as ClusterStatus).history });
      }),
  );
}
