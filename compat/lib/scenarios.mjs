// Harness of the JavaScript scenarios: each prints `pass NAME` or `fail NAME`; why goes to standard error.
import assert from 'node:assert/strict';

export { assert };
export const [address] = process.argv.slice(2);
export const isShort = process.env.COMPAT_FORM === 'short';
const run = Date.now().toString(36);
let sequence = 0;

/** A name that no other run uses. */
export const unique = (prefix) => `${prefix}-${run}-${++sequence}`;

export async function scenario(name, seconds, body) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${seconds} s`)), seconds * 1000);
  });
  try {
    await Promise.race([body(), limit]);
    console.log(`pass ${name}`);
  } catch (error) {
    console.log(`fail ${name}`);
    console.error(`     ${name}:`, error);
  } finally {
    clearTimeout(timer);
  }
}

export async function until(seconds, what, condition) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((wait) => setTimeout(wait, 25));
  }
}

/** Asks the runner to kill the broker (-9) and start it again on the same data. */
export async function restartBroker() {
  const response = await fetch(`${process.env.COMPAT_CONTROL}/restart`, { method: 'POST' });
  assert.equal(response.status, 200, await response.text());
}
