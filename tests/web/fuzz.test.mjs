/** Fifty hands at fifty canvases: nothing throws, nothing is lost, and what is saved is what is loaded. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { partOf, documentOf } from "../../web/drag/model.mjs";
import { readDrag } from "../../web/drag/wire.mjs";
import { session } from "./gestures.mjs";

/** How many operations an action takes away or adds at most. */
const CHANGES = { add: [0, 1], addPair: [0, 1], duplicate: [0, 1], remove: [-1, 0], removePair: [-1, 0], setOutline: [-1, 0] };

for (let seed = 0; seed < 50; seed++) {
  test(`hand ${seed} loses no operation and leaves no state that cannot be saved`, () => {
    for (const { action, before, after, reason, value, found } of session(seed)) {
      const note = `${JSON.stringify(action).slice(0, 200)} ${reason?.key ?? ""}`;
      if (reason) assert.equal(after, before, note);
      if (action.type !== "undo" && action.type !== "redo") {
        const [least, most] = CHANGES[action.type] ?? [0, 0];
        const change = after.operations.length - before.operations.length;
        assert.ok(change >= least && change <= most, note);
      }
      assert.ok(after.selection === null || after.operations.some((o) => o.id === after.selection), note);
      assert.ok(found.every((hit) => after.operations.some((o) => o.id === hit.id)), note);
      const { document, reason: unread } = readDrag(value);
      assert.ok(document, `${note}: ${JSON.stringify(unread)}`);
      const outlines = documentOf(after).operations.flatMap((o) => [o.region ?? [], o.along ?? [], o.selected ?? []]);
      const short = outlines.every((outline) => JSON.stringify(outline).length <= 8192);
      if (short) assert.deepEqual(document, documentOf(after), note);
      for (const { region = [], along = [], selected = [] } of JSON.parse(value).operations)
        for (const outline of [region, along, selected]) assert.ok(JSON.stringify(outline).length <= 8192, note);
      assert.ok(["region", "front"].includes(after.part) || partOf(after), note);
    }
  });
}
