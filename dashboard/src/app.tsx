import { isOver } from "../../src/core/dashboard-view.ts";
import { Checkpoints } from "./checkpoints.tsx";
import type { Shown } from "./connection.ts";
import { Curves } from "./curves.tsx";
import { Decisions } from "./decisions.tsx";
import { Header } from "./header.tsx";
import { Health } from "./health.tsx";
import { Membership } from "./membership.tsx";
import { Unchanged } from "./unchanged.ts";
import { Throughput } from "./throughput.tsx";
import type { Theme } from "./theme.ts";

interface Props {
  readonly shown: Shown;
  readonly theme: Theme;
  readonly onTheme: () => void;
}

export function App({ shown, theme, onTheme }: Props) {
  const { view } = shown;
  return (
    <>
      <a class="skip" href="#content">
        Skip to the curves
      </a>
      <Header shown={shown} theme={theme} onTheme={onTheme} />
      <main id="content" tabIndex={-1}>
        {view === null ? (
          <p class="loading">{shown.trouble ?? "Waiting for the coordinator …"}</p>
        ) : (
          <>
            <Unchanged of={[view.history, view.timeline, view.status.stepsPerEpoch, view.status.epochs, theme]}>
              {() => <Curves view={view} theme={theme} />}
            </Unchanged>
            <Unchanged of={[view.timeline, isOver(view.status.state)]}>
              {() => <Membership timeline={view.timeline} isOver={isOver(view.status.state)} />}
            </Unchanged>
            <div class="pair">
              <Unchanged of={[view.rates, view.status]}>{() => <Throughput view={view} />}</Unchanged>
              <Unchanged of={[view.health, view.status]}>{() => <Health view={view} />}</Unchanged>
            </div>
            <Unchanged of={[view.checkpoints, view.status.job]}>
              {() => <Checkpoints section={view.checkpoints} />}
            </Unchanged>
            <Unchanged of={[view.decisions]}>{() => <Decisions entries={view.decisions.items} />}</Unchanged>
          </>
        )}
      </main>
    </>
  );
}
