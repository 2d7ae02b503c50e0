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
      // What comes from Wasm is a number that stands for an enum: it is said where.
      "@typescript-eslint/no-unsafe-enum-assignment": "off",
      // Numbers in a template are what these programs print.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // node:test's `it` and `describe` answer promises that the runner awaits.
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
    // What the tests look for are control characters.
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
    // Tables that both compilers read depend on nothing.
    files: ["assembly/codes.ts", "assembly/printable.ts"],
    rules: { "no-restricted-imports": ["error", { patterns: [{ regex: "." }] }] },
  },
  {
    files: ["scripts/**/*.mjs"],
    languageOptions: {
      globals: { Buffer: "readonly", URL: "readonly", console: "readonly", process: "readonly" },
    },
  },
);
