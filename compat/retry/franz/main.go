// Retries and dead letters from franz-go, in plain client code. Argument: HOST:PORT.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	broker string
	names  int
	ctx    = context.Background()
)

func scenario(name string, body func() error) {
	if err := body(); err != nil {
		fmt.Println("fail " + name)
		fmt.Fprintln(os.Stderr, name+":", err)
		return
	}
	fmt.Println("pass " + name)
}

func client(opts ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{kgo.SeedBrokers(broker), kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(time.Second)}, opts...)
	cl, err := kgo.NewClient(all...)
	if err != nil {
		panic(err)
	}
	return cl
}

func unique(prefix string) string {
	names++
	return fmt.Sprintf("%s-go-%s-%d", prefix, strconv.FormatInt(time.Now().UnixMilli(), 36), names)
}

// ---- the recipe: what an application writes

// pointer is the record that has another come again to the group later: its place, and nothing of it.
func pointer(group string, failed *kgo.Record, reason error) *kgo.Record {
	place := fmt.Sprintf("%s/%d/%d", failed.Topic, failed.Partition, failed.Offset)
	return &kgo.Record{Topic: "retry." + group, Key: failed.Key, Headers: []kgo.RecordHeader{
		{Key: "rmq-origin", Value: []byte(place)},
		{Key: "rmq-error", Value: []byte(reason.Error())},
	}}
}

func consumeWithRetries(within context.Context, group, topic string, process func(*kgo.Record) error, done func() bool) error {
	cl := client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic, "retry."+group), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	for !done() {
		fetches := cl.PollFetches(within)
		if within.Err() != nil {
			return within.Err()
		}
		for _, record := range fetches.Records() {
			if err := process(record); err != nil {
				if err := cl.ProduceSync(within, pointer(group, record, err)).FirstErr(); err != nil {
					return err
				}
			}
			if err := cl.CommitRecords(within, record); err != nil {
				return err
			}
		}
	}
	return nil
}

// ---- until here

func create(topics ...string) error {
	cl := client()
	defer cl.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 20000
	for _, name := range topics {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, topic := range resp.Topics {
		if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

func start() (group, topic string, err error) {
	group, topic = unique("g"), unique("orders")
	if err = create(topic, "retry."+group); err != nil {
		return
	}
	cl := client()
	defer cl.Close()
	record := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "own", Value: []byte("x")}}}
	return group, topic, cl.ProduceSync(ctx, record).FirstErr()
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

type seen struct {
	*kgo.Record
	at time.Time
}

func failing(times, expected int) (group, topic string, all []seen, err error) {
	if group, topic, err = start(); err != nil {
		return
	}
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = consumeWithRetries(within, group, topic, func(r *kgo.Record) error {
		all = append(all, seen{r, time.Now()})
		if len(all) <= times {
			return fmt.Errorf("failure %d", len(all))
		}
		return nil
	}, func() bool { return len(all) == expected })
	return
}

func readOne(topic string) (*kgo.Record, error) {
	cl := client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		records := cl.PollFetches(within).Records()
		if len(records) > 0 {
			return records[0], nil
		}
		if within.Err() != nil {
			return nil, fmt.Errorf("nothing in %s", topic)
		}
	}
}

func succeeds() error {
	_, topic, all, err := failing(2, 3)
	if err != nil {
		return err
	}
	for at, one := range all {
		count := ""
		if at > 0 {
			count = strconv.Itoa(at)
		}
		if string(one.Value) != "v" || header(one.Record, "rmq-reconsume-times") != count || header(one.Record, "own") != "x" {
			return fmt.Errorf("delivery %d: %s %v", at, one.Value, one.Headers)
		}
	}
	if header(all[2].Record, "rmq-retry-topic") != topic {
		return errors.New("the first topic is not told")
	}
	if all[1].at.Sub(all[0].at) < 200*time.Millisecond || all[2].at.Sub(all[1].at) < 400*time.Millisecond {
		return errors.New("a retry came early")
	}
	return nil
}

func exhausted() error {
	group, topic, _, err := failing(100, 4)
	if err != nil {
		return err
	}
	letter, err := readOne("dlq." + group)
	if err != nil {
		return err
	}
	if string(letter.Value) != "v" || header(letter, "rmq-dlq-reason") != "exhausted" ||
		header(letter, "__dlq.errors.delivery.count") != "4" || header(letter, "__dlq.errors.topic") != topic ||
		header(letter, "rmq-error") != "failure 4" {
		return fmt.Errorf("%s %v", letter.Value, letter.Headers)
	}
	return nil
}

func transaction() error {
	group, topic, err := start()
	if err != nil {
		return err
	}
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(broker), kgo.TransactionalID(unique("tx")), kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer session.Close()
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		// After the abort the session goes back to what was committed, and gets the record again.
		records := session.PollFetches(within).Records()
		if len(records) != 1 {
			return fmt.Errorf("%d records, not 1: %v", len(records), within.Err())
		}
		if err := session.Begin(); err != nil {
			return err
		}
		if err := session.ProduceSync(within, pointer(group, records[0], errors.New("later"))).FirstErr(); err != nil {
			return err
		}
		if committed, err := session.End(within, commit); err != nil || committed != bool(commit) {
			return fmt.Errorf("committed %v: %v", committed, err)
		}
	}
	retry, err := readOne("retry." + group)
	if err != nil {
		return err
	}
	if header(retry, "rmq-reconsume-times") != "1" {
		return fmt.Errorf("%v", retry.Headers)
	}
	return nil
}

func main() {
	broker = os.Args[1]
	scenario("franz-go: fails twice, then succeeds", succeeds)
	scenario("franz-go: fails always, ends in the dead letters", exhausted)
	scenario("franz-go: failure and offset are handed over in one transaction", transaction)
}
