/**
 * Compares manifests with Kubernetes' own description of its API, and with cert-manager's and the Prometheus operator's, as the packages
 * kubernetes-models have them. Values are validated at run time. That would let unknown keys pass, so the compiler looks at
 * each manifest too, as an object literal of its type: such a literal may have no other keys than the type.
 */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../../src/adapters/system/programs.ts";
import { type Manifest, nameOf, root, type Value } from "./manifests.ts";

/** The package's entry that has a manifest's type, as "kubernetes-models/apps/v1". */
function entryOf(apiVersion: string): string {
  if (apiVersion.startsWith("cert-manager.io/")) return `@kubernetes-models/cert-manager/${apiVersion}`;
  if (apiVersion.startsWith("monitoring.coreos.com/")) return `@kubernetes-models/prometheus-operator/${apiVersion}`;
  return `kubernetes-models/${apiVersion}`;
}

/** What is wrong with values, each as a sentence. */
export async function invalidValues(manifests: readonly Manifest[]): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const manifest of manifests) {
    const models: Record<string, Value> = await import(entryOf(manifest.apiVersion));
    const Model = models[manifest.kind];
    if (Model === undefined) {
      wrong.push(`${nameOf(manifest)}: ${manifest.apiVersion} has no such kind`);
      continue;
    }
    try {
      new Model(structuredClone(manifest)).validate();
    } catch (error) {
      wrong.push(`${nameOf(manifest)}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return wrong;
}

/** Unknown keys, missing ones and wrong types, in what the compiler says of them; of several clusters at once, as it takes a second. */
export async function invalidKeys(clusters: Readonly<Record<string, readonly Manifest[]>>): Promise<readonly string[]> {
  const directory = await mkdtemp(join(tmpdir(), "lockstep-schemas-"));
  try {
    await symlink(join(root, "node_modules"), join(directory, "node_modules"));
    const files = await Promise.all(
      Object.entries(clusters).map(async ([name, manifests], index) => {
        await mkdir(join(directory, String(index)));
        return Promise.all(
          manifests.map(async (manifest, place) => {
            const file = `${index}/${place}.ts`;
            const text = [
              `import type { I${manifest.kind} } from "${entryOf(manifest.apiVersion)}";`,
              `export const manifest: I${manifest.kind} = ${JSON.stringify(manifest)};`,
            ];
            await writeFile(join(directory, file), `${text.join("\n")}\n`);
            return { file, name: `${name}: ${nameOf(manifest)}` };
          }),
        );
      }),
    );
    const compilerOptions = {
      target: "es2022",
      module: "nodenext",
      moduleResolution: "nodenext",
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: [],
    };
    await writeFile(join(directory, "package.json"), JSON.stringify({ type: "module" }));
    await writeFile(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*/*.ts"] }));
    const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
    const told = await runProgram(process.execPath, [compiler, "--project", directory, "--pretty", "false"], {
      directory,
    });
    const said = new Map(files.flat().map(({ file, name }) => [file, name]));
    const lines = told.output.split("\n").filter((line) => line.includes("error TS"));
    if (!told.succeeded && lines.length === 0) throw new Error(`The compiler could not look at them: ${told.failure}`);
    return lines.map((line) =>
      line.replace(/^(\d+\/\d+\.ts)\(\d+,\d+\): error TS\d+/, (_, file) => said.get(file) ?? file),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
