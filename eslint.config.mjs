import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["build/", "dist/", "node_modules/"] },
  js.configs.recommended,
  {
    files: ["host/**/*.ts", "tests/**/*.ts", "bench/**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Numbers that Wasm returns are assigned to enums.
      "@typescript-eslint/no-unsafe-enum-assignment": "off",
      // These programs print numbers.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // node:test's `it` and `describe` return promises that the runner awaits.
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", name: ["it", "describe"], package: "node:test" },
          ],
        },
      ],
    },
  },
  {
    // These folders share only tests/support. core, fuzz and transcripts read each other's inputs.
    files: ["tests/{build,e2e,hosts,shim,simulated,support,syscalls}/*.ts"],
    rules: {
      "no-restricted-imports": ["error", { patterns: [{ regex: "^\\.\\./(?!support/|\\.\\./)" }] }],
    },
  },
  {
    // The tests look for control characters.
    files: ["tests/**/*.ts"],
    rules: { "no-control-regex": "off" },
  },
  {
    // AssemblyScript: TypeScript's grammar, but other types and globals, which asc checks itself.
    files: ["assembly/**/*.ts"],
    extends: [tseslint.configs.strict],
    rules: {
      "no-undef": "off",
      // The compiler's imports are namespaces (@assemblyscript/wasi-shim's bindings).
      "@typescript-eslint/no-namespace": "off",
      "@typescript-eslint/no-unused-vars": [
        "error",
        { varsIgnorePattern: "^(ptr|T)$", args: "none" },
      ],
      "no-redeclare": "off",
      "@typescript-eslint/no-redeclare": "off",
    },
  },
  {
    // The core depends on nothing but itself and the numbers that it returns.
    files: ["assembly/core/**/*.ts"],
    rules: {
      "no-restricted-imports": ["error", { patterns: [{ regex: "^(?!\\./|\\.\\./codes$)" }] }],
    },
  },
  {
    files: ["assembly/names/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: [{ regex: "^(?!\\./|\\.\\./codes$|\\.\\./core/(bytes|name)$)" }] },
      ],
    },
  },
  {
    // Tables that both compilers read depend on nothing.
    files: ["assembly/codes.ts", "assembly/printable.ts"],
    rules: { "no-restricted-imports": ["error", { patterns: [{ regex: "." }] }] },
  },
  {
    files: ["scripts/**/*.mjs", "tests/tsx.mjs"],
    languageOptions: {
      globals: { Buffer: "readonly", URL: "readonly", console: "readonly", process: "readonly" },
    },
  },
);
