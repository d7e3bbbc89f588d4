/** What every implementation of the coordination port promises. Run on the real etcd and on the in-memory store. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { LockstepError } from "../../src/core/errors.ts";
import type { Condition, Coordination, Lease, Operation } from "../../src/ports/coordination.ts";

export interface CoordinationSetup {
  /** A new client of the one store. */
  connect(): Coordination;
  /** A client whose link to the store can fail. */
  connectFaulty(): Promise<FaultyClient>;
  /** Ends a lease in the store without its holder's doing. */
  revokeUnseen(leaseId: string): Promise<void>;
  /** Keeps a lease alive in the store from now on, without its holder's doing, until it is revoked. */
  keepWhole(leaseId: string): Promise<void>;
  /** Forgets everything that was before the store's newest revision. */
  compact(): Promise<void>;
  /** Saves what the store holds now, and returns what puts that back; the store may be away for a moment both times. */
  backUp(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

export interface FaultyClient {
  readonly client: Coordination;
  /**
   * "cut": nothing passes; "loses-replies": calls take effect, unseen; "stalled": nothing is taken, and nothing is lost;
   * "whole": all is well again.
   */
  setLink(link: "whole" | "cut" | "loses-replies" | "stalled"): void;
  /** Why its watches were interrupted, as it said. */
  interruptions(): readonly string[];
}

export interface ContractOptions {
  readonly setUp: () => Promise<CoordinationSetup>;
  /** A short TTL that the store can keep. */
  readonly ttlMs: number;
  readonly marginMs: number;
}

/** So long that a hint of the poll cannot be taken for one of a change. */
const neverPollMs = 600_000;

export function coordinationContract(name: string, { setUp, ttlMs, marginMs }: ContractOptions): void {
  describe(`coordination: ${name}`, { timeout: 120_000 }, () => {
    let setup: CoordinationSetup;
    let store: Coordination;
    before(async () => {
      setup = await setUp();
      store = setup.connect();
    });
    after(() => setup.close());

    let tests = 0;
    /** A prefix that no other test uses. */
    const newPrefix = (): string => {
      tests += 1;
      return `/contract/${tests}/`;
    };

    test("a key that was never written is null, and not in a listing", async () => {
      const prefix = newPrefix();
      assert.equal(await store.get(`${prefix}a`), null);
      assert.deepEqual((await store.list(prefix)).entries, []);
    });

    test("a written key carries the revision of its transaction, as creation and as modification", async () => {
      const key = `${newPrefix()}a`;
      const { succeeded, revision } = await store.transact([], [put(key, "1")]);
      assert.ok(succeeded);
      assert.deepEqual(await store.get(key), {
        key,
        value: "1",
        createRevision: revision,
        modRevision: revision,
        leaseId: null,
      });
    });

    test("writing again moves the modification and leaves the creation", async () => {
      const key = `${newPrefix()}a`;
      const first = await store.transact([], [put(key, "1")]);
      const second = await store.transact([], [put(key, "2")]);
      const entry = await store.get(key);
      assert.ok(second.revision > first.revision);
      assert.deepEqual(
        [entry?.createRevision, entry?.modRevision, entry?.value],
        [first.revision, second.revision, "2"],
      );
    });

    test("a key that is deleted and written again has a new creation", async () => {
      const key = `${newPrefix()}a`;
      await store.transact([], [put(key, "1")]);
      const before = await store.get(key);
      await store.transact([], [remove(key)]);
      assert.equal(await store.get(key), null);
      await store.transact([], [put(key, "1")]);
      const again = await store.get(key);
      assert.ok(again!.createRevision > before!.modRevision);
    });

    test("values come back as they were, empty ones and all of Unicode", async () => {
      const key = `${newPrefix()}ключ`;
      for (const value of ["", "schön 火 \u{1f525}\n\0"]) {
        await store.transact([], [put(key, value)]);
        const entry = await store.get(key);
        assert.deepEqual([entry?.key, entry?.value], [key, value]);
      }
    });

    test("a transaction applies exactly when its condition holds", async () => {
      const prefix = newPrefix();
      const there = `${prefix}there`;
      const away = `${prefix}away`;
      const { revision: created } = await store.transact([], [put(there, "1")]);
      const { revision: modified } = await store.transact([], [put(there, "2")]);
      const cases: readonly (readonly [Condition, boolean])[] = [
        [{ kind: "absent", key: away }, true],
        [{ kind: "absent", key: there }, false],
        [{ kind: "present", key: there }, true],
        [{ kind: "present", key: away }, false],
        [{ kind: "created-at", key: there, revision: created }, true],
        [{ kind: "created-at", key: there, revision: modified }, false],
        [{ kind: "created-at", key: away, revision: created }, false],
        [{ kind: "modified-at", key: there, revision: modified }, true],
        [{ kind: "modified-at", key: there, revision: created }, false],
        [{ kind: "modified-at", key: away, revision: modified }, false],
      ];
      for (const [index, [condition, holds]] of cases.entries()) {
        const mark = `${prefix}mark/${index}`;
        const { succeeded } = await store.transact([condition], [put(mark, "x")]);
        assert.equal(succeeded, holds, JSON.stringify(condition));
        assert.equal((await store.get(mark)) !== null, holds, JSON.stringify(condition));
      }
    });

    test("one condition that fails among others that hold leaves everything as it was", async () => {
      const prefix = newPrefix();
      await store.transact([], [put(`${prefix}a`, "1")]);
      const before = await store.list(prefix);
      const result = await store.transact(
        [
          { kind: "present", key: `${prefix}a` },
          { kind: "absent", key: `${prefix}b` },
          { kind: "present", key: `${prefix}b` },
        ],
        [put(`${prefix}a`, "2"), put(`${prefix}b`, "2")],
      );
      assert.equal(result.succeeded, false);
      assert.deepEqual((await store.list(prefix)).entries, before.entries);
    });

    test("all operations of a transaction happen at one revision", async () => {
      const prefix = newPrefix();
      await store.transact([], [put(`${prefix}old`, "1")]);
      const { revision } = await store.transact(
        [],
        [put(`${prefix}a`, "1"), remove(`${prefix}old`), put(`${prefix}b`, "2")],
      );
      const { entries } = await store.list(prefix);
      assert.deepEqual(
        entries.map(({ key, modRevision }) => [key, modRevision]),
        [
          [`${prefix}a`, revision],
          [`${prefix}b`, revision],
        ],
      );
    });

    test("deleting what is not there changes nothing and spends no revision", async () => {
      const key = `${newPrefix()}a`;
      const first = await store.transact([], [put(key, "1")]);
      const second = await store.transact([], [remove(`${key}/none`)]);
      assert.deepEqual(second, { succeeded: true, revision: first.revision });
    });

    test("a transaction of conditions alone only answers", async () => {
      const key = `${newPrefix()}a`;
      assert.equal((await store.transact([{ kind: "absent", key }], [])).succeeded, true);
      assert.equal((await store.transact([{ kind: "present", key }], [])).succeeded, false);
    });

    test("a transaction that writes one key twice is refused whole", async () => {
      const prefix = newPrefix();
      await rejectsWith("internal", store.transact([], [put(`${prefix}a`, "1"), put(`${prefix}a`, "2")]));
      await rejectsWith("internal", store.transact([], [put(`${prefix}a`, "1"), remove(`${prefix}a`)]));
      assert.deepEqual((await store.list(prefix)).entries, []);
    });

    test("a listing holds the prefix's keys in key order, and the revision it was read at", async () => {
      const prefix = newPrefix();
      const names = ["10", "9", "a", "Z", "a/b", "é", "~"];
      await store.transact(
        [],
        names.map((name) => put(prefix + name, name)),
      );
      const { revision } = await store.transact([], [put(`${prefix.slice(0, -1)}0`, "outside")]);
      const listing = await store.list(prefix);
      assert.deepEqual(
        listing.entries.map(({ key }) => key.slice(prefix.length)),
        ["10", "9", "Z", "a", "a/b", "~", "é"],
      );
      assert.equal(listing.revision, revision);
    });

    test("what a listing is told to leave out is not in it, up to the key before which a span ends", async () => {
      const prefix = newPrefix();
      const names = ["a", "b/", "b/1", "b/2", "b/2/x", "b/é", "c"];
      const { revision } = await store.transact(
        [],
        names.map((name) => put(prefix + name, name)),
      );
      const without = async (...known: [from: string, before: string][]) => {
        const spans = known.map(([from, before]) => ({ from: prefix + from, before: prefix + before }));
        const listing = await store.list(prefix, spans);
        assert.equal(listing.revision, revision);
        return listing.entries.map(({ value }) => value);
      };
      assert.deepEqual(await without(["b/", "b0"]), ["a", "c"]);
      assert.deepEqual(await without(["b/1", "b/2"]), ["a", "b/", "b/2", "b/2/x", "b/é", "c"]);
      assert.deepEqual(await without(["b/", "b/2\0"], ["b/2\0", "b/é"], ["c", "d"]), ["a", "b/é"]);
      assert.deepEqual(await without(["a", "a\0"], ["b/é", "b/é\0"]), ["b/", "b/1", "b/2", "b/2/x", "c"]);
      assert.deepEqual(await without(["nobody", "nothing"]), names);
    });

    test("of many clients that create one key at once, exactly one succeeds", async () => {
      const key = `${newPrefix()}leader`;
      const clients = Array.from({ length: 8 }, () => setup.connect());
      const results = await Promise.all(
        clients.map((client, index) => client.transact([{ kind: "absent", key }], [put(key, String(index))])),
      );
      const winners = results.flatMap(({ succeeded }, index) => (succeeded ? [index] : []));
      assert.equal(winners.length, 1);
      assert.equal((await store.get(key))?.value, String(winners[0]));
      await Promise.all(clients.map((client) => client.close()));
    });

    test("increments by compare-and-swap from many clients are all counted", async () => {
      const key = `${newPrefix()}counter`;
      await store.transact([], [put(key, "0")]);
      const clients = Array.from({ length: 4 }, () => setup.connect());
      const incrementsEach = 5;
      await Promise.all(
        clients.map(async (client) => {
          for (let done = 0; done < incrementsEach; ) {
            const entry = (await client.get(key))!;
            const next = put(key, String(Number(entry.value) + 1));
            const { succeeded } = await client.transact(
              [{ kind: "modified-at", key, revision: entry.modRevision }],
              [next],
            );
            if (succeeded) done += 1;
          }
        }),
      );
      assert.equal((await store.get(key))?.value, String(clients.length * incrementsEach));
      await Promise.all(clients.map((client) => client.close()));
    });

    test("a lease is held from its grant on, for less than its TTL, and its keys name it", async () => {
      const key = `${newPrefix()}member`;
      const lease = await store.grantLease(ttlMs);
      assert.ok(lease.ttlMs >= ttlMs);
      assert.ok(lease.isHeld());
      assert.ok(lease.remainingMs() > 0 && lease.remainingMs() <= lease.ttlMs - marginMs);
      await store.transact([], [put(key, "1", lease)]);
      assert.equal((await store.get(key))?.leaseId, lease.id);
      await lease.revoke();
    });

    test("a lease is kept far beyond its TTL, and no lease without keepalives lives that long", async () => {
      const prefix = newPrefix();
      const lease = await store.grantLease(ttlMs);
      await store.transact([], [put(`${prefix}kept`, "1", lease)]);
      // Each of these is granted later than the kept one was, and is seen to expire.
      for (const name of ["first", "second"]) {
        await abandonKey(setup.connect(), `${prefix}${name}`, ttlMs);
        await until(store, prefix, async () => (await store.get(`${prefix}${name}`)) === null);
      }
      assert.ok(lease.isHeld());
      assert.equal((await store.get(`${prefix}kept`))?.leaseId, lease.id);
      await lease.revoke();
    });

    test("revoking deletes the keys at once and ends the holding", async () => {
      const prefix = newPrefix();
      const lease = await store.grantLease(ttlMs);
      await store.transact([], [put(`${prefix}a`, "1", lease), put(`${prefix}b`, "1", lease), put(`${prefix}c`, "1")]);
      await lease.revoke();
      assert.deepEqual([lease.isHeld(), lease.remainingMs(), lease.lost.aborted], [false, 0, true]);
      const { entries } = await store.list(prefix);
      assert.deepEqual(
        entries.map(({ key }) => key),
        [`${prefix}c`],
      );
      await lease.revoke();
    });

    test("keys are read together, at one revision; those that are not there are left out", async () => {
      const prefix = newPrefix();
      const [a, b, away] = [`${prefix}a`, `${prefix}b`, `${prefix}away`];
      await store.transact([], [put(a, "1"), put(b, "2")]);
      const entries = await store.read([b, away, a]);
      assert.deepEqual([...entries.keys()].sort(), [a, b]);
      assert.deepEqual(entries.get(a), await store.get(a));
      // Two keys that are always written together are never read apart.
      const writing = { done: false };
      const writer = (async () => {
        for (let n = 0; n < 50; n++) await store.transact([], [put(a, String(n)), put(b, String(n))]);
        writing.done = true;
      })();
      while (!writing.done) {
        const pair = await store.read([a, b]);
        assert.equal(pair.get(a)?.modRevision, pair.get(b)?.modRevision);
      }
      await writer;
    });

    test("somebody else's lease can be ended: its keys are gone at once, and its holder loses it", async () => {
      const key = `${newPrefix()}member`;
      const other = setup.connect();
      const lease = await other.grantLease(ttlMs);
      await other.transact([], [put(key, "1", lease)]);
      await store.revokeLease((await store.get(key))!.leaseId!);
      assert.equal(await store.get(key), null);
      await aborted(lease.lost);
      await store.revokeLease(lease.id);
      await other.close();
    });

    test("rule 5: a lease that was lost while the store was away is revoked at first contact, and given back to nobody", async () => {
      const prefix = newPrefix();
      const key = `${prefix}leader`;
      const { client, setLink } = await setup.connectFaulty();
      const lease = await client.grantLease(ttlMs);
      await client.transact([], [put(key, "1", lease)]);
      setLink("cut");
      // As a store that was away itself does it: the lease is whole there, though its holder gives it up.
      await setup.keepWhole(lease.id);
      await aborted(lease.lost);
      assert.equal((await store.get(key))?.leaseId, lease.id, "the store would have kept it");
      setLink("whole");
      await until(store, prefix, async () => (await store.get(key)) === null);
      await client.close();
    });

    test("a key written again without a lease outlives the one it had", async () => {
      const key = `${newPrefix()}a`;
      const lease = await store.grantLease(ttlMs);
      await store.transact([], [put(key, "1", lease)]);
      await store.transact([], [put(key, "2")]);
      await lease.revoke();
      assert.equal((await store.get(key))?.leaseId, null);
    });

    test("nothing is put under a lease that was revoked", async () => {
      const key = `${newPrefix()}a`;
      const lease = await store.grantLease(ttlMs);
      await lease.revoke();
      await rejectsWith("fenced-off", store.transact([], [put(key, "1", lease)]));
      assert.equal(await store.get(key), null);
    });

    test("a lease that the store ended unseen refuses puts and is lost", async () => {
      const key = `${newPrefix()}a`;
      const lease = await store.grantLease(ttlMs);
      await setup.revokeUnseen(lease.id);
      assert.ok(lease.isHeld(), "the holder cannot know yet");
      await rejectsWith("fenced-off", store.transact([], [put(`${key}/other`, "1"), put(key, "1", lease)]));
      assert.deepEqual((await store.list(key)).entries, []);
      await aborted(lease.lost);
      assert.equal(lease.isHeld(), false);
    });

    test("a lease that the store ended unseen is lost at the next keepalive, well before its TTL", async () => {
      const lease = await store.grantLease(ttlMs);
      await setup.revokeUnseen(lease.id);
      await aborted(lease.lost);
      assert.match(String(lease.lost.reason), /no longer knows it/);
    });

    test("a holder that is cut off, after keepalives that came through, gives up before the store does, and does not hold again", async () => {
      const prefix = newPrefix();
      const { client, setLink } = await setup.connectFaulty();
      const lease = await client.grantLease(ttlMs);
      await client.transact([], [put(`${prefix}member`, "1", lease)]);
      const events: string[] = [];
      lease.lost.addEventListener("abort", () => events.push("lost"));
      // So long that the lease has been renewed.
      await abandonKey(setup.connect(), `${prefix}other`, ttlMs);
      await until(store, prefix, async () => (await store.get(`${prefix}other`)) === null);
      setLink("cut");
      await until(store, prefix, async () => (await store.get(`${prefix}member`)) === null);
      events.push("expired");
      assert.deepEqual(events, ["lost", "expired"]);
      setLink("whole");
      await retry(() => client.get(prefix));
      assert.deepEqual([lease.isHeld(), lease.remainingMs()], [false, 0]);
      await rejectsWith("fenced-off", client.transact([], [put(`${prefix}member`, "2", lease)]));
      await client.close();
    });

    test("a watch hints once it is set up, after a put, after a delete and after a lease's end", async () => {
      const prefix = newPrefix();
      const hints = new Hints();
      const watch = store.watch(prefix, neverPollMs, hints.count);
      await hints.next();
      for (const operation of [put(`${prefix}a`, "1"), put(`${prefix}a`, "2"), remove(`${prefix}a`)]) {
        const hinted = hints.next();
        await store.transact([], [operation]);
        await hinted;
      }
      await abandonKey(setup.connect(), `${prefix}member`, ttlMs);
      for (;;) {
        const hinted = hints.next();
        if ((await store.get(`${prefix}member`)) === null) break;
        await hinted;
      }
      watch.close();
    });

    test("a watch that fell behind is ended by a compaction of what it lacks, and is set up again: it hints, and hints on", async () => {
      const prefix = newPrefix();
      const { client, setLink, interruptions } = await setup.connectFaulty();
      const hints = new Hints();
      client.watch(prefix, neverPollMs, hints.count);
      await hints.next();
      setLink("stalled");
      // More than anything on the way would hold: the store itself has to keep what the watch was not told.
      const value = "x".repeat(4096);
      const write = (i: number) => store.transact([], [put(`${prefix}${i}`, value)]);
      // A few at a time: each has a deadline, and a busy disk syncs one after the other.
      for (let begin = 0; begin < 400; begin += 20) {
        await Promise.all(Array.from({ length: 20 }, (_, i) => write(begin + i)));
      }
      await setup.compact();
      setLink("whole");
      for (;;) {
        const hinted = hints.next();
        if (interruptions().some((reason) => /compacted up to revision \d+/.test(reason))) break;
        await hinted;
      }
      // The first hint may be that of the new watch; by the second it tells of changes.
      for (const name of ["a", "b"]) {
        const hinted = hints.next();
        await store.transact([], [put(prefix + name, "1")]);
        await hinted;
      }
      await client.close();
    });

    test("rule 7: a store that is put back is noticed once by each who has asked it since, and by nobody else", async () => {
      const key = `${newPrefix()}a`;
      const [before, since] = [setup.connect(), setup.connect()];
      await since.transact([], [put(key, "1")]);
      await before.get(key);
      const putBack = await setup.backUp();
      // So many that nothing which ends by itself meanwhile takes their place.
      for (let n = 2; n < 20; n++) await retry(() => since.transact([], [put(key, String(n))]));
      assert.equal(since.rollbacks, 0, "starting again on the same data is nothing to notice");
      await putBack();
      assert.equal((await retry(() => since.get(key)))?.value, "1");
      assert.equal(since.rollbacks, 1);
      assert.equal((await retry(() => before.get(key)))?.value, "1");
      for (let n = 2; n < 20; n++) await before.transact([], [put(key, String(n))]);
      await Promise.all([since.get(key), since.list(key), since.read([key]), since.transact([], [put(key, "20")])]);
      assert.deepEqual([before.rollbacks, since.rollbacks], [0, 1]);
      await Promise.all([before.close(), since.close()]);
    });

    test("rule 7: a store that is put back keeps the leases it had then, and those granted since are lost; watches hint on", async () => {
      const prefix = newPrefix();
      const client = setup.connect();
      const hints = new Hints();
      client.watch(prefix, neverPollMs, hints.count);
      await hints.next();
      const kept = await client.grantLease(3 * ttlMs);
      await client.transact([], [put(`${prefix}kept`, "1", kept)]);
      const putBack = await setup.backUp();
      const lost = await retry(() => client.grantLease(3 * ttlMs));
      await client.transact([], [put(`${prefix}lost`, "1", lost), put(`${prefix}kept`, "2", kept)]);
      await putBack();
      const { entries } = await retry(() => client.list(prefix));
      assert.deepEqual(
        entries.map(({ value, leaseId }) => [value, leaseId]),
        [["1", kept.id]],
      );
      await aborted(lost.lost);
      assert.ok(kept.isHeld());
      await rejectsWith("fenced-off", client.transact([], [put(`${prefix}lost`, "2", lost)]));
      // The first hint may be that of the new watch; by the second it tells of changes.
      for (const name of ["a", "b"]) {
        const hinted = hints.next();
        await client.transact([], [put(prefix + name, "1", kept)]);
        await hinted;
      }
      await client.close();
    });

    test("a watch hints without any change, at least every pollMs", async () => {
      const hints = new Hints();
      const watch = store.watch(newPrefix(), 10, hints.count);
      for (let seen = 0; seen < 5; seen += 1) await hints.next();
      watch.close();
    });

    test("a closed watch hints no more", async () => {
      const prefix = newPrefix();
      const closedHints = new Hints();
      const closed = store.watch(prefix, neverPollMs, closedHints.count);
      await closedHints.next();
      closed.close();
      const hintsBefore = closedHints.total;
      const hints = new Hints();
      const open = store.watch(prefix, neverPollMs, hints.count);
      await hints.next();
      const hinted = hints.next();
      await store.transact([], [put(`${prefix}a`, "1")]);
      await hinted;
      assert.equal(closedHints.total, hintsBefore);
      open.close();
    });

    test("a client that is cut off fails in bounded time, then goes on and hints again, as the same client", async () => {
      const prefix = newPrefix();
      const { client, setLink } = await setup.connectFaulty();
      const hints = new Hints();
      client.watch(prefix, neverPollMs, hints.count);
      await hints.next();
      setLink("cut");
      await rejectsWith("coordination-unavailable", client.get(prefix));
      await rejectsWith("coordination-unavailable", client.list(prefix));
      await rejectsWith("coordination-unavailable", client.transact([], [put(`${prefix}a`, "lost")]));
      await rejectsWith("coordination-unavailable", client.grantLease(ttlMs));
      assert.deepEqual((await store.list(prefix)).entries, []);
      const hinted = hints.next();
      setLink("whole");
      await hinted;
      await retry(() => client.transact([], [put(`${prefix}a`, "1")]));
      assert.equal((await client.get(`${prefix}a`))?.value, "1");
      await client.close();
    });

    test("a transaction whose reply is lost fails as unknown, and was applied once", async () => {
      const prefix = newPrefix();
      const key = `${prefix}a`;
      const { client, setLink } = await setup.connectFaulty();
      await client.get(key);
      setLink("loses-replies");
      const create = client.transact([{ kind: "absent", key }], [put(key, "nonce")]);
      await rejectsWith("coordination-unavailable", create);
      const entry = await store.get(key);
      assert.equal(entry?.value, "nonce");
      assert.equal(entry.createRevision, entry.modRevision);
      setLink("whole");
      assert.deepEqual(await retry(() => client.get(key)), entry);
      await client.close();
    });

    test("closing a client ends its calls, watches and leases, and leaves its keys to their TTL", async () => {
      const prefix = newPrefix();
      const client = setup.connect();
      const lease = await client.grantLease(ttlMs);
      await client.transact([], [put(`${prefix}member`, "1", lease)]);
      const hints = new Hints();
      client.watch(prefix, neverPollMs, hints.count);
      await hints.next();
      await client.close();
      const hintsBefore = hints.total;
      assert.deepEqual([lease.isHeld(), lease.lost.aborted], [false, true]);
      assert.equal((await store.get(`${prefix}member`))?.leaseId, lease.id);
      await rejectsWith("coordination-unavailable", client.get(prefix));
      await rejectsWith("coordination-unavailable", client.transact([], [put(`${prefix}a`, "1")]));
      await until(store, prefix, async () => (await store.get(`${prefix}member`)) === null);
      assert.equal(hints.total, hintsBefore);
      await client.close();
    });
  });
}

export function put(key: string, value: string, lease?: Lease): Operation {
  return { kind: "put", key, value, ...(lease && { lease }) };
}

export function remove(key: string): Operation {
  return { kind: "delete", key };
}

/** Counts hints and lets a test wait for the next one. */
export class Hints {
  total = 0;
  #waiting: (() => void)[] = [];

  readonly count = (): void => {
    this.total += 1;
    for (const resolve of this.#waiting.splice(0)) resolve();
  };

  /** Resolves with the first hint after this call. */
  next(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** Waits, by hints, until `check` holds. */
export async function until(store: Coordination, prefix: string, check: () => Promise<boolean>): Promise<void> {
  const hints = new Hints();
  const watch = store.watch(prefix, 1_000, hints.count);
  try {
    for (;;) {
      const hinted = hints.next();
      if (await check()) return;
      await hinted;
    }
  } finally {
    watch.close();
  }
}

/** Repeats a call that may meet the end of an outage. */
export async function retry<Result>(call: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof LockstepError) || error.code !== "coordination-unavailable") throw error;
    }
  }
}

/** Writes a key under a lease that nobody keeps. */
async function abandonKey(client: Coordination, key: string, ttlMs: number): Promise<void> {
  const lease = await client.grantLease(ttlMs);
  await client.transact([], [put(key, "1", lease)]);
  await client.close();
}

export async function rejectsWith(code: string, call: Promise<unknown>): Promise<LockstepError> {
  const error = await call.then(
    () => assert.fail(`expected ${code}, but the call succeeded`),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LockstepError, `expected a LockstepError, got ${String(error)}`);
  assert.equal(error.code, code, error.message);
  return error;
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
