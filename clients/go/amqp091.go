package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func amqpURL(user, vhost string) string {
	return fmt.Sprintf("amqp://%s@%s/%s", user, os.Getenv("AMQP"), vhost)
}

func withChannel(body func(*amqp.Channel, *amqp.Connection)) func() {
	return func() {
		connection := got(amqp.Dial(amqpURL("guest:guest", "")))
		defer func() { _ = connection.Close() }()
		body(got(connection.Channel()), connection)
	}
}

func privateQueue(channel *amqp.Channel, arguments amqp.Table) string {
	return got(channel.QueueDeclare(unique("q"), false, false, true, false, arguments)).Name
}

func send(channel *amqp.Channel, queue string, message amqp.Publishing) {
	must(channel.PublishWithContext(context.Background(), "", queue, false, false, message))
}

func text(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

func get(channel *amqp.Channel, queue string, autoAck bool) amqp.Delivery {
	var found amqp.Delivery
	waitFor("a message in "+queue, func() bool {
		delivery, ok, err := channel.Get(queue, autoAck)
		must(err)
		found = delivery
		return ok
	})
	return found
}

func receive[T any](from <-chan T) T {
	select {
	case value := <-from:
		return value
	case <-time.After(waitMax):
		fail("nothing came in time")
		panic("unreachable")
	}
}

func amqpCode(err error) int {
	var refused *amqp.Error
	if !errors.As(err, &refused) {
		fail("not an AMQP error: %v", err)
	}
	return refused.Code
}

func amqpCases() []testCase {
	return []testCase{
		{name: "published_message_is_got", body: withChannel(amqpRoundTrip)},
		{name: "properties_and_typed_headers_come_back", body: withChannel(amqpProperties)},
		{name: "wrong_password_is_403", body: func() {
			_, err := amqp.Dial(amqpURL("guest:wrong", ""))
			same(amqpCode(err), 403)
		}},
		{name: "unknown_vhost_is_530", body: func() {
			_, err := amqp.Dial(amqpURL("guest:guest", "no-such"))
			same(amqpCode(err), 530)
		}},
		{name: "thousand_deferred_confirms_all_come", body: withChannel(amqpConfirms)},
		{name: "consumer_under_prefetch_gets_all_in_order", body: withChannel(amqpPrefetch)},
		{name: "multiple_ack_and_nack_settle_up_to_the_tag", body: withChannel(amqpMultiple)},
		{name: "mandatory_message_without_a_queue_is_returned", body: withChannel(amqpReturn)},
		{name: "channel_error_is_notified_with_its_code", body: withChannel(amqpChannelError)},
		{name: "missing_exchange_closes_the_channel", body: withChannel(amqpMissingExchange)},
		{name: "other_arguments_are_406", body: withChannel(amqpInequivalent)},
		{name: "consumer_is_told_of_the_end_of_its_queue", body: withChannel(amqpCancelNotify)},
		{name: "exchanges_route_through_each_other", body: withChannel(amqpRouting)},
		{name: "transaction_commits_and_rolls_back", body: withChannel(amqpTransaction)},
		{name: "direct_reply_answers_a_request", body: withChannel(amqpDirectReply)},
		{name: "body_of_10_mebibytes_comes_back", body: withChannel(amqpLarge)},
		{name: "lifetime_and_length_are_kept", body: withChannel(amqpLimits)},
		{name: "stream_is_read_from_its_first_message", body: withChannel(amqpStream)},
		{name: "durable_message_outlives_a_restart", restart: true, body: amqpRestart},
	}
}

func amqpRoundTrip(channel *amqp.Channel, _ *amqp.Connection) {
	queue := privateQueue(channel, nil)
	send(channel, queue, amqp.Publishing{Body: []byte{0, 255}})
	delivery := get(channel, queue, false)
	same(delivery.Body, []byte{0, 255})
	must(delivery.Ack(false))
	_, ok, err := channel.Get(queue, true)
	must(err)
	same(ok, false)
}

func amqpProperties(channel *amqp.Channel, _ *amqp.Connection) {
	queue := privateQueue(channel, nil)
	when := time.Unix(1_700_000_000, 0)
	headers := amqp.Table{
		"bool": true, "int8": int8(-3), "int16": int16(300), "int32": int32(-70000),
		"int64": int64(1) << 40, "float32": float32(0.5), "float64": 1.25, "text": "żółć",
		"bytes": []byte{0, 255}, "nil": nil, "when": when, "byte": byte(200),
		"decimal": amqp.Decimal{Scale: 2, Value: 1234},
		"list":    []any{int32(1), "two", nil}, "table": amqp.Table{"a": amqp.Table{"b": "c"}},
	}
	sent := amqp.Publishing{Headers: headers, ContentType: "a/b", ContentEncoding: "x",
		DeliveryMode: 2, Priority: 5, CorrelationId: "c", ReplyTo: "r", Expiration: "600000",
		MessageId: "m", Timestamp: when, Type: "t", UserId: "guest", AppId: "a", Body: []byte("x")}
	send(channel, queue, sent)
	found := get(channel, queue, true)
	same(found.Headers, headers)
	same([]any{found.ContentType, found.ContentEncoding, found.DeliveryMode, found.Priority,
		found.CorrelationId, found.ReplyTo, found.Expiration, found.MessageId, found.Timestamp.Unix(),
		found.Type, found.UserId, found.AppId},
		[]any{"a/b", "x", uint8(2), uint8(5), "c", "r", "600000", "m", int64(1_700_000_000), "t",
			"guest", "a"})
}

func amqpConfirms(channel *amqp.Channel, _ *amqp.Connection) {
	queue := privateQueue(channel, nil)
	must(channel.Confirm(false))
	var waiting []*amqp.DeferredConfirmation
	for range 1000 {
		waiting = append(waiting, got(channel.PublishWithDeferredConfirm(
			"", queue, false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte("x")})))
	}
	limit, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	for _, one := range waiting {
		same(got(one.WaitContext(limit)), true)
	}
	same(got(channel.QueueDeclarePassive(queue, false, false, true, false, nil)).Messages, 1000)
}

func amqpPrefetch(channel *amqp.Channel, _ *amqp.Connection) {
	queue := privateQueue(channel, nil)
	must(channel.Qos(7, 0, false))
	deliveries := got(channel.Consume(queue, "", false, false, false, false, nil))
	for number := range 200 {
		send(channel, queue, text(fmt.Sprint(number)))
	}
	for number := range 200 {
		delivery := receive(deliveries)
		same(string(delivery.Body), fmt.Sprint(number))
		must(delivery.Ack(false))
	}
}

func amqpMultiple(channel *amqp.Channel, connection *amqp.Connection) {
	queue := privateQueue(channel, nil)
	for _, body := range []string{"1", "2", "3", "4"} {
		send(channel, queue, text(body))
	}
	other := got(connection.Channel())
	var tags []uint64
	for range 4 {
		tags = append(tags, get(other, queue, false).DeliveryTag)
	}
	must(other.Ack(tags[1], true))
	must(other.Nack(tags[2], true, true))
	must(other.Reject(tags[3], false))
	must(other.Close())
	delivery := get(channel, queue, true)
	same([]any{string(delivery.Body), delivery.Redelivered}, []any{"3", true})
	_, ok, err := channel.Get(queue, true)
	must(err)
	same(ok, false)
}

func amqpReturn(channel *amqp.Channel, _ *amqp.Connection) {
	returned := channel.NotifyReturn(make(chan amqp.Return, 1))
	missing := unique("missing")
	must(channel.Publish("", missing, true, false, text("x")))
	found := receive(returned)
	same([]any{found.ReplyCode, found.ReplyText, found.RoutingKey, string(found.Body)},
		[]any{uint16(312), "NO_ROUTE", missing, "x"})
}

func amqpChannelError(channel *amqp.Channel, connection *amqp.Connection) {
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	_, err := channel.QueueDeclarePassive(unique("missing"), false, false, false, false, nil)
	same(amqpCode(err), 404)
	same(receive(closed).Code, 404)
	privateQueue(got(connection.Channel()), nil)
}

func amqpMissingExchange(channel *amqp.Channel, _ *amqp.Connection) {
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	must(channel.Publish(unique("missing"), "k", false, false, text("x")))
	same(receive(closed).Code, 404)
}

func amqpInequivalent(channel *amqp.Channel, connection *amqp.Connection) {
	queue := privateQueue(channel, amqp.Table{"x-max-length": int32(5)})
	_, err := got(connection.Channel()).QueueDeclare(queue, false, false, true, false,
		amqp.Table{"x-max-length": int32(6)})
	same(amqpCode(err), 406)
}

func amqpCancelNotify(channel *amqp.Channel, connection *amqp.Connection) {
	queue := privateQueue(channel, nil)
	cancelled := channel.NotifyCancel(make(chan string, 1))
	_ = got(channel.Consume(queue, "my-tag", false, false, false, false, nil))
	_ = got(got(connection.Channel()).QueueDelete(queue, false, false, false))
	same(receive(cancelled), "my-tag")
}

func amqpRouting(channel *amqp.Channel, _ *amqp.Connection) {
	outer, inner, queue := unique("topic"), unique("headers"), privateQueue(channel, nil)
	must(channel.ExchangeDeclare(outer, "topic", false, true, false, false, nil))
	must(channel.ExchangeDeclare(inner, "headers", false, true, false, false, nil))
	must(channel.ExchangeBind(inner, "a.*", outer, false, nil))
	must(channel.QueueBind(queue, "", inner, false, amqp.Table{"x-match": "any", "n": int32(1)}))
	for _, number := range []int32{1, 2} {
		must(channel.Publish(outer, "a.b", false, false, amqp.Publishing{
			Headers: amqp.Table{"n": number}, Body: []byte(fmt.Sprint(number))}))
	}
	same(string(get(channel, queue, true).Body), "1")
	_, ok, err := channel.Get(queue, true)
	must(err)
	same(ok, false)
}

func amqpTransaction(channel *amqp.Channel, connection *amqp.Connection) {
	queue := privateQueue(channel, nil)
	other := got(connection.Channel())
	must(channel.Tx())
	send(channel, queue, text("dropped"))
	must(channel.TxRollback())
	send(channel, queue, text("kept"))
	must(channel.TxCommit())
	same(string(get(other, queue, true).Body), "kept")
	_, ok, err := other.Get(queue, true)
	must(err)
	same(ok, false)
}

func amqpDirectReply(channel *amqp.Channel, connection *amqp.Connection) {
	queue := privateQueue(channel, nil)
	answers := got(channel.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil))
	send(channel, queue, amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "7"})
	server := got(connection.Channel())
	request := get(server, queue, true)
	send(server, request.ReplyTo, amqp.Publishing{CorrelationId: "7", Body: []byte("answer")})
	same(string(receive(answers).Body), "answer")
}

func amqpLarge(channel *amqp.Channel, _ *amqp.Connection) {
	queue := privateQueue(channel, nil)
	body := bytes.Repeat([]byte("0123456789abcdef"), 10<<16)
	send(channel, queue, amqp.Publishing{Body: body})
	same(bytes.Equal(get(channel, queue, true).Body, body), true)
}

func amqpLimits(channel *amqp.Channel, _ *amqp.Connection) {
	queue := privateQueue(channel, amqp.Table{"x-max-length": int32(2), "x-message-ttl": int32(300)})
	for _, body := range []string{"1", "2", "3"} {
		send(channel, queue, text(body))
	}
	same(string(get(channel, queue, true).Body), "2")
	waitFor("the end of the rest", func() bool {
		return got(channel.QueueDeclarePassive(queue, false, false, true, false, nil)).Messages == 0
	})
}

func amqpStream(channel *amqp.Channel, _ *amqp.Connection) {
	queue := unique("stream")
	arguments := amqp.Table{"x-queue-type": "stream"}
	_ = got(channel.QueueDeclare(queue, true, false, false, false, arguments))
	for number := range 10 {
		send(channel, queue, text(fmt.Sprint(number)))
	}
	must(channel.Qos(20, 0, false))
	deliveries := got(channel.Consume(queue, "", false, false, false, false,
		amqp.Table{"x-stream-offset": "first"}))
	for number := range 10 {
		delivery := receive(deliveries)
		same(string(delivery.Body), fmt.Sprint(number))
		must(delivery.Ack(false))
	}
	_ = got(channel.QueueDelete(queue, false, false, false))
}

func amqpRestart() {
	connection := got(amqp.Dial(amqpURL("guest:guest", "")))
	lost := connection.NotifyClose(make(chan *amqp.Error, 1))
	channel := got(connection.Channel())
	must(channel.Confirm(false))
	queue := got(channel.QueueDeclare(unique("restart"), true, false, false, false, nil)).Name
	one := got(channel.PublishWithDeferredConfirm("", queue, false, false,
		amqp.Publishing{DeliveryMode: 2, Body: []byte("kept")}))
	same(one.Wait(), true)
	restartServer()
	receive(lost)
	again := got(amqp.Dial(amqpURL("guest:guest", "")))
	channel = got(again.Channel())
	same(string(get(channel, queue, true).Body), "kept")
	_ = got(channel.QueueDelete(queue, false, false, false))
	must(again.Close())
}
