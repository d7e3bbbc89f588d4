/** Colours by meaning; without colour every function gives its text back. */
export interface Style {
  readonly bold: (text: string) => string;
  readonly quiet: (text: string) => string;
  readonly done: (text: string) => string;
  readonly best: (text: string) => string;
  readonly bad: (text: string) => string;
}

export const plainStyle: Style = {
  bold: (text) => text,
  quiet: (text) => text,
  done: (text) => text,
  best: (text) => text,
  bad: (text) => text,
};

/** The sixteen colours that every terminal has, so that its owner's theme decides how they look. */
export const colorStyle: Style = {
  bold: painter(1, 22),
  quiet: painter(2, 22),
  done: painter(32, 39),
  best: painter(33, 39),
  bad: painter(31, 39),
};

function painter(on: number, off: number): (text: string) => string {
  return (text) => (text === "" ? "" : `\u001b[${on}m${text}\u001b[${off}m`);
}
