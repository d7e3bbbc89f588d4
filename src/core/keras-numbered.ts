/** Names of weights in files that have them by number: see keras-names.ts. */
import {
  type KerasLayer,
  folderNameOf,
  gruRefusal,
  isKnownLayer,
  isRecurrent,
  settingsOf,
  unclearWeights,
  weightNames,
} from "./keras-layers.ts";
import type { FileGroup, GivenLayer, KerasFile, KerasNames } from "./keras-names.ts";

/** The second is Keras 2.12's. */
const layerFolders = ["layers", "_layer_checkpoint_dependencies"];
/** Of the whole model; they are no weights. */
const ignored = new Set(["optimizer", "metrics", "compile_metrics", "loss_tracker"]);

interface Found {
  readonly weights: { path: string; name: string }[];
  readonly unnamed: string[];
  readonly layers: GivenLayer[];
}

/** Null: the file has no weights by number. */
export function namesByNumber({ root, model, version }: KerasFile): KerasNames | null {
  if (!isModel(root)) return null;
  const found: Found = { weights: [], unnamed: [], layers: [] };
  const kept = { ...root, groups: new Map([...root.groups].filter(([name]) => !ignored.has(name))) };
  visitModel(kept, "", model);
  return found;

  function visitModel(group: FileGroup, path: string, model: KerasLayer | null): void {
    const described = byFolder(model?.layers ?? []);
    for (const [name, inside] of group.groups) {
      if (!layerFolders.includes(name)) leaveOut(inside, `${path}${name}/`);
      else
        for (const [folder, layer] of inside.groups)
          visitLayer(layer, `${path}${name}/${folder}/`, described.get(folder) ?? null);
    }
  }

  function visitLayer(group: FileGroup, path: string, layer: KerasLayer | null): void {
    const folder = path.split("/").at(-2)!;
    const counted = folder.replace(/_\d+$/, "");
    const className = layer ? folderNameOf(layer.className) : isKnownLayer(folder) ? folder : counted;
    const name = nameIn(group) ?? layer?.name ?? folder;
    const inside = className === "time_distributed" ? group.groups.get("layer") : undefined;
    if (isModel(group)) visitModel(group, path, layer);
    else if (className === "bidirectional") visitSides(group, path, name, layer?.wrapped ?? null);
    else if (!inside) visitWeights(group, path, name, className, layer);
    else if (isModel(inside)) visitModel(inside, `${path}layer/`, layer?.wrapped ?? null);
    else {
      const wrapped = layer?.wrapped ?? null;
      visitWeights(inside, `${path}layer/`, name, wrapped && folderNameOf(wrapped.className), wrapped);
    }
  }

  function visitSides(group: FileGroup, path: string, name: string, wrapped: KerasLayer | null): void {
    for (const side of ["forward", "backward"]) {
      const inside = group.groups.get(`${side}_layer`);
      if (!inside) continue;
      const className = wrapped ? folderNameOf(wrapped.className) : recurrentClass(inside);
      const own = wrapped ? wrapped.name.replace(/^forward_/, "") : className;
      const begin = `${name}/${nameIn(inside) ?? `${side}_${own}`}`;
      visitWeights(inside, `${path}${side}_layer/`, begin, className, wrapped);
    }
  }

  function visitWeights(
    group: FileGroup,
    path: string,
    name: string,
    className: string | null,
    layer: KerasLayer | null,
  ): void {
    const cell = className !== null && isRecurrent(className) ? group.groups.get("cell") : undefined;
    const place = cell ? `${path}cell/vars/` : `${path}vars/`;
    const shapes = (cell ?? group).groups.get("vars")?.shapes ?? new Map<string, readonly number[]>();
    const config = layer?.config ?? null;
    const names = weightNames(className ?? "", config, shapes.size);
    if (shapes.size === 0 || names === null || names.some((_, i) => !shapes.has(String(i)))) {
      leaveOut(group, path);
      if (shapes.size > 0 && names === null && className !== null && isKnownLayer(className)) {
        found.layers.push({ name, settings: {}, refusal: unclearWeights });
      }
      return;
    }
    for (const [i, weight] of names.entries()) found.weights.push({ path: `${place}${i}`, name: `${name}/${weight}` });
    const named = new Map(names.map((weight, i) => [weight, shapes.get(String(i))!]));
    const refusal = gruRefusal(className ?? "", config, named);
    found.layers.push({ name, settings: settingsOf(className ?? "", config, version), refusal });
  }

  function leaveOut(group: FileGroup, path: string): void {
    for (const name of group.shapes.keys()) found.unnamed.push(`${path}${name}`);
    for (const [name, inside] of group.groups) {
      // What a layer draws its random numbers from.
      if (!/^seed_generator(_\d+)?$/.test(name)) leaveOut(inside, `${path}${name}/`);
    }
  }
}

function isModel({ groups }: FileGroup): boolean {
  return layerFolders.some((folder) => groups.has(folder));
}

/** Keras counts layers of one class, in the model's order. */
function byFolder(layers: readonly KerasLayer[]): ReadonlyMap<string, KerasLayer> {
  const counts = new Map<string, number>();
  return new Map(
    layers.map((layer) => {
      const { folder } = layer;
      const count = counts.get(folder) ?? 0;
      counts.set(folder, count + 1);
      return [count === 0 ? folder : `${folder}_${count}`, layer] as const;
    }),
  );
}

function nameIn({ groups }: FileGroup): string | null {
  const name = groups.get("vars")?.texts.get("name");
  return typeof name === "string" && name !== "" ? name : null;
}

/** By how many gates it has for each of its units. */
function recurrentClass({ groups }: FileGroup): string | null {
  const [units, gates] = groups.get("cell")?.groups.get("vars")?.shapes.get("1") ?? [];
  if (units === undefined || gates === undefined) return null;
  return { 1: "simple_rnn", 3: "gru", 4: "lstm" }[gates / units] ?? null;
}
