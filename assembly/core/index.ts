// core.wasm: the parser and the handshake without imports, to embed or fuzz them. The names are those
// of docs/abi.md.

export { ADDRESS_SIZE as address_size, parseAddress as address_parse } from "./address";
export {
  HANDSHAKE_SIZE as handshake_size,
  REPLY_MAX as handshake_answer_max,
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

/** The end of the module's own data: all memory from here on is the host's. */
export function heap(): usize {
  return __heap_base;
}
