/**
 * How far what lies around a selection gives when it goes: what is joined to it follows, the farther the less; what is not
 * stays behind (core/field/joined.py).
 *
 * Convention: as in selection.mjs; lengths in cells.
 *
 * @import {Point} from "./types.mjs"
 * @import {Cells} from "./selection.mjs"
 */

import { binsOf, distance, FLOOR, histogram, indexOf, opponent, reachOf } from "./selection.mjs";

const CORE = 0.5;
const WALL = 3;
const SURE = 0.0005;
const OFF = 0.5;

/** The share of the way that each cell goes. @param {Cells} cells @param {Float64Array} soft @param {Point[]} seeds
 * @param {number} length @returns {Float64Array} [h * w] */
export function joined(cells, soft, seeds, length) {
  const { width, height } = cells;
  const number = binsOf(opponent(cells.rgb));
  const away = distance(cells, seeds);
  const reach = reachOf(cells, seeds.length);
  const core = Uint8Array.from(soft, (s) => (s > CORE ? 1 : 0));
  for (const seed of seeds) core[indexOf(seed, width, height)] = 1;
  const ours = histogram(number, soft.map((s, i) => (core[i] ? s : 0)));
  const ground = histogram(number, soft.map((s, i) => (1 - s) * Math.exp(-Math.max(0, away[i] - 2 * reach - length) / reach)));
  const foreign = away.map((_, i) => {
    const ratio = Math.log((ground[number[i]] + FLOOR) / (ours[number[i]] + SURE)) + OFF;
    return Math.min(1, Math.max(0, ratio));
  });
  const price = blurred(foreign, width, height).map((f) => 1 + (WALL - 1) * f);
  return travelled(core, price, width, height, length).map((far) => Math.min(1, Math.max(0, 1 - far / length)));
}

/**
 * The length of the cheapest way to each cell from any of `start`, over eight neighbours, a step as dear as its ends on
 * average; infinite beyond `limit`.
 * @param {Uint8Array} start @param {Float64Array} price @param {number} width @param {number} height @param {number} limit
 */
export function travelled(start, price, width, height, limit) {
  const far = Float64Array.from(start, (s) => (s ? 0 : Infinity));
  // Back and forth in the order of reading, until nothing gets nearer.
  for (let changed = true; changed; ) {
    changed = false;
    for (const forth of [true, false]) {
      for (let n = 0; n < far.length; n++) {
        const i = forth ? n : far.length - 1 - n;
        const [c, r] = [i % width, (i / width) | 0];
        for (let y = Math.max(0, r - 1); y <= Math.min(height - 1, r + 1); y++) {
          for (let x = Math.max(0, c - 1); x <= Math.min(width - 1, c + 1); x++) {
            const j = y * width + x;
            if (far[j] === Infinity || j === i) continue;
            const step = (x !== c && y !== r ? Math.SQRT2 : 1) * 0.5 * (price[i] + price[j]);
            if (far[j] + step < far[i] && far[j] + step <= limit) {
              far[i] = far[j] + step;
              changed = true;
            }
          }
        }
      }
    }
  }
  return far;
}

/** The mean of three by three, borders repeated. @param {Float64Array} value @param {number} width @param {number} height */
function blurred(value, width, height) {
  return value.map((_, i) => {
    const [c, r] = [i % width, (i / width) | 0];
    let sum = 0;
    for (let dy = -1; dy <= 1; dy++) {
      const row = Math.min(height - 1, Math.max(0, r + dy)) * width;
      for (let dx = -1; dx <= 1; dx++) sum += value[row + Math.min(width - 1, Math.max(0, c + dx))];
    }
    return sum / 9;
  });
}
