import assert from "node:assert/strict";
import { test } from "node:test";
import { isStaging, stagedId, stagingName } from "../../src/adapters/fs/staging.ts";
import { isPlainName } from "../../src/core/manifest.ts";

test("a staging folder tells which checkpoint it was to become, and is never taken for one", () => {
  for (const id of ["one", "digits-1-step-00000012-g1-t7-0123456789abcdef", "a-.staging-b"]) {
    const [name, other] = [stagingName(id), stagingName(id)];
    assert.notEqual(name, other, "two writers of one id do not meet");
    assert.equal(stagedId(name), id);
    assert.ok(isStaging(name) && !isPlainName(name));
    assert.ok(!isStaging(id));
    assert.equal(stagedId(id), null);
  }
  // Of an earlier version, or cut off: it is removed with the others, and nobody knows what it was.
  assert.ok(isStaging(".staging-one"));
  assert.equal(stagedId(".staging-one"), null);
});
