// Makes node_modules what package-lock.json says, when it is not already; the first step of every npm script here, so
// that each works on a fresh clone. Uses nothing that is installed by it.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Stops with one sentence on a Node that is too old. */
export function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 11)) return;
  console.error(
    `lockstep needs Node 20.11 or newer; this is ${process.version}. Install a newer one and run the same command again.`,
  );
  process.exit(2);
}

export async function install() {
  await installPackages();
  if (isBuildCurrent()) return;
  // Nothing but the dashboard and the package need it; the dashboard says how to build it.
  if ((await run("npm", ["run", "--silent", "build"])) !== 0) {
    console.error("The dashboard's page and the package's types could not be built.");
  }
}

async function installPackages() {
  if (isCurrent()) return;
  const begun = Date.now();
  const seconds = () => Math.round((Date.now() - begun) / 1000);
  console.log("Installing packages (npm ci) …");
  const timer = setInterval(() => console.log(`Installing packages … ${seconds()} s`), 5000);
  const code = await run("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], {
    shell: process.platform === "win32",
  });
  clearInterval(timer);
  if (code !== 0) {
    console.error("npm ci failed; its messages are above.");
    process.exit(code);
  }
  console.log(`Packages are installed (${seconds()} s).`);
}

/** Whether the installed tree is the one that the lock file names. */
function isCurrent() {
  const installed = `${root}node_modules/.package-lock.json`;
  if (!existsSync(installed)) return false;
  const { "": _own, ...wanted } = JSON.parse(readFileSync(`${root}package-lock.json`, "utf8")).packages;
  const present = JSON.parse(readFileSync(installed, "utf8")).packages;
  // Packages for other platforms are in the lock file and not installed.
  return Object.entries(wanted).every(([path, { version, optional }]) =>
    present[path] ? present[path].version === version : optional,
  );
}

/** Whether the dashboard's page and the package's types are younger than all that they are made of. */
function isBuildCurrent() {
  const built = ["dashboard/dist/index.html", "types/index.d.ts"].map((name) =>
    statSync(join(root, name), { throwIfNoEntry: false }),
  );
  const folders = ["dashboard/src", "dashboard/public", "src/core"].map((folder) => join(root, folder));
  const sources = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  const others = ["package-lock.json", "dashboard/index.html", "dashboard/vite.config.ts", "src/index.ts"].map((name) =>
    join(root, name),
  );
  return [...sources, ...others].every((file) => {
    const { mtimeMs } = statSync(file);
    return built.every((made) => made !== undefined && mtimeMs < made.mtimeMs);
  });
}

/** Runs a program in the project's folder with this process' own streams; resolves to its exit code. */
export function run(program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: "inherit", ...options });
    child.on("error", (error) => {
      console.error(`${program} could not be started: ${error.message}`);
      resolve(127);
    });
    child.on("exit", (code, signal) => resolve(signal ? 130 : code));
  });
}
