// The case program of the Go clients: `go-cases CLIENT [--list] [--restart] [--only TEXT]`.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

const (
	caseMax    = 60 * time.Second
	restartMax = 180 * time.Second
	waitMax    = 20 * time.Second
)

type testCase struct {
	name    string
	restart bool
	body    func()
}

// failure is what a case panics with to end itself.
type failure string

func fail(format string, arguments ...any) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func got[T any](value T, err error) T {
	must(err)
	return value
}

func same(found, wanted any) {
	if !reflect.DeepEqual(found, wanted) {
		fail("%s instead of %s", brief(found), brief(wanted))
	}
}

func brief(value any) string {
	text := fmt.Sprintf("%#v", value)
	if len(text) > 500 {
		return text[:500] + "…"
	}
	return text
}

func unique(name string) string {
	random := make([]byte, 5)
	_, _ = rand.Read(random)
	return name + "-" + hex.EncodeToString(random)
}

func waitFor(what string, fact func() bool) { waitLonger(waitMax, what, fact) }

func waitLonger(limit time.Duration, what string, fact func() bool) {
	deadline := time.Now().Add(limit)
	for !fact() {
		if time.Now().After(deadline) {
			fail("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func restartServer() {
	control := got(net.Dial("tcp", os.Getenv("CONTROL")))
	defer func() { _ = control.Close() }()
	_, err := control.Write([]byte("restart\n"))
	must(err)
	same(strings.TrimSpace(got(bufio.NewReader(control).ReadString('\n'))), "ok")
}

func say(fields map[string]any) {
	line := got(json.Marshal(fields))
	fmt.Println(string(line))
}

func attempt(test testCase) {
	began := time.Now()
	outcome := make(chan string, 1)
	go func() {
		defer func() {
			switch cause := recover().(type) {
			case nil:
				outcome <- ""
			case failure:
				stack := strings.Split(string(debug.Stack()), "\n")
				outcome <- string(cause) + "\n" + strings.Join(stack[max(0, len(stack)-12):], "\n")
			default:
				outcome <- fmt.Sprintf("%v\n%s", cause, debug.Stack())
			}
		}()
		test.body()
	}()
	limit := caseMax
	if test.restart {
		limit = restartMax
	}
	result, detail := "passed", ""
	select {
	case detail = <-outcome:
		if detail != "" {
			result = "failed"
		}
	case <-time.After(limit):
		result, detail = "failed", "did not end in time"
	}
	say(map[string]any{"case": test.name, "result": result, "detail": detail,
		"seconds": time.Since(began).Seconds()})
}

func main() {
	clients := map[string]func() []testCase{
		"franz-go": franzCases, "sarama": saramaCases, "kafka-go": segmentioCases,
		"amqp091-go": amqpCases,
	}
	modules := map[string]string{
		"franz-go": "github.com/twmb/franz-go", "sarama": "github.com/IBM/sarama",
		"kafka-go": "github.com/segmentio/kafka-go", "amqp091-go": "github.com/rabbitmq/amqp091-go",
	}
	name, list, restart, only := os.Args[1], false, false, ""
	for index, argument := range os.Args {
		switch argument {
		case "--list":
			list = true
		case "--restart":
			restart = true
		case "--only":
			only = os.Args[index+1]
		}
	}
	say(map[string]any{"client": name, "version": moduleVersion(modules[name])})
	for _, test := range clients[name]() {
		if test.restart != restart || !strings.Contains(test.name, only) {
			continue
		}
		if list {
			say(map[string]any{"case": test.name})
		} else {
			attempt(test)
		}
	}
}

func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return ""
}
