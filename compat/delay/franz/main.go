// Delayed records from franz-go. Argument: HOST:PORT.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		panic(err)
	}
	return cl
}

func create(messageType string) (string, error) {
	cl := client()
	defer cl.Close()
	names++
	name := fmt.Sprintf("delay-go-%s-%d", strconv.FormatInt(time.Now().UnixMilli(), 36), names)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 20000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	config := kmsg.NewCreateTopicsRequestTopicConfig()
	config.Name, config.Value = "rmq.message.type", kmsg.StringPtr(messageType)
	topic.Configs = append(topic.Configs, config)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return "", err
	}
	return name, kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

func record(topic, key, value string, headers ...string) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
	for at := 0; at < len(headers); at += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[at], Value: []byte(headers[at+1])})
	}
	return r
}

type got struct {
	*kgo.Record
	at int64
}

func receive(topic string, count int) ([]got, error) {
	cl := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var all []got
	for len(all) < count {
		fetches := cl.PollFetches(within)
		if within.Err() != nil {
			return nil, fmt.Errorf("%d records came, not %d", len(all), count)
		}
		now := time.Now().UnixMilli()
		fetches.EachRecord(func(r *kgo.Record) { all = append(all, got{r, now}) })
	}
	return all, nil
}

func header(r *kgo.Record, name string) (string, bool) {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value), true
		}
	}
	return "", false
}

func inTime() error {
	topic, err := create("DELAY")
	if err != nil {
		return err
	}
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for _, codec := range codecs {
		cl := client(kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond))
		now := time.Now().UnixMilli()
		results := cl.ProduceSync(ctx,
			record(topic, "k", "level", "rmq-delay-level", "1"),
			record(topic, "k", "delay", "rmq-delay-ms", "600", "own", "x"),
			record(topic, "k", "time", "rmq-deliver-at-ms", strconv.FormatInt(now+900, 10)),
			record(topic, "k", "now"),
		)
		cl.Close()
		if err := results.FirstErr(); err != nil {
			return err
		}
	}
	all, err := receive(topic, 20)
	if err != nil {
		return err
	}
	for at, one := range all {
		if one.Offset != int64(at) {
			return fmt.Errorf("offset %d at place %d", one.Offset, at)
		}
		due, isDelayed := header(one.Record, "rmq-due-ms")
		if isDelayed == (string(one.Value) == "now") {
			return fmt.Errorf("%s has the headers %v", one.Value, one.Headers)
		}
		if dueMs, _ := strconv.ParseInt(due, 10, 64); isDelayed && one.at < dueMs {
			return fmt.Errorf("%s came %d ms early", one.Value, dueMs-one.at)
		}
		if _, is := header(one.Record, "rmq-delay-ms"); is {
			return errors.New("a control header came through")
		}
	}
	return nil
}

func refused() error {
	for _, one := range [][2]string{{"NORMAL", "5"}, {"DELAY", "-1"}, {"DELAY", "999999999999"}} {
		topic, err := create(one[0])
		if err != nil {
			return err
		}
		cl := client()
		err = cl.ProduceSync(ctx, record(topic, "k", "v", "rmq-delay-ms", one[1])).FirstErr()
		cl.Close()
		if !errors.Is(err, kerr.InvalidRecord) {
			return fmt.Errorf("%v is answered with %v", one, err)
		}
	}
	return nil
}

func operations() error {
	topic, err := create("DELAY")
	if err != nil {
		return err
	}
	cl := client()
	defer cl.Close()
	for _, id := range []string{"a", "b", "c"} {
		if err := cl.ProduceSync(ctx, record(topic, "k", id, "rmq-delay-ms", "60000", "rmq-message-id", id)).FirstErr(); err != nil {
			return err
		}
	}
	act := func(id, action string, more ...string) error {
		own := client()
		defer own.Close()
		return own.ProduceSync(ctx, record("delay.op."+topic, id, "", append([]string{"rmq-delay-action", action}, more...)...)).FirstErr()
	}
	if err := errors.Join(act("a", "cancel"), act("b", "deliver"), act("c", "reschedule", "rmq-delay-ms", "400")); err != nil {
		return err
	}
	all, err := receive(topic, 2)
	if err != nil {
		return err
	}
	if values := string(all[0].Value) + string(all[1].Value); values != "bc" {
		return errors.New("delivered were " + values)
	}
	for _, one := range []string{"a deliver", "b cancel", "never cancel"} {
		id, action, _ := strings.Cut(one, " ")
		if err := act(id, action); !errors.Is(err, kerr.InvalidRecord) {
			return fmt.Errorf("%s is answered with %v", one, err)
		}
	}
	return nil
}

func main() {
	broker = os.Args[1]
	scenario("franz-go: delays, levels and times, every codec, idempotent, never early", inTime)
	scenario("franz-go: what a topic does not take is refused", refused)
	scenario("franz-go: cancel, deliver now and reschedule through the operation topic", operations)
}
