// Loaded into a broker that is measured (node --import): at SIGUSR2 it writes to the file LOOP_PROBE how long its event loop was kept
// from other work at most since the last time, in milliseconds. Time in which the process was not given a processor does not
// count, where it can be told: a turn took no longer than the process computed meanwhile.
import { renameSync, writeFileSync } from 'node:fs';

let longestMs = 0;
let lastMs = performance.now();
let lastCpu = process.cpuUsage();
const timer = setInterval(() => {
  const nowMs = performance.now();
  const cpu = process.cpuUsage();
  const cpuMs = (cpu.user + cpu.system - lastCpu.user - lastCpu.system) / 1000;
  longestMs = Math.max(longestMs, Math.min(nowMs - lastMs, cpuMs));
  lastMs = nowMs;
  lastCpu = cpu;
}, 1);
timer.unref();

process.on('SIGUSR2', () => {
  // Once the loop has come round, so that what is going on now counts.
  setTimeout(() => {
    const path = process.env.LOOP_PROBE;
    writeFileSync(`${path}.new`, String(longestMs));
    renameSync(`${path}.new`, path);
    longestMs = 0;
  }, 5);
});
