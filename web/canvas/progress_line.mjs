/**
 * How far a run is, in one line over the lower edge of the picture.
 */

import { h, put, write } from "./dom.mjs";

/**
 * @typedef {object} Run
 * @property {number} value  steps done of its stage
 * @property {number} max  of how many
 * @property {string} [stage]  "invert", "drag" or "denoise", where it is known
 * @property {[number, number, number, number]} [window]  left, top, width and height of what it works on, as parts of the picture's
 * @property {Blob} [preview]  the latest picture of its latent
 */

/** Stages that have a name of their own. */
const STAGES = ["invert", "drag", "denoise"];

export class ProgressLine {
  /** @param {(key: string, params?: Record<string, string | number>) => string} t */
  constructor(t) {
    this.t = t;
    this.text = h("span", {});
    this.bar = h("div", { class: "df-done" });
    this.element = h(
      "div",
      { class: "df-running", role: "progressbar", "aria-label": t("run.label"), "aria-valuemin": "0", hidden: true },
      this.text,
      this.bar,
    );
  }

  /** @param {Run | null} run */
  update(run) {
    put(this.element, { hidden: !run });
    if (!run) return;
    const { value, max, stage = "" } = run;
    const text = this.t(STAGES.includes(stage) ? `run.${stage}` : "run.step", { value, max });
    write(this.text, text);
    this.bar.style.width = `${max ? (100 * value) / max : 0}%`;
    put(this.element, { "aria-valuenow": String(value), "aria-valuemax": String(max), "aria-valuetext": text });
  }
}
