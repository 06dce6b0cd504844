/**
 * What the server says of a run while it goes on, by the node that the user sees: how far its stage is, which part of the picture it works on,
 * and what its latent looks like.
 *
 * Pure: the events of ComfyUI's api and of nodes/host/tell_canvas.py come in as plain objects.
 *
 * @import {Run} from "../canvas/progress_line.mjs"
 */

export class Runs {
  constructor() {
    /** @type {Map<string, Run>} by the id of the node on the graph */
    this.nodes = new Map();
    /** @type {Map<string, string>} that id, by the id of what runs for it: a node may become a graph */
    this.shown = new Map();
  }

  /** All nodes of a run that are not waiting. @param {{nodes: Record<string, {value: number, max: number, state: string, display_node_id?: string}>}} state */
  progress({ nodes }) {
    const busy = new Set();
    for (const [id, { value, max, state, display_node_id: display }] of Object.entries(nodes ?? {})) {
      const shown = String(display ?? id);
      this.shown.set(id, shown);
      if (state !== "running") continue;
      busy.add(shown);
      // One that counts nothing may have become a graph of others that do.
      if (max > 1) this.put(shown, { value, max });
    }
    for (const id of this.nodes.keys()) if (!busy.has(id)) this.nodes.delete(id);
  }

  /** What our nodes say themselves. @param {{node: string, stage?: string, window?: Run["window"]}} said */
  hear({ node, ...what }) {
    this.put(this.shown.get(String(node)) ?? String(node), what);
  }

  /** @param {{blob: Blob, displayNodeId?: string, nodeId: string}} picture */
  preview({ blob, displayNodeId, nodeId }) {
    this.put(String(displayNodeId ?? nodeId), { preview: blob });
  }

  /** The run is over, one way or another. */
  end() {
    this.nodes.clear();
    this.shown.clear();
  }

  /** The first of these nodes that is at work. @param {string[]} ids @returns {Run | null} */
  of(ids) {
    for (const id of ids) {
      const run = this.nodes.get(id);
      if (run?.max) return run;
    }
    return null;
  }

  /** @param {string} id @param {Partial<Run>} what */
  put(id, what) {
    this.nodes.set(id, { value: 0, max: 0, ...this.nodes.get(id), ...what });
  }
}
