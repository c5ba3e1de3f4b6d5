/** What a topic may be called, in the words of Kafka's org.apache.kafka.common.internals.Topic. */

const longestNameLength = 249;
const legalCharacters = /^[a-zA-Z0-9._-]+$/;

/** Undefined where the name may stand; else why not (INVALID_TOPIC_EXCEPTION). */
export function topicNameFault(name: string): string | undefined {
  const fault = nameFault(name);
  return fault === undefined ? undefined : `Topic name is invalid: ${fault}`;
}

function nameFault(name: string): string | undefined {
  if (name === '') return 'the empty string is not allowed';
  if (name === '.' || name === '..') return `'${name}' is not allowed`;
  if (name.length > longestNameLength) {
    return `the length of '${name}' is longer than the max allowed length ${longestNameLength}`;
  }
  if (!legalCharacters.test(name)) {
    return `'${name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'`;
  }
  return undefined;
}

/**
 * Names that differ only in '.' and '_' may not stand side by side, because metrics are named by them with one for the other.
 * Undefined for a name with neither.
 */
export function collisionKey(name: string): string | undefined {
  return name.includes('.') || name.includes('_') ? name.replaceAll('.', '_') : undefined;
}
