// Commands line by line on standard input, an answer line each on standard output; and what a handler has seen.

import { createInterface } from "node:readline";
import { writeFileSync } from "node:fs";

/** Milliseconds since 1970, with fractions. */
export const nowMs = () => performance.timeOrigin + performance.now();

/** The due instants of `count` jobs in whole milliseconds, evenly over `spanMs` from `firstMs` on. */
export function* dueInstants(count, firstMs, spanMs) {
  for (let number = 0; number < count; number += 1) {
    yield firstMs + Math.floor((number * spanMs) / count);
  }
}

/** Jobs as a handler saw them: when each was due and when it was handled. */
export class Seen {
  #pairs = new Float64Array(1 << 21);
  count = 0;

  add(dueMs) {
    this.#pairs[2 * this.count] = dueMs;
    this.#pairs[2 * this.count + 1] = nowMs();
    this.count += 1;
  }

  /** Writes pairs of little-endian doubles, due and handled in milliseconds, and forgets them. */
  take(path) {
    const { count } = this;
    writeFileSync(path, new Uint8Array(this.#pairs.buffer, 0, 16 * count));
    this.count = 0;
    return count;
  }
}

/** Answers lines with what the commands return, a number or nothing, until input ends. */
export async function serve(commands) {
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...words] = line.split(" ");
    const answer = await commands[name](...words);
    console.log(`${answer ?? 0}`);
  }
  process.exit(0);
}

/** Calls `each` for all items, `callers` at a time. */
export async function sideBySide(items, callers, each) {
  let next = 0;
  const caller = async () => {
    while (next < items.length) {
      const item = items[next];
      next += 1;
      await each(item);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
}
