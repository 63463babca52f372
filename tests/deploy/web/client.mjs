// A web page's calls through the gateway: gRPC-web over fetch, from the descriptors of the protos. Takes one JSON argument
// {url, descriptors, token, origin}, and prints what came of each call as JSON.
//
// Beside this file there are no packages: they are found by PLAZO_WEB_PACKAGES, a folder with node_modules.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.PLAZO_WEB_PACKAGES}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { createFileRegistry, fromBinary } = await load("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = await load("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = await load("@connectrpc/connect");
const { createGrpcWebTransport } = await load("@connectrpc/connect-web");

const { url, descriptors, token, origin } = JSON.parse(process.argv[2]);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));

function client(service, authorization) {
  const authorize = (next) => (request) => {
    if (authorization) {
      request.header.set("authorization", `Bearer ${authorization}`);
    }
    request.header.set("origin", origin);
    return next(request);
  };
  const transport = createGrpcWebTransport({ baseUrl: url, interceptors: [authorize] });
  return createClient(registry.getService(service), transport);
}

async function outcome(call) {
  try {
    return { code: "OK", value: await call() };
  } catch (error) {
    const known = ConnectError.from(error);
    return { code: Code[known.code], message: known.rawMessage, details: known.details.length };
  }
}

const settings = client("plazo.ticketing.v1.SettingsService", token);
const results = {};
results.created = await outcome(async () => {
  const { bot } = await settings.createBot({ bot: { name: "Suporte" } });
  return String(bot.botId);
});
results.listed = await outcome(async () => {
  const { bots } = await settings.listBots({});
  return bots.map((bot) => bot.name);
});
// Nothing has so high a number.
results.missing = await outcome(() => settings.getBot({ botId: 987654321n }));
results.watched = await outcome(async () => {
  const updates = [];
  const ending = new AbortController();
  const stream = client("plazo.ticketing.v1.TicketService", token).watchTickets(
    { filter: {} },
    { signal: ending.signal },
  );
  for await (const { update } of stream) {
    updates.push(update.case);
    if (update.case === "snapshotEnd") {
      break;
    }
  }
  ending.abort();
  return updates;
});
results.tokenless = await outcome(() =>
  client("plazo.ticketing.v1.SettingsService", "").listBots({}),
);
results.internal = await outcome(() =>
  client("plazo.ticketing.v1.MessageStateService", token).reportMessageStates({}),
);
results.preflight = {};
for (const asking of [origin, "https://elsewhere.example"]) {
  const answer = await fetch(`${url}/plazo.ticketing.v1.SettingsService/ListBots`, {
    method: "OPTIONS",
    headers: {
      origin: asking,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,x-grpc-web",
    },
  });
  results.preflight[asking] = {
    status: answer.status,
    origin: answer.headers.get("access-control-allow-origin"),
  };
}
console.log(JSON.stringify(results));
