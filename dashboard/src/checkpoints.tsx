/** What the run has kept; pinned, downloaded, or exported by a command that can be copied. */
import { useState } from "preact/hooks";
import type { CheckpointRow, CheckpointsSection } from "../../src/core/dashboard-view.ts";
import { formatBytes, formatCount, formatValue, shellWord, timeText, wholeTimeText } from "./words.ts";

export function Checkpoints({ section }: { readonly section: CheckpointsSection }) {
  const { monitor, rows } = section;
  const [said, setSaid] = useState("");
  return (
    <section aria-labelledby="checkpoints">
      <h2 id="checkpoints">Checkpoints</h2>
      {rows.length === 0 ? (
        <p class="empty">No checkpoint has been published yet.</p>
      ) : (
        <div class="scroll">
          <table class="cards">
            <caption class="unseen">Checkpoints, the newest first</caption>
            <thead>
              <tr>
                <th scope="col">epoch</th>
                <th scope="col">step</th>
                <th scope="col">{monitor}</th>
                <th scope="col">is</th>
                <th scope="col">size</th>
                <th scope="col">written</th>
                <th scope="col">
                  <span class="unseen">what can be done</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.toReversed().map((row) => (
                <Row key={row.id} row={row} section={section} say={setSaid} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p class="note" role="status">
        {said}
      </p>
    </section>
  );
}

interface Props {
  readonly row: CheckpointRow;
  readonly section: CheckpointsSection;
  readonly say: (text: string) => void;
}

function Row({ row, section, say }: Props) {
  const { id, epoch, stepInEpoch, step, value, sizeBytes, writtenAtMs, isBest, isLatest, pins, verification } = row;
  const isDamaged = verification === "set aside" || verification === "corrupt" || verification === "missing";
  return (
    <tr>
      <th scope="row" data-name="Epoch" title={id}>
        {epoch === null ? "?" : formatCount(epoch)}
        {stepInEpoch ? <span class="aside"> + {formatCount(stepInEpoch)} steps</span> : null}
      </th>
      <td data-name="step">{step === null ? "?" : formatCount(step)}</td>
      <td data-name={section.monitor}>{formatValue(value)}</td>
      <td data-name="is">
        {isBest && <span class="badge best">best</span>}
        {isLatest && <span class="badge">latest</span>}
        {pins.length > 0 && (
          <span class="badge" title={pins.join(", ")}>
            pinned
          </span>
        )}
        <span class={isDamaged ? "mark-bad" : verification === "verified" ? "mark-good" : "aside"}>{verification}</span>
        {row.problem !== null && <span class="problem">{row.problem}</span>}
      </td>
      <td data-name="size">{sizeBytes === null ? "–" : formatBytes(sizeBytes)}</td>
      <td data-name="written" title={writtenAtMs === null ? "" : wholeTimeText(writtenAtMs)}>
        {writtenAtMs === null ? "–" : timeText(writtenAtMs)}
      </td>
      <td class="actions">{!isDamaged && <Actions row={row} section={section} say={say} />}</td>
    </tr>
  );
}

function Actions({ row: { id, epoch, pins }, section: { canPin, canDownload, jobFile, words }, say }: Props) {
  const which = `the checkpoint of epoch ${epoch ?? "?"}`;
  const isPinned = pins.length > 0;
  const changePin = async () => {
    const answer = await fetch(`/api/checkpoints/${id}/${isPinned ? "unpin" : "pin"}`, { method: "POST" }).catch(
      () => null,
    );
    if (answer?.ok) say(`${id} is ${isPinned ? "no longer pinned" : "pinned: nothing deletes it"}.`);
    else say(answer ? await problemOf(answer) : "The coordinator does not answer.");
  };
  const copy = async () => {
    const rest = [id, "--to", "tfjs", ...words].map(shellWord).join(" ");
    const command = `npx lockstep checkpoints export ${jobFile === null ? "JOB.ts" : shellWord(jobFile)} ${rest}`;
    try {
      await navigator.clipboard.writeText(command);
      say(`Copied: ${command}`);
    } catch {
      say(`For TensorFlow.js: ${command}`);
    }
  };
  return (
    <>
      {canPin && (
        <button type="button" class="quiet" aria-label={`${isPinned ? "Unpin" : "Pin"} ${which}`} onClick={changePin}>
          {isPinned ? "Unpin" : "Pin"}
        </button>
      )}
      {canDownload && (
        <a
          class="quiet"
          href={`/api/checkpoints/${id}/export`}
          download
          aria-label={`Download the weights of ${which}`}
        >
          Weights
        </a>
      )}
      <button
        type="button"
        class="quiet"
        aria-label={`Copy the command that exports ${which} for TensorFlow.js`}
        onClick={copy}
      >
        tfjs …
      </button>
    </>
  );
}

async function problemOf(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const { message, hint } = JSON.parse(text) as { message: string; hint: string | null }; // as the server answers
    return hint === null ? message : `${message} ${hint}`;
  } catch {
    return text;
  }
}
