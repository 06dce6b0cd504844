/** Reading the vectors that core wrote, and the little that several tests share. */

import { readFileSync } from "node:fs";

import { emptyState, withDocument } from "../../web/drag/model.mjs";
import { readDrag } from "../../web/drag/wire.mjs";

/** The cases of vectors/<name>.json. */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), "utf8"));
}

/** A mask [h * w] of 0 and 1 from the lengths of its runs. */
export function maskOf(runs, [width, height]) {
  const mask = new Uint8Array(width * height);
  let at = 0;
  runs.forEach((length, i) => mask.fill(i % 2, at, (at += length)));
  return mask;
}

/** The state of a canvas that holds a drag, on a picture of `size`. */
export function stateOf(drag, size) {
  const { document, reason } = readDrag(JSON.stringify(drag));
  if (!document) throw new Error(JSON.stringify(reason));
  return { ...withDocument(emptyState(size), document), size };
}

/** How many cells differ, leaving out those within `reach` cells of the border between the two kinds in `wanted`. */
export function different(found, wanted, [width, height], reach = 0) {
  let count = 0;
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      const i = r * width + c;
      if (found[i] === wanted[i]) continue;
      let near = false;
      for (let y = Math.max(0, r - reach); y <= Math.min(height - 1, r + reach) && !near; y++) {
        for (let x = Math.max(0, c - reach); x <= Math.min(width - 1, c + reach); x++) {
          if (wanted[y * width + x] !== wanted[i]) near = true;
        }
      }
      if (!near) count++;
    }
  }
  return count;
}

/** Random numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
