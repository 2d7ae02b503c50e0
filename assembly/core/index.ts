// core.wasm: the parser and the handshake alone, with zero imports, for whoever embeds or fuzzes
// them. Names, pointers, codes and nothing else: what they mean stands where they are written,
// docs/abi.md has it for other hosts.

export { ADDRESS_SIZE as address_size, parseAddress as address_parse } from "./address";
export {
  ANSWER_MAX as handshake_answer_max,
  HANDSHAKE_SIZE as handshake_size,
  REQUEST_MAX as handshake_request_max,
  begin as handshake_begin,
  codeOf as handshake_code,
  deadline as handshake_deadline,
  endOfFile as handshake_eof,
  numberOf as handshake_number,
  offsetOf as handshake_offset,
  receive as handshake_receive,
  sent as handshake_sent,
  wantedBy as handshake_wanted,
} from "./handshake";

/** Where the module's own data ends: all memory from here on is the host's. */
export function heap(): usize {
  return __heap_base;
}
