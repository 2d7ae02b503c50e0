// The native addon: its interface, and how it is loaded.

/** The imports of one instance of proxy.wasm, over the system calls of this process. */
export interface Shim {
  readonly imports: WebAssembly.Imports;
  /** Sets the memory that the imports read and write; before the first of them runs. */
  attach(memory: WebAssembly.Memory): void;
  /** Closes the descriptors that the instance has opened. */
  close(): void;
}

export interface Addon {
  /** @param args the instance's arguments as bytes without NUL, the program's name first */
  Shim: new (args: Uint8Array[]) => Shim;
  /**
   * The bytes of this process's last arguments.
   *
   * @param decoded the same arguments as Node has decoded them
   * @throws Error if an argument is not UTF-8 and /proc/self/cmdline cannot be read
   */
  rawArguments(decoded: string[]): Uint8Array[];
}

/**
 * Loads the addon beside the built file, by process.dlopen: require takes three times as long.
 *
 * @throws Error with possible solutions, if there is no addon or it does not load
 */
export function loadAddon(): Addon {
  // Without node:path, which would have to be loaded.
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
