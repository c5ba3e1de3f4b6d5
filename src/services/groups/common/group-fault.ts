/** A refusal of a group's request: the code, and Kafka's words for people. A value; codes that clients act on are the same as Kafka's. */
import { type ErrorCode, errorCodes } from '../../../../protocol/error-codes.ts';

export class GroupFault {
  readonly errorCode: ErrorCode;
  readonly message: string;

  constructor(name: keyof typeof errorCodes, message: string) {
    this.errorCode = errorCodes[name];
    this.message = message;
  }
}
