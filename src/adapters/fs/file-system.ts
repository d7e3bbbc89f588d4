import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * The few calls to the operating system that checkpoint storage makes, as thin as they are there: errors carry the
 * system's `code`, reads and writes may be short. So a test can let each one fail, or stop the world at it.
 */
export interface FileSystem {
  /** Makes one directory; fails with EEXIST when something has its name. */
  makeDirectory(path: string): Promise<void>;
  /** Whether anything has this name, be it a link to nowhere. */
  exists(path: string): Promise<boolean>;
  /** The names in a directory, in no order. */
  names(path: string): Promise<readonly string[]>;
  /** Makes a file for writing; fails with EEXIST when something has its name. */
  create(path: string): Promise<OpenFile>;
  /** Opens a file for reading. */
  open(path: string): Promise<OpenFile>;
  /** Makes a directory's entries durable. */
  syncDirectory(path: string): Promise<void>;
  /** Moves a directory; fails with EEXIST or ENOTEMPTY where a directory with anything in it has the new name. */
  rename(from: string, to: string): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Removes a directory with all that is in it; absent ones are no error. */
  removeTree(path: string): Promise<void>;
}

export interface OpenFile {
  sizeBytes(): Promise<number>;
  /** Writes the buffers one after the other; returns how many bytes of them were written. */
  write(buffers: readonly Uint8Array[], positionBytes: number): Promise<number>;
  /** Fills the buffers one after the other; returns how many bytes of them were filled, 0 at the end of the file. */
  read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number>;
  /** Makes the file's content and size durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export const nodeFileSystem: FileSystem = {
  async makeDirectory(path) {
    await mkdir(path);
  },
  async exists(path) {
    try {
      await lstat(path);
      return true;
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  },
  names: (path) => readdir(path),
  create: async (path) => new NodeFile(await open(path, "wx")),
  // Without blocking: opening a pipe that somebody put in a file's place would otherwise wait for ever.
  open: async (path) => new NodeFile(await open(path, constants.O_RDONLY | constants.O_NONBLOCK)),
  async syncDirectory(path) {
    const directory = await open(path, "r");
    try {
      await directory.sync();
    } catch (error) {
      // Some network file systems cannot sync a directory; there, renaming is as durable as the server makes it.
      if (errnoOf(error) !== "EINVAL") throw error;
    } finally {
      await directory.close();
    }
  },
  rename: (from, to) => rename(from, to),
  removeFile: (path) => unlink(path),
  removeTree: (path) => rm(path, { recursive: true, force: true }),
};

class NodeFile implements OpenFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async write(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    return (await this.#handle.writev([...buffers], positionBytes)).bytesWritten;
  }

  async read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    return (await this.#handle.readv([...buffers], positionBytes)).bytesRead;
  }

  sync(): Promise<void> {
    return this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** The operating system's name for what went wrong, such as "ENOSPC"; undefined for other errors. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Whether the error says that a name stands for nothing, or that a part of its path is no directory. */
export function isAbsent(error: unknown): boolean {
  return errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR";
}

/** Makes a directory and those above it, each durable in its parent. */
export async function makeDurableDirectory(fileSystem: FileSystem, path: string): Promise<void> {
  if (await fileSystem.exists(path)) return;
  const parent = dirname(path);
  await makeDurableDirectory(fileSystem, parent);
  try {
    await fileSystem.makeDirectory(path);
  } catch (error) {
    // Another process of the job made it in between.
    if (errnoOf(error) !== "EEXIST") throw error;
  }
  await fileSystem.syncDirectory(parent);
}

/** Closes the file after use, whatever happens. */
export async function using<T>(file: OpenFile, use: (file: OpenFile) => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await use(file);
  } catch (error) {
    // The first error is the one that explains.
    await file.close().catch(() => undefined);
    throw error;
  }
  // Network file systems report late write errors here.
  await file.close();
  return result;
}

/**
 * Waits for all of them, also when one fails, so that none is under way any more afterwards. Of several errors the first one's
 * in their order counts.
 */
export async function all<T>(tasks: readonly Promise<T>[]): Promise<readonly T[]> {
  await Promise.allSettled(tasks);
  return Promise.all(tasks);
}
