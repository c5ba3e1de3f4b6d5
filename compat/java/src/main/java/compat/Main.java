package compat;

/** Client scenarios against a Kafka-compatible broker. Arguments: HOST:PORT [NAME-REGEX]. */
public final class Main {
  public static void main(String[] args) {
    Harness.broker = args[0];
    if (args.length > 1) Harness.only = args[1];
    Producers.producers();
    Consumers.consumers();
    Groups.groups("classic");
    Groups.groups("consumer");
    Groups.migration();
    Transactions.transactions();
    Admins.admins();
    System.exit(0);
  }
}
