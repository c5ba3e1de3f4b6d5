// What an old Sarama can do: main HOST:PORT LABEL KAFKA-VERSION. It never asks for versions; the configured one says what is spoken.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/Shopify/sarama"
)

func main() {
	broker, label := os.Args[1], os.Args[2]
	version, err := sarama.ParseKafkaVersion(os.Args[3])
	if err != nil {
		panic(err)
	}
	check := func(name string, run func() error) {
		if err := run(); err != nil {
			fmt.Printf("fail sarama %s: %s\n", label, name)
			fmt.Fprintln(os.Stderr, err)
			return
		}
		fmt.Printf("pass sarama %s: %s\n", label, name)
	}
	topic := fmt.Sprintf("old-sarama-%d", time.Now().UnixNano())
	config := sarama.NewConfig()
	config.Version = version
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy} {
		codec := codec
		name := fmt.Sprintf("%s-%s", topic, codec)
		check(fmt.Sprintf("writes and reads %s", codec), func() error {
			config.Producer.Compression = codec
			client, err := sarama.NewClient([]string{broker}, config)
			if err != nil {
				return err
			}
			defer client.Close()
			producer, err := sarama.NewSyncProducerFromClient(client)
			if err != nil {
				return err
			}
			for n := 0; n < 10; n++ {
				_, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder(fmt.Sprint(n))})
				if err != nil || offset != int64(n) {
					return fmt.Errorf("record %d at %d: %v", n, offset, err)
				}
			}
			consumer, err := sarama.NewConsumerFromClient(client)
			if err != nil {
				return err
			}
			partition, err := consumer.ConsumePartition(name, 0, sarama.OffsetOldest)
			if err != nil {
				return err
			}
			defer partition.Close()
			for n := 0; n < 10; n++ {
				select {
				case message := <-partition.Messages():
					if string(message.Value) != fmt.Sprint(n) {
						return fmt.Errorf("read %q for %d", message.Value, n)
					}
				case <-time.After(30 * time.Second):
					return fmt.Errorf("nothing for record %d", n)
				}
			}
			return nil
		})
	}
	check("commits offsets", func() error {
		client, err := sarama.NewClient([]string{broker}, config)
		if err != nil {
			return err
		}
		defer client.Close()
		for _, expected := range []int64{sarama.OffsetOldest, 7} {
			manager, err := sarama.NewOffsetManagerFromClient("g-"+topic, client)
			if err != nil {
				return err
			}
			partition, err := manager.ManagePartition(topic+"-none", 0)
			if err != nil {
				return err
			}
			if offset, _ := partition.NextOffset(); offset != expected {
				return fmt.Errorf("offset %d where %d belongs", offset, expected)
			}
			partition.MarkOffset(7, "note")
			if err := partition.Close(); err != nil {
				return err
			}
			manager.Close()
		}
		return nil
	})
}
