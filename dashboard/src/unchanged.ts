import { Component, type ComponentChildren } from "preact";

interface Props {
  /** What the children are made of, each compared by identity. */
  readonly of: readonly unknown[];
  readonly children: () => ComponentChildren;
}

/** Draws its children again only when what they are made of has changed: most messages change one section. */
export class Unchanged extends Component<Props> {
  override shouldComponentUpdate({ of }: Props): boolean {
    return of.some((value, i) => value !== this.props.of[i]);
  }

  override render(): ComponentChildren {
    return this.props.children();
  }
}
