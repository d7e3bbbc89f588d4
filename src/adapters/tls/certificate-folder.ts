/**
 * A folder of certificates that may be replaced while the process runs: by files written anew, or by a symbolic link that is
 * moved, as Kubernetes does it. What the system says of changes is a hint; the files are compared again every few seconds.
 * New connections use what is there now, and connections that are open live on. Files that do not belong together (one of them
 * may be on its way) are never used: what was there before stays.
 */
import { type FSWatcher, watch } from "node:fs";
import { messageOf } from "../../core/errors.ts";
import type { Log } from "../../ports/log.ts";
import { type CertificateTexts, type Certificates, checkCertificates, readTexts } from "./certificates.ts";

const lookEveryMs = 10_000;
/** Files that were found halfway are looked at again so soon. */
const lookAgainMs = 500;
/** What is wrong for so long is not just being written. */
const staysMs = 400;
/** At the start somebody waits. */
const readAgainMs = 100;
/** So much of a certificate's time may pass before it is said that its end is near. */
const lateShare = 0.8;

export type CertificateNotices = Pick<Log, "info" | "warn">;

export class CertificateFolder {
  readonly folder: string;
  readonly #notices: CertificateNotices;
  readonly #listeners = new Set<() => void>();
  #current: Certificates;
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;
  /** Asked for while a look was under way, which may have begun too early. */
  #isAskedAgain = false;
  /** What was found wrong at the last look, and since when. */
  #wrong: { readonly why: string; readonly sinceMs: number } | null = null;
  #told: string | null = null;
  #isWarned = false;
  #isClosed = false;

  private constructor(folder: string, current: Certificates, notices: CertificateNotices) {
    this.folder = folder;
    this.#current = current;
    this.#notices = notices;
  }

  /** Throws "bad-certificate", with a sentence, on what cannot be used. */
  static async open(folder: string, notices: CertificateNotices): Promise<CertificateFolder> {
    const opened = new CertificateFolder(folder, await readWhole(folder), notices);
    opened.#watch();
    opened.#warnIfLate();
    return opened;
  }

  get current(): Certificates {
    return this.#current;
  }

  /** Calls back whenever there are new ones. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Looks now; resolves when what is there is known. */
  look(): Promise<void> {
    if (this.#looking) this.#isAskedAgain = true;
    this.#looking ??= this.#lookUntilKnown().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  close(): void {
    this.#isClosed = true;
    this.#watcher?.close();
    if (this.#timer) clearTimeout(this.#timer);
  }

  #watch(): void {
    try {
      // The folder, not the files: those may be links, and what they lead to is replaced, not changed.
      this.#watcher = watch(this.folder, { persistent: false }, () => void this.look());
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // Without it a change is seen at the next look.
    }
    this.#wait(lookEveryMs);
  }

  #wait(milliseconds: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = this.#isClosed ? null : setTimeout(() => void this.look(), milliseconds).unref();
  }

  async #lookUntilKnown(): Promise<void> {
    do {
      this.#isAskedAgain = false;
      await this.#lookOnce();
    } while (this.#isAskedAgain && !this.#isClosed);
  }

  async #lookOnce(): Promise<void> {
    try {
      const texts = await readTexts(this.folder);
      if (!isSame(texts, this.#current)) this.#take(checkCertificates(texts, this.folder, Date.now()));
      this.#wrong = null;
      this.#told = null;
      this.#warnIfLate();
      this.#wait(lookEveryMs);
    } catch (error) {
      const wrong = messageOf(error);
      const nowMs = performance.now();
      if (wrong !== this.#wrong?.why) this.#wrong = { why: wrong, sinceMs: nowMs };
      // Not at once, however often it is looked: one of the files may just be written.
      if (nowMs - this.#wrong.sinceMs >= staysMs && wrong !== this.#told) {
        this.#told = wrong;
        this.#notices.warn("new certificates are not taken, the ones of before stay", { why: wrong });
      }
      this.#wait(wrong === this.#told ? lookEveryMs : lookAgainMs);
    }
  }

  #take(next: Certificates): void {
    this.#current = next;
    this.#isWarned = false;
    this.#notices.info("new certificates are in use", { folder: this.folder, until: dateOf(next.untilMs) });
    for (const listener of this.#listeners) listener();
  }

  #warnIfLate(): void {
    const { fromMs, untilMs } = this.#current;
    if (this.#isWarned || Date.now() < fromMs + lateShare * (untilMs - fromMs)) return;
    this.#isWarned = true;
    this.#notices.warn("this process' certificate ends soon: without a new one nobody lets it in", {
      folder: this.folder,
      until: dateOf(untilMs),
    });
  }
}

/** Files that do not belong together may be about to: they are read once more. */
async function readWhole(folder: string): Promise<Certificates> {
  const first = await readTexts(folder);
  try {
    return checkCertificates(first, folder, Date.now());
  } catch (error) {
    await new Promise((resolve) => setTimeout(resolve, readAgainMs));
    const second = await readTexts(folder);
    if (isSame(first, second)) throw error;
    return checkCertificates(second, folder, Date.now());
  }
}

function isSame(a: CertificateTexts, b: CertificateTexts): boolean {
  return a.ca === b.ca && a.certificate === b.certificate && a.key === b.key;
}

function dateOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
