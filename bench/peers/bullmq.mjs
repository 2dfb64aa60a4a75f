// BullMQ on Redis with one worker process of ten slots: `node bullmq.mjs PORT COUNT WITNESS`, from a folder where it is installed.
import { fork } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const { Queue, Worker } = createRequire(`${process.cwd()}/`)("bullmq");
const [port, count, witness] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
const connection = { host: "127.0.0.1", port };
const now = () => performance.timeOrigin + performance.now();
const options = { removeOnComplete: true };

if (process.send) {
  new Worker("work", async (job) => { if (job.data.sent) appendFileSync(witness, `${now() - job.data.sent}\n`); }, { connection, concurrency: 10 });
} else {
  const queue = new Queue("work", { connection });
  const begun = performance.now();
  for (let n = 0; n < count; n += 1) await queue.add("nothing", { n }, options);
  const enqueue_one = (1000 * count) / (performance.now() - begun);
  const worker = fork(process.argv[1], process.argv.slice(2));
  let first = count;
  let from = 0;
  for (let left = count; left > 0; left = (await queue.getWaitingCount()) + (await queue.getActiveCount())) {
    if (first === count && left < count) [first, from] = [left, performance.now()];
    await sleep(10);
  }
  const drain = (1000 * first) / (performance.now() - from);
  const lines = () => readFileSync(witness, "utf8").trim().split("\n");
  appendFileSync(witness, "");
  for (let n = 0; n < 100; n += 1) {
    await sleep(-30 * Math.log(1 - Math.random()));
    await queue.add("note", { sent: now() }, options);
  }
  while (lines().length < 100) await sleep(20);
  const times = lines().map(Number).sort((a, b) => a - b);
  worker.kill();
  await queue.close();
  console.log(JSON.stringify({ enqueue_one, drain, latency_p50: times[50], latency_p99: times[99] }));
}
