// Kafka's error codes, by its names: which a client may try again after, and what each means in a line. The codes are facts of the
// protocol up to Kafka 4.4; a check compares them with the official client.

/** Every error code by Kafka's name. */
export const errorCodes = {
  /** Something failed here that no other code describes. */
  UNKNOWN_SERVER_ERROR: -1,
  /** No error. */
  NONE: 0,
  /** The offset is before the log's start or beyond its end. */
  OFFSET_OUT_OF_RANGE: 1,
  /** A record set has a wrong checksum, size or layout. */
  CORRUPT_MESSAGE: 2,
  /** No such topic or partition here. */
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  /** A fetch asks for an impossible number of bytes. */
  INVALID_FETCH_SIZE: 4,
  /** The partition has no leader yet. */
  LEADER_NOT_AVAILABLE: 5,
  /** This broker does not serve the partition. */
  NOT_LEADER_OR_FOLLOWER: 6,
  /** The work was not finished in time. */
  REQUEST_TIMED_OUT: 7,
  /** The broker asked about is away. */
  BROKER_NOT_AVAILABLE: 8,
  /** The replica asked for is away. */
  REPLICA_NOT_AVAILABLE: 9,
  /** A batch is larger than the topic allows. */
  MESSAGE_TOO_LARGE: 10,
  /** Another controller has taken over. */
  STALE_CONTROLLER_EPOCH: 11,
  /** The text beside a committed offset is too long. */
  OFFSET_METADATA_TOO_LARGE: 12,
  /** A client's own code for a lost connection. */
  NETWORK_EXCEPTION: 13,
  /** The coordinator is still reading its state. */
  COORDINATOR_LOAD_IN_PROGRESS: 14,
  /** There is no coordinator at the moment. */
  COORDINATOR_NOT_AVAILABLE: 15,
  /** Another broker coordinates this group or transaction. */
  NOT_COORDINATOR: 16,
  /** The topic's name is not allowed, or it may not be written to. */
  INVALID_TOPIC_EXCEPTION: 17,
  /** A record set is larger than a segment. */
  RECORD_LIST_TOO_LARGE: 18,
  /** Too few replicas in sync; nothing was appended. */
  NOT_ENOUGH_REPLICAS: 19,
  /** Too few replicas in sync after the append. */
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 20,
  /** Acks is none of -1, 0 and 1. */
  INVALID_REQUIRED_ACKS: 21,
  /** The group has moved on to another generation. */
  ILLEGAL_GENERATION: 22,
  /** The member shares no protocol with the group. */
  INCONSISTENT_GROUP_PROTOCOL: 23,
  /** The group's name is not allowed. */
  INVALID_GROUP_ID: 24,
  /** The group has no such member. */
  UNKNOWN_MEMBER_ID: 25,
  /** The session timeout is outside the broker's limits. */
  INVALID_SESSION_TIMEOUT: 26,
  /** The group is rebalancing; join again. */
  REBALANCE_IN_PROGRESS: 27,
  /** The commit is too large to be kept. */
  INVALID_COMMIT_OFFSET_SIZE: 28,
  /** Not allowed on this topic. */
  TOPIC_AUTHORIZATION_FAILED: 29,
  /** Not allowed on this group. */
  GROUP_AUTHORIZATION_FAILED: 30,
  /** Not allowed on this cluster. */
  CLUSTER_AUTHORIZATION_FAILED: 31,
  /** A record's timestamp is outside the topic's limits. */
  INVALID_TIMESTAMP: 32,
  /** The broker does not offer this mechanism. */
  UNSUPPORTED_SASL_MECHANISM: 33,
  /** The request does not fit the state of authentication. */
  ILLEGAL_SASL_STATE: 34,
  /** The API has no such version here. */
  UNSUPPORTED_VERSION: 35,
  /** A topic of this name exists. */
  TOPIC_ALREADY_EXISTS: 36,
  /** The number of partitions is not possible. */
  INVALID_PARTITIONS: 37,
  /** The replication factor is not possible with the brokers there are. */
  INVALID_REPLICATION_FACTOR: 38,
  /** The assignment of replicas is not possible. */
  INVALID_REPLICA_ASSIGNMENT: 39,
  /** A setting's name or value is not allowed. */
  INVALID_CONFIG: 40,
  /** Another broker is the controller. */
  NOT_CONTROLLER: 41,
  /** The request contradicts itself or its version. */
  INVALID_REQUEST: 42,
  /** The records' format cannot do this. */
  UNSUPPORTED_FOR_MESSAGE_FORMAT: 43,
  /** A policy of the broker forbids it. */
  POLICY_VIOLATION: 44,
  /** An idempotent producer's sequence has a gap. */
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  /** An idempotent producer's batch was appended before. */
  DUPLICATE_SEQUENCE_NUMBER: 46,
  /** The producer's epoch is an old one. */
  INVALID_PRODUCER_EPOCH: 47,
  /** The transaction's state does not allow this. */
  INVALID_TXN_STATE: 48,
  /** The transactional id belongs to another producer id. */
  INVALID_PRODUCER_ID_MAPPING: 49,
  /** The transaction timeout is above the broker's limit. */
  INVALID_TRANSACTION_TIMEOUT: 50,
  /** Another operation on this transaction is still under way. */
  CONCURRENT_TRANSACTIONS: 51,
  /** The marker comes from a former coordinator. */
  TRANSACTION_COORDINATOR_FENCED: 52,
  /** Not allowed for this transactional id. */
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 53,
  /** There is no authorizer here. */
  SECURITY_DISABLED: 54,
  /** Left undone because of another part of the request. */
  OPERATION_NOT_ATTEMPTED: 55,
  /** The disk failed. */
  KAFKA_STORAGE_ERROR: 56,
  /** The broker has no such log directory. */
  LOG_DIR_NOT_FOUND: 57,
  /** The credentials were refused. */
  SASL_AUTHENTICATION_FAILED: 58,
  /** Nothing is known of this producer any more. */
  UNKNOWN_PRODUCER_ID: 59,
  /** The partition is being reassigned. */
  REASSIGNMENT_IN_PROGRESS: 60,
  /** Delegation tokens are switched off. */
  DELEGATION_TOKEN_AUTH_DISABLED: 61,
  /** No such delegation token. */
  DELEGATION_TOKEN_NOT_FOUND: 62,
  /** The token belongs to somebody else. */
  DELEGATION_TOKEN_OWNER_MISMATCH: 63,
  /** Tokens may not be asked for over this connection. */
  DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: 64,
  /** Not allowed for this token. */
  DELEGATION_TOKEN_AUTHORIZATION_FAILED: 65,
  /** The token's time is over. */
  DELEGATION_TOKEN_EXPIRED: 66,
  /** This kind of principal is not known. */
  INVALID_PRINCIPAL_TYPE: 67,
  /** The group still has members. */
  NON_EMPTY_GROUP: 68,
  /** No such group. */
  GROUP_ID_NOT_FOUND: 69,
  /** The fetch session is gone. */
  FETCH_SESSION_ID_NOT_FOUND: 70,
  /** The fetch session expects another epoch. */
  INVALID_FETCH_SESSION_EPOCH: 71,
  /** The leader has no listener of the name the client came by. */
  LISTENER_NOT_FOUND: 72,
  /** Topics may not be deleted here. */
  TOPIC_DELETION_DISABLED: 73,
  /** The client's leader epoch is older than ours. */
  FENCED_LEADER_EPOCH: 74,
  /** The client's leader epoch is newer than ours. */
  UNKNOWN_LEADER_EPOCH: 75,
  /** This version cannot carry the codec. */
  UNSUPPORTED_COMPRESSION_TYPE: 76,
  /** The broker has registered again since. */
  STALE_BROKER_EPOCH: 77,
  /** The end of the log is not certain yet. */
  OFFSET_NOT_AVAILABLE: 78,
  /** Join again with the member id given in this answer. */
  MEMBER_ID_REQUIRED: 79,
  /** The preferred leader cannot lead now. */
  PREFERRED_LEADER_NOT_AVAILABLE: 80,
  /** The group takes no more members. */
  GROUP_MAX_SIZE_REACHED: 81,
  /** Another member has taken over this static instance. */
  FENCED_INSTANCE_ID: 82,
  /** No replica can lead now. */
  ELIGIBLE_LEADERS_NOT_AVAILABLE: 83,
  /** The partition has the leader asked for. */
  ELECTION_NOT_NEEDED: 84,
  /** There is no reassignment to cancel. */
  NO_REASSIGNMENT_IN_PROGRESS: 85,
  /** The group still reads the topic. */
  GROUP_SUBSCRIBED_TO_TOPIC: 86,
  /** A record breaks the topic's rules. */
  INVALID_RECORD: 87,
  /** An open transaction may still change the offset. */
  UNSTABLE_OFFSET_COMMIT: 88,
  /** A quota is used up for now. */
  THROTTLING_QUOTA_EXCEEDED: 89,
  /** A newer producer uses this transactional id. */
  PRODUCER_FENCED: 90,
  /** No such resource. */
  RESOURCE_NOT_FOUND: 91,
  /** The request names a resource twice. */
  DUPLICATE_RESOURCE: 92,
  /** The credential does not meet the rules. */
  UNACCEPTABLE_CREDENTIAL: 93,
  /** Sender or receiver is none of the voters. */
  INCONSISTENT_VOTER_SET: 94,
  /** The feature level asked for is not possible. */
  INVALID_UPDATE_VERSION: 95,
  /** The features could not be changed. */
  FEATURE_UPDATE_FAILED: 96,
  /** A forwarded principal could not be read. */
  PRINCIPAL_DESERIALIZATION_FAILURE: 97,
  /** No such snapshot. */
  SNAPSHOT_NOT_FOUND: 98,
  /** The position is outside the snapshot. */
  POSITION_OUT_OF_RANGE: 99,
  /** No topic has this id. */
  UNKNOWN_TOPIC_ID: 100,
  /** A live broker has this id. */
  DUPLICATE_BROKER_REGISTRATION: 101,
  /** No broker has this id. */
  BROKER_ID_NOT_REGISTERED: 102,
  /** The topic's id is another one here. */
  INCONSISTENT_TOPIC_ID: 103,
  /** The request is meant for another cluster. */
  INCONSISTENT_CLUSTER_ID: 104,
  /** Nothing is known of this transactional id. */
  TRANSACTIONAL_ID_NOT_FOUND: 105,
  /** The fetch session mixes topic ids and names. */
  FETCH_SESSION_TOPIC_ID_ERROR: 106,
  /** A replica may not be in sync. */
  INELIGIBLE_REPLICA: 107,
  /** The partition changed and has a new leader. */
  NEW_LEADER_ELECTED: 108,
  /** The offset is in remote storage only. */
  OFFSET_MOVED_TO_TIERED_STORAGE: 109,
  /** The member's epoch is over; give up all partitions and join again. */
  FENCED_MEMBER_EPOCH: 110,
  /** Another member still holds this instance id. */
  UNRELEASED_INSTANCE_ID: 111,
  /** The group does not know this assignor. */
  UNSUPPORTED_ASSIGNOR: 112,
  /** The member's epoch is behind; heartbeat, then try again. */
  STALE_MEMBER_EPOCH: 113,
  /** The request went to the wrong kind of endpoint. */
  MISMATCHED_ENDPOINT_TYPE: 114,
  /** This kind of endpoint is not known. */
  UNSUPPORTED_ENDPOINT_TYPE: 115,
  /** No controller has this id. */
  UNKNOWN_CONTROLLER_ID: 116,
  /** The telemetry subscription has changed. */
  UNKNOWN_SUBSCRIPTION_ID: 117,
  /** The metrics pushed are larger than allowed. */
  TELEMETRY_TOO_LARGE: 118,
  /** The broker's registration was refused. */
  INVALID_REGISTRATION: 119,
  /** The transaction can only be aborted now. */
  TRANSACTION_ABORTABLE: 120,
  /** The record cannot be acknowledged in its state. */
  INVALID_RECORD_STATE: 121,
  /** The share session is gone. */
  SHARE_SESSION_NOT_FOUND: 122,
  /** The share session expects another epoch. */
  INVALID_SHARE_SESSION_EPOCH: 123,
  /** The share state has a newer epoch. */
  FENCED_STATE_EPOCH: 124,
  /** The voter's key is not this replica's. */
  INVALID_VOTER_KEY: 125,
  /** The voter is one already. */
  DUPLICATE_VOTER: 126,
  /** No such voter. */
  VOTER_NOT_FOUND: 127,
  /** The pattern does not parse. */
  INVALID_REGULAR_EXPRESSION: 128,
  /** The client should begin again at its bootstrap servers. */
  REBOOTSTRAP_REQUIRED: 129,
  /** The streams topology is not possible. */
  STREAMS_INVALID_TOPOLOGY: 130,
  /** The streams topology's epoch is not possible. */
  STREAMS_INVALID_TOPOLOGY_EPOCH: 131,
  /** The streams topology's epoch is an old one. */
  STREAMS_TOPOLOGY_FENCED: 132,
  /** There are as many share sessions as there may be. */
  SHARE_SESSION_LIMIT_REACHED: 133,
  /** A group could not be deleted; its own message says why. */
  GROUP_DELETION_FAILED: 134,
  /** The topology's description could not be kept. */
  STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED: 135,
  /** No controller has registered this id. */
  CONTROLLER_ID_NOT_REGISTERED: 136,
} as const;

/** Kafka's name of an error. */
export type ErrorName = keyof typeof errorCodes;
/** An error code that Kafka has. */
export type ErrorCode = (typeof errorCodes)[ErrorName];

const names = new Map<number, ErrorName>(
  (Object.keys(errorCodes) as ErrorName[]).map((name) => [errorCodes[name], name]),
);

const retriable: ReadonlySet<number> = new Set<ErrorCode>([
  errorCodes.CORRUPT_MESSAGE,
  errorCodes.UNKNOWN_TOPIC_OR_PARTITION,
  errorCodes.LEADER_NOT_AVAILABLE,
  errorCodes.NOT_LEADER_OR_FOLLOWER,
  errorCodes.REQUEST_TIMED_OUT,
  errorCodes.REPLICA_NOT_AVAILABLE,
  errorCodes.NETWORK_EXCEPTION,
  errorCodes.COORDINATOR_LOAD_IN_PROGRESS,
  errorCodes.COORDINATOR_NOT_AVAILABLE,
  errorCodes.NOT_COORDINATOR,
  errorCodes.NOT_ENOUGH_REPLICAS,
  errorCodes.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
  errorCodes.NOT_CONTROLLER,
  errorCodes.CONCURRENT_TRANSACTIONS,
  errorCodes.KAFKA_STORAGE_ERROR,
  errorCodes.FETCH_SESSION_ID_NOT_FOUND,
  errorCodes.INVALID_FETCH_SESSION_EPOCH,
  errorCodes.LISTENER_NOT_FOUND,
  errorCodes.FENCED_LEADER_EPOCH,
  errorCodes.UNKNOWN_LEADER_EPOCH,
  errorCodes.OFFSET_NOT_AVAILABLE,
  errorCodes.PREFERRED_LEADER_NOT_AVAILABLE,
  errorCodes.ELIGIBLE_LEADERS_NOT_AVAILABLE,
  errorCodes.ELECTION_NOT_NEEDED,
  errorCodes.UNSTABLE_OFFSET_COMMIT,
  errorCodes.THROTTLING_QUOTA_EXCEEDED,
  errorCodes.UNKNOWN_TOPIC_ID,
  errorCodes.INCONSISTENT_TOPIC_ID,
  errorCodes.FETCH_SESSION_TOPIC_ID_ERROR,
  errorCodes.SHARE_SESSION_NOT_FOUND,
  errorCodes.INVALID_SHARE_SESSION_EPOCH,
  errorCodes.SHARE_SESSION_LIMIT_REACHED,
]);

/** Kafka's name of a code, or 'ERROR_<code>' for one that we do not know. */
export function errorName(code: number): string {
  return names.get(code) ?? `ERROR_${code}`;
}

/** Whether a client may succeed when it tries the same again. */
export function isRetriable(code: number): boolean {
  return retriable.has(code);
}
