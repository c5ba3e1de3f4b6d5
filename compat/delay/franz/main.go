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

func create(messageType string, settings ...string) (string, error) {
	cl := client()
	defer cl.Close()
	names++
	name := fmt.Sprintf("delay-go-%s-%d", strconv.FormatInt(time.Now().UnixMilli(), 36), names)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 20000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	settings = append(settings, "rmq.message.type", messageType)
	for at := 0; at < len(settings); at += 2 {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = settings[at], kmsg.StringPtr(settings[at+1])
		topic.Configs = append(topic.Configs, config)
	}
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
			record(topic, "k", "time", "rmq-deliver-at-ms", strconv.FormatInt(now+3000, 10)),
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

func levels() error {
	topic, err := create("DELAY")
	if err != nil {
		return err
	}
	cl := client(kgo.ProducerLinger(50 * time.Millisecond))
	defer cl.Close()
	delays := map[string]int64{"level first": 3600000, "delay before time": 3000000}
	sent := []*kgo.Record{
		record(topic, "k", "level first", "rmq-deliver-at-ms", "1", "rmq-delay-ms", "5", "rmq-delay-level", "17", "rmq-message-id", "level first"),
		record(topic, "k", "delay before time", "rmq-deliver-at-ms", "1", "rmq-delay-ms", "3000000", "rmq-message-id", "delay before time"),
		record(topic, "k", "past", "rmq-deliver-at-ms", "1"),
		record(topic, "k", "no delay", "rmq-delay-ms", "0"),
	}
	seconds := []int64{1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200, 7200}
	for at, s := range seconds {
		id := fmt.Sprintf("level %d", at+1)
		delays[id] = s * 1000
		sent = append(sent, record(topic, "k", id, "rmq-delay-level", strconv.Itoa(at+1), "rmq-message-id", id))
	}
	if err := cl.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return err
	}
	first, err := receive(topic, 2)
	if err != nil {
		return err
	}
	for _, one := range first[:2] {
		if v := string(one.Value); v != "past" && v != "no delay" {
			return errors.New(v + " was delivered at once")
		}
	}
	var asked []*kgo.Record
	for id := range delays {
		if id != "level 1" { // it may be due by itself
			asked = append(asked, record("delay.op."+topic, id, "", "rmq-delay-action", "deliver"))
		}
	}
	if err := cl.ProduceSync(ctx, asked...).FirstErr(); err != nil {
		return err
	}
	all, err := receive(topic, len(delays)+2)
	if err != nil {
		return err
	}
	for _, one := range all {
		want, is := delays[string(one.Value)]
		if delay := times(one.Record, "rmq-due-ms") - times(one.Record, "rmq-stored-ms"); is && delay != want {
			return fmt.Errorf("%s was delayed by %d", one.Value, delay)
		}
	}
	return nil
}

func times(r *kgo.Record, name string) int64 {
	text, _ := header(r, name)
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func manyInABatch() error {
	topic, err := create("DELAY")
	if err != nil {
		return err
	}
	cl := client(kgo.ProducerLinger(100 * time.Millisecond))
	defer cl.Close()
	due := time.Now().UnixMilli() + 3000
	var sent []*kgo.Record
	for at := 0; at < 500; at++ {
		size := 20
		if at%7 == 0 {
			size = 3000
		}
		sent = append(sent, record(topic, "k", fmt.Sprintf("%d %s", at, strings.Repeat("x", size)), "rmq-deliver-at-ms", strconv.FormatInt(due+int64(at*37%500), 10)))
	}
	if err := cl.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		return err
	}
	all, err := receive(topic, 500)
	if err != nil {
		return err
	}
	numbers, before := map[string]bool{}, int64(0)
	for _, one := range all {
		number, _, _ := strings.Cut(string(one.Value), " ")
		numbers[number] = true
		if dueMs := times(one.Record, "rmq-due-ms"); dueMs < before {
			return errors.New("not in due order")
		} else {
			before = dueMs
		}
	}
	if len(all) != 500 || len(numbers) != 500 {
		return fmt.Errorf("%d records, %d different", len(all), len(numbers))
	}
	return nil
}

func wholeTopic() error {
	topic, err := create("DELAY", "rmq.delay.default.ms", "500")
	if err != nil {
		return err
	}
	cl := client()
	defer cl.Close()
	before := time.Now().UnixMilli()
	if err := cl.ProduceSync(ctx, record(topic, "k", "v")).FirstErr(); err != nil {
		return err
	}
	all, err := receive(topic, 1)
	if err == nil && all[0].at-before < 500 {
		err = errors.New("early")
	}
	return err
}

func main() {
	broker = os.Args[1]
	scenario("franz-go: delays, levels and times, every codec, idempotent, never early", inTime)
	scenario("franz-go: what a topic does not take is refused", refused)
	scenario("franz-go: cancel, deliver now and reschedule through the operation topic", operations)
	scenario("franz-go: the eighteen levels, what is above them, what counts first, what is past", levels)
	scenario("franz-go: five hundred delays in one batch, small records and large ones", manyInABatch)
	scenario("franz-go: the topic's default delays what has no headers", wholeTopic)
}
