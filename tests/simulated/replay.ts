// One simulated case again, printed: its calls, stderr, and what does not hold.

import { checkOutcome } from "../support/outcome";
import type { Call } from "../support/calls";
import type { Case } from "../support/case";
import { errnoName } from "../support/errno";
import { simulate } from "./world";

const MS = 1_000_000;

/** A call in one line: when it was made, its parameters, what they lead to, and its result. */
function describe(number: number, call: Call): string {
  const { name, parameters, fd, type, until, bytes, count, hungUp, end, fault } = call;
  const words = [`(${parameters.join(", ")})`];
  if (fd !== undefined) words.push(`descriptor ${fd}`);
  if (type !== undefined) words.push(type === 1 ? "to read" : "to write");
  if (until !== undefined) words.push(`until ${until / MS} ms`);
  words.push("->", errnoName(call.errno));
  if (count !== undefined) words.push(`${count}`);
  if (bytes !== undefined) words.push(JSON.stringify(bytes.toString("latin1")));
  if (hungUp === true) words.push("hung up");
  if (end !== undefined) words.push(`ended by ${end.fd}: ${errnoName(end.error)}`);
  if (fault !== undefined) words.push("   <- the fault");
  const at = (call.at / MS).toFixed(3).padStart(10);
  return `${String(number).padStart(4)} ${at} ms  ${name}${words.join(" ")}`;
}

/** Whether all holds. */
export function replay(one: Case): boolean {
  console.log(`ssh-vsock-proxy ${one.args.map(String).join(" ")}\n`);
  let number = 0;
  try {
    const outcome = simulate(one.args, one.world, one.environment, (call) => {
      console.log(describe(++number, call));
    });
    console.log(`\nexit ${outcome.exit} after ${outcome.ran / MS} ms`);
    for (const line of outcome.stderr.toString().split(/(?<=\n)/)) {
      console.log(`stderr ${JSON.stringify(line)}`);
    }
    checkOutcome(one, outcome);
    for (const { call } of one.world.simulation?.faults ?? []) {
      if (call > number) throw new Error(`there is no call ${call}`);
    }
    console.log("\nall checks pass");
    return true;
  } catch (error) {
    console.log(`\nbroken: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}
