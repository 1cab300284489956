// BullMQ: a queue, and a worker with a concurrency of 64.
'use strict';

const { readFileSync } = require('node:fs');
const { Queue, Worker } = require('bullmq');

const GROUP = 64;

async function fill(url, file) {
  const queue = new Queue('events', { connection: { url } });
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  for (let at = 0; at < lines.length; at += GROUP) {
    await queue.addBulk(
      lines.slice(at, at + GROUP).map((line) => ({ name: 'message', data: JSON.parse(line) })),
    );
  }
  await queue.close();
}

async function work(url, count) {
  let left = Number(count);
  let began, cpu;
  const handle = async () => {
    if (began === undefined) {
      began = process.hrtime.bigint();
      cpu = process.cpuUsage();
    }
    left -= 1;
    if (left === 0) {
      const seconds = Number(process.hrtime.bigint() - began) / 1e9;
      const { user, system } = process.cpuUsage(cpu);
      console.log(JSON.stringify({ seconds, cpu: (user + system) / 1e6 }));
      setImmediate(() => worker.close());
    }
  };
  const worker = new Worker('events', handle, { connection: { url }, concurrency: 64 });
}

({ fill, work })[process.argv[2]](...process.argv.slice(3));
