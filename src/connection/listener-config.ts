/**
 * Kafka's way of writing listeners: `listeners`, `advertised.listeners` and `listener.security.protocol.map`, checked
 * together as Kafka's own start does. Knows nothing of where the texts come from.
 */

import type { ListenerPlan } from './connection-server.ts';
import type { ListenAddress } from './listener.ts';

/** Settings of listeners that cannot work. The message is for the operator. */
export class ListenerConfigError extends Error {
  override readonly name = 'ListenerConfigError';
}

export interface ListenerTexts {
  /** Each NAME://HOST:PORT. */
  readonly listeners: readonly string[];
  readonly advertisedListeners: readonly string[];
  /** NAME:PROTOCOL, separated by commas. */
  readonly securityProtocolMap: string;
  /** Names of listeners that belong to controllers: there are none here, so they are left out. */
  readonly controllerListenerNames: readonly string[];
  readonly interBrokerListenerName?: string | null;
  /** This machine's name: what clients are told for a listener without a host, as Kafka does. */
  readonly hostName: string;
}

export interface ListenerConfig {
  readonly plans: readonly ListenerPlan[];
  /** Names of listeners that were left out because they are for controllers. */
  readonly controllers: readonly string[];
  /** What the operator should know. */
  readonly warnings: readonly string[];
}

const protocols = ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'] as const;
const endpointPattern = /^([A-Za-z0-9_.-]+):\/\/(\[([0-9a-fA-F:.%a-z]*)\]|[^:[\]/]*):(-?\d+)$/;
/** Addresses that can be listened on and not connected to. */
const metaAddresses = new Set(['0.0.0.0', '::']);

/** NAME://HOST:PORT to its parts; the name in upper case, as Kafka has it. Throws ListenerConfigError. */
export function parseEndpoint(text: string, setting: string): { name: string; host: string; port: number } {
  const match = endpointPattern.exec(text.trim());
  if (match === null) {
    throw new ListenerConfigError(`${setting}: '${text}' is not of the form NAME://HOST:PORT`);
  }
  const port = Number(match[4]);
  if (port < 0 || port > 65535)
    throw new ListenerConfigError(`${setting}: '${text}' has no valid port (0 to 65535)`);
  return { name: match[1]!.toUpperCase(), host: match[3] ?? match[2]!, port };
}

/** HOST:PORT to its parts; an IPv6 host in brackets. Throws ListenerConfigError. */
export function parseHostPort(text: string, setting: string): { host: string; port: number } {
  const { host, port } = parseEndpoint(`PLAINTEXT://${text}`, setting);
  return { host, port };
}

/** Everything that listens, checked. Throws ListenerConfigError. */
export function parseListeners(texts: ListenerTexts): ListenerConfig {
  const protocolOf = parseProtocolMap(texts.securityProtocolMap);
  const controllerNames = new Set(texts.controllerListenerNames.map((name) => name.trim().toUpperCase()));
  const all = texts.listeners.map((text) => parseEndpoint(text, 'listeners'));
  if (all.length === 0) throw new ListenerConfigError('listeners: there must be at least one');
  const endpoints = all.filter((endpoint) => !controllerNames.has(endpoint.name));
  const controllers = all
    .filter((endpoint) => controllerNames.has(endpoint.name))
    .map((endpoint) => endpoint.name);
  if (endpoints.length === 0)
    throw new ListenerConfigError('listeners: all are controller listeners; clients could not connect');
  refuseTwins(endpoints, 'listeners');
  const advertised = new Map<string, { host: string; port: number }>();
  const advertisedEndpoints = texts.advertisedListeners
    .map((text) => parseEndpoint(text, 'advertised.listeners'))
    .filter((endpoint) => !controllerNames.has(endpoint.name));
  const twin = firstTwin(advertisedEndpoints.map((endpoint) => endpoint.name));
  if (twin !== undefined) throw new ListenerConfigError(`advertised.listeners: ${twin} stands there twice`);
  for (const endpoint of advertisedEndpoints) {
    if (!endpoints.some((listener) => listener.name === endpoint.name)) {
      throw new ListenerConfigError(
        `advertised.listeners: there is no listener ${endpoint.name} (listeners has ${endpoints.map((listener) => listener.name).join(', ')})`,
      );
    }
    if (metaAddresses.has(endpoint.host)) {
      throw new ListenerConfigError(
        `advertised.listeners: clients cannot connect to ${endpoint.host}; name an address that they can reach`,
      );
    }
    advertised.set(endpoint.name, endpoint);
  }
  const warnings: string[] = [];
  const plans = endpoints.map((endpoint): ListenerPlan => {
    const securityProtocol = protocolOf.get(endpoint.name);
    if (securityProtocol === undefined) {
      throw new ListenerConfigError(
        `listener.security.protocol.map says nothing of listener ${endpoint.name}`,
      );
    }
    if (securityProtocol !== 'PLAINTEXT') {
      throw new ListenerConfigError(
        `listener ${endpoint.name} speaks ${securityProtocol}, which is not served yet; only PLAINTEXT is`,
      );
    }
    const told = advertised.get(endpoint.name);
    const address: ListenAddress = { ...endpoint, securityProtocol };
    const shown = `${endpoint.name}://${endpoint.host}:${endpoint.port}`;
    if (told === undefined && metaAddresses.has(endpoint.host)) {
      throw new ListenerConfigError(
        `listener ${shown} is on every interface: say by --advertise HOST:PORT or advertised.listeners what address clients can reach`,
      );
    }
    if (!isLoopback(endpoint.host)) {
      warnings.push(`listener ${shown} can be reached from other machines and asks nobody who they are`);
    }
    return {
      address,
      advertisedHost: told === undefined || told.host === '' ? endpoint.host || texts.hostName : told.host,
      advertisedPort: told === undefined || told.port === 0 ? undefined : told.port,
    };
  });
  const interBroker = texts.interBrokerListenerName?.toUpperCase();
  if (interBroker !== undefined && !endpoints.some((endpoint) => endpoint.name === interBroker)) {
    throw new ListenerConfigError(`inter.broker.listener.name: there is no listener ${interBroker}`);
  }
  return { plans, controllers, warnings };
}

/** True for hosts that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Names that Kafka knows as protocols speak themselves where the map says nothing else. */
function parseProtocolMap(text: string): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const entry of text.split(',')) {
    if (entry.trim() === '') continue;
    const at = entry.lastIndexOf(':');
    const name = entry.slice(0, at).trim().toUpperCase();
    const protocol = entry
      .slice(at + 1)
      .trim()
      .toUpperCase();
    if (at < 1 || !protocols.some((known) => known === protocol)) {
      throw new ListenerConfigError(
        `listener.security.protocol.map: '${entry.trim()}' is not NAME:PROTOCOL with one of ${protocols.join(', ')}`,
      );
    }
    if (map.has(name))
      throw new ListenerConfigError(`listener.security.protocol.map: ${name} stands there twice`);
    map.set(name, protocol);
  }
  return map;
}

function refuseTwins(
  endpoints: readonly { name: string; host: string; port: number }[],
  setting: string,
): void {
  const name = firstTwin(endpoints.map((endpoint) => endpoint.name));
  if (name !== undefined)
    throw new ListenerConfigError(
      `${setting}: ${name} stands there twice; each listener needs a name of its own`,
    );
  const port = firstTwin(
    endpoints
      .filter((endpoint) => endpoint.port !== 0)
      .map((endpoint) => `${endpoint.host}:${endpoint.port}`),
  );
  if (port !== undefined) throw new ListenerConfigError(`${setting}: ${port} stands there twice`);
}

function firstTwin(values: readonly string[]): string | undefined {
  return values.find((value, index) => values.indexOf(value) !== index);
}
