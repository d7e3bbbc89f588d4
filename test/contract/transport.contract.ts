/** What every implementation of the transport port promises. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { headerBytes } from "../../src/core/frame.ts";
import type { Membership, ServedState, StreamEvents, Streams, Transport } from "../../src/ports/transport.ts";

export interface TransportSetup {
  /** A new worker's end; as separate from the others as a process of its own. `name` is what its ids begin with. */
  open(name: string): Promise<Transport>;
  /** An address that refuses connections. */
  deadAddress(): Promise<string>;
  close(): Promise<void>;
}

/** What one end of a generation has seen, and a way to wait for more. */
class Seen implements StreamEvents {
  readonly roundBytes = 0;
  open = false;
  readonly messages: [rank: number, text: string][] = [];
  readonly broken: [rank: number, reason: string][] = [];
  #waiting: (() => void)[] = [];

  onOpen(): void {
    this.open = true;
    this.#tell();
  }

  place(_rank: number, head: Uint8Array, payloadBytes: number): Uint8Array | null {
    return Buffer.from(head).equals(unwanted) ? null : new Uint8Array(payloadBytes);
  }

  onMessage(rank: number, head: Uint8Array, payload: Uint8Array): void {
    assert.deepEqual(Buffer.from(head), Buffer.from(aHead));
    this.messages.push([rank, Buffer.from(payload).toString()]);
    this.#tell();
  }

  onBroken(rank: number, reason: string): void {
    this.broken.push([rank, reason]);
    this.#tell();
  }

  async until(condition: (seen: Seen) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #tell(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const aHead = Uint8Array.from({ length: headerBytes }, (_, i) => i);
const unwanted = new Uint8Array(headerBytes);
/** A message with this payload. */
const bytes = (text: string): [head: Uint8Array, payload: Uint8Array] => [aHead, new Uint8Array(Buffer.from(text))];
const ids = ["a", "b", "c"];
const membership = (generation: number, rank: number, addresses: readonly string[]): Membership => ({
  ...{ generation, rank, addresses, address: addresses[rank]! },
  workerIds: addresses.map((_, i) => ids[i]!),
});
const observing = (addresses: readonly string[], address: string): Membership => ({
  ...membership(1, 0, addresses),
  ...{ rank: null, address },
});
const signal = new AbortController().signal;

export function transportContract(name: string, setUp: () => Promise<TransportSetup>): void {
  describe(`transport: ${name}`, { timeout: 60_000 }, () => {
    let setup: TransportSetup;
    const opened: Transport[] = [];
    const open = async (name: string): Promise<Transport> => {
      const transport = await setup.open(name);
      opened.push(transport);
      return transport;
    };
    const join = (transport: Transport, of: Membership): [Seen, Streams] => {
      const seen = new Seen();
      return [seen, transport.join(of, seen)];
    };
    before(async () => {
      setup = await setUp();
    });
    after(async () => {
      await Promise.all(opened.map((transport) => transport.close()));
      await setup.close();
    });

    test("every end says once that it is open, when all streams are; messages keep their order", async () => {
      const ends = [await open("a"), await open("b"), await open("c")];
      const addresses = ends.map(({ address }) => address);
      const [first, firstStreams] = join(ends[0]!, membership(1, 0, addresses));
      firstStreams.send(1, ...bytes("early"));
      const [second] = join(ends[1]!, membership(1, 1, addresses));
      await second.until(({ messages }) => messages.length === 1);
      assert.ok(!first.open && !second.open, "the third is not there yet");
      const [third, thirdStreams] = join(ends[2]!, membership(1, 2, addresses));
      await Promise.all([first, second, third].map((seen) => seen.until(({ open }) => open)));
      for (let n = 0; n < 100; n++) thirdStreams.send(1, ...bytes(String(n)));
      await second.until(({ messages }) => messages.length === 101);
      assert.deepEqual(second.messages[0], [0, "early"]);
      assert.deepEqual(
        second.messages.slice(1),
        Array.from({ length: 100 }, (_, n) => [2, String(n)]),
      );
      assert.deepEqual([first.messages, third.messages], [[], []], "nobody else got them");
    });

    test("a generation of one is open at once", async () => {
      const alone = await open("a");
      const [seen] = join(alone, membership(1, 0, [alone.address]));
      await seen.until(({ open }) => open);
    });

    test("a peer whose address refuses is reported at once, with a reason", async () => {
      const one = await open("a");
      const [seen] = join(one, membership(1, 0, [one.address, await setup.deadAddress()]));
      await seen.until(({ broken }) => broken.length > 0);
      assert.equal(seen.broken[0]?.[0], 1);
      assert.ok(seen.broken[0]?.[1]);
      assert.ok(!seen.open);
    });

    test("a peer that goes away is reported once, at once", async () => {
      const [one, two] = [await open("a"), await open("b")];
      const addresses = [one.address, two.address];
      const [seen] = join(one, membership(1, 0, addresses));
      join(two, membership(1, 1, addresses));
      await seen.until(({ open }) => open);
      await two.close();
      await seen.until(({ broken }) => broken.length > 0);
      assert.deepEqual(
        seen.broken.map(([rank]) => rank),
        [1],
      );
    });

    test("a subscription to a generation that is over is refused and reported; one ahead waits", async () => {
      const [one, two] = [await open("a"), await open("b")];
      const addresses = [one.address, two.address];
      const [ahead] = join(one, membership(3, 0, addresses));
      const [behind] = join(two, membership(2, 1, addresses));
      await behind.until(({ broken }) => broken.length > 0);
      assert.match(behind.broken[0]![1], /generation 2 is over/);
      assert.deepEqual([ahead.open, ahead.broken], [false, []]);
      const [caughtUp] = join(two, membership(3, 1, addresses));
      await Promise.all([ahead, caughtUp].map((seen) => seen.until(({ open }) => open)));
    });

    test("whoever is reached under another's address is refused", async () => {
      const [one, two] = [await open("a"), await open("b")];
      const addresses = [one.address, two.address];
      join(two, { ...membership(1, 1, addresses), workerIds: ["a", "somebody else"] });
      const [seen] = join(one, membership(1, 0, addresses));
      await seen.until(({ broken }) => broken.length > 0);
      assert.match(seen.broken[0]![1], /somebody else/);
    });

    test("an observer hears what all are told from when it is open, and nothing else; nobody waits for it", async () => {
      const [one, two, third] = [await open("a"), await open("b"), await open("c")];
      const addresses = [one.address, two.address];
      const [first, streams] = join(one, membership(1, 0, addresses));
      const [second] = join(two, membership(1, 1, addresses));
      await Promise.all([first, second].map((seen) => seen.until(({ open }) => open)));
      streams.sendAll(...bytes("before"));
      const [observer, observerStreams] = join(third, observing(addresses, third.address));
      await observer.until(({ open }) => open);
      streams.send(1, ...bytes("for one"));
      streams.sendAll(...bytes("for all"));
      await Promise.all([
        observer.until(({ messages }) => messages.length === 1),
        second.until(({ messages }) => messages.length === 3),
      ]);
      assert.deepEqual(observer.messages, [[0, "for all"]]);
      observerStreams.close();
      // A second observer proves that the members have noticed the end of the first one, and do not mind.
      const [next] = join(third, observing(addresses, third.address));
      await next.until(({ open }) => open);
      streams.sendAll(...bytes("after"));
      await next.until(({ messages }) => messages.length === 1);
      assert.deepEqual([first.broken, second.broken, observer.messages.length], [[], [], 1]);
    });

    test("an observer that its members do not reach is refused, and nobody else is told", async () => {
      const [one, two] = [await open("a"), await open("b")];
      const [member, streams] = join(one, membership(1, 0, [one.address]));
      const [observer] = join(two, observing([one.address], await setup.deadAddress()));
      await observer.until(({ broken }) => broken.length > 0);
      assert.match(observer.broken[0]![1], /not reached at/);
      streams.sendAll(...bytes("for all"));
      const [next] = join(two, observing([one.address], two.address));
      await next.until(({ open }) => open);
      assert.deepEqual([observer.open, observer.messages, member.broken], [false, [], []]);
    });

    test("nothing is delivered after an end has left its generation", async () => {
      const [one, two] = [await open("a"), await open("b")];
      const addresses = [one.address, two.address];
      const [, streams] = join(one, membership(1, 0, addresses));
      const [left, leftStreams] = join(two, membership(1, 1, addresses));
      await left.until(({ open }) => open);
      leftStreams.close();
      streams.send(1, ...bytes("late"));
      const [next] = join(two, membership(2, 1, addresses));
      const [, nextStreams] = join(one, membership(2, 0, addresses));
      nextStreams.send(1, ...bytes("in time"));
      await next.until(({ messages }) => messages.length > 0);
      assert.deepEqual([left.messages, left.broken, next.messages], [[], [], [[0, "in time"]]]);
    });

    test("a state is copied bit for bit; who has none says why, and so does an address that refuses", async () => {
      const [one, two] = [await open("a"), await open("b")];
      const state: ServedState = {
        progress: '{"step":7}',
        digest: "sha256:7",
        values: Float32Array.from({ length: 700_001 }, (_, i) => (i === 0 ? -0 : 1 / i)),
      };
      one.serveState(async ({ step }) => (step === 7 ? state : `no state of step ${step}`));
      const copy = await two.copyState(one.address, { generation: 1, step: 7 }, signal);
      assert.deepEqual([copy.progress, copy.digest], [state.progress, state.digest]);
      assert.deepEqual(Buffer.from(copy.values.buffer), Buffer.from(state.values.buffer));
      await assert.rejects(two.copyState(one.address, { generation: 1, step: 8 }, signal), /no state of step 8/);
      await assert.rejects(two.copyState(await setup.deadAddress(), { generation: 1, step: 7 }, signal));
    });
  });
}
