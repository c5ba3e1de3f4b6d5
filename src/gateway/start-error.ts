/** Why a broker did not start, in words for whoever started it. */

/** The start failed for a reason that an operator can do something about. The message is for them. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
