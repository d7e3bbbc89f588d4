import { render } from "preact";
import { App } from "./app.tsx";
import { connect, type Shown } from "./connection.ts";
import "uplot/dist/uPlot.min.css";
import "./styles.css";
import { applyTheme, currentTheme, onSystemTheme } from "./theme.ts";

const root = document.getElementById("app")!;
let shown: Shown = { view: null, connection: "connecting", trouble: null };
let isDrawing = false;

/** At most once a frame, however many messages come. */
function draw(): void {
  if (isDrawing) return;
  isDrawing = true;
  // A page that nobody sees draws when it is seen again: browsers call no frames for it.
  requestAnimationFrame(() => {
    isDrawing = false;
    render(<App shown={shown} theme={currentTheme()} onTheme={draw} />, root);
  });
}

applyTheme(currentTheme());
onSystemTheme(() => {
  applyTheme(currentTheme());
  draw();
});
root.replaceChildren();
connect((now) => {
  shown = now;
  draw();
});
draw();
