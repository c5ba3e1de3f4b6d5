/**
 * Records what a Kafka answers to admin-cases.ts, for the differential test:
 *
 *   node scripts/run-ts.mjs test/handlers/record-admin-answers.ts HOST:PORT
 *
 * The Kafka must be fresh: one node, node.id 1, no topics.
 */
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { apiByKey } from '../../protocol/generated/apis.ts';
import {
  decodeResponseHeader,
  encodeRequestHeader,
  hasFlexibleResponseHeader,
} from '../../protocol/headers.ts';
import { encodeToBuffer, isFlexible } from '../../protocol/message-codec.ts';
import { ByteReader } from '../../protocol/wire/byte-reader.ts';
import { type AdminCase, adminCases } from './admin-cases.ts';
import { comparable } from './kafka-answers.ts';

const [host = '127.0.0.1', port = '9092'] = (process.argv[2] ?? '').split(':');
/** A Kafka broker sees what its controller changed a little later. */
const settleMs = 300;
const changing = new Set([19, 20, 33, 37, 44]);

async function ask([, apiKey, apiVersion, request]: AdminCase): Promise<unknown> {
  const api = apiByKey(apiKey)!;
  const header = encodeRequestHeader(
    { apiKey, apiVersion, correlationId: 1, clientId: 'recorder' },
    isFlexible(api.request, apiVersion),
  );
  const body = encodeToBuffer(api.request, request, apiVersion);
  const length = Buffer.alloc(4);
  length.writeInt32BE(header.length + body.length);
  const socket = connect(Number(port), host);
  socket.write(Buffer.concat([length, header, body]));
  let received = Buffer.alloc(0);
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk as Buffer]);
    if (received.length >= 4 && received.length >= 4 + received.readInt32BE(0)) break;
  }
  if (received.length === 0) return 'closed';
  const reader = new ByteReader(received, 4);
  decodeResponseHeader(reader, hasFlexibleResponseHeader(api.response, apiVersion));
  return api.response.decode(reader, apiVersion);
}

const lines: string[] = [];
for (const adminCase of adminCases) {
  lines.push(`${JSON.stringify([adminCase[0], comparable(await ask(adminCase))])}\n`);
  if (changing.has(adminCase[1])) await new Promise((resolve) => setTimeout(resolve, settleMs));
}
writeFileSync(join(process.cwd(), 'test/handlers/admin-answers.jsonl'), lines.join(''));
process.stdout.write(`${lines.length} answers recorded\n`);
