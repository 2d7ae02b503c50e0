// The environment of the programs under test. Imported for its effect: what the user has set for
// Node, ssh and the proxy does not apply, and the texts of tools are in English.

for (const name of ["NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "SSH_AUTH_SOCK"]) {
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
  delete process.env[name];
}
delete process.env["SSH_VSOCK_PROXY_OPTIONS"];
process.env["LC_ALL"] = "C.UTF-8";
