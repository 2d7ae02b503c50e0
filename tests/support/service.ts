// A service that knows machines, as a unix socket that plays a script (`Service` of case.ts): it replies
// to each request once that has come as a whole, and to nothing else.

import { once } from "node:events";
import { mkdirSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setImmediate as turn } from "node:timers/promises";

import type { Bytes, Service } from "./case";

export interface FakeService {
  /** What each connection was sent. */
  readonly requests: Buffer[];
  /** What the next connections meet. */
  script: Service;
  /** Is called when the client has taken a segment, or all of it but what fits into the socket. */
  sent?: () => void;
  close(): void;
}

/** Makes the folder of a socket, and listens there. */
export async function startService(socket: string, script: Service): Promise<FakeService> {
  mkdirSync(path.dirname(socket), { recursive: true });
  const clients = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true });
  const service: FakeService = {
    requests: [],
    script,
    close() {
      server.close();
      for (const client of clients) client.destroy();
    },
  };
  server.on("connection", (client: net.Socket) => {
    clients.add(client);
    client.once("close", () => clients.delete(client));
    // It may go away while it is replied to.
    client.on("error", () => client.destroy());
    const index = service.requests.push(Buffer.of()) - 1;
    const { exchange = [], end } = service.script;
    let [next, length] = [0, 0];
    client.on("data", (data: Buffer) => {
      const sent = Buffer.concat([service.requests[index] as Buffer, data]);
      service.requests[index] = sent;
      const [request = "", reply = []] = exchange[next] ?? [];
      if (request === "" || sent.length < length + Buffer.byteLength(request)) return;
      length += Buffer.byteLength(request);
      next++;
      void send(client, reply, service, end === "eof" && next === exchange.length);
    });
    client.on("end", () => client.end());
  });
  server.listen(socket).unref();
  await once(server, "listening");
  return service;
}

async function send(
  client: net.Socket,
  parts: readonly Bytes[],
  service: FakeService,
  ends: boolean,
): Promise<void> {
  for (const part of parts) {
    if (client.destroyed) return;
    if (!client.write(part)) {
      // Node has no event for both.
      await Promise.race([once(client, "drain"), once(client, "close")]).catch(() => undefined);
    }
    service.sent?.();
    await turn();
  }
  if (ends) client.end();
}
