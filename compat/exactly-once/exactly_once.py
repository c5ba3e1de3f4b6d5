"""Copies messages in transactions with Kafka's TransactionalMessageCopier, and counts words with StreamsSmokeTest, while broker and
copiers are killed; then compares what came out with what went in. Prints `pass NAME` or `fail NAME` a check."""
import argparse, json, os, random, shutil, signal, subprocess, sys, threading, time, urllib.request

arguments = argparse.ArgumentParser()
arguments.add_argument("broker")
arguments.add_argument("libs")
arguments.add_argument("work")
arguments.add_argument("--short", action="store_true")
arguments.add_argument("--only", default="")
options = arguments.parse_args()
control = os.environ.get("COMPAT_CONTROL", "")
partitions = 2
shutil.rmtree(options.work, ignore_errors=True)
os.makedirs(options.work)
random.seed(7)


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def java(main, *words, heap="256m", out=None, stdin=None):
    command = ["java", f"-Xmx{heap}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
               "-cp", options.libs + "/*", main, *map(str, words)]
    log = open(os.path.join(options.work, f"{main.rsplit('.', 1)[1]}-{time.time_ns()}.err"), "wb")
    return subprocess.Popen(command, stdout=out if out is not None else log, stderr=log, stdin=stdin)


def run(main, *words, timeout=180, **more):
    child = java(main, *words, out=subprocess.PIPE, **more)
    try:
        return child.communicate(timeout=timeout)[0].decode()
    except subprocess.TimeoutExpired:
        child.kill()
        raise


def create(topic, count):
    run("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", options.broker, "--create", "--topic", topic,
        "--partitions", count, "--replication-factor", 1)


def restart_broker():
    if not control:
        return  # run by hand, against a broker that nobody here can kill
    urllib.request.urlopen(urllib.request.Request(control + "/restart", method="POST"), timeout=120).read()


def records(topic, isolation):
    """{partition: [value]} in offset order."""
    text = run("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", options.broker, "--topic", topic,
               "--from-beginning", "--isolation-level", isolation, "--timeout-ms", 8000,
               "--formatter-property", "print.partition=true", "--formatter-property", "print.value=true")
    found = {}
    for line in text.splitlines():
        where, _, value = line.partition("\t")
        if where.startswith("Partition:"):
            found.setdefault(int(where[10:]), []).append(value)
    return found


def copy(name, messages, transaction_size, broker_kills, copier_kills, group_mode):
    source, target = f"{name}-in", f"{name}-out"
    create(source, partitions)
    create(target, partitions)
    run("org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", options.broker, "--topic", source,
        "--max-messages", messages, "--acks", -1, timeout=300)
    went_in = records(source, "read_uncommitted")
    total = sum(map(len, went_in.values()))
    if total != messages:
        return f"only {total} of {messages} messages went in"

    done = [0] * partitions
    finished = [False] * partitions
    children = [None] * partitions

    def follow(index, child):
        for line in child.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("stage") == "ShutdownComplete" or said.get("name") == "shutdown_complete":
                finished[index] = finished[index] or int(said.get("remaining", 1)) == 0
            done[index] = int(said.get("totalProcessed", said.get("consumed", done[index])) or done[index])

    def start(index):
        words = ["--broker-list", options.broker, "--transactional-id", f"{name}-{index}", "--consumer-group", f"{name}-group",
                 "--input-topic", source, "--output-topic", target, "--input-partition", index,
                 "--transaction-size", transaction_size, "--transaction-timeout", 10000, "--enable-random-aborts"]
        if group_mode:
            words += ["--group-mode"]
        children[index] = java("org.apache.kafka.tools.TransactionalMessageCopier", *words, out=subprocess.PIPE)
        threading.Thread(target=follow, args=(index, children[index]), daemon=True).start()

    for index in range(partitions):
        start(index)
    began = time.time()
    faults = ["broker"] * broker_kills + ["copier"] * copier_kills
    random.shuffle(faults)
    time.sleep(4)
    for fault in faults:
        if fault == "broker":
            restart_broker()
        else:
            index = random.randrange(partitions)
            children[index].kill()
            children[index].wait()
            start(index)
        time.sleep(0.5 + random.random() * 2)
        for index in range(partitions):
            if children[index].poll() is not None:
                start(index)  # it had nothing left, or gave up: the next goes on where the group is
    # To the end: until the committed output is complete, or nothing moves any more.
    deadline = time.time() + 240
    came_out = {}
    while time.time() < deadline:
        for index in range(partitions):
            if children[index].poll() is not None:
                start(index)
        time.sleep(3)
        came_out = records(target, "read_committed")
        if sum(map(len, came_out.values())) >= messages:
            time.sleep(2)
            came_out = records(target, "read_committed")
            break
    for child in children:
        child.send_signal(signal.SIGTERM)
    for child in children:
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
    say(f"{name}: {sum(map(len, came_out.values()))} came out, {broker_kills} broker kills, {copier_kills} copier kills, {time.time() - began:.0f} s")
    # A copier writes each message to the partition of its own number, so each partition is the copy of one, in order.
    for index in range(partitions):
        if came_out.get(index, []) != went_in.get(index, []):
            a, b = went_in.get(index, []), came_out.get(index, [])
            at = next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            twice = len(b) - len(set(b))
            return f"partition {index} differs from message {at} on: {len(a)} in, {len(b)} out, {twice} doubled, {len(set(a) - set(b))} missing"
    return None


def smoke(name, kills):
    """StreamsSmokeTest verifies by itself what the applications made of its input."""
    for topic in ["data", "echo", "max", "min", "min-suppressed", "min-raw", "dif", "sum", "sws-raw", "sws-suppressed", "cnt", "avg", "tagg", "fk"]:
        create(topic, 5)
    properties = os.path.join(options.work, "streams.properties")
    with open(properties, "w") as file:
        file.write(f"bootstrap.servers={options.broker}\nprocessing.guarantee=exactly_once_v2\nstate.dir={options.work}/state\n"
                   "replication.factor=1\ncommit.interval.ms=1000\nsession.timeout.ms=10000\n")
    stop = threading.Event()

    def process():
        return java("org.apache.kafka.streams.tests.StreamsSmokeTest", properties, "process", heap="400m")

    application = process()
    driver = java("org.apache.kafka.streams.tests.StreamsSmokeTest", properties, "run", heap="400m", out=subprocess.PIPE)
    said = []
    reader = threading.Thread(target=lambda: said.extend(driver.stdout.read().decode().splitlines()))
    reader.start()
    for _ in range(kills):
        time.sleep(8 + random.random() * 6)
        if driver.poll() is not None:
            break
        restart_broker()
    if kills > 0 and driver.poll() is None:
        application.kill()
        application.wait()
        application = process()
    try:
        driver.wait(420)
    except subprocess.TimeoutExpired:
        driver.kill()
    stop.set()
    application.send_signal(signal.SIGTERM)
    try:
        application.wait(30)
    except subprocess.TimeoutExpired:
        application.kill()
    reader.join(10)
    with open(os.path.join(options.work, "smoke.out"), "w") as file:
        file.write("\n".join(said))
    if any("ALL-RECORDS-DELIVERED" in line for line in said) and any(line.strip() == "SUCCESS" for line in said):
        return None
    return "; ".join([line for line in said if "FAIL" in line or "expected" in line.lower()][:5]) or "\n".join(said[-5:]) or "it said nothing"


short = options.short
checks = [
    ("copy in transactions, partitions assigned", lambda: copy("assigned", 10000 if short else 100000, 250 if short else 750, 3 if short else 20, 1 if short else 9, False)),
    ("copy in transactions, in a group", lambda: copy("grouped", 5000 if short else 50000, 250 if short else 750, 2 if short else 10, 1 if short else 5, True)),
    ("streams smoke test, exactly_once_v2", lambda: smoke("smoke", 0 if short else 4)),
]
for name, check in checks:
    if options.only and options.only not in name:
        continue
    if short and name.startswith("streams"):
        continue
    began = time.time()
    try:
        wrong = check()
    except Exception as error:  # whatever it is, the check did not pass
        wrong = f"{type(error).__name__}: {error}"
    print("pass" if wrong is None else "fail", name, flush=True)
    say(f"{name}: {wrong or 'as it should be'} ({time.time() - began:.0f} s)")
