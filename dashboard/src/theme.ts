/** Light and dark, in the colours of the curve that `launch` draws. */
import { paints } from "../../src/core/curve-parts.ts";

export type Theme = "light" | "dark";

const key = "lockstep-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export function currentTheme(): Theme {
  const chosen = readChoice();
  return chosen ?? (system.matches ? "dark" : "light");
}

/** A choice that is the system's own is none: the page follows the system again. */
export function chooseTheme(theme: Theme): void {
  const isSystems = theme === (system.matches ? "dark" : "light");
  try {
    if (isSystems) localStorage.removeItem(key);
    else localStorage.setItem(key, theme);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  applyTheme(theme);
}

export function applyTheme(theme: Theme): void {
  const root = document.documentElement;
  root.dataset.theme = theme;
  for (const [name, paint] of Object.entries(paints)) root.style.setProperty(`--${name}`, paint[theme]);
}

export function onSystemTheme(change: () => void): void {
  system.addEventListener("change", change);
}

function readChoice(): Theme | null {
  try {
    const chosen = localStorage.getItem(key);
    return chosen === "light" || chosen === "dark" ? chosen : null;
  } catch {
    return null;
  }
}
