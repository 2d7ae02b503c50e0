// The native addon: what it offers, and where it is found.

/** The imports of one instance of proxy.wasm, over the system calls of this process. */
export interface Shim {
  readonly imports: WebAssembly.Imports;
  /** Gives the imports the memory that they read and write; before the first of them runs. */
  attach(memory: WebAssembly.Memory): void;
  /** Closes what the instance has opened: its log, and the socket unless that was handed over. */
  close(): void;
}

export interface Addon {
  /** @param args the instance's arguments as bytes without NUL, its own name first */
  Shim: new (args: Uint8Array[]) => Shim;
  /**
   * The bytes of this process's last arguments.
   *
   * @param decoded the same as Node has decoded them
   * @throws Error where an argument is not UTF-8 and /proc/self/cmdline does not have it
   */
  rawArguments(decoded: string[]): Uint8Array[];
}

/**
 * Loads the addon that stands beside this file once built. By process.dlopen, because require takes
 * three times as long for it.
 *
 * @throws Error that ends in what can be done, where there is no addon or it does not load
 */
export function loadAddon(): Addon {
  // Not by node:path: what is not loaded need not be waited for.
  const file = `${__dirname}/ssh-vsock-proxy.node`;
  const module = { exports: {} };
  try {
    process.dlopen(module, file);
  } catch (error) {
    throw new Error(
      `the native addon did not load: ${error instanceof Error ? error.message : String(error)}\n` +
        "Possible solutions:\n" +
        `- build it: npm --prefix '${__dirname.replaceAll("'", "'\\''")}/..' run install\n` +
        "- what that needs, on Debian: sudo apt-get install -y gcc g++",
      { cause: error },
    );
  }
  return module.exports as Addon;
}
