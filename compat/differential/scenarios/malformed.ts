/** Frames and requests that nobody should send: who answers what, and who closes the connection. */
import { encodeRequestHeader } from '../../../protocol/headers.ts';
import { encodeMessage, isFlexible } from '../../../protocol/message-codec.ts';
import { fitRequest } from '../../lib/fit-request.ts';
import { apiNamed, type Peer, pick } from '../peer.ts';
import type { Scenario } from '../scenario.ts';

function framed(message: Buffer, length = message.length): Buffer {
  const frame = Buffer.alloc(4 + message.length);
  frame.writeInt32BE(length, 0);
  message.copy(frame, 4);
  return frame;
}

function message(api: string, version: number, body: unknown, headerVersion = version): Buffer {
  const definition = apiNamed(api);
  const header = encodeRequestHeader(
    { apiKey: definition.apiKey, apiVersion: headerVersion, correlationId: 5, clientId: 'x' },
    isFlexible(definition.request, version),
  );
  return Buffer.concat(
    encodeMessage(definition.request, fitRequest(definition, version, body), version, header),
  );
}

const metadataBody = { topics: [{ name: 'ml-one' }], allowAutoTopicCreation: false };

async function malformed(peer: Peer): Promise<void> {
  await peer.topic('ml-one');
  const good = message('Heartbeat', 4, { groupId: 'ml', generationId: 1, memberId: 'm' });
  const old = message('Heartbeat', 0, { groupId: 'ml', generationId: 1, memberId: 'm' });
  const frames: Readonly<Record<string, Buffer>> = {
    'a good one': framed(good),
    'an old good one': framed(old),
    'a byte more than the request': framed(Buffer.concat([good, Buffer.alloc(1)])),
    'a byte more than an old request': framed(Buffer.concat([old, Buffer.alloc(1)])),
    'a byte less': framed(good.subarray(0, -1)),
    'a byte less of an old one': framed(old.subarray(0, -1)),
    'half of it': framed(good.subarray(0, good.length >> 1)),
    'the header only': framed(
      encodeRequestHeader({ apiKey: 12, apiVersion: 4, correlationId: 5, clientId: 'x' }, true),
    ),
    'half a header': framed(good.subarray(0, 6)),
    'no bytes at all': framed(Buffer.alloc(0)),
    'a negative length': framed(Buffer.alloc(0), -1),
    'a giant length': framed(Buffer.alloc(8), 0x7fffffff),
    'the TLS of a client': Buffer.from('16030100c8010000c40303', 'hex'),
    HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    'an API that is not there': framed(
      encodeRequestHeader({ apiKey: 999, apiVersion: 0, correlationId: 5, clientId: 'x' }, false),
    ),
    'API -1': framed(
      encodeRequestHeader({ apiKey: -1, apiVersion: 0, correlationId: 5, clientId: 'x' }, false),
    ),
    'an API between brokers': framed(
      encodeRequestHeader({ apiKey: 4, apiVersion: 0, correlationId: 5, clientId: 'x' }, false),
    ),
    'version 99': framed(message('Heartbeat', 4, { groupId: 'ml', generationId: 1, memberId: 'm' }, 99)),
    'version -1': framed(message('Heartbeat', 0, { groupId: 'ml', generationId: 1, memberId: 'm' }, -1)),
    'a string of -2 bytes': framed(
      Buffer.concat([
        encodeRequestHeader({ apiKey: 12, apiVersion: 0, correlationId: 5, clientId: 'x' }, false),
        Buffer.from('fffe', 'hex'),
      ]),
    ),
    'a null where none may be': framed(
      Buffer.concat([
        encodeRequestHeader({ apiKey: 12, apiVersion: 0, correlationId: 5, clientId: 'x' }, false),
        Buffer.from('ffff00000001ffff', 'hex'),
      ]),
    ),
    'an array of -2': framed(
      Buffer.concat([
        encodeRequestHeader({ apiKey: 20, apiVersion: 1, correlationId: 5, clientId: 'x' }, false),
        Buffer.from('fffffffe00000001', 'hex'),
      ]),
    ),
    'a giant array': framed(
      Buffer.concat([
        encodeRequestHeader({ apiKey: 20, apiVersion: 1, correlationId: 5, clientId: 'x' }, false),
        Buffer.from('7fffffff00000001', 'hex'),
      ]),
    ),
    'no client id': framed(
      Buffer.concat([
        encodeRequestHeader({ apiKey: 12, apiVersion: 0, correlationId: 5, clientId: null }, false),
        old.subarray(11),
      ]),
    ),
    'an unknown tag': framed(Buffer.concat([good.subarray(0, -1), Buffer.from('01630161', 'hex')])),
    'a tag cut off': framed(Buffer.concat([good.subarray(0, -1), Buffer.from('01630561', 'hex')])),
    'bytes that are no UTF-8': framed(
      Buffer.concat([
        encodeRequestHeader({ apiKey: 12, apiVersion: 0, correlationId: 5, clientId: 'x' }, false),
        Buffer.from('0002c3280000000100016d', 'hex'),
      ]),
    ),
  };
  for (const [label, frame] of Object.entries(frames)) await peer.raw(label, frame, `malformed ${label}`);
  for (const version of [4, 5, 99]) {
    const header = encodeRequestHeader(
      { apiKey: 18, apiVersion: version + 10, correlationId: 5, clientId: 'x' },
      true,
    );
    const frame = framed(Buffer.concat([header, Buffer.from('02610261', 'hex'), Buffer.alloc(1)]));
    await peer.raw(`ApiVersions v${version + 10}`, frame, `api versions ${version}`);
  }
  await peer.say('all is well', 'Metadata', metadataBody);
}

async function pipelined(peer: Peer): Promise<void> {
  await peer.topic('pl-one');
  const answers = await Promise.all([
    peer.quiet('Metadata', 12, metadataBody, 'pipe'),
    peer.quiet(
      'ListOffsets',
      7,
      {
        replicaId: -1,
        isolationLevel: 0,
        topics: [{ name: 'pl-one', partitions: [{ partitionIndex: 0, timestamp: -1 }] }],
      },
      'pipe',
    ),
    peer.quiet('Heartbeat', 4, { groupId: 'pl', generationId: 1, memberId: 'm' }, 'pipe'),
    peer.quiet('ListGroups', 4, {}, 'pipe'),
  ]);
  peer.note(
    'all came in order',
    answers.map((answer) => pick(answer, 'throttleTimeMs') as number),
  );
}

export const malformedScenarios: readonly Scenario[] = [
  { name: 'malformed requests', run: malformed },
  { name: 'pipelined requests', run: pipelined },
];
