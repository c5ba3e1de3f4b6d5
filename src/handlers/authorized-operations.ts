/**
 * What a client may do with a resource, as the bit fields of KIP-430: bit n stands for the operation that Kafka numbers n. Until
 * security exists everybody may do everything that there is to do.
 */

/** Read (3), delete (6), describe (8), describe and alter configs (10, 11). */
export const allGroupOperations = bits(3, 6, 8, 10, 11);

function bits(...operations: readonly number[]): number {
  return operations.reduce((field, operation) => field | (1 << operation), 0);
}
