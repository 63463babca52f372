// BullMQ: `node bullmq.mjs worker SOCKET` or `node bullmq.mjs producer SOCKET`.
//
// Settings as its guide recommends for throughput: bulk adds, a concurrency factor, jobs removed when completed.

import { Queue, Worker } from "bullmq";
import { Seen, dueInstants, nowMs, serve, sideBySide } from "./lines.mjs";

const [role, path] = process.argv.slice(2);
const QUEUE = "tickets";
const BULK = 1_000;
const CONCURRENCY = Number(process.env.BULLMQ_CONCURRENCY ?? 256);
const CALLERS = 64;
const jobOptions = { removeOnComplete: true, removeOnFail: true };
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

async function work() {
  const seen = new Seen();
  const worker = new Worker(QUEUE, async (job) => seen.add(job.data.generation), {
    connection: { path, maxRetriesPerRequest: null },
    concurrency: CONCURRENCY,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  worker.on("error", (error) => console.error(`bullmq: ${error.message}`));
  await worker.waitUntilReady();
  await serve({ count: () => seen.count, take: (to) => seen.take(to) });
}

async function produce() {
  const queue = new Queue(QUEUE, { connection: { path }, defaultJobOptions: jobOptions });
  await queue.waitUntilReady();
  let ticket = 0;

  const job = (dueMs) => {
    ticket += 1;
    return {
      name: "look",
      data: { tenant: 1 + (ticket % 64), ticket, generation: dueMs },
      opts: { delay: Math.max(0, dueMs - Date.now()) },
    };
  };

  /** Returns the jobs, and the seconds that adding them took. */
  async function add(instants) {
    const added = [];
    const began = nowMs();
    let bulk = [];
    for (const dueMs of instants) {
      bulk.push(job(dueMs));
      if (bulk.length === BULK) {
        added.push(...(await queue.addBulk(bulk)));
        bulk = [];
      }
    }
    if (bulk.length > 0) {
      added.push(...(await queue.addBulk(bulk)));
    }
    return { seconds: (nowMs() - began) / 1e3, added };
  }

  let kept = [];
  await serve({
    add: async (count, firstMs, spanMs) =>
      (await add(dueInstants(Number(count), Number(firstMs), Number(spanMs)))).seconds,
    // Jobs that stay until `forget`, due at any instant of a day that begins in an hour.
    keep: async (count) => {
      const firstMs = Math.round(nowMs()) + HOUR_MS;
      const instants = Array.from({ length: Number(count) }, () => firstMs + Math.floor(Math.random() * DAY_MS));
      const { seconds, added } = await add(instants);
      kept = added;
      return seconds;
    },
    change: async () => {
      const began = nowMs();
      await sideBySide(kept, CALLERS, (one) => one.changeDelay(2 * DAY_MS));
      return (nowMs() - began) / 1e3;
    },
    forget: async () => {
      kept = [];
      await queue.obliterate({ force: true });
    },
  });
}

await (role === "worker" ? work() : produce());
