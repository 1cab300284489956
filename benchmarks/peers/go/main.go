// oapi-sdk-go, the official Go client, logging at warn; each event has a goroutine of its own. Without arguments it prints its
// /proc/self/status and ends. The SDK is built along, from a checkout: `GO_SDK=DIRECTORY`.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	larkcore "github.com/larksuite/oapi-sdk-go/v3/core"
	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher"
	larkim "github.com/larksuite/oapi-sdk-go/v3/service/im/v1"
	larkws "github.com/larksuite/oapi-sdk-go/v3/ws"
)

func noop(context.Context, *larkim.P2MessageReceiveV1) error {
	return nil
}

func pause(context.Context, *larkim.P2MessageReceiveV1) error {
	time.Sleep(200 * time.Millisecond) // holds up its goroutine alone: there is no other kind of 200 ms
	return nil
}

func stuck(context.Context, *larkim.P2MessageReceiveV1) error {
	select {}
}

var handlers = map[string]func(context.Context, *larkim.P2MessageReceiveV1) error{
	"noop": noop, "slow": pause, "blocking": pause, "stuck": stuck,
}

func main() {
	if len(os.Args) == 1 {
		status, _ := os.ReadFile("/proc/self/status")
		fmt.Printf("%s", status)
		return
	}
	domain, handler := os.Args[1], handlers[os.Args[2]]
	sessions, _ := strconv.Atoi(os.Args[3])
	for i := 0; i < sessions; i++ {
		client := larkws.NewClient("cli_9f5343c580712544", "secret",
			larkws.WithEventHandler(dispatcher.NewEventDispatcher("", "").OnP2MessageReceiveV1(handler)),
			larkws.WithLogLevel(larkcore.LogLevelWarn),
			larkws.WithDomain(domain))
		go client.Start(context.Background())
	}
	select {}
}
