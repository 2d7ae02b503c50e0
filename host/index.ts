// The Node library.

export { AddressError, Handshake, HandshakeError, parseAddress } from "./core";
export type { Address, Text } from "./core";
