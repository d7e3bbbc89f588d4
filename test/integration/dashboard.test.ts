/**
 * The dashboard in a real browser: a run of which a worker is killed, while it trains and afterwards from its files. Skipped, with
 * the reason, where there is no Chromium.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium, type Page } from "playwright-core";
import type { DashboardView } from "../../src/core/dashboard-view.ts";
import { exitCodes } from "../../src/core/errors.ts";
import type { ClusterStatus } from "../../src/core/status.ts";
import { findBrowser } from "../fixtures/browser.ts";
import { finished, registered, startLaunch, testFolder } from "../fixtures/running-launch.ts";

const limit = { timeout: 240_000 };
const program = fileURLToPath(new URL("../../bin/lockstep.mjs", import.meta.url));
const built = fileURLToPath(new URL("../../dashboard/dist", import.meta.url));
/** All files together. */
const mostBytes = 300_000;
const patience = { timeout: 60_000 };

/** Why the page cannot be looked at; null: it can. */
async function whyNot(): Promise<string | null> {
  if (!findBrowser()) return "there is no Chromium here; on Debian: apt-get install chromium";
  const isBuilt = await stat(join(built, "index.html")).catch(() => null);
  return isBuilt ? null : "the page was not built; `npm run build` does it";
}

interface Looking {
  readonly page: Page;
  /** What the browser complained of, and what it asked other hosts for. */
  readonly complaints: string[];
}

async function look(context: TestContext, width = 1280): Promise<Looking> {
  const browser = await chromium.launch({ executablePath: findBrowser()!, args: ["--no-sandbox"] });
  context.after(() => browser.close());
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (new URL(request.url()).hostname !== "127.0.0.1") complaints.push(`it asks ${request.url()}`);
  });
  return { page, complaints };
}

/** Run in the page: whether the label names the epoch that the server calls the best one. */
const labelsBest = `(async () => {
  const view = await (await fetch("/api/view")).json();
  const best = view.history.items.findLast(({ improved }) => improved);
  return document.querySelector(".best-label")?.textContent.includes("epoch " + best?.epoch + ",");
})()`;
/** Run in the page: what has the focus, by its element and its name. */
const focusedElement = `(() => {
  const element = document.activeElement;
  const name = element.getAttribute("aria-label") ?? element.closest("label")?.textContent ?? element.textContent;
  return element.tagName.toLowerCase() + " " + name.trim();
})()`;
/** Run in the page: how many pixels of a table cannot be seen, of those that do not grow with the run. */
const mostHidden = `Math.max(
  ...[...document.querySelectorAll("main > :not(:has(.membership, .numbers)) .scroll")].map(
    (frame) => frame.scrollWidth - frame.clientWidth,
  ),
)`;
const background = "getComputedStyle(document.documentElement).backgroundColor";

const workers = ({ processes }: ClusterStatus) => processes.filter(({ role }) => role === "worker");
const bestLabel = (page: Page) => page.locator(".best-label").first();
const section = (page: Page, name: string) => page.getByRole("region", { name });

test(
  "a killed worker, the new generation and the best epoch are seen while it trains, and afterwards",
  limit,
  async (context) => {
    const why = await whyNot();
    if (why !== null) return context.skip(why);
    const folder = await testFolder(context);
    const words = ["--job", "seen", "--shards", "3", "--workers", "3"];
    const launch = startLaunch(context, folder, [...words, "--epochs", "90"]);
    await launch.whenStatus((status) => status.state === "training");
    const { http } = await registered(folder, "seen");
    const { page, complaints } = await look(context);
    await page.goto(`http://${http}/`);

    await page.getByRole("heading", { name: "seen", level: 1 }).waitFor(patience);
    await page.getByText("Live", { exact: true }).waitFor(patience);
    const status = await launch.whenStatus((now) => now.epoch >= 3 && workers(now).length === 3);
    const victim = workers(status).find(({ leader }) => !leader)!;
    const name = victim.workerId!.replace(/\.[^.]*$/, "");
    process.kill(victim.pid!, "SIGKILL");

    const mark = page
      .getByRole("button", { name: new RegExp(`^Generation \\d+, from step [\\d,]+: ${name} `) })
      .first();
    await mark.waitFor({ ...patience, state: "attached" });
    await mark.hover();
    const told = await page.locator(".tooltip").first().textContent();
    assert.equal(told, await mark.getAttribute("aria-label"), "what the line stands for is shown beside it");
    const membership = section(page, "Membership");
    await membership
      .getByRole("button", { name: new RegExp(`^Generation \\d+: .*${victim.workerId}`) })
      .first()
      .focus();
    await membership.locator(".details").getByText(`left ${victim.workerId}`).waitFor(patience);
    assert.ok(await membership.getByRole("cell", { name: /rank 0, shards 0/ }).count(), "ranks and shards are told");
    await section(page, "Decisions").getByText(`${victim.workerId}`).first().waitFor(patience);

    await page.setViewportSize({ width: 390, height: 844 });
    assert.equal(await page.evaluate<number>(mostHidden), 0, "all of every table is in sight on a phone");
    await page.setViewportSize({ width: 1280, height: 900 });

    // The label is that of the epoch that the coordinator calls the best one.
    await page.waitForFunction(labelsBest, null, patience);
    const checkpoints = section(page, "Checkpoints");
    const said = checkpoints.getByRole("status").filter({ hasText: /is pinned: nothing deletes it|cannot be pinned/ });
    let answer = "";
    // While it trains, a checkpoint may be gone before the click on it arrives: that is said, and another one is there to be pinned.
    do {
      await checkpoints.getByRole("button", { name: /^Pin / }).first().click();
      await said.waitFor(patience);
      answer = (await said.textContent())!;
    } while (!answer.includes("is pinned: nothing deletes it"));
    await checkpoints
      .getByRole("button", { name: /^Unpin / })
      .first()
      .waitFor(patience);
    // A browser writes to its console that a pin was refused.
    assert.deepEqual(
      complaints.filter((text) => !/responded with a status of 4\d\d/.test(text)),
      [],
    );

    // The timeline is etcd's, and outlives the coordinator that wrote it.
    const { processes } = await launch.whenStatus(({ state }) => state === "training");
    process.kill(processes.find(({ role }) => role === "coordinator")!.pid!, "SIGKILL");
    await page.getByText(/^Connection lost/).waitFor(patience);
    await launch.whenStatus(({ state, generation }) => state === "training" && generation >= 2);
    const { http: elsewhere } = await registered(folder, "seen");
    assert.equal(elsewhere, http, "the next coordinator serves where the one before did");
    await page.getByText("Live", { exact: true }).waitFor(patience);
    const { timeline } = (await (await fetch(`http://${elsewhere}/api/view`)).json()) as DashboardView;
    assert.equal(timeline[0]?.generation, 1);
    assert.ok(timeline.some(({ left }) => left.some(({ workerId }) => workerId === victim.workerId)));
    // All was seen; the epochs that are left are not waited for.
    const { epoch } = await launch.whenStatus(({ state }) => state === "training");
    launch.kill("SIGINT");
    assert.equal(await launch.exited, exitCodes.interrupted, launch.errors());
    await page.getByText("stopped", { exact: true }).waitFor(patience);
    await page.getByText("The run is over, and so is its coordinator.").waitFor(patience);
    const rest = startLaunch(context, folder, [...words, "--epochs", String(epoch + 2)]);
    assert.equal(await rest.exited, 0, rest.errors());

    const after = await look(context, 390);
    await after.page.goto(await serveFiles(context, join(folder, "run")));
    await after.page.getByText("finished", { exact: true }).waitFor(patience);
    const { best } = finished(rest) as unknown as { best: { epoch: number } }; // as RunResult has it
    assert.match((await bestLabel(after.page).textContent())!, new RegExp(`epoch ${best.epoch}\\b`));
    const seen = section(after.page, "Membership");
    await seen
      .getByRole("button", { name: new RegExp(`^Generation \\d+: .*${victim.workerId}`) })
      .first()
      .focus();
    await seen.locator(".details").getByText(`left ${victim.workerId}`).waitFor(patience);
    await section(after.page, "Checkpoints").getByText("verified").first().waitFor(patience);
    const [download] = await Promise.all([
      after.page.waitForEvent("download"),
      section(after.page, "Checkpoints")
        .getByRole("link", { name: /^Download the weights/ })
        .first()
        .click(),
    ]);
    assert.match(download.suggestedFilename(), /\.safetensors$/);
    const overflow = await after.page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
    assert.ok(overflow <= 0, `nothing is wider than a phone: ${overflow} px too much`);
    assert.deepEqual(after.complaints, []);
  },
);

/** The address of `lockstep dashboard DIR`, which ends with the test. */
async function serveFiles(context: TestContext, directory: string): Promise<string> {
  const child = spawn(process.execPath, [program, "dashboard", directory, "--no-open"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  context.after(async () => {
    child.kill("SIGINT");
    assert.equal(await ended, 0, "Ctrl-C ends it in order");
  });
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error("it printed no address");
}

test(
  "the page is reached by keyboard in the order in which it is read, and charts have their numbers",
  limit,
  async (context) => {
    const why = await whyNot();
    if (why !== null) return context.skip(why);
    const folder = await testFolder(context);
    const launch = startLaunch(context, folder, ["--job", "keys", "--workers", "1", "--epochs", "3"]);
    assert.equal(await launch.exited, 0, launch.errors());
    const { page, complaints } = await look(context);
    await page.goto(await serveFiles(context, join(folder, "run")));
    await bestLabel(page).waitFor(patience);
    const order: string[] = [];
    for (let i = 0; i < 9; i += 1) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate<string>(focusedElement));
    }
    const expected = [
      ...[
        /^a Skip to the curves/,
        /^button (Dark|Light)$/,
        /^select Scale/,
        /^input Smoothing/,
        /^summary Numbers of all epochs/,
      ],
      ...[/^button Generation 1: the first membership/, /^a Download the weights/, /^button Copy the command/],
      /^(a Download the weights|input)/,
    ];
    for (const [i, pattern] of expected.entries()) assert.match(order[i]!, pattern, order.join("\n"));
    await page.getByText("Numbers of all epochs").click();
    const table = page.getByRole("table", { name: "Loss and metrics of each epoch" });
    await table.getByRole("row").nth(3).waitFor(patience);
    assert.equal(await table.getByRole("row").count(), 1 + 3);
    for (const landmark of ["banner", "main"] as const) assert.equal(await page.getByRole(landmark).count(), 1);
    const switches = page.getByRole("button", { name: /^(Dark|Light)$/ });
    const before = await page.evaluate<string>(background);
    await switches.click();
    const other = await page.evaluate<string>(background);
    assert.notEqual(other, before);
    assert.deepEqual(complaints, []);
  },
);

test("all files of the page together are a few hundred kilobytes", async (context) => {
  const entries = await readdir(built, { recursive: true, withFileTypes: true }).catch(() => null);
  if (entries === null) return context.skip("the page was not built; `npm run build` does it");
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size));
  const sum = sizes.reduce((total, size) => total + size, 0);
  assert.ok(sum > 10_000 && sum < mostBytes, `${sum} bytes`);
});
