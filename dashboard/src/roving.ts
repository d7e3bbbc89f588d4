/** One stop of the tab key for a group of buttons; arrows, Home and End go from one to the next. */
export function moveFocus(event: KeyboardEvent): void {
  const group = event.currentTarget as HTMLElement; // the handler is on an element
  const buttons = [...group.querySelectorAll<HTMLElement>("button")];
  const at = buttons.indexOf(document.activeElement as HTMLElement); // -1 where it is none of them
  const last = buttons.length - 1;
  const to: Partial<Record<string, number>> = {
    ArrowRight: Math.min(at + 1, last),
    ArrowLeft: Math.max(at - 1, 0),
    Home: 0,
    End: last,
  };
  const next = to[event.key];
  if (next === undefined || at < 0) return;
  event.preventDefault();
  buttons[next]?.focus();
}
