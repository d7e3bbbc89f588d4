/**
 * TensorFlow's shared libraries, fetched into the cache without touching the machine's own state. There are two sources:
 * the Python wheel of a current TensorFlow, of which the C libraries and their headers are all that is needed; and the
 * old libtensorflow that TensorFlow.js' own package would download. Everything is pinned, so that two machines that are
 * set up at different times compute with the same bits.
 */
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { extractTar, extractZip } from "./archives.ts";
import { buildEntry, type CacheEntry, entryDirectory, findEntry, folderSizeBytes, requireFreeSpace } from "./cache.ts";
import { download } from "./download.ts";
import { findProgram, runProgram } from "./programs.ts";
import { formatMegabytes, type Say, withProgress } from "./progress.ts";

/** Built for the CPU alone, or for CUDA too (such a library also computes on the CPU, to the same bits). */
export type LibraryVariant = "cpu" | "cuda";
export type LibrarySource = "wheel" | "libtensorflow";

export interface NativeLibrary {
  /** The name of its cache entry, without the kind: "tensorflow-2.21.0-cpu-linux-x64". */
  readonly name: string;
  readonly source: LibrarySource;
  readonly variant: LibraryVariant;
  /** "TensorFlow 2.21.0" */
  readonly title: string;
  /** Folders inside the entry. */
  readonly libraryFolder: string;
  readonly includeFolder: string;
  /** The shared libraries that the binding needs, as the loader knows them. */
  readonly libraryNames: readonly string[];
}

interface Wheel {
  readonly requirement: string;
  readonly sha256: string;
  readonly platforms: readonly string[];
  readonly sizeBytes: number;
}

const platform = `${process.platform}-${process.arch}`;
const wheelVersion = "2.21.0";
const legacyVersion = "2.9.1";

/** What the wheels unpack to at most, and the archive itself beside it meanwhile. */
const neededBytes = { cpu: 1_300_000_000, cuda: 2_000_000_000, nvidia: 9_000_000_000 };

const linux = (glibc: string) => [`manylinux_2_${glibc}_${process.arch === "arm64" ? "aarch64" : "x86_64"}`];

const wheels: Readonly<Record<string, Wheel>> = {
  "cpu-linux-x64": {
    requirement: `tensorflow-cpu==${wheelVersion}`,
    sha256: "2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c",
    platforms: linux("27"),
    sizeBytes: 273_829_956,
  },
  "cuda-linux-x64": {
    requirement: `tensorflow==${wheelVersion}`,
    sha256: "9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124",
    platforms: linux("27"),
    sizeBytes: 572_440_367,
  },
  "cpu-linux-arm64": {
    requirement: `tensorflow==${wheelVersion}`,
    sha256: "4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c",
    platforms: linux("27"),
    sizeBytes: 281_800_000,
  },
  "cpu-darwin-arm64": {
    requirement: `tensorflow==${wheelVersion}`,
    sha256: "51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88",
    platforms: ["macosx_12_0_arm64"],
    sizeBytes: 223_400_000,
  },
};

/**
 * The CUDA libraries that the wheel's extra "and-cuda" asks for. The wheel's libraries look for them in `../nvidia`,
 * where pip would have put them, so they go to the same place beside it.
 */
const nvidiaWheels: readonly (readonly [requirement: string, sha256: string])[] = [
  ["nvidia-cublas-cu12==12.9.3.13", "d7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72"],
  ["nvidia-cuda-cupti-cu12==12.8.90", "ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182"],
  ["nvidia-cuda-nvcc-cu12==12.9.86", "5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0"],
  ["nvidia-cuda-nvrtc-cu12==12.9.86", "210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4"],
  ["nvidia-cuda-runtime-cu12==12.9.79", "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3"],
  ["nvidia-cudnn-cu12==9.28.0.42", "9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375"],
  ["nvidia-cufft-cu12==11.4.1.4", "c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28"],
  ["nvidia-curand-cu12==10.3.10.19", "49b274db4780d421bd2ccd362e1415c13887c53c214f0d4b761752b8f9f6aa1e"],
  ["nvidia-cusolver-cu12==11.7.5.82", "15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88"],
  ["nvidia-cusparse-cu12==12.5.10.65", "73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78"],
  ["nvidia-nccl-cu12==2.32.3", "bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c"],
  ["nvidia-nvjitlink-cu12==12.9.86", "e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9"],
];

/** The libraries that could serve a variant on this kind of machine, best first. */
export function librariesFor(variant: LibraryVariant): NativeLibrary[] {
  const libraries: NativeLibrary[] = [];
  if (wheels[`${variant}-${platform}`] !== undefined) libraries.push(wheelLibrary(variant));
  if (legacyArchive(variant) !== null) libraries.push(legacyLibrary(variant));
  return libraries;
}

export function libraryEntryName(library: NativeLibrary): string {
  return `engine/${library.name}`;
}

/** The library in the cache, fetched if need be. Throws an Error that says in one line why it cannot be had. */
export async function prepareLibrary(library: NativeLibrary, say: Say): Promise<CacheEntry> {
  return library.source === "wheel" ? prepareWheel(library, say) : prepareLegacy(library, say);
}

/** Whether a CUDA library has beside it all that it needs to use a GPU. */
export async function hasCudaLibraries(library: NativeLibrary): Promise<boolean> {
  return library.source === "libtensorflow" || (await findEntry(cudaEntryName)) !== null;
}

/** Fetches NVIDIA's CUDA libraries, which the wheel's library loads when there is a GPU to use. */
export async function prepareCudaLibraries(say: Say): Promise<CacheEntry> {
  return buildEntry(cudaEntryName, async (directory, scratch) => {
    await requireFreeSpace(neededBytes.nvidia);
    say(`Fetching NVIDIA's CUDA libraries (${nvidiaWheels.length} packages, some 3 GB), once per user.`);
    const requirements = nvidiaWheels.map(([requirement, sha256]) => `${requirement} --hash=sha256:${sha256}`);
    const platforms = [...linux("27"), "manylinux2014_x86_64"];
    const archives = await downloadWheels(requirements, platforms, scratch, null, say);
    const wanted = (name: string) => name.startsWith("nvidia/") && !name.includes("/include/");
    const unpack = async () => {
      for (const archive of archives) await extractZip(archive, directory, wanted);
    };
    await withProgress(say, async () => `unpacking: ${formatMegabytes(await folderSizeBytes(directory))}`, unpack());
    return {};
  });
}

const cudaEntryName = `engine/cuda-12.9-${platform}`;

function wheelLibrary(variant: LibraryVariant): NativeLibrary {
  const suffix = process.platform === "darwin" ? (name: string) => `${name}.2.dylib` : (name: string) => `${name}.so.2`;
  return {
    name: `tensorflow-${wheelVersion}-${variant}-${platform}`,
    source: "wheel",
    variant,
    title: `TensorFlow ${wheelVersion}`,
    libraryFolder: "tensorflow",
    includeFolder: "tensorflow/include",
    libraryNames: [suffix("libtensorflow_cc"), suffix("libtensorflow_framework")],
  };
}

async function prepareWheel(library: NativeLibrary, say: Say): Promise<CacheEntry> {
  return buildEntry(libraryEntryName(library), async (directory, scratch) => {
    const wheel = wheels[`${library.variant}-${platform}`];
    if (wheel === undefined) throw new Error(`there is no wheel for ${platform}`);
    await requireFreeSpace(neededBytes[library.variant]);
    say(
      `Fetching ${library.title} (${library.variant === "cuda" ? "CUDA" : "CPU"}) from its Python wheel, once per user.`,
    );
    const requirement = `${wheel.requirement} --hash=sha256:${wheel.sha256}`;
    const archives = await downloadWheels([requirement], wheel.platforms, scratch, wheel.sizeBytes, say);
    const libraries = new Set(library.libraryNames.map((name) => `${library.libraryFolder}/${name}`));
    const wanted = (name: string) => libraries.has(name) || neededHeader.test(name);
    const unpack = async () => {
      for (const archive of archives) await extractZip(archive, directory, wanted);
    };
    await withProgress(say, async () => `unpacking: ${formatMegabytes(await folderSizeBytes(directory))}`, unpack());
    // The library looks for CUDA's beside itself. The link leads nowhere until they have been fetched.
    if (library.variant === "cuda")
      await symlink(join("..", basename(cudaEntryName), "nvidia"), join(directory, "nvidia"));
    return { title: library.title };
  });
}

/** The C API's headers and the few others that they and the binding include. */
const neededHeader =
  /^tensorflow\/include\/((tensorflow|xla\/tsl|tsl)\/c\/|(tensorflow\/core|tsl)\/platform\/ctstring)[\w/]*\.h$/;

/** Lets pip find and verify wheels of the given platform, whatever Python it runs on. Returns the archives' paths. */
async function downloadWheels(
  requirements: readonly string[],
  platforms: readonly string[],
  scratch: string,
  totalBytes: number | null,
  say: Say,
): Promise<string[]> {
  const python = findProgram("python3");
  if (python === null) throw new Error("python3 is not on PATH");
  const requirementsFile = join(scratch, "requirements.txt");
  const destination = join(scratch, "wheels");
  await mkdir(destination);
  await writeFile(requirementsFile, `${requirements.join("\n")}\n`);
  const pip = runProgram(
    python,
    [
      ...["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"],
      ...platforms.flatMap((name) => ["--platform", name]),
      ...["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"],
      ...["--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"],
      ...["--dest", destination, "--requirement", requirementsFile],
    ],
    // pip downloads to its temporary folder first: in the cache it is on the same disk, seen here, and swept.
    { environment: { TMPDIR: scratch, PIP_REQUIRE_VIRTUALENV: "0" } },
  );
  const describe = async () => {
    // In the end pip copies what it has downloaded; the copy is not to be counted twice, nor what else pip writes there.
    const [allBytes, copiedBytes] = await Promise.all([folderSizeBytes(scratch), folderSizeBytes(destination)]);
    const bytes = Math.min(Math.max(allBytes - copiedBytes, copiedBytes), totalBytes ?? Number.POSITIVE_INFINITY);
    return `downloading: ${formatMegabytes(bytes, totalBytes)}`;
  };
  const result = await withProgress(say, describe, pip);
  if (!result.succeeded) throw new Error(`pip cannot download ${requirements[0]?.split(" ")[0]}: ${result.failure}`);
  return (await readdir(destination)).filter((name) => name.endsWith(".whl")).map((name) => join(destination, name));
}

// ---- libtensorflow, as the package @tensorflow/tfjs-node-gpu fetches it ----

function legacyLibrary(variant: LibraryVariant): NativeLibrary {
  const suffix = process.platform === "darwin" ? "dylib" : "so";
  return {
    name: `libtensorflow-${legacyVersion}-${variant}-${platform}`,
    source: "libtensorflow",
    variant,
    title: `TensorFlow ${legacyVersion}`,
    libraryFolder: "lib",
    includeFolder: "include",
    libraryNames: [`libtensorflow.${suffix}`, `libtensorflow_framework.${suffix}`],
  };
}

/** Reads a setting as the package's install script does: plain, or as npm passes on its own configuration. */
function packageSetting(name: string): string | undefined {
  return process.env[name] || process.env[`npm_config_${name}`];
}

/** Where the package's install script would download libtensorflow from; null where it has none for this machine. */
function legacyArchive(variant: LibraryVariant): string | null {
  const os = { linux: "linux", darwin: "darwin" }[process.platform as string];
  if (os === undefined || process.arch !== "x64" || (variant === "cuda" && os !== "linux")) return null;
  const host = packageSetting("TFJS_NODE_CDN_STORAGE") || process.env.CDN_STORAGE || "https://storage.googleapis.com/";
  const base = packageSetting("TFJS_NODE_BASE_URI") || `${host}tensorflow/libtensorflow/libtensorflow-`;
  return `${base}${variant === "cuda" ? "gpu" : "cpu"}-${os}-x86_64-${legacyVersion}.tar.gz`;
}

async function prepareLegacy(library: NativeLibrary, say: Say): Promise<CacheEntry> {
  return buildEntry(libraryEntryName(library), async (directory, scratch) => {
    const url = legacyArchive(library.variant);
    if (url === null) throw new Error(`there is no libtensorflow for ${platform}`);
    await requireFreeSpace(neededBytes[library.variant]);
    say(
      `Fetching libtensorflow ${legacyVersion} (${library.variant === "cuda" ? "CUDA 11.2" : "CPU"}), once per user.`,
    );
    const archive = join(scratch, "libtensorflow.tar.gz");
    await download(url, { destination: archive, sha256: null, label: "downloading", say });
    await withProgress(say, () => "unpacking", extractTar(archive, directory));
    return { title: library.title };
  });
}

/** Folder of the cache in which a library's shared objects lie. */
export function sharedObjectFolder(library: NativeLibrary): string {
  return join(entryDirectory(libraryEntryName(library)), library.libraryFolder);
}
