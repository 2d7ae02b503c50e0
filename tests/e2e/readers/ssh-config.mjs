// Parses with npm's ssh-config; splits the command into words and starts it without a shell.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { Duplex } from "node:stream";
import ssh2 from "ssh2";

const { default: SSHConfig } = await import(process.env.SSH_CONFIG);
const [, , task, file, ...names] = process.argv;
const config = SSHConfig.parse(readFileSync(file, "utf8"));

function login(name) {
  const settings = config.compute(name);
  const line = settings.ProxyCommand.replace("%h", name).replace("%p", "22");
  const [command, ...words] = line.split(" ");
  const proxy = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
  const client = new ssh2.Client();
  client.once("ready", () => {
    client.exec("echo out; exit 7", (error, channel) => {
      if (error) throw error;
      channel.on("exit", (status) => (process.exitCode = status));
      channel.on("close", () => client.end());
      channel.pipe(process.stdout);
    });
  });
  client.connect({
    sock: Duplex.from({ readable: proxy.stdout, writable: proxy.stdin }),
    username: settings.User,
    privateKey: readFileSync([].concat(settings.IdentityFile)[0]),
  });
}

if (task === "parse") {
  for (const name of names) process.stdout.write(`${config.compute(name).ProxyCommand ?? ""}\n`);
} else {
  login(names[0]);
}
