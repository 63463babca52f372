// graphile-worker: `node graphile.mjs worker URL` or `node graphile.mjs producer URL`.
//
// Settings as its page on performance gives them: a local queue, completions in batches, 24 jobs at a time. Jobs that
// are due later are found by polling alone, so the interval is short here.

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { Seen, dueInstants, nowMs, serve } from "./lines.mjs";

const [role, connectionString] = process.argv.slice(2);
const BULK = 5_000;
const POLL_MS = Number(process.env.GRAPHILE_POLL_MS ?? 50);
const logger = new Logger(() => (level, message) => {
  if (level === "error") {
    console.error(`graphile-worker: ${message}`);
  }
});

async function work() {
  const seen = new Seen();
  const preset = {
    worker: {
      connectionString,
      concurrentJobs: 24,
      maxPoolSize: 25,
      pollInterval: POLL_MS,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      logger,
    },
  };
  await run({ preset, noHandleSignals: true, taskList: { look: (payload) => seen.add(payload.generation) } });
  await serve({ count: () => seen.count, take: (to) => seen.take(to) });
}

async function produce() {
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  let ticket = 0;

  /** Returns the seconds that adding took. */
  async function add(count, firstMs, spanMs) {
    const began = nowMs();
    let bulk = [];
    const flush = async () => {
      if (bulk.length > 0) {
        await utils.addJobs(bulk);
        bulk = [];
      }
    };
    for (const dueMs of dueInstants(count, firstMs, spanMs)) {
      ticket += 1;
      const payload = { tenant: 1 + (ticket % 64), ticket, generation: dueMs };
      bulk.push({ identifier: "look", payload, runAt: new Date(dueMs) });
      if (bulk.length === BULK) {
        await flush();
      }
    }
    await flush();
    return (nowMs() - began) / 1e3;
  }

  await serve({ add: (count, firstMs, spanMs) => add(Number(count), Number(firstMs), Number(spanMs)) });
}

await (role === "worker" ? work() : produce());
