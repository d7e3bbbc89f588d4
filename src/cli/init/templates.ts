/** What `lockstep init` can begin with: the examples, each with the data that comes with it. */
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import { nearestName } from "../../core/nearest-name.ts";

export interface Template {
  readonly name: string;
  /** One line, for the help and the starter's README. */
  readonly summary: string;
  /** A file of `examples/`. */
  readonly job: string;
  /** Files of `examples/data/`. */
  readonly data: readonly string[];
  /** Where the data is from, or what has to be put where; as Markdown. */
  readonly about: string;
  /** What is beside lockstep in the starter's dependencies. */
  readonly packages: readonly string[];
}

const digitsData = `The data are handwritten digits, 8 × 8 blocks of pixels each, and their class: "Optical Recognition of Handwritten Digits", UCI
Machine Learning Repository, <https://doi.org/10.24432/C50P49>, by E. Alpaydin and C. Kaynak, under the licence
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). The header row was added.`;

/** The first one is what a starter is made of when nobody says otherwise. */
export const templates: readonly Template[] = [
  {
    name: "digits",
    summary: "handwritten digits, a multilayer perceptron; half a minute",
    job: "digits.ts",
    data: ["optdigits.tra", "optdigits.tes"],
    about: digitsData,
    packages: [],
  },
  {
    name: "mnist",
    summary: "MNIST and its kin from IDX files, a convolutional network; brings no data",
    job: "mnist.ts",
    data: [],
    about: `The data is not here yet: get the four \`.gz\` files where MNIST is published (Fashion-MNIST and KMNIST have files of the same
names), and put them as they are into \`data/\`.`,
    packages: [],
  },
  {
    name: "friedman",
    summary: "tabular regression on ten columns; a quarter of a minute",
    job: "friedman.ts",
    data: ["friedman.tra", "friedman.tes"],
    about:
      "The data was made by the formula of Friedman's first problem (1991), with noise; it is in the public domain.",
    packages: [],
  },
  {
    name: "sentiment",
    summary: "text classification with an LSTM, on sentences that the job makes",
    job: "sentiment.ts",
    data: [],
    about: "The job makes its sentences itself, from a small grammar.",
    packages: [],
  },
  {
    name: "gpt",
    summary: "a small GPT on Shakespeare's plays, with an attention layer of its own",
    job: "gpt.ts",
    data: ["shakespeare.txt"],
    about: "The data is a part of Shakespeare's plays, which are in the public domain.",
    packages: [],
  },
  {
    name: "cifar",
    summary: "CIFAR-10's photographs, a residual network, with augmentation; brings no data",
    job: "cifar.ts",
    data: [],
    about: `The data is not here yet: get "CIFAR-10 binary version" where it is published, and put its \`.bin\` files into \`data/\`.`,
    packages: [],
  },
  {
    name: "transfer",
    summary: "a new last layer on the frozen ones of another model",
    job: "transfer.ts",
    data: ["optdigits.tra", "optdigits.tes"],
    about: `The job begins with the weights of the template \`digits\`: train that first, and name one of its checkpoints with
\`--param base=FOLDER\`.

${digitsData}`,
    packages: [],
  },
  {
    name: "declarations",
    summary: "a character model that learns to write TypeScript; two minutes",
    job: "declarations.ts",
    data: [],
    about: "The data are the declaration files of the installed TypeScript.",
    packages: ["typescript"],
  },
];

/** The template of this name; "usage", with the nearest one, when there is none. */
export function templateNamed(name: string): Template {
  const found = templates.find((template) => template.name === name);
  if (found) return found;
  const names = templates.map((template) => template.name);
  const near = nearestName(name, names);
  throw new LockstepError("usage", `There is no template ${JSON.stringify(name)}; ${listed(names)} was expected.`, {
    hint: near === null ? "`lockstep init --help` says what each of them is." : `Did you mean ${near}?`,
  });
}
