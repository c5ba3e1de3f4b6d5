/**
 * Avro through @kafkajs/confluent-schema-registry: the framed bytes (magic byte, schema id, Avro) pass through the broker
 * unchanged. The registry itself is a stand-in of a few routes, in this file.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Broker, createBroker } from '../../src/index.ts';

let broker: Broker;
let registryServer: Server;
let registry: SchemaRegistry;

beforeAll(async () => {
  broker = await createBroker({ memory: true });
  const schemas: string[] = [];
  registryServer = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      const answer = (status: number, value: object): void => {
        response
          .writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' })
          .end(JSON.stringify(value));
      };
      const byId = /^\/schemas\/ids\/(\d+)/.exec(request.url ?? '');
      if (request.method === 'POST' && request.url?.endsWith('/versions')) {
        answer(200, { id: schemas.push((JSON.parse(body) as { schema: string }).schema) });
      } else if (byId) answer(200, { schema: schemas[Number(byId[1]) - 1] });
      else if (request.method === 'PUT') answer(200, JSON.parse(body) as object);
      else answer(404, { error_code: 40401, message: 'not found' });
    });
  });
  await new Promise<void>((listening) => registryServer.listen(0, '127.0.0.1', listening));
  registry = new SchemaRegistry({
    host: `http://127.0.0.1:${(registryServer.address() as AddressInfo).port}`,
  });
});

afterAll(async () => {
  registryServer.close();
  await broker.stop();
});

it('carries an Avro record there and back', async () => {
  const { id } = await registry.register(
    {
      type: SchemaType.AVRO,
      schema: JSON.stringify({
        type: 'record',
        namespace: 'shop',
        name: 'Order',
        fields: [{ name: 'amount', type: 'int' }],
      }),
    },
    { subject: 'orders-value' },
  );
  const encoded = await registry.encode(id, { amount: 42 });
  const kafka = new Kafka({ brokers: [broker.bootstrapServers], logLevel: logLevel.NOTHING });
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic: 'orders', messages: [{ value: encoded }] });
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: 'avro' });
  await consumer.connect();
  await consumer.subscribe({ topic: 'orders', fromBeginning: true });
  const value = await new Promise<Buffer | null>((read, failed) => {
    consumer.run({ eachMessage: async ({ message }) => read(message.value) }).catch(failed);
  });
  await consumer.disconnect();
  expect(value).toEqual(encoded);
  expect(await registry.decode(value as Buffer)).toEqual({ amount: 42 });
});
