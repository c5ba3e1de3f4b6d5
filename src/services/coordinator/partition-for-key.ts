/** Which partition of an internal topic a key's coordinator is, by Kafka's rule: clients and tools reckon with it. */

/** Java's String.hashCode: over UTF-16 units, in 32 bits. */
export function javaStringHash(text: string): number {
  let hash = 0;
  for (let index = 0; index < text.length; index++) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0;
  return hash;
}

/** Kafka takes the absolute value (Utils.abs), which differs from clearing the sign bit for half of all names. */
export function partitionForKey(key: string, partitionCount: number): number {
  const hash = javaStringHash(key);
  return (hash === -2147483648 ? 0 : Math.abs(hash)) % partitionCount;
}
