// The official Node client, as a program: `node client.mjs DOMAIN APP_ID APP_SECRET`.
// It answers a message event, fails on `demo.fails_v1`, and answers a card's callback with a toast.
import { EventDispatcher, WSClient } from "@larksuiteoapi/node-sdk";

const [domain, appId, appSecret] = process.argv.slice(2);

const eventDispatcher = new EventDispatcher({}).register({
  "im.message.receive_v1": (event) => {
    if (event.message.message_type !== "text") throw new Error("not a text");
  },
  "demo.fails_v1": () => {
    throw new Error("this handler fails");
  },
  "card.action.trigger": (event) => ({ toast: { type: "info", content: event.action.tag } }),
});

new WSClient({ appId, appSecret, domain }).start({ eventDispatcher });
