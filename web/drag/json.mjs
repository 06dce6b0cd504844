/**
 * JSON from strangers, read as core reads it (core/instruction/guarded_json.py): no repeated keys, no endless nesting, no integers
 * of a million digits. `JSON.parse` alone lets all of these through, and what it accepts but core refuses would only be
 * found when the graph is queued.
 */

import { MAX_DEPTH, MAX_DIGITS } from "./form.mjs";

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const WORD = /true|false|null/y;

/**
 * @param {string} text
 * @returns {{value: unknown, at: null} | {value: undefined, at: number}}  or the character at which it stops being JSON
 */
export function readJson(text) {
  const reader = new Reader(text.replace(/^\uFEFF/, ""));
  try {
    return { value: reader.document(), at: null };
  } catch (error) {
    if (error instanceof Stop) return { value: undefined, at: reader.at };
    throw error;
  }
}

class Stop extends Error {}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.depth = 0;
  }

  /** @returns {unknown} */
  document() {
    const value = this.value();
    if (this.at < this.text.length) throw new Stop();
    return value;
  }

  /** @returns {unknown} the value here, and the space around it */
  value() {
    this.take(SPACE);
    const value = this.bare();
    this.take(SPACE);
    return value;
  }

  /** @returns {unknown} */
  bare() {
    switch (this.text[this.at]) {
      case "{":
        return this.nested("}", Object.create(null), (object) => {
          this.take(SPACE);
          const key = this.string();
          if (key in object) throw new Stop();
          this.take(SPACE);
          this.expect(":");
          object[key] = this.value();
        });
      case "[":
        return this.nested("]", /** @type {unknown[]} */ ([]), (list) => {
          list.push(this.value());
        });
      case '"':
        return this.string();
      case "t":
      case "f":
      case "n":
        return JSON.parse(this.take(WORD) || this.stop());
      default:
        return this.number();
    }
  }

  /**
   * @template T @param {string} end @param {T} into @param {(into: T) => void} read  one entry
   * @returns {T}
   */
  nested(end, into, read) {
    if (++this.depth > MAX_DEPTH) throw new Stop();
    this.at++;
    this.take(SPACE);
    if (this.text[this.at] !== end) {
      read(into);
      while (this.text[this.at] === ",") {
        this.at++;
        read(into);
      }
    }
    this.expect(end);
    this.depth--;
    return into;
  }

  /** @returns {string} */
  string() {
    return JSON.parse(this.take(STRING) || this.stop());
  }

  /** @returns {number} */
  number() {
    const digits = this.take(NUMBER) || this.stop();
    if (/^-?[0-9]+$/.test(digits) && digits.length > MAX_DIGITS + 1) throw new Stop();
    return Number(digits);
  }

  /** @param {RegExp} pattern @returns {string} what matches here, "" if nothing does */
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  /** @param {string} character */
  expect(character) {
    if (this.text[this.at] !== character) throw new Stop();
    this.at++;
  }

  /** @returns {never} */
  stop() {
    throw new Stop();
  }
}
