/** The resources that settings belong to, as DescribeConfigs and the Alter requests name them (ConfigResource.Type). */
export const configResourceTypes = {
  TOPIC: 2,
  BROKER: 4,
  BROKER_LOGGER: 8,
  CLIENT_METRICS: 16,
  GROUP: 32,
} as const;

const integer = /^[+-]?[0-9]{1,10}$/;

/** The broker id that a resource name is; undefined where it is no integer. */
export function brokerIdOf(resourceName: string): number | undefined {
  return integer.test(resourceName) ? Number(resourceName) : undefined;
}
