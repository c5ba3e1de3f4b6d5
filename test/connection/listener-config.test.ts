import { describe, expect, it } from 'vitest';
import { isLoopback, type ListenerTexts, parseListeners } from '../../src/connection/listener-config.ts';

function parse(texts: Partial<ListenerTexts>) {
  return parseListeners({
    listeners: ['PLAINTEXT://localhost:9092'],
    advertisedListeners: [],
    securityProtocolMap: 'PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL',
    controllerListenerNames: ['CONTROLLER'],
    hostName: 'machine',
    ...texts,
  });
}

describe('parseListeners', () => {
  it('advertises what is listened on where nothing else is said', () => {
    const { plans, warnings } = parse({ listeners: ['PLAINTEXT://127.0.0.1:0'] });
    expect(plans).toEqual([
      {
        address: { name: 'PLAINTEXT', securityProtocol: 'PLAINTEXT', host: '127.0.0.1', port: 0 },
        advertisedHost: '127.0.0.1',
        advertisedPort: undefined,
      },
    ]);
    expect(warnings).toEqual([]);
  });

  it('takes several listeners, each with its own advertised address', () => {
    const { plans } = parse({
      listeners: ['PLAINTEXT://0.0.0.0:29092', 'plaintext_host://[::1]:9092'],
      advertisedListeners: ['PLAINTEXT_HOST://localhost:9092', 'PLAINTEXT://kafka:29092'],
      securityProtocolMap: 'PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT',
    });
    expect(
      plans.map((plan) => [plan.address.name, plan.address.host, plan.advertisedHost, plan.advertisedPort]),
    ).toEqual([
      ['PLAINTEXT', '0.0.0.0', 'kafka', 29092],
      ['PLAINTEXT_HOST', '::1', 'localhost', 9092],
    ]);
  });

  it('leaves out what is for controllers', () => {
    const { plans, controllers } = parse({
      listeners: ['PLAINTEXT://localhost:9092', 'CONTROLLER://localhost:9093'],
      securityProtocolMap: 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    });
    expect(plans.length).toBe(1);
    expect(controllers).toEqual(['CONTROLLER']);
  });

  it('tells the machine name for a listener without a host, as Kafka does', () => {
    expect(parse({ listeners: ['PLAINTEXT://:9092'] }).plans[0]!.advertisedHost).toBe('machine');
  });

  it('warns of a listener that other machines can reach', () => {
    const { warnings } = parse({ listeners: ['PLAINTEXT://10.0.0.1:9092'] });
    expect(warnings).toEqual([
      'listener PLAINTEXT://10.0.0.1:9092 can be reached from other machines and asks nobody who they are',
    ]);
  });

  const refused: readonly (readonly [string, Partial<ListenerTexts>, string])[] = [
    [
      'an advertised 0.0.0.0',
      { advertisedListeners: ['PLAINTEXT://0.0.0.0:9092'] },
      'cannot connect to 0.0.0.0',
    ],
    ['every interface and nothing advertised', { listeners: ['PLAINTEXT://0.0.0.0:9092'] }, '--advertise'],
    ['an advertised listener that is none', { advertisedListeners: ['OTHER://a:1'] }, 'no listener OTHER'],
    ['TLS', { listeners: ['SSL://localhost:9093'] }, 'only PLAINTEXT'],
    ['SASL', { listeners: ['SASL_PLAINTEXT://localhost:9093'] }, 'SASL_PLAINTEXT, which is not served'],
    [
      'a name without a protocol',
      { listeners: ['INTERNAL://localhost:9093'] },
      'says nothing of listener INTERNAL',
    ],
    [
      'two of one name',
      { listeners: ['PLAINTEXT://localhost:1', 'PLAINTEXT://localhost:2'] },
      'stands there twice',
    ],
    [
      'two of one address',
      { listeners: ['PLAINTEXT://localhost:1', 'SSL://localhost:1'] },
      'stands there twice',
    ],
    ['no port', { listeners: ['PLAINTEXT://localhost'] }, 'NAME://HOST:PORT'],
    ['a port that is none', { listeners: ['PLAINTEXT://localhost:70000'] }, 'no valid port'],
    ['no name', { listeners: ['localhost:9092'] }, 'NAME://HOST:PORT'],
    ['none', { listeners: [] }, 'at least one'],
    ['only controllers', { listeners: ['CONTROLLER://localhost:1'] }, 'controller'],
    ['a bad map', { securityProtocolMap: 'PLAINTEXT:PLAIN' }, 'NAME:PROTOCOL'],
    ['a map that says two things', { securityProtocolMap: 'A:PLAINTEXT,A:SSL' }, 'stands there twice'],
    ['an unknown inter-broker listener', { interBrokerListenerName: 'X' }, 'no listener X'],
  ];
  it.each(refused)('refuses %s', (_name, texts, message) => {
    expect(() => parse(texts)).toThrow(message);
  });
});

describe('isLoopback', () => {
  it('knows what only this machine can reach', () => {
    expect(['localhost', '127.0.0.1', '127.1.2.3', '::1'].every(isLoopback)).toBe(true);
    expect(['', '0.0.0.0', '::', '10.0.0.1', 'example.org', '127.0.0.1.example.org'].some(isLoopback)).toBe(
      false,
    );
  });
});
