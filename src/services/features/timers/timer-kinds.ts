/** The kinds of timers, as their rows name them. A number is never given twice: rows outlive versions. */
export const timerKinds = {
  /** A delayed record: delivers the batch that waits in a hidden queue. */
  delayedDelivery: 1,
  /** How a delayed record ended need not be remembered any longer. */
  delayedOutcome: 2,
  /** Nobody has said what became of a half message: asks, or gives it up. */
  halfCheck: 3,
  /** How a half message ended need not be remembered any longer. */
  halfOutcome: 4,
  /** A record that failed: delivers it again in its group's retry topic. */
  retryDelivery: 5,
  /** That a delivery failed need not be remembered any longer. */
  retrySeen: 6,
  /** A committed transaction tells of a failure: counts it. */
  retryIntake: 7,
  /** A parked record of a share group may be delivered again: tells who waits. */
  shareRetry: 8,
  /** Nobody has said how a Kafka transaction ends whose time is up: asks, or aborts it. */
  transactionCheck: 9,
} as const;
