// node-sdk, the official Node client, with logging at warn.
const { EventDispatcher, LoggerLevel, WSClient } = require("@larksuiteoapi/node-sdk");

const [domain, handler, sessions] = process.argv.slice(2);
const lock = new Int32Array(new SharedArrayBuffer(4));

const handlers = {
  noop: async () => {},
  slow: () => new Promise((resolve) => setTimeout(resolve, 200)),
  blocking: async () => {
    Atomics.wait(lock, 0, 0, 200); // sleeps, and the program with it
  },
  stuck: () => new Promise(() => {}),
};
const loggerLevel = LoggerLevel.warn;

for (let i = 0; i < Number(sessions); i++) {
  const eventDispatcher = new EventDispatcher({ loggerLevel }).register({ "im.message.receive_v1": handlers[handler] });
  new WSClient({ appId: "cli_9f5343c580712544", appSecret: "secret", domain, loggerLevel }).start({ eventDispatcher });
}
