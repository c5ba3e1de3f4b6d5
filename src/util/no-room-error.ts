/** A change of the engine's own (catalogue, trim, lease) could not be begun: the disk is full. It may be tried again later. */
export class NoRoomError extends Error {
  override readonly name = 'NoRoomError';
}
